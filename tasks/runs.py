"""Runs: which session and which instant a run is about, fixed once and written down.

Owns the `runs` dataset. Never touches bars or forecasts: it pins the world that they are read from.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from tasks.identity import FORECAST_CODE_VERSION, content_id
from tasks.schemas import DATASETS
from tasks.sessions import ExchangeCalendar, SessionError
from tasks.storage import delta, scans
from tasks.store import Store

Origin = Literal["live", "backfill"]
Status = Literal["pinned", "finished", "failed"]


class RunError(ValueError):
    """A run can't be about the date that was asked for; the message says which dates it can."""


@dataclass(frozen=True)
class Moment:
    """What a run is about.

    Attributes:
        session: the last session that the run may know.
        as_of: its knowledge time, UTC; None: the instant at which it is pinned.
        origin: live, or backfill where a date was asked for.

    A session that the schedule missed is a backfill of today's knowledge: its bars came late, so
    that at its own publication the store knew none of them.
    """

    session: date
    as_of: datetime | None
    origin: Origin

    @property
    def late(self) -> bool:
        """Whether it is a missed session that is caught up."""
        return self.origin == "backfill" and self.as_of is None


@dataclass(frozen=True)
class PinnedRun:
    """A run and the world it reads: everything that a retry or a replay needs to be equal.

    Attributes:
        run_id: hash of run_key and as_of.
        run_key: hash of session, origin, configuration, code version and instruments.
        session: the last session that the run may know.
        as_of: its knowledge time, UTC: nothing known later has influence.
        origin: live or backfill.
        status: pinned, finished or failed.
        config_hash: of the configuration.
        code_version: of the code that decides a forecast.
        table_versions: dataset → version of its table when the run was pinned.
        shards: shard → its instruments.
        made_at: when it was pinned, UTC.
        message: why it failed.
        reused: True: an earlier run of the same night had been pinned, and this is it.
    """

    run_id: str
    run_key: str
    session: date
    as_of: datetime
    origin: Origin
    status: Status
    config_hash: str
    code_version: str
    table_versions: Mapping[str, int]
    shards: Mapping[str, tuple[str, ...]]
    made_at: datetime
    message: str | None = None
    reused: bool = False


def resolve(
    *,
    calendar: ExchangeCalendar,
    lag: timedelta,
    bars: tuple[date, date],
    archive: bool,
    day: date | None,
    scheduled: datetime,
) -> Moment:
    """The session and knowledge time that a run is about: a pure function.

    With `day`, the last session on or before it (of an archive: that it holds), as it was known
    when its bars were published.
    Without, the last session published before the scheduled start; for an archive, which is not
    going to grow, the last session it holds.

    Args:
        calendar: the exchange's.
        lag: from a session's close to its publication.
        bars: the first and the last session that the store holds for the run's instruments.
        archive: whether the source is a fixed historical archive.
        day: the date asked for.
        scheduled: when the run was due to start, UTC.

    Raises:
        RunError: `day` lies before the first bar, or its session was not published by `scheduled`.
    """
    first, last = bars
    if day is None and not archive:
        return Moment(calendar.last_session(scheduled, lag), None, "live")
    if day is None:
        session = calendar.session_on_or_before(last)
        return Moment(session, calendar.close(session) + lag, "live")
    if day < first:
        raise RunError(
            f"as_of {day} lies before the first bar, of {first}: nothing was known then. "
            f"Choose a date from {first} to {last}."
        )
    latest = calendar.last_session(scheduled, lag)
    try:
        session = calendar.session_on_or_before(day)
    except SessionError as error:
        raise RunError(f"as_of {day}: {error}") from error
    if session > latest:
        raise RunError(
            f"as_of {day} lies in the future: {session} is published at "
            f"{calendar.close(session) + lag:%Y-%m-%d %H:%M} UTC. Choose a date up to {latest}."
        )
    if archive and last < session:
        session = calendar.session_on_or_before(last)
    return Moment(session, calendar.close(session) + lag, "backfill")


def known_sessions(store: Store, instruments: Sequence[str]) -> tuple[date, date]:
    """The first and the last session that the store holds for any of `instruments`.

    Raises:
        RunError: it holds none.
    """
    sessions = store.read("bars", instruments=instruments, columns=["session"])["session"]
    ends = pc.min_max(sessions).as_py()
    if ends["min"] is None:
        shown = ", ".join(instruments[:5]) + (" …" if len(instruments) > 5 else "")
        raise RunError(
            f"The store holds no bar of any of the {len(instruments)} instruments ({shown}), so "
            "there is nothing to forecast. See what the ingest reported."
        )
    return ends["min"], ends["max"]


