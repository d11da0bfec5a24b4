"""What a night came to: the account that the command line prints and a scheduler judges.

Owns that account. Never touches the store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime

from flows.progress import display


@dataclass(frozen=True)
class Counts:
    """Rows of an ingest, over all instruments, see `tasks.ingest.InstrumentCounts`."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    retracted: int = 0
    quarantined: int = 0
    agreed_duplicates: int = 0
    flagged: int = 0
    missing: int = 0

    def __str__(self) -> str:
        told = [f"{self.new:,} new", f"{self.changed:,} changed"]
        if self.retracted:
            told.append(f"{self.retracted:,} retracted")
        return ", ".join([*told, plural(self.quarantined, "quarantined row")])


@dataclass(frozen=True)
class Missing:
    """An instrument and target that a kind does not forecast, and why."""

    instrument: str
    target: str
    reason: str
    kind: str = "many_to_many"


@dataclass(frozen=True)
class Part:
    """A part of the night and how long it took."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Night:
    """What a night came to.

    Attributes:
        run_id: the run.
        session: the last session it knew.
        as_of: its knowledge time, UTC.
        origin: live or backfill.
        repeated: True: the same night had been finished before, and nothing was left to do.
        counts: rows of the ingest.
        instruments: instruments of the run.
        matured: forecasts of earlier nights that this run scored.
        trained: models trained.
        forecasts: forecasts of the night in the store.
        written: forecasts that this run added.
        stale: instruments forecast from bars older than the session.
        missing: what could not be forecast, and why.
        problems: what went wrong without stopping the night, free of secrets.
        published: files that people read.
        report: the report's path or URL, None where it is switched off.
        parts: the night's parts in order, with their time.
    """

    run_id: str
    session: date
    as_of: datetime
    origin: str
    repeated: bool
    counts: Counts
    instruments: tuple[str, ...]
    matured: int
    trained: int
    forecasts: int
    written: int
    stale: tuple[str, ...]
    missing: tuple[Missing, ...]
    problems: tuple[str, ...]
    published: tuple[str, ...]
    report: str | None
    parts: tuple[Part, ...]

    @property
    def partial(self) -> bool:
        """Whether something was forecast on old bars, or not at all, or a step failed."""
        return bool(self.stale or self.missing or self.problems)


@dataclass
class Clock:
    """Times the parts of a night, shows each while it goes on, and logs what it came to."""

    log: Callable[[str], None] | None = None
    parts: list[Part] = field(default_factory=list)

    @contextmanager
    def part(self, name: str, title: str) -> Iterator[list[str]]:
        """Times what happens inside; a text put into the list is shown as what it came to."""
        notes: list[str] = []
        shown = display()
        shown.begin(name, title)
        began = time.perf_counter()
        try:
            yield notes
        except BaseException:
            shown.end(name, "broken off")
            raise
        else:
            seconds = time.perf_counter() - began
            self.parts.append(Part(name, seconds))
            shown.end(name, "; ".join(notes))
            if self.log is not None:
                self.log(f"{title}: {'; '.join(notes) or 'done'} ({seconds:.1f} s)")


def plural(count: int, one: str, many: str | None = None) -> str:
    """A count and its noun: "1 row", "2 rows"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few of `names`, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
