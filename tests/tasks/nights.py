"""Nights as the store has them, made of a few rows: what is told of a night needs no training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from tasks import runs
from tasks.runs import Moment, Origin, PinnedRun
from tasks.store import Store
from tests.tasks.example_store import rows_table

WEDNESDAY, THURSDAY, FRIDAY = date(2024, 6, 26), date(2024, 6, 27), date(2024, 6, 28)
NAMES = ("A", "B", "C")
FORECASTS = (("many_to_many", "log_return"), ("many_to_many", "log_volatility"))
CONFIG = "config"


def evening(session: date, minutes: int = 0) -> datetime:
    """22:30 UTC of a session, half past six in New York, and some minutes."""
    return datetime.combine(session, time(22, 30), tzinfo=UTC) + timedelta(minutes=minutes)


def bars(store: Store, session: date, names: Sequence[str] = NAMES, minutes: int = 0) -> None:
    """A bar of each, known on the evening of its session, or some minutes later."""
    rows = [
        {"instrument": name, "session": session, "close": 100.0, "price_basis": "raw"}
        | {"source": "files", "known_at": evening(session, minutes), "assumed": False}
        for name in names
    ]
    store.commit_facts("bars", rows_table("bars", rows), now=evening(session, minutes))


def ingest(store: Store, session: date, *problems: str, minutes: int = 0) -> None:
    """An ingest of two new rows, a changed one and a held one."""
    counts = {"fetched": 4, "new": 2, "changed": 1, "unchanged": 0, "quarantined": 1}
    row = {
        "ingest_id": f"ingest {session} {minutes}",
        "source": "files",
        "provenance": "",
        "made_at": evening(session, minutes),
        **counts,
        **dict.fromkeys(("agreed_duplicates", "flagged", "retracted"), 0),
        "rules": "{}",
        "problems": json.dumps(problems),
    }
    store.append_once("ingests", rows_table("ingests", [row]), now=evening(session, minutes))


def forecasts(
    store: Store,
    run: PinnedRun,
    *,
    methods: Mapping[tuple[str, str], str] | None = None,
    drift: Sequence[tuple[str, str]] = (),
    without: Sequence[str] = (),
) -> None:
    """Two leads of each target, by a baseline unless `methods` has another, by name and target."""
    baseline = {"log_return": "zero", "log_volatility": "harx_market"}
    rows = [
        {
            "forecast_id": f"{run.run_id} {name} {target} {lead}",
            "instrument": name,
            "as_of": run.as_of,
            "cutoff": run.session,
            "target": target,
            "kind": kind,
            "lead": lead,
            "target_session": run.session + timedelta(days=lead),
            **dict.fromkeys(("mean", "lower", "upper"), 0.0),
            "level": 0.8,
            "method": (methods or {}).get((name, target), baseline[target]),
            "reason": "",
            "drift": (name, target) in drift,
            **stamps(run),
        }
        for name in sorted({name for shard in run.shards.values() for name in shard})
        if name not in without
        for kind, target in FORECASTS
        for lead in (1, 2)
    ]
    store.append_once("forecasts", rows_table("forecasts", rows), now=run.made_at)


def scored(store: Store, run: PinnedRun, *, loss: float, covered: Mapping[str, float]) -> None:
    """What matured by a night: returns of each instrument, the baseline's loss being 1."""
    rows = [
        {
            "score_id": f"{run.run_id} {name} {method}",
            "forecast_id": f"of {run.run_id} {name}",
            "evaluation_id": "model",
            "instrument": name,
            "target": "log_return",
            "kind": "many_to_many",
            "lead": 1,
            "method": method,
            "fold": 0,
            "segment": "live",
            "first_cutoff": run.session - timedelta(days=1),
            "last_cutoff": run.session - timedelta(days=1),
            "target_session": run.session,
            "count": 1,
            "mse": loss if method == "published" else 1.0,
            "baseline": "zero",
            "coverage": inside if method == "published" else None,
            "level": 0.8 if method == "published" else None,
            **stamps(run),
        }
        for name, inside in covered.items()
        for method in ("published", "zero")
    ]
    store.append_once("scores", rows_table("scores", rows), now=run.made_at)


def stamps(run: PinnedRun) -> dict[str, Any]:
    names = ("as_of", "config_hash", "run_id", "origin", "made_at")
    return {name: getattr(run, name) for name in names}


def pinned(
    store: Store, session: date, *, config_hash: str = CONFIG, origin: Origin = "live"
) -> PinnedRun:
    """A run of all instruments, pinned two minutes after the evening's ingest began."""
    return runs.pin(
        store,
        Moment(session, None, origin),
        config_hash=config_hash,
        shards={"shard-0000": NAMES[:2], "shard-0001": NAMES[2:]},
        now=evening(session, 2),
    )


def finished(store: Store, session: date, *, config_hash: str = CONFIG, **made: Any) -> PinnedRun:  # noqa: ANN401
    """A night with everything there, finished twelve minutes after its ingest began."""
    bars(store, session)
    ingest(store, session)
    run = pinned(store, session, config_hash=config_hash)
    forecasts(store, run, **made)
    return runs.close(store, run, now=evening(session, 12))