def stored_sessions(store: Store) -> tuple[date, date] | None:
    """The first and the last session of any bar ever stored, going by the store's log alone.

    No bar is read. None: there is none, or the log does not say.

    Raises:
        StoreError: the store can't be read.
    """
    table = delta.find_table(store.place, DATASETS["bars"])
    files = None if table is None else scans.files_of(table)
    if files is None or not {"min.session", "max.session"} <= set(files.column_names):
        return None
    first, last = pc.min(files["min.session"]).as_py(), pc.max(files["max.session"]).as_py()
    return None if first is None or last is None else (first, last)


def pin(
    store: Store,
    moment: Moment,
    *,
    config_hash: str,
    shards: Mapping[str, Sequence[str]],
    now: datetime,
) -> PinnedRun:
    """Fixes a run's world and writes it down, or finds the run of the same night and returns that.

    Two processes that pin the same night at once both get the one whose row was made first.

    Args:
        store: where the run reads and writes; what is to be known must be in it already.
        moment: what the run is about.
        config_hash: of the configuration.
        shards: shard → its instruments, the whole plan.
        now: the clock, UTC.
    """
    run_key = _key_of(moment, config_hash, shards)
    earlier = _first_of(store, run_key)
    if earlier is not None:
        return replace(earlier, reused=True)
    as_of = moment.as_of or _now_known(store, config_hash, now)
    mine = _planned(
        moment, as_of, shards, config_hash=config_hash, versions=store.versions(), now=now
    )
    _commit(store, mine, now)
    first = _first_of(store, run_key)
    if first is None or first.run_id == mine.run_id:
        return mine
    _commit(
        store,
        replace(mine, status="failed", message=f"{first.run_id} had pinned the same night first"),
        now,
    )
    return replace(first, reused=True)


def pin_past(
    store: Store,
    nights: Sequence[tuple[Moment, Mapping[str, Sequence[str]]]],
    *,
    config_hash: str,
    now: datetime,
) -> tuple[PinnedRun, ...]:
    """Fixes the worlds of many past nights as `pin` does that of one, in a single commit.

    Args:
        store: where the runs read and write; what is to be known must be in it already.
        nights: what each run is about, with its knowledge time, and its plan of shards.
        config_hash: of the configuration.
        now: the clock, UTC.

    Raises:
        ValueError: a night has no knowledge time; only a run of today is given one here.
        StoreError: the store can't be read or written.
    """
    versions = store.versions()
    mine = []
    for moment, shards in nights:
        if moment.as_of is None:
            raise ValueError(
                f"{moment.session} has no knowledge time. Expected a past night's; pin one of "
                "today with `pin`"
            )
        mine.append(
            _planned(
                moment, moment.as_of, shards, config_hash=config_hash, versions=versions, now=now
            )
        )
    there = _firsts_of(store, {run.run_key for run in mine})
    fresh = [run for run in mine if run.run_key not in there]
    if fresh:
        _commit_all(store, fresh, now)
    return tuple(
        replace(there[run.run_key], reused=True) if run.run_key in there else run for run in mine
    )


def close(
    store: Store,
    run: PinnedRun,
    *,
    now: datetime,
    failure: str | None = None,
    remark: str | None = None,
) -> PinnedRun:
    """Writes down how a run ended: finished, or failed and why. The same end twice adds nothing.

    A process that was only thought dead, and whose run another has finished since, changes nothing
    by what it could not do.

    Args:
        store: where the run was pinned.
        run: the pinned run.
        now: the clock, UTC.
        failure: why it failed, free of secrets; None: it finished.
        remark: what a finished run still lacks, so that the same night is gone through again.
    """
    ended = replace(run, status="failed" if failure else "finished", message=failure or remark)
    if ended.message is not None and run.status != "finished":
        there = runs_by_id(store, [run.run_id]).get(run.run_id)
        if there is not None and there.status == "finished":
            return there
    _commit(store, ended, now)
    return ended


def find(store: Store, run_id: str) -> PinnedRun:
    """The run of this id.

    Raises:
        RunError: the store does not hold it.
        StoreError: the store can't be read.
    """
    rows = [row for row in store.read("runs").to_pylist() if row["run_id"] == run_id]
    if not rows:
        raise RunError(
            f"The store {store.url} holds no run {run_id}. Is it the store in which the run was "
            "pinned?"
        )
    return _from_row(rows[0])


