"""What a backfill came to: the account that the command line prints and a scheduler judges.

Owns that account, and where its time went. Never touches the store.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from flows.night import Counts, Missing, Part
from tasks.backfill_plan import Which
from tasks.track_record import TrackRecord

WORK = frozenset({"train", "gate", "forecast", "score"})
"""Parts whose time is the forecasts' own; that of the others is what a backfill adds."""


@dataclass(frozen=True)
class PastNight:
    """What one session came to.

    Attributes:
        session: the session.
        run_id: its run; None: none could be pinned.
        status: finished, or failed.
        forecasts: rows of `forecasts` that it has.
        written: those of them that this backfill added.
        matured: forecasts of earlier sessions that it scored.
        missing: instruments, targets and kinds that could not be forecast.
        problem: why it failed, or what a finished one lacks; None: nothing.
        seconds: wall time since the session before was done, without the trainings.
    """

    session: date
    run_id: str | None
    status: Literal["finished", "failed"]
    forecasts: int = 0
    written: int = 0
    matured: int = 0
    missing: tuple[Missing, ...] = ()
    problem: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Backfill:
    """What a backfill came to.

    Attributes:
        start: the first date asked for.
        end: the last date asked for.
        every: of so many sessions one.
        which: of these sessions, which.
        config_hash: whose forecasts.
        asked: sessions from `start` to `end`.
        left: sessions among them that needed nothing.
        nights: what each of the others came to, oldest first.
        counts: rows of the ingest.
        trainings: distinct refits that the sessions shared, times shards.
        trained: models trained by this backfill.
        problems: what went wrong beside single sessions, free of secrets.
        published: files that people read.
        report: the report's path or URL; None: not written.
        record: skill and coverage over time; None where it could not be read.
        parts: where the time went, seconds; they add up to all of it.
        work: what the children did meanwhile, seconds of train and forecast.
    """

    start: date
    end: date
    every: int
    which: Which
    config_hash: str
    asked: int
    left: int
    nights: tuple[PastNight, ...]
    counts: Counts
    trainings: int
    trained: int
    problems: tuple[str, ...]
    published: tuple[str, ...]
    report: str | None
    record: TrackRecord | None
    parts: tuple[Part, ...]
    work: tuple[Part, ...]

    @property
    def partial(self) -> bool:
        """Whether a session failed or lacks something, or anything else went wrong."""
        return bool(self.problems) or any(night.problem for night in self.nights)

    @property
    def seconds(self) -> float:
        """Wall time of all parts."""
        return sum(part.seconds for part in self.parts)

    @property
    def seconds_per_session(self) -> float | None:
        """Wall time over the sessions gone through; None where there was none."""
        return self.seconds / len(self.nights) if self.nights else None

    @property
    def overhead(self) -> float | None:
        """Share of the wall time in which no training, gate, forecast or score was waited for."""
        work = sum(part.seconds for part in self.parts if part.name in WORK)
        return 1.0 - work / self.seconds if self.seconds else None


@dataclass
class Spent:
    """Seconds by part, of parts that come again and again; never two at once."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Counts what happens inside to `part`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(part, time.perf_counter() - began)

    def add(self, part: str, seconds: float) -> None:
        """Counts so many seconds to `part`."""
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    def parts(self) -> tuple[Part, ...]:
        """What was counted."""
        return tuple(Part(name, seconds) for name, seconds in self.seconds.items())

    def within(self, parts: Sequence[Part], whole: str) -> tuple[Part, ...]:
        """`parts` with what was counted in the place of `whole`; its rest is "orchestrate"."""
        found: list[Part] = []
        for part in parts:
            if part.name == whole:
                counted = self.parts()
                rest = part.seconds - sum(one.seconds for one in counted)
                found += [*counted, Part("orchestrate", rest)]
            else:
                found.append(part)
        return tuple(found)
