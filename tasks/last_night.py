"""How the last night stands, told from the store alone: forecasts, data, scores, sinks.

Owns which run is the last night, and what is counted. Never decides whether that is good enough.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from tasks import runs
from tasks.live_scores import LIVE
from tasks.live_skill import WINDOW, live_rows, pooled_live
from tasks.loss_panel import PUBLISHED
from tasks.old_bars import OldBar, old_bars
from tasks.run_forecasts import forecasts_of
from tasks.runs import PinnedRun
from tasks.sessions import Calendars
from tasks.sinks.deliveries import account
from tasks.store import Store

State = Literal["finished", "going_on", "broken_off"]

LEARNED = ("lstm", "combination")
"""Methods that had to earn their place against the default baseline."""

_LOST = "had pinned the same night first"
"""In the message of a run that another process was quicker to pin: it is no night."""


@dataclass(frozen=True)
class Published:
    """What came of one target and kind; an instrument counts once, whatever its leads.

    Attributes:
        target: of what.
        kind: by which kind of network.
        planned: instruments of the run.
        learned: those for which a network, or its mean with the baseline, earned its place.
        baseline: those for which a baseline is published.
        missing: names of those without a forecast.
        drifted: names of those whose recent intervals held significantly too seldom.
    """

    target: str
    kind: str
    planned: int
    learned: int
    baseline: int
    missing: tuple[str, ...]
    drifted: tuple[str, ...]


@dataclass(frozen=True)
class Ingest:
    """The ingest that the night began with.

    Attributes:
        made_at: its start, UTC.
        new: rows of sessions that the store had no bar of.
        changed: rows that differ from the store's.
        quarantined: rows held.
        problems: what a person should know.
    """

    made_at: datetime
    new: int
    changed: int
    quarantined: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Recent:
    """How what was published did over the last quarter of a year, as far as it has matured.

    Attributes:
        target: of what.
        kind: by which kind of network.
        baseline: what skill is measured against.
        skill: 1 - loss / loss of the baseline on the same pairs; None where that is zero.
        coverage: share of the outcomes inside the interval.
        level: share that the interval aims at.
        sessions: target sessions scored.
        pairs: forecasts scored.
    """

    target: str
    kind: str
    baseline: str
    skill: float | None
    coverage: float | None
    level: float | None
    sessions: int
    pairs: int


@dataclass(frozen=True)
class SinkState:
    """What a sink outside the store has got.

    Attributes:
        sink: its kind and address without secrets.
        status: of the night's forecasts, as in `deliveries`; None: it was not to get them, or the
            night has not come so far.
        waiting: nights that are still due to it, this one among them.
    """

    sink: str
    status: str | None
    waiting: int


@dataclass(frozen=True)
class LastNight:
    """How a night stands.

    Attributes:
        run: it.
        state: finished, going on, or broken off.
        started: when its ingest began, or where there was none, when it was pinned; UTC.
        ended: when it was finished or given up, UTC; None: it was not.
        seen: when it last wrote anything, UTC.
        published: by target and kind.
        old: instruments whose newest bar was old.
        ingest: what the source gave; None: no ingest is known.
        matured: forecasts of earlier nights that it scored.
        recent: of late, by target and kind.
        sinks: those asked for, in their order.
    """

    run: PinnedRun
    state: State
    started: datetime
    ended: datetime | None
    seen: datetime
    published: tuple[Published, ...]
    old: tuple[OldBar, ...]
    ingest: Ingest | None
    matured: int
    recent: tuple[Recent, ...]
    sinks: tuple[SinkState, ...]

    @property
    def seconds(self) -> float | None:
        """From start to end, pauses between attempts included; None where it has not ended."""
        return None if self.ended is None else (self.ended - self.started).total_seconds()

    @property
    def complete(self) -> bool:
        """Whether it is finished, and nothing was missing, old, undelivered or told as a problem.

        As `fleetcast nightly` judges it.
        """
        return (
            self.state == "finished"
            and self.run.message is None
            and not self.old
            and not any(one.missing for one in self.published)
            and not (self.ingest is not None and self.ingest.problems)
            and not any(one.waiting or one.status == "refused" for one in self.sinks)
        )


def nights_of(store: Store, config_hash: str) -> tuple[PinnedRun, ...]:
    """The nights of a configuration, the last first: one run of each session.

    Of several runs of a session the finished one comes first, then the live one, then the newest.

    Raises:
        StoreError: the store can't be read.
    """
    best: dict[date, PinnedRun] = {}
    for run in sorted(runs.runs_of(store, config_hash), key=_rank):
        if not (run.status == "failed" and _LOST in (run.message or "")):
            best[run.session] = run
    return tuple(best[session] for session in sorted(best, reverse=True))


def look_at(
    store: Store,
    run: PinnedRun,
    *,
    forecasts: Sequence[tuple[str, str]],
    calendars: Calendars,
    lag: timedelta,
    source: str,
    sinks: Collection[str] = (),
    now: datetime,
    quiet: timedelta,
) -> LastNight:
    """How a night stands.

    Args:
        store: holds everything.
        run: the night's.
        forecasts: kinds and targets that each instrument is to have.
        calendars: of the instruments.
        lag: from a session's close to its publication.
        source: the name of the source that the night ingests from.
        sinks: names of those that are switched on.
        now: the clock, UTC.
        quiet: how long a night that goes on may write nothing; after that it counts as broken off.

    Raises:
        StoreError: the store can't be read.
    """
    told = store.read("runs", columns=["run_id", "known_at"]).to_pylist()
    closed = next(row["known_at"] for row in told if row["run_id"] == run.run_id)
    # One that broke off, and is gone through again, writes on.
    seen = closed if run.status == "finished" else max(closed, _last_written(store, run))
    ended = closed if run.status != "pinned" and seen == closed else None
    state: State = "broken_off"
    if run.status == "finished":
        state = "finished"
    elif ended is None and now - seen <= quiet:
        state = "going_on"
    ingest = _ingest(store, run, source)
    return LastNight(
        run=run,
        state=state,
        started=_started(store, run, ingest),
        ended=ended,
        seen=seen,
        published=published(forecasts_of(store, run), run, forecasts),
        old=old_bars(store, run, calendars, lag),
        ingest=ingest,
        matured=_matured(store, run),
        recent=_recent(store, run, calendars),
        sinks=_sinks(store, run, sinks),
    )


def published(
    rows: pa.Table, run: PinnedRun, forecasts: Sequence[tuple[str, str]]
) -> tuple[Published, ...]:
    """What came of each target and kind, from the forecasts of a run.

    Args:
        rows: as `forecasts_of` gives them.
        run: whose plan says who was to be forecast.
        forecasts: kinds and targets.
    """
    names = sorted(name for shard in run.shards.values() for name in shard)
    columns = ["instrument", "target", "kind", "method", "drift"]
    first: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for row in rows.select(columns).to_pylist():
        first.setdefault((row["instrument"], row["kind"], row["target"]), row)
    found = []
    for kind, target in forecasts:
        own = {name: first[name, kind, target] for name in names if (name, kind, target) in first}
        learned = sum(row["method"] in LEARNED for row in own.values())
        found.append(
            Published(
                target=target,
                kind=kind,
                planned=len(names),
                learned=learned,
                baseline=len(own) - learned,
                missing=tuple(name for name in names if name not in own),
                drifted=tuple(name for name, row in own.items() if row["drift"]),
            )
        )
    return tuple(found)


def _rank(run: PinnedRun) -> tuple[object, ...]:
    return run.status == "finished", run.origin == "live", run.made_at, run.run_id


def _last_written(store: Store, run: PinnedRun) -> datetime:
    """When a run that is not closed last wrote a row."""
    among = {"run_id": [run.run_id]}
    instants = [run.made_at]
    for dataset in ("models", "scores", "forecasts"):
        latest = pc.max(store.scan(dataset, ["known_at"], among=among)["known_at"]).as_py()
        instants += [] if latest is None else [latest]
    return max(instants)


def _ingest(store: Store, run: PinnedRun, source: str) -> Ingest | None:
    """The last ingest before the run was pinned."""
    names = ["source", "made_at", "new", "changed", "quarantined", "problems"]
    rows = store.read("ingests", columns=names).to_pylist()
    before = [row for row in rows if row["source"] == source and row["made_at"] <= run.made_at]
    last = max(before, key=lambda row: row["made_at"], default=None)
    if last is None:
        return None
    del last["source"]
    return Ingest(**{**last, "problems": tuple(json.loads(last["problems"]))})


def _started(store: Store, run: PinnedRun, ingest: Ingest | None) -> datetime:
    """When the ingest began, unless another night was pinned after it: then it was not ours.

    Sessions that were missed, which are caught up after the same ingest, are no other night.
    """
    if ingest is None:
        return run.made_at
    others = (
        one.made_at
        for one in runs.runs_of(store, run.config_hash)
        if one.run_id != run.run_id and one.origin == "live"
    )
    between = any(ingest.made_at < made_at < run.made_at for made_at in others)
    return run.made_at if between else ingest.made_at


def _matured(store: Store, run: PinnedRun) -> int:
    among = {"segment": [LIVE], "run_id": [run.run_id], "method": [PUBLISHED]}
    ids: pa.Table = store.scan("scores", ["forecast_id"], among=among)
    return len(pc.unique(ids["forecast_id"]))


def _recent(store: Store, run: PinnedRun, calendars: Calendars) -> tuple[Recent, ...]:
    """Live skill and coverage over the last sessions up to the run's."""
    calendar = calendars.default
    sessions = calendar.sessions(run.session - timedelta(days=2 * WINDOW), run.session)
    first = sessions[-WINDOW:][0].item() if len(sessions) else run.session
    live = live_rows(store, run.config_hash, (first, run.session))
    live = live.filter(pc.less_equal(live["as_of"], pa.scalar(run.as_of, live["as_of"].type)))
    return tuple(
        Recent(
            target=one.target,
            kind=one.kind,
            baseline=one.baseline,
            skill=one.skill,
            coverage=one.coverage,
            level=one.level,
            sessions=one.sessions,
            pairs=one.pairs,
        )
        for one in pooled_live(live)
        if one.method == PUBLISHED
    )


def _sinks(store: Store, run: PinnedRun, names: Collection[str]) -> tuple[SinkState, ...]:
    if not names:
        return ()
    known = account(store)
    waiting = Counter(sink for (sink, _), one in known.items() if one.status == "due")
    return tuple(
        SinkState(
            sink=name,
            status=known[name, run.run_id].status if (name, run.run_id) in known else None,
            waiting=waiting[name],
        )
        for name in names
    )