def refuse_foreign(run: PinnedRun, config_hash: str) -> None:
    """Refuses work on a run that this configuration and code would do otherwise.

    Raises:
        RunError: the run was pinned with another configuration, or by other code.
    """
    if run.config_hash != config_hash:
        raise RunError(
            f"The run {run.run_id} was pinned with the configuration {run.config_hash}, but this "
            f"one is {config_hash}. Use the configuration that pinned it."
        )
    if run.code_version != FORECAST_CODE_VERSION:
        raise RunError(
            f"The run {run.run_id} was pinned by code version {run.code_version}, but this machine "
            f"has {FORECAST_CODE_VERSION}. Install the same fleetcast on every machine."
        )


def runs_of(store: Store, config_hash: str) -> tuple[PinnedRun, ...]:
    """The runs of a configuration under today's code, newest first."""
    rows = store.read("runs").to_pylist()
    found = [
        _from_row(row)
        for row in rows
        if row["config_hash"] == config_hash and row["code_version"] == FORECAST_CODE_VERSION
    ]
    return tuple(sorted(found, key=lambda run: (run.made_at, run.run_id), reverse=True))


def runs_by_id(store: Store, ids: Collection[str]) -> dict[str, PinnedRun]:
    """The runs with these ids, by id; those that the store does not know are left out."""
    rows = store.read("runs").to_pylist()
    return {row["run_id"]: _from_row(row) for row in rows if row["run_id"] in ids}


def _now_known(store: Store, config_hash: str, now: datetime) -> datetime:
    """The knowledge time of a run that is pinned now, later than that of any run before it.

    A night that catches up pins several runs in a row; one `as_of` is one run's.
    """
    before = (run.as_of for run in runs_of(store, config_hash))
    after = max((as_of + timedelta(microseconds=1) for as_of in before), default=now)
    return max(now, store.latest_known_at() or now, after)


def _key_of(moment: Moment, config_hash: str, shards: Mapping[str, Sequence[str]]) -> str:
    instruments = sorted(name for names in shards.values() for name in names)
    about = ("run", moment.session, moment.origin, config_hash, FORECAST_CODE_VERSION, instruments)
    return content_id(*about, "late") if moment.late else content_id(*about)


def _planned(
    moment: Moment,
    as_of: datetime,
    shards: Mapping[str, Sequence[str]],
    *,
    config_hash: str,
    versions: Mapping[str, int],
    now: datetime,
) -> PinnedRun:
    """A run that is about to be pinned."""
    key = _key_of(moment, config_hash, shards)
    return PinnedRun(
        run_id=content_id(key, as_of),
        run_key=key,
        session=moment.session,
        as_of=as_of,
        origin=moment.origin,
        status="pinned",
        config_hash=config_hash,
        code_version=FORECAST_CODE_VERSION,
        table_versions=versions,
        shards={name: tuple(names) for name, names in shards.items()},
        made_at=now,
    )


def _first_of(store: Store, run_key: str) -> PinnedRun | None:
    return _firsts_of(store, {run_key}).get(run_key)


def _firsts_of(store: Store, keys: Collection[str]) -> dict[str, PinnedRun]:
    """By key the run that was pinned first, of the keys that have one."""
    runs = [_from_row(row) for row in store.read("runs").to_pylist() if row["run_key"] in keys]
    newest_first = sorted(runs, key=lambda run: (run.made_at, run.run_id), reverse=True)
    return {run.run_key: run for run in newest_first}


def _commit(store: Store, run: PinnedRun, now: datetime) -> None:
    _commit_all(store, [run], now)


def _commit_all(store: Store, runs: Sequence[PinnedRun], now: datetime) -> None:
    rows = [_row(run, now) for run in runs]
    given = [field for field in DATASETS["runs"].schema if field.name in rows[0]]
    store.commit_facts("runs", pa.Table.from_pylist(rows, schema=pa.schema(given)), now=now)


def _row(run: PinnedRun, now: datetime) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "run_key": run.run_key,
        "session": run.session,
        "as_of": run.as_of,
        "origin": run.origin,
        "status": run.status,
        "config_hash": run.config_hash,
        "code_version": run.code_version,
        "table_versions": json.dumps(dict(run.table_versions), sort_keys=True),
        "shards": json.dumps(dict(run.shards), sort_keys=True),
        "message": run.message,
        "made_at": run.made_at,
        "known_at": now,
    }


def _from_row(row: Mapping[str, Any]) -> PinnedRun:
    return PinnedRun(
        run_id=row["run_id"],
        run_key=row["run_key"],
        session=row["session"],
        as_of=row["as_of"],
        origin=row["origin"],
        status=row["status"],
        config_hash=row["config_hash"],
        code_version=row["code_version"],
        table_versions=json.loads(row["table_versions"]),
        shards={name: tuple(names) for name, names in json.loads(row["shards"]).items()},
        made_at=row["made_at"],
        message=row["message"],
    )
