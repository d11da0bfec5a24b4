"""The last night as OpenMetrics: what `fleetcast status --format openmetrics` says, and a file.

Owns the names, units and labels. Never decides a number, and labels nothing by instrument.

Only gauges: node_exporter reads the older Prometheus text, in which they are written alike.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.openmetrics.exposition import generate_latest

from flows.standing import Standing, Verdict, standing
from tasks.last_night import LastNight, State
from tasks.store import Store

if TYPE_CHECKING:
    from flows.config import FleetcastConfig

_Rows = Iterable[tuple[Mapping[str, str], float]]
_Gauge = Callable[[str, str, _Rows], None]
_Single = Callable[[str, str, float | None], None]


def text(config: FleetcastConfig, found: Standing) -> str:
    """Where things stand, as OpenMetrics text that ends in "# EOF"."""
    registry = CollectorRegistry()

    def gauge(name: str, meaning: str, rows: _Rows) -> None:
        rows = list(rows)
        if rows:
            one = Gauge(f"fleetcast_{name}", meaning, list(rows[0][0]), registry=registry)
            for labels, value in rows:
                (one.labels(**labels) if labels else one).set(value)

    def single(name: str, meaning: str, value: float | None) -> None:
        gauge(name, meaning, [] if value is None else [({}, value)])

    labels = {"version": _version(), "config": config.config_hash}
    gauge("build", "1, with version and configuration as labels.", [(labels, 1.0)])
    gauge(
        "status",
        "1 for the verdict of fleetcast status when this was written, else 0.",
        [({"verdict": one.value}, float(one is found.verdict)) for one in Verdict],
    )
    single(
        "due_session_timestamp_seconds",
        "Date of the session whose night should be over, midnight UTC.",
        None if found.due is None else _midnight(found.due.session),
    )
    single(
        "next_start_timestamp_seconds",
        "When the next night starts that has a session to do.",
        None if found.next is None else found.next.at.timestamp(),
    )
    if found.night is not None:
        _night(found.night, gauge, single)
        _outcome(found.night, gauge, single)
    written: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
    return written.decode()


def write(config: FleetcastConfig, now: datetime) -> Path:
    """Replaces the file that `monitoring.metrics` names at once, and says which it is.

    Everybody may read it: whoever collects it is seldom who runs the night.

    Raises:
        OSError: it can't be written; what was there is still there.
        StoreError: the store can't be read.
    """
    if config.monitoring.metrics is None:
        raise ValueError("monitoring.metrics names no file: there is nowhere to write to")
    path = Path(config.monitoring.metrics)
    told = text(config, standing(config, Store.open(config.store.url, create=False), now))
    part = path.with_name(f".{path.name}.{os.getpid()}")  # does not end in .prom: nobody reads it
    try:
        part.write_text(told, encoding="utf-8")
        part.chmod(0o644)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    return path


def _night(night: LastNight, gauge: _Gauge, single: _Single) -> None:
    """Which night it is, and when."""
    single(
        "night_session_timestamp_seconds",
        "Date of the last night's session, midnight UTC.",
        _midnight(night.run.session),
    )
    gauge(
        "night_state",
        "1 for the state of the last night, else 0.",
        [({"state": state}, float(state == night.state)) for state in get_args(State)],
    )
    single("night_start_timestamp_seconds", "When its ingest began.", night.started.timestamp())
    ended = None if night.ended is None else night.ended.timestamp()
    single("night_end_timestamp_seconds", "When it was finished or given up.", ended)
    single(
        "night_duration_seconds", "From start to end, pauses between attempts too.", night.seconds
    )
    single("instruments", "Instruments of the night.", len(_names(night)))
    single(
        "old_bars_instruments",
        "Instruments whose newest bar is not of the session.",
        len(night.old),
    )


def _outcome(night: LastNight, gauge: _Gauge, single: _Single) -> None:
    """What it came to."""
    by_status: list[tuple[Mapping[str, str], float]] = []
    for one in night.published:
        counts = {"learned": one.learned, "baseline": one.baseline, "missing": len(one.missing)}
        topic = {"target": one.target, "kind": one.kind}
        by_status += [(topic | {"status": name}, n) for name, n in counts.items()]
    gauge(
        "forecasts",
        "Instruments by what is published for them: a method that earned it, a baseline, nothing.",
        by_status,
    )
    gauge(
        "drifted_instruments",
        "Instruments whose recent intervals held significantly too seldom.",
        [({"target": p.target, "kind": p.kind}, len(p.drifted)) for p in night.published],
    )
    if night.ingest is not None:
        rows = ("new", "changed", "quarantined")
        gauge(
            "ingest_rows",
            "Rows of the night's ingest.",
            [({"status": name}, getattr(night.ingest, name)) for name in rows],
        )
        single("ingest_problems", "Problems that the ingest told of.", len(night.ingest.problems))
    single("matured_forecasts", "Forecasts of earlier nights that it scored.", night.matured)
    recent = [({"target": one.target, "kind": one.kind}, one) for one in night.recent]
    gauge(
        "skill_ratio",
        "1 - loss / loss of the default baseline, of what was published, over 63 sessions.",
        [(topic, one.skill) for topic, one in recent if one.skill is not None],
    )
    gauge(
        "interval_coverage_ratio",
        "Share of outcomes inside the published interval, over 63 sessions.",
        [(topic, one.coverage) for topic, one in recent if one.coverage is not None],
    )
    gauge(
        "interval_level_ratio",
        "The share that the interval aims at.",
        [(topic, one.level) for topic, one in recent if one.level is not None],
    )
    gauge(
        "scored_sessions",
        "Target sessions that the ratios are over.",
        [(topic, one.sessions) for topic, one in recent],
    )
    gauge(
        "sink_waiting_nights",
        "Nights that a sink outside the store is still to get.",
        [({"sink": one.sink}, one.waiting) for one in night.sinks],
    )


def _names(night: LastNight) -> set[str]:
    return {name for shard in night.run.shards.values() for name in shard}


def _midnight(session: date) -> float:
    return datetime.combine(session, time(), tzinfo=UTC).timestamp()


def _version() -> str:
    try:
        return version("fleetcast")
    except PackageNotFoundError:
        return ""
