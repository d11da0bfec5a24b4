"""A small store as one night leaves it: real bars, made-up forecasts and scores of likely size."""

from __future__ import annotations

import csv
import gzip
import importlib.resources
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lstm_models.baselines import BASELINES, DEFAULT_BASELINE
from tasks.schemas import DATASETS
from tasks.store import Store

SESSION = date(2013, 3, 1)
AS_OF = datetime(2013, 3, 1, 22, tzinfo=UTC)
NOW = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)
RUN_ID, CONFIG_HASH = "5f0c2d9e8a7b41f3", "c0ffee12d00d34567890abcdef123456"
LEVEL = 0.8
HORIZON = 5
INSTRUMENTS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
TARGETS = ("log_return", "log_volatility")
_TARGET_SESSIONS = [date(2013, 3, day) for day in (4, 5, 6, 7, 8)]
_DAILY = {"AAPL": 0.017, "FB": 0.024, "GOOG": 0.0125, "IBM": 0.0085, "MSFT": 0.0095}

Row = dict[str, Any]


def rows_table(dataset: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of a dataset; a column that no row has is left to the store."""
    rows = list(rows)
    names = [name for name in DATASETS[dataset].schema.names if any(name in row for row in rows)]
    schema = pa.schema([DATASETS[dataset].schema.field(name) for name in names])
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)


def bar_rows(instruments: Sequence[str] = INSTRUMENTS, last: int = 260) -> list[Row]:
    """The last real bars of the embedded source, which this package only reads as a text file."""
    path = importlib.resources.files("bokeh_sampledata").joinpath("_data/stocks.csv.gz")
    found: dict[str, list[Row]] = {name: [] for name in instruments}
    with path.open("rb") as raw, gzip.open(raw, "rt", newline="") as text:
        for line in csv.DictReader(text):
            if line["Ticker"] in found:
                found[line["Ticker"]].append(
                    {
                        "instrument": line["Ticker"],
                        "session": date.fromisoformat(line["Date"]),
                        **{n.lower(): float(line[n]) for n in ("Open", "High", "Low", "Close")},
                        "volume": float(line["Volume"]),
                        "price_basis": "raw",
                        "source": "bokeh",
                    }
                )
    return [
        row | {"known_at": _published(row["session"]), "assumed": True}
        for rows in found.values()
        for row in sorted(rows, key=lambda row: row["session"])[-last:]
    ]


def forecast_rows(instruments: Sequence[str] = INSTRUMENTS) -> list[Row]:
    return [
        _forecast(instrument, target, lead)
        for instrument in instruments
        for target in TARGETS
        for lead in range(1, HORIZON + 1)
    ]


def score_rows(instruments: Sequence[str] = INSTRUMENTS) -> list[Row]:
    """Scores of every method on the test segment; FB is too short to have any."""
    rows = []
    for instrument in instruments:
        if instrument == "FB":
            continue
        for target in TARGETS:
            for method in (*BASELINES[target], "lstm", "combination", "published"):
                rows += [
                    _score(instrument, target, method, lead, fold)
                    for lead in range(1, HORIZON + 1)
                    for fold in (1, 2)
                ]
    return rows


def model_rows(instruments: Sequence[str] = INSTRUMENTS) -> list[Row]:
    rows = []
    for instrument in instruments:
        for target in TARGETS:
            short = instrument == "FB"
            rows.append(
                _stamps()
                | {
                    "model_id": f"m-{instrument}-{target}",
                    "shard": "shard-000",
                    "instrument": instrument,
                    "target": target,
                    "kind": "many_to_many",
                    "refit_session": date(2012, 12, 31),
                    "cutoff": None if short else date(2012, 12, 31),
                    "data_fingerprint": "d" * 32,
                    "code_version": "1",
                    "status": "not_trained" if short else "trained",
                    "reason": "196 sessions, and 752 are needed" if short else None,
                    "best_update": None if short else 45,
                    "early_stop_mse": None if short else 0.4125,
                    "initial_early_stop_mse": None if short else 0.4218,
                    "checkpoint": None if short else "checkpoints/shard-000.safetensors",
                }
            )
    return rows


def quarantine_rows() -> list[Row]:
    """One row with markup in it: what a source sends is never trusted on a page."""
    held = (
        ("IBM", date(2013, 2, 13), "high_below_low", "high 198.1 is below low 199.6"),
        ("IBM", date(2013, 2, 14), "high_below_low", "high 199.2 is below low 200.3"),
        ("MSFT", date(2013, 2, 18), "not_a_session", "XNYS held no session: Presidents' Day"),
        (None, None, "not_a_date", "'<b>soon</b>' is not a date"),
    )
    return [
        {
            "quarantine_id": f"q{i}",
            "source": "bokeh",
            "instrument": instrument,
            "session": session,
            "rule": rule,
            "reason": reason,
            "row": json.dumps(
                {"Ticker": instrument, "Date": str(session), "Note": "<script>alert(1)</script>"}
            ),
            "op": "hold",
        }
        for i, (instrument, session, rule, reason) in enumerate(held)
    ]


def run_row(**changes: object) -> Row:
    return {
        "run_id": RUN_ID,
        "run_key": "k" * 32,
        "session": SESSION,
        "as_of": AS_OF,
        "origin": "live",
        "status": "pinned",
        "config_hash": CONFIG_HASH,
        "code_version": "1",
        "table_versions": "{}",
        "shards": json.dumps({"shard-000": list(INSTRUMENTS)}),
        "message": None,
        "made_at": NOW,
    } | changes


def example_store(folder: Path, rename: Mapping[str, str] | None = None) -> Store:
    """The store of one finished night in `folder`.

    Args:
        folder: Where it is made.
        rename: New names for some of the instruments.
    """
    names = dict(rename or {})
    store = Store.open(folder)

    def renamed(rows: list[Row]) -> list[Row]:
        return [
            row | {"instrument": names.get(row["instrument"], row["instrument"])} for row in rows
        ]

    store.commit_facts("bars", rows_table("bars", renamed(bar_rows())), now=NOW)
    store.commit_facts("quarantine", rows_table("quarantine", renamed(quarantine_rows())), now=NOW)
    run = run_row(table_versions=json.dumps(store.versions()))
    store.commit_facts("runs", rows_table("runs", [run]), now=NOW)
    for dataset, rows in (
        ("models", model_rows()),
        ("scores", score_rows()),
        ("forecasts", forecast_rows()),
    ):
        store.append_once(dataset, rows_table(dataset, renamed(rows)), now=NOW)
    return store


def _published(session: date) -> datetime:
    return datetime(session.year, session.month, session.day, 21, tzinfo=UTC) + timedelta(hours=1)


def _stamps() -> Row:
    return {
        "as_of": AS_OF,
        "config_hash": CONFIG_HASH,
        "run_id": RUN_ID,
        "origin": "live",
        "made_at": NOW,
    }


def _learned(instrument: str, target: str) -> bool:
    return target == "log_volatility" and instrument in {"AAPL", "GOOG", "MSFT"}


def _reason(instrument: str, target: str) -> str:
    if instrument == "FB":
        return "baseline: 196 sessions are too few to train and judge a network, 1,774 are needed"
    if target == "log_return":
        return "baseline zero: lstm did not beat it (pooled t = 0.31, p = 0.378, needed p ≤ 0.05)"
    if _learned(instrument, target):
        return (
            "lstm beats harx_market on 1,260 gate sessions pooled over 4 instruments: t = 2.84, "
            "p = 0.002; own gate skill +2.1 %"
        )
    return (
        "baseline harx_market: lstm beats it on 1,260 gate sessions pooled over 4 instruments "
        "(t = 2.84, p = 0.002) but not on IBM: own gate skill -0.4 %"
    )


def _forecast(instrument: str, target: str, lead: int) -> Row:
    daily = _DAILY[instrument]
    volatility = None
    if target == "log_return":
        mean, half = 0.0, 1.2 * daily * math.sqrt(lead)
    else:
        mean = 2 * math.log(daily) + 0.06 * lead - 0.1
        half = 1.15 - 0.07 * lead
        volatility = math.exp(mean / 2 + 0.11)
    learned = _learned(instrument, target)
    return _stamps() | {
        "forecast_id": f"f-{instrument}-{target}-{lead}",
        "instrument": instrument,
        "cutoff": SESSION,
        "target": target,
        "kind": "many_to_many",
        "lead": lead,
        "target_session": _TARGET_SESSIONS[lead - 1],
        "mean": mean,
        "lower": mean - half,
        "upper": mean + 1.08 * half,
        "level": LEVEL,
        "volatility": volatility,
        "probability_up": None,
        "probabilities": None,
        "edges": None,
        "method": "lstm" if learned else DEFAULT_BASELINE[target],
        "reason": _reason(instrument, target),
        "model_id": f"m-{instrument}-{target}",
        "intervals": [{"level": LEVEL, "lower": mean - half, "upper": mean + 1.08 * half}],
        "recent_coverage": LEVEL,
        "drift": False,
        "baseline": DEFAULT_BASELINE[target],
        "baseline_mean": mean,
        "baseline_probabilities": None,
        "lstm_mean": mean,
        "lstm_probabilities": None,
        "epsilon": 1e-7 if target == "log_volatility" else None,
    }


def _score(instrument: str, target: str, method: str, lead: int, fold: int) -> Row:
    ratio = {
        "zero": 1.0,
        "drift": 1.0012,
        "ar": 1.0061,
        "harx_market": 1.0,
        "harx_long": 1.011,
        "harx": 1.018,
        "har": 1.031,
        "ewma": 1.094,
        "combination": 0.988 if target == "log_volatility" else 1.0009,
        "lstm": 0.978 if target == "log_volatility" else 1.0022,
    }
    default = DEFAULT_BASELINE[target]
    shown = (
        ("lstm" if _learned(instrument, target) else default) if method == "published" else method
    )
    nudge = np.sin(len(instrument) * 7 + lead + 3 * len(shown)) * 0.004 if shown != default else 0.0
    base = _DAILY[instrument] ** 2 * lead if target == "log_return" else 0.62 / lead**0.55
    base *= 1.1 if fold == 1 else 0.95
    mse = float(base * (ratio[shown] + nudge))
    return _stamps() | {
        "score_id": f"s-{instrument}-{target}-{method}-{lead}-{fold}",
        "evaluation_id": f"m-{instrument}-{target}",
        "instrument": instrument,
        "target": target,
        "kind": "many_to_many",
        "lead": lead,
        "method": method,
        "fold": fold,
        "segment": "test",
        "first_cutoff": date(2012, 3, 4) if fold == 1 else date(2011, 3, 4),
        "last_cutoff": date(2013, 2, 22) if fold == 1 else date(2012, 3, 1),
        "count": 252 - lead if fold == 1 else 252,
        "mse": mse,
        "baseline": default,
        "skill": 1 - mse / base,
        "qlike": None,
        "coverage": 0.8 + 0.006 * math.sin(lead + len(instrument))
        if method == "published"
        else None,
        "interval_score": None,
        "level": LEVEL if method == "published" else None,
        **dict.fromkeys(("log_loss", "brier", "accuracy", "auc", "rps")),
    }
