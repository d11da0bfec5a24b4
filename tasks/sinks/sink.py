"""What a sink is: a place outside the store that gets a night's forecasts whole, or not at all.

Owns the shape of an edition, the errors, and how the outside world is asked again. Never touches
what a sink does with the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import pyarrow as pa
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from tasks.identity import content_id
from tasks.runs import PinnedRun
from tasks.sources.rate_limit import Clock

T = TypeVar("T")

Status = Literal["due", "delivered", "superseded", "refused"]

LONGEST_PAUSE = 60.0
"""Seconds between two tries, at most, whatever a server asks for."""

_backoff = wait_exponential_jitter(initial=1, max=LONGEST_PAUSE, jitter=1)


class SinkError(Exception):
    """A sink can't take a night now; the message says why and what to do, without secrets."""


class RefusedError(SinkError):
    """A sink does not take this night, and the same night again would not change that."""


class TryAgainError(SinkError):
    """The sink may well take it a moment later.

    Attributes:
        wait: seconds that the sink asked to be left alone for.
    """

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True, eq=False)
class Edition:
    """The forecasts of one run, as they are now.

    Attributes:
        run: whose they are.
        rows: (row) of the dataset `forecasts`, at least one, all of the run's `as_of`.
        edition_id: hash of the night and the ids of its forecasts: the same forecasts give the
            same id, in any order, whichever run of the same night they are told of.
    """

    run: PinnedRun
    rows: pa.Table
    edition_id: str

    @classmethod
    def of(cls, run: PinnedRun, rows: pa.Table) -> Edition:
        """The edition of a run that came to these rows."""
        ids = sorted(rows["forecast_id"].to_pylist())
        return cls(run, rows, content_id("edition", run.as_of, run.config_hash, ids))


class Sink(Protocol):
    """A place outside the store. Made without asking it anything; made again for every night."""

    @property
    def name(self) -> str:
        """Its kind and its address without secrets: what its deliveries are remembered under."""
        ...

    @property
    def newest_only(self) -> bool:
        """Whether each night takes the place of the one before, so that only the last matters."""
        ...

    def takes(self, run: PinnedRun) -> bool:
        """Whether a run's forecasts are for this sink at all."""
        ...

    def lost(self, editions: Collection[str]) -> frozenset[str]:
        """Which of these delivered editions it no longer has: after a restore from a backup.

        Raises:
            SinkError: it can't say.
        """
        ...

    def deliver(self, edition: Edition) -> bool:
        """Takes an edition whole, or leaves everything as it was; twice is as good as once.

        Returns:
            False: it has a newer one, and changed nothing.

        Raises:
            RefusedError: it does not take this edition, now or later.
            SinkError: it can't take anything now.
        """
        ...


def retried(attempts: int, clock: Clock, work: Callable[[], T]) -> T:
    """What `work` returns, tried again with growing pauses while it raises `TryAgainError`.

    Raises:
        SinkError: as `work` did, at once or after the last try.
    """

    def pause(state: RetryCallState) -> float:
        error = None if state.outcome is None else state.outcome.exception()
        asked = error.wait if isinstance(error, TryAgainError) else 0.0
        return min(max(asked, _backoff(state)), LONGEST_PAUSE)

    try:
        return Retrying(
            stop=stop_after_attempt(attempts),
            wait=pause,
            retry=retry_if_exception_type(TryAgainError),
            sleep=clock.sleep,
            reraise=True,
        )(work)
    except TryAgainError as error:
        tries = "1 try" if attempts == 1 else f"{attempts} tries"
        raise SinkError(f"{error} ({tries})") from None
