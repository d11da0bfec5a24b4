"""What the store holds of one run, gathered for people: forecasts, scores, models, prices, health.

Owns which rows belong to a run. Never touches drawing, and writes nothing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.report.data_health import Health, arrivals, data_health
from tasks.report.typography import plural
from tasks.scoreboard import scoreboard
from tasks.store import Store

Row = Mapping[str, Any]
Pair = tuple[str, str]
"""(instrument, target)."""

KIND = "many_to_many"
HISTORY = 60
"""Sessions of history on a chart."""
_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class Prices:
    """The last bars of one instrument, by `time`, ascending; prices as the provider gave them."""

    sessions: np.ndarray[Any, np.dtype[np.datetime64]]
    open: np.ndarray[Any, np.dtype[np.float64]]
    high: np.ndarray[Any, np.dtype[np.float64]]
    low: np.ndarray[Any, np.dtype[np.float64]]
    close: np.ndarray[Any, np.dtype[np.float64]]
    price_basis: str
    splits: tuple[tuple[date, float], ...]


@dataclass(frozen=True)
class Missing:
    """An instrument and target of the plan without a forecast."""

    instrument: str
    target: str
    reason: str


@dataclass(frozen=True)
class RunView:
    """One run and all that its report shows."""

    run: Row
    runs: tuple[Row, ...]
    forecasts: Mapping[Pair, tuple[Row, ...]]
    scores: Mapping[Pair, tuple[Row, ...]]
    models: Mapping[Pair, Row]
    prices: Mapping[str, Prices]
    health: tuple[Health, ...]
    missing: tuple[Missing, ...]
    quarantine: tuple[Row, ...]


def view_run(store: Store, run_id: str | None = None) -> RunView:
    """Gather one run.

    Args:
        store: Where everything is read from, by the run's own `as_of`.
        run_id: Which run; the newest one that did not fail where it is None.

    Raises:
        LookupError: The store has no such run, or no run at all.
    """
    runs = sorted(
        store.read("runs").to_pylist(),
        key=lambda row: (row["as_of"], row["made_at"], row["run_id"]),
        reverse=True,
    )
    run = _find(runs, run_id, store.url)
    as_of = run["as_of"]
    columns = ["instrument", "session", *_PRICES, "price_basis"]
    bars = store.read("bars", as_of=as_of, columns=columns)
    quarantine = _held(store, run["session"])
    forecasts = _forecasts(store, run)
    # The chart's line is a mean over as many sessions as the last lead covers.
    recent = HISTORY + max((rows[-1]["lead"] for rows in forecasts.values()), default=0)
    prices = _recent_prices(bars, store.read("actions", as_of=as_of), recent)
    models, due = _models(store, run, forecasts)
    health = data_health(bars, arrivals(store, run, runs), quarantine, run["session"])
    return RunView(
        run=run,
        runs=tuple(runs),
        forecasts=forecasts,
        scores=_scores(store, run, forecasts),
        models=models,
        prices=prices,
        health=health,
        missing=_missing(run, forecasts, due, health),
        quarantine=quarantine,
    )


def _find(runs: list[Row], run_id: str | None, url: str) -> Row:
    if not runs:
        raise LookupError(f"the store {url} holds no run yet: make one with `fleetcast nightly`")
    if run_id is None:
        return next((row for row in runs if row["status"] != "failed"), runs[0])
    found = [row for row in runs if row["run_id"] == run_id]
    if not found:
        raise LookupError(
            f"the store {url} holds no run {run_id!r}; its newest is {runs[0]['run_id']!r} "
            f"(all of them: `fleetcast show runs`)"
        )
    return found[0]


def _by_pair(rows: Iterable[Row]) -> dict[Pair, list[Row]]:
    grouped: dict[Pair, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["instrument"], row["target"]].append(row)
    return dict(sorted(grouped.items()))


def _forecasts(store: Store, run: Row) -> dict[Pair, tuple[Row, ...]]:
    """Forecasts made for the run's knowledge and settings, by lead.

    An earlier run of the same night may have made them, so they are not found by `run_id`. Where
    two code versions forecast the same, the newer row is shown.
    """
    table = store.read("forecasts")
    table = table.filter(
        (pc.field("as_of") == pa.scalar(run["as_of"], table["as_of"].type))
        & (pc.field("config_hash") == run["config_hash"])
        & (pc.field("kind") == KIND)
    )
    result = {}
    for pair, rows in _by_pair(table.to_pylist()).items():
        newest = {row["lead"]: row for row in sorted(rows, key=lambda row: row["made_at"])}
        result[pair] = tuple(newest[lead] for lead in sorted(newest))
    return result


def _scores(
    store: Store, run: Row, forecasts: Mapping[Pair, tuple[Row, ...]]
) -> dict[Pair, tuple[Row, ...]]:
    """Pooled out-of-sample scores of the models that the forecasts name."""
    ids = {rows[0]["model_id"] for rows in forecasts.values()} - {None, ""}
    pooled = _by_pair(scoreboard(store, ids, run["config_hash"])) if ids else {}
    return {pair: tuple(rows) for pair, rows in pooled.items()}


def _models(
    store: Store, run: Row, forecasts: Mapping[Pair, tuple[Row, ...]]
) -> tuple[dict[Pair, Row], dict[Pair, Row]]:
    """The model that each forecast names, and for pairs of the plan without one the newest due."""
    rows = store.read("models").to_pylist()
    by_id = {row["model_id"]: row for row in rows}
    named = {pair: by_id.get(made[0]["model_id"]) for pair, made in forecasts.items()}
    due: dict[Pair, Row] = {}
    for row in sorted(rows, key=lambda row: (row["refit_session"], row["made_at"])):
        if row["refit_session"] <= run["session"] and row["kind"] == KIND:
            due[row["instrument"], row["target"]] = row
    return {pair: row for pair, row in named.items() if row is not None}, due


def _missing(
    run: Row,
    forecasts: Mapping[Pair, tuple[Row, ...]],
    due: Mapping[Pair, Row],
    health: tuple[Health, ...],
) -> tuple[Missing, ...]:
    """Pairs of the run's plan without a forecast, with what the store knows of why."""
    plan: dict[str, list[str]] = json.loads(run["shards"])
    targets = sorted({target for _, target in forecasts} | {target for _, target in due})
    states = {one.instrument: one for one in health}
    result = []
    for instrument in sorted(name for names in plan.values() for name in names):
        for target in targets:
            if (instrument, target) in forecasts:
                continue
            model, state = due.get((instrument, target)), states.get(instrument)
            if state is None or state.last is None:
                reason = "no bar is known"
            elif model is not None and model["reason"]:
                reason = model["reason"]
            elif state.behind:
                reason = f"its newest bar is of {state.last}"
            else:
                reason = f"only {plural(state.sessions, 'session')} known"
            result.append(Missing(instrument, target, reason))
    return tuple(result)


