"""Progress of a night, for whoever watches: bars on a terminal, plain lines elsewhere.

Owns what is shown while work goes on, on standard error. Never touches the answer.
"""

from __future__ import annotations

import math
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

    def expect(self, step: str, pieces: int) -> None:
        """A step's work comes in so many pieces (shards), each with its own count."""

    def advance(self, step: str, done: int, total: int, note: str = "", *, piece: str = "") -> None:
        """A step, or one piece of it, has come to `done` of `total`."""

    def end(self, step: str, note: str = "") -> None:
        """A step is over; `note` says in a few words what it came to."""


class Silent:
    """Shows nothing."""

    def begin(self, step: str, title: str) -> None:
        """Nothing."""

    def expect(self, step: str, pieces: int) -> None:
        """Nothing."""

    def advance(self, step: str, done: int, total: int, note: str = "", *, piece: str = "") -> None:
        """Nothing."""

    def end(self, step: str, note: str = "") -> None:
        """Nothing."""


class Tally:
    """How far a step is over all its pieces; one not heard of counts as the mean of the others."""

    def __init__(self) -> None:
        self.expected = 1
        self._pieces: dict[str, tuple[int, int]] = {}

    def add(self, piece: str, done: int, total: int) -> tuple[int, int]:
        """Notes how far a piece is; returns what the step has done, and its estimated total."""
        self._pieces[piece] = (done, total)
        known = len(self._pieces)
        totals = sum(total for _, total in self._pieces.values())
        whole = totals * max(self.expected, known) / known
        return sum(done for done, _ in self._pieces.values()), round(whole)


class Remaining:
    """The time left of a step, by its mean speed since it was first heard of."""

    def __init__(self, now: float, done: int) -> None:
        self._began, self._at_first = now, done

    def seconds(self, now: float, done: int, total: int) -> float | None:
        """Seconds left; None before any speed is known."""
        if done <= self._at_first:
            return None
        return (now - self._began) / (done - self._at_first) * max(total - done, 0)


def rough(seconds: float) -> str:
    """A duration in the words of somebody who waits: "40 s", "12 min", "1 h 20 min"."""
    if seconds < 60:
        return f"{max(math.ceil(seconds / 5) * 5, 5)} s"
    minutes = math.ceil(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class Lines:
    """One line when a step starts, one when it ends, and now and then one between."""

    def __init__(self, console: Console) -> None:
        """Writes to `console`."""
        self._console = console
        self._titles: dict[str, str] = {}
        self._started: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self._tallies: dict[str, Tally] = {}
        self._remaining: dict[str, Remaining] = {}
        self._lock = threading.Lock()

    def begin(self, step: str, title: str) -> None:
        """Says that the step starts."""
        with self._lock:
            self._titles[step] = title
            self._started[step] = self._said[step] = time.monotonic()
            self._tallies[step] = Tally()
            self._line(f"{title} …")

    def expect(self, step: str, pieces: int) -> None:
        """Counts that many pieces from now on."""
        with self._lock:
            if step in self._titles:
                self._tallies[step].expected = pieces

    def advance(self, step: str, done: int, total: int, note: str = "", *, piece: str = "") -> None:
        """Says how far the step is and how long it will take, if it was silent for a while."""
        with self._lock:
            if step not in self._titles:
                return
            now = time.monotonic()
            done, total = self._tallies[step].add(piece, done, total)
            remaining = self._remaining.setdefault(step, Remaining(now, done))
            if now - self._said[step] >= PLAIN_LINE_SECONDS:
                self._said[step] = now
                left = remaining.seconds(now, done, total)
                ahead = "" if left is None else f", about {rough(left)} left"
                self._line(f"{self._titles[step]}: {done}/{total}{ahead} {note}".rstrip())

    def end(self, step: str, note: str = "") -> None:
        """Says what the step came to, and how long it took."""
        with self._lock:
            if step in self._titles:
                title = self._titles.pop(step)
                self._remaining.pop(step, None)
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
        self._tallies: dict[str, Tally] = {}
        self._lock = threading.Lock()

    def begin(self, step: str, title: str) -> None:
        """Adds a row."""
        with self._lock:
            if step not in self._tasks:
                self._tasks[step] = self._progress.add_task(title, total=None, note="")
                self._tallies[step] = Tally()

    def expect(self, step: str, pieces: int) -> None:
        """Counts that many pieces from now on."""
        with self._lock:
            if step in self._tasks:
                self._tallies[step].expected = pieces

    def advance(self, step: str, done: int, total: int, note: str = "", *, piece: str = "") -> None:
        """Moves the row's bar."""
        with self._lock:
            if step in self._tasks:
                done, total = self._tallies[step].add(piece, done, total)
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
    """A callback that shows what children report: "train shard-0001" is a piece of "train".

    What a piece counts first is the long part; what it counts after that is only named.
    """
    counted: dict[str, tuple[str, int, int]] = {}

    def update(news: Update) -> None:
        label, step, done, total = news
        name, _, piece = label.partition(" ")
        first, *_ = counted.get(label, (step,))
        if step == first:
            counted[label] = (step, done, total)
        _, done, total = counted[label]
        shown.advance(name, done, total, f"{piece} {step}", piece=piece)

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
    with (
        Progress(*columns, console=console, speed_estimate_period=600) as progress,
        _as_current(Bars(progress)) as bars,
    ):
        yield bars


@contextmanager
def _as_current(shown: Display) -> Iterator[Display]:
    token = _CURRENT.set(shown)
    try:
        yield shown
    finally:
        _CURRENT.reset(token)
