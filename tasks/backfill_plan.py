"""What a backfill has to do: which sessions, by which runs, and which trainings they share.

Owns these choices, all pure. Never touches the store, and trains nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from tasks.due import refit_sessions
from tasks.runs import PinnedRun, RunError
from tasks.sessions import Calendars, ExchangeCalendar
from tasks.settings import TrainingConfig
from tasks.shards import ShardRequest

Which = Literal["only-missing", "failed", "all"]
"""Of the sessions: those that no run has finished; those whose run failed or lacks something; all.
"""

_PREFERRED = ("finished", "pinned", "failed")
_FACTS = ("bars", "actions")

Key = tuple[object, ...]


def sessions_asked(
    calendar: ExchangeCalendar, start: date, end: date, every: int, *, first: date, last: date
) -> tuple[date, ...]:
    """Every `every`-th session from the first one on or after `start` to `end`, oldest first.

    Args:
        calendar: the exchange's.
        start: the first date asked for.
        end: the last date asked for; later than `last`, the sessions up to `last`.
        every: 1 for every session, 5 for about one a week.
        first: the first session that the store holds a bar of.
        last: the last session that can be forecast from.

    Raises:
        RunError: `start` lies after `end`, before `first` or after `last`, or there is no session.
    """
    if every < 1:
        raise RunError(f"every is {every}. Expected a number of sessions, 1 or more.")
    if start > end:
        raise RunError(f"START {start} lies after END {end}. Name the earlier date first.")
    if start < first:
        raise RunError(
            f"START {start} lies before the first bar, of {first}: nothing was known then. "
            f"Choose a date from {first} to {last}."
        )
    if start > last:
        raise RunError(
            f"START {start} lies after the last session that can be forecast from, {last}. "
            f"Choose a date from {first} to {last}."
        )
    found: list[date] = calendar.sessions(start, min(end, last)).tolist()
    if not found:
        raise RunError(f"There is no session from {start} to {end}. Choose dates further apart.")
    return tuple(found[::every])


def standing(runs: Iterable[PinnedRun], instruments: Collection[str]) -> PinnedRun | None:
    """Which of the runs of a session stands for it; None: there is none yet.

    It is about all of `instruments`, at least. One that finished comes first, then one that was
    begun, then one that failed; of several the live one, and then that which was pinned first.
    """
    wanted = set(instruments)
    about = [run for run in runs if wanted <= {one for own in run.shards.values() for one in own}]
    return min(about, key=_preference, default=None)


def _preference(run: PinnedRun) -> tuple[int, bool, datetime, str]:
    return _PREFERRED.index(run.status), run.origin != "live", run.made_at, run.run_id


def is_wanted(run: PinnedRun | None, which: Which) -> bool:
    """Whether a session has to be gone through, going by the run that stands for it."""
    if which == "all":
        return True
    if which == "failed":
        return run is not None and (run.status == "failed" or _lacks(run))
    return run is None or run.status != "finished"


def _lacks(run: PinnedRun) -> bool:
    return run.status == "finished" and run.message is not None


@dataclass(frozen=True)
class Training:
    """A training that several sessions share: the same refit of the same instruments.

    Attributes:
        key: what decides it, see `training_key`.
        request: that of the first session that needs it.
    """

    key: Key
    request: ShardRequest


def training_key(request: ShardRequest, calendars: Calendars) -> Key:
    """What decides the models of a shard's request: equal keys are the same models.

    The refit session of each calendar, the instruments, their market and the facts; not the session
    itself, nor the run.
    """
    names = request.shard.instruments
    refits = {
        (calendar.name, refit_sessions(request, calendar)[0])
        for calendar in calendars.grouped(names)
    }
    facts = tuple((name, version) for name, version in request.versions if name in _FACTS)
    return names, request.market, facts, tuple(sorted(refits))


def waves(
    requests: Sequence[tuple[Key, ShardRequest]], training: TrainingConfig
) -> list[list[Training]]:
    """The distinct trainings, in groups whose members can run at the same time.

    Where a refit starts from the one before, or is compared with it, a shard's come one after
    another: else two processes would train the same first one.

    Args:
        requests: each with its key, in order of their sessions.
        training: whether refits hang together.
    """
    first: dict[Key, ShardRequest] = {}
    for key, request in requests:
        first.setdefault(key, request)
    distinct = [Training(key, request) for key, request in first.items()]
    if training.cold_every == 1 and not training.champion:
        return [distinct] if distinct else []
    chains: dict[tuple[str, ...], list[Training]] = {}
    for one in distinct:
        chains.setdefault(one.request.shard.instruments, []).append(one)
    longest = max(map(len, chains.values()), default=0)
    return [
        [chain[place] for chain in chains.values() if place < len(chain)]
        for place in range(longest)
    ]
