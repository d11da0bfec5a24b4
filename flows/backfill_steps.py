"""The steps of a backfill as plain functions: what is to be done, and what stands at its end.

Owns the wiring of configuration to `tasks`. Never touches Prefect: `flows.backfill` wraps these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from flows import steps, universe
from flows.config import FleetcastConfig, UniverseConfig
from flows.failures import Refused
from flows.secrets import no_key_needed
from tasks import runs
from tasks.backfill_plan import (
    Key,
    Which,
    is_wanted,
    sessions_asked,
    standing,
    training_key,
)
from tasks.market import market_sample
from tasks.runs import Moment, PinnedRun
from tasks.sessions import Calendars
from tasks.shards import ShardRequest, plan_shards
from tasks.sources import open_source
from tasks.store import Store
from tasks.track_record import TrackRecord, track_record


@dataclass(frozen=True)
class Asked:
    """One session that is to be gone through: its run, and what the workers are asked.

    Attributes:
        run: the pinned run.
        requests: one per shard, each with the key of the training that it shares.
    """

    run: PinnedRun
    requests: tuple[tuple[Key, ShardRequest], ...]


@dataclass(frozen=True)
class Plan:
    """What a backfill has to do.

    Attributes:
        sessions: all that were asked for, oldest first.
        asked: those of them that are to be gone through, oldest first.
        failed: sessions that can't be gone through, and why.
        done: the newest run of a session that needed nothing; None: there is none.
    """

    sessions: tuple[date, ...]
    asked: tuple[Asked, ...]
    failed: tuple[tuple[date, str], ...]
    done: PinnedRun | None


def narrowed(config: FleetcastConfig, instruments: Sequence[str]) -> FleetcastConfig:
    """`config` with a universe of these instruments; as it is where none is named.

    The gate pools over a universe, so forecasts of a part of it are those of another configuration.

    Raises:
        Refused: a membership file says who belongs.
        ValueError: a name is empty, or there twice.
    """
    if not instruments:
        return config
    if config.universe.membership is not None:
        raise Refused(
            f"universe.membership ({config.universe.membership}) says who belongs on which "
            "session, so a backfill is about all of them. Leave --instruments out, or use a "
            "configuration without it."
        )
    only = UniverseConfig(instruments=tuple(instruments))
    return config.model_copy(update={"universe": only})


def plan(
    config: FleetcastConfig,
    instruments: Sequence[str],
    start: date,
    end: date,
    *,
    every: int,
    which: Which,
    now: datetime,
) -> Plan:
    """Says which sessions are to be gone through, and pins their runs in one commit.

    A session that has a run already, of whichever origin, is gone through as that run: with the
    knowledge and the facts that it was pinned with. So whatever is there is written again as it is,
    which is not at all, and what is lacking is filled in as it would have been.

    Args:
        config: what to do, and where.
        instruments: everybody asked for; what is to be known of them must be in the store.
        start: the first date.
        end: the last date.
        every: of so many sessions one.
        which: of these sessions, which.
        now: the clock, UTC.

    Raises:
        RunError: the dates can't be gone through, or the store holds no bar.
        StoreError: the store can't be read or written.
    """
    store = Store.open(config.store.url)
    with no_key_needed(config.source):
        source = open_source(config.source)
    calendars = Calendars.load(config.calendar)
    calendar = calendars.default
    first, newest = runs.known_sessions(store, instruments)
    last = calendar.last_session(now, source.lag)
    if source.archive:
        last = min(last, calendar.session_on_or_before(newest))
    sessions = sessions_asked(calendar, start, end, every, first=first, last=last)
    known = _by_session(runs.runs_of(store, config.config_hash))
    fixed: dict[date, PinnedRun] = {}
    fresh: list[tuple[Moment, dict[str, tuple[str, ...]]]] = []
    failed: list[tuple[date, str]] = []
    done: PinnedRun | None = None
    for session in sessions:
        try:
            moment = Moment(session, calendar.close(session) + source.lag, "backfill")
            members = universe.forecast(config, store, instruments, session, moment.as_of)
        except Exception as error:  # noqa: BLE001 - one session never stops the others
            failed.append((session, steps.failed("no run can be about it", error)))
            continue
        there = standing(known.get(session, ()), members)
        if not is_wanted(there, which):
            if there is not None and there.status == "finished":
                done = there
        elif there is not None:
            fixed[session] = replace(there, reused=True)
        else:
            shards = plan_shards(members, config.training.shard_size)
            fresh.append((moment, {shard.name: shard.instruments for shard in shards}))
    pinned = runs.pin_past(store, fresh, config_hash=config.config_hash, now=now)
    fixed |= {run.session: run for run in pinned}
    asked = []
    markets: dict[tuple[str, ...], tuple[str, ...]] = {}
    for session, run in sorted(fixed.items()):
        try:
            asked.append(Asked(run, _requests(config, store, run, calendars, markets)))
        except Exception as error:  # noqa: BLE001 - as above
            failed.append((session, steps.failed("what it needs can't be told", error)))
    return Plan(sessions, tuple(asked), tuple(sorted(failed)), done)


def newest_run(config: FleetcastConfig) -> PinnedRun | None:
    """The newest finished run of the configuration, live or not; None: there is none.

    Raises:
        StoreError: the store can't be read.
    """
    found = runs.runs_of(Store.open(config.store.url), config.config_hash)
    return newest_of(*(one for one in found if one.status == "finished"))


def newest_of(*found: PinnedRun | None) -> PinnedRun | None:
    """The one of the newest session; of those of one session the one that knows the most."""
    return max((one for one in found if one is not None), key=_age, default=None)


def record(config: FleetcastConfig, sessions: Sequence[date]) -> TrackRecord:
    """How the forecasts of a range of sessions did, as far as the range itself tells.

    Raises:
        StoreError: the store can't be read.
    """
    store = Store.open(config.store.url)
    return track_record(store, config.config_hash, sessions[0], sessions[-1])


def clock() -> datetime:
    """The clock, UTC."""
    return datetime.now(UTC)


def _age(run: PinnedRun) -> tuple[date, datetime, str]:
    return run.session, run.as_of, run.run_id


def _by_session(known: Iterable[PinnedRun]) -> dict[date, list[PinnedRun]]:
    found: dict[date, list[PinnedRun]] = {}
    for run in known:
        found.setdefault(run.session, []).append(run)
    return found


def _requests(
    config: FleetcastConfig,
    store: Store,
    run: PinnedRun,
    calendars: Calendars,
    markets: dict[tuple[str, ...], tuple[str, ...]],
) -> tuple[tuple[Key, ShardRequest], ...]:
    """The run's; `markets` holds the market of each company, which seldom changes."""
    company = universe.past(config, store, run)
    if company not in markets:
        markets[company] = market_sample(company, calendars)
    requests = steps.shard_requests(config, run, store.url, markets[company])
    return tuple((training_key(request, calendars), request) for request in requests)