def _held(store: Store, session: date) -> tuple[Row, ...]:
    """Rows kept out of `bars`, of sessions up to the run's.

    Read as of today: a row that was held back had no part in the run's forecasts, and the history
    of an archive is held back long after its sessions.
    """
    held = (
        row
        for row in store.read("quarantine").to_pylist()
        if row["op"] == "hold" and (row["session"] is None or row["session"] <= session)
    )
    return tuple(
        sorted(
            held,
            key=lambda row: (
                row["rule"],
                row["instrument"] or "",
                row["session"] or date.min,
                row["quarantine_id"],
            ),
        )
    )


def _by_instrument(table: pa.Table) -> list[tuple[str, pa.Table]]:
    """Slices of a table that is sorted by instrument, without copying."""
    if table.num_rows == 0:
        return []
    encoded = table["instrument"].combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    names = encoded.dictionary.to_pylist()
    starts = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    return [
        (names[codes[start]], table.slice(start, stop - start)) for start, stop in pairwise(starts)
    ]


def _recent_prices(bars: pa.Table, actions: pa.Table, recent: int) -> dict[str, Prices]:
    splits: dict[str, list[tuple[date, float]]] = defaultdict(list)
    for row in actions.to_pylist():
        if row["action"] == "split":
            splits[row["instrument"]].append((row["session"], row["value"]))
    result = {}
    for instrument, rows in _by_instrument(bars):
        last = rows.slice(max(rows.num_rows - recent, 0))
        columns = {name: _floats(last[name]) for name in _PRICES}
        result[instrument] = Prices(
            sessions=np.array(last["session"].to_pylist(), dtype="datetime64[D]"),
            price_basis=last["price_basis"][-1].as_py(),
            splits=tuple(splits[instrument]),
            **columns,
        )
    return result


def _floats(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if v is None else v for v in column.to_pylist()], dtype=np.float64)
