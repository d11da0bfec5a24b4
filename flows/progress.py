"""Progress of a night, for whoever watches: bars on a terminal, plain lines elsewhere.

Owns what is shown while work goes on, on standard error. Never touches the answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from flows.worker_child import Update

PLAIN_LINE_SECONDS = 10.0


class Display(Protocol):
    """Where progress is shown. Every method may be called from any thread."""

    def begin(self, step: str, title: str) -> None:
        """A step starts; `step` is its key, `title` what a person reads."""

    def advance(self, step: str, done: int, total: int, note: str = "") -> None:
        """A step has come to `done` of `total`."""

    def end(self, step: str, note: str = "") -> None:
        """A step is over; `note` says in a few words what it came to."""


class Silent:
    """Shows nothing."""

    def begin(self, step: str, title: str) -> None:
        """Nothing."""

    def advance(self, step: str, done: int, total: int, note: str = "") -> None:
        """Nothing."""

    def end(self, step: str, note: str = "") -> None:
        """Nothing."""


class Lines:
    """One line when a step starts, one when it ends, and now and then one between."""

    def __init__(self, console: Console) -> None:
        """Writes to `console`."""
        self._console = console
        self._titles: dict[str, str] = {}
        self._started: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self._lock = threading.Lock()

    def begin(self, step: str, title: str) -> None:
        """Says that the step starts."""
        with self._lock:
            self._titles[step] = title
            self._started[step] = self._said[step] = time.monotonic()
            self._line(f"{title} …")

    def advance(self, step: str, done: int, total: int, note: str = "") -> None:
        """Says how far the step is, if it was silent for a while."""
        with self._lock:
            now = time.monotonic()
            if step in self._titles and now - self._said[step] >= PLAIN_LINE_SECONDS:
                self._said[step] = now
                self._line(f"{self._titles[step]}: {done}/{total} {note}".rstrip())

    def end(self, step: str, note: str = "") -> None:
        """Says what the step came to, and how long it took."""
        with self._lock:
            if step in self._titles:
                title = self._titles.pop(step)
                seconds = time.monotonic() - self._started[step]
                self._line(f"{title}: {note or 'done'} ({seconds:.1f} s)")

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class Bars:
    """A bar with the time left per step, redrawn in place."""

    def __init__(self, progress: Progress) -> None:
        """Draws into `progress`, which is running."""
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def begin(self, step: str, title: str) -> None:
        """Adds a row."""
        with self._lock:
            if step not in self._tasks:
                self._tasks[step] = self._progress.add_task(title, total=None, note="")

    def advance(self, step: str, done: int, total: int, note: str = "") -> None:
        """Moves the row's bar."""
        with self._lock:
            if step in self._tasks:
                self._progress.update(
                    self._tasks[step], completed=done, total=max(total, 1), note=note
                )

    def end(self, step: str, note: str = "") -> None:
        """Fills the row's bar."""
        with self._lock:
            if step in self._tasks:
                task = self._tasks[step]
                total = next(t.total for t in self._progress.tasks if t.id == task) or 1
                self._progress.update(task, completed=total, total=total, note=note)


def from_children(shown: Display) -> Callable[[Update], None]:
    """A callback that shows what children report: "train shard-0001" belongs to "train"."""

    def update(news: Update) -> None:
        label, step, done, total = news
        name, _, rest = label.partition(" ")
        shown.advance(name, done, total, f"{rest} {step}")

    return update


_CURRENT: ContextVar[Display | None] = ContextVar("display", default=None)


def display() -> Display:
    """Where progress of this context is shown; nowhere, unless `showing` says so."""
    return _CURRENT.get() or Silent()


@contextmanager
def showing(console: Console) -> Iterator[Display]:
    """Shows progress on `console`, with bars where it is a terminal, until the context ends."""
    if not console.is_terminal:
        with _as_current(Lines(console)) as lines:
            yield lines
        return
    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=console) as progress, _as_current(Bars(progress)) as bars:
        yield bars


@contextmanager
def _as_current(shown: Display) -> Iterator[Display]:
    token = _CURRENT.set(shown)
    try:
        yield shown
    finally:
        _CURRENT.reset(token)
