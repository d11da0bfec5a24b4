"""Made-up markets for the tests of the evaluation path: GARCH prices, tiny settings, requests.

Small enough to train in a second, real enough that volatility clusters and every fold exists.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.actions import total_log_returns
from tasks.features import Series, daily_variance
from tasks.forecast import ForecastResult, forecast_shard
from tasks.gate import Decision, GateConfig
from tasks.schemas import DATASETS
from tasks.sessions import CalendarConfig, ExchangeCalendar, calendar
from tasks.settings import (
    EvaluationConfig,
    ForecastSettings,
    ModelConfig,
    TargetsConfig,
    TrainingConfig,
)
from tasks.shards import Shard, ShardRequest
from tasks.store import Store
from tasks.train import Model, TrainResult, train_shard

Floats = NDArray[np.float64]

LAG = timedelta(hours=1)
NOW = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)
ROWS = 480
"""Enough for tonight's fold and two test folds under SETTINGS."""

SETTINGS = ForecastSettings(
    targets=TargetsConfig(horizon=3),
    model=ModelConfig(units=4, lookback=10, burn_in=2, seeds=2),
    training=TrainingConfig(
        learning_rate=0.02,
        warmup_updates=2,
        weight_decay=0.1,
        windows_per_update=8,
        check_every=2,
        patience=3,
        max_updates=10,
        refit_every=5,
        fleet_width=4,
    ),
    evaluation=EvaluationConfig(
        folds=2,
        min_fit=120,
        early_stop=30,
        gate=40,
        calibrate=60,
        test=40,
        gate_rule=GateConfig(min_sessions=8),
    ),
)
HORIZON = SETTINGS.targets.horizon

TONIGHT = date(2024, 6, 20)
"""A session, two after its refit session under SETTINGS."""
REFIT = date(2024, 6, 17)


@dataclass(frozen=True)
class Prices:
    """Daily prices of one instrument, `(row,)` each; raw, without actions."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats

    def __len__(self) -> int:
        return len(self.close)

    def head(self, rows: int) -> Prices:
        return Prices(self.open[:rows], self.high[:rows], self.low[:rows], self.close[:rows])

    def corrupted(self, first: int, seed: int = 99) -> Prices:
        """Other prices from row `first` on, wild ones: nothing of the true ones is left."""
        random = np.random.default_rng(seed)
        rows = len(self) - first
        level = 1e3 * np.exp(np.cumsum(random.normal(0.0, 0.2, rows)))
        places = np.sort(random.uniform(0.5, 2.0, (4, rows)) * level, axis=0)
        columns = (places[1], places[3], places[0], places[2])
        return Prices(
            *(
                np.concatenate([true[:first], wild])
                for true, wild in zip(
                    (self.open, self.high, self.low, self.close), columns, strict=True
                )
            )
        )

    def close_only(self) -> Prices:
        unknown = np.full(len(self), np.nan)
        return replace(self, open=unknown, high=unknown, low=unknown)


def garch(seed: int, rows: int = ROWS) -> Prices:
    """Prices of a GARCH(1, 1) with half-hourly steps, so that ranges carry news of variance."""
    random = np.random.default_rng(seed)
    steps, base = 13, 2e-4
    variance, place = base, np.log(100.0)
    paths = np.empty((rows, steps + 1))
    for row in range(rows):
        moves = random.normal(0.0, np.sqrt(variance / steps), steps)
        paths[row] = place + np.concatenate([[0.0], np.cumsum(moves)])
        variance = 0.05 * base + 0.15 * moves.sum() ** 2 + 0.80 * variance
        place = paths[row, -1]
    prices = np.exp(paths)
    return Prices(prices[:, 0], prices.max(axis=1), prices.min(axis=1), prices[:, -1])


def exchange() -> ExchangeCalendar:
    return calendar("XNYS")


def sessions_to(last: date, rows: int, step: int = 1) -> NDArray[np.datetime64]:
    """`rows` sessions up to `last`, every `step`-th."""
    known = exchange().all_sessions
    end = int(np.searchsorted(known, np.datetime64(last, "D")))
    return known[end - step * (rows - 1) : end + 1 : step]


def series_of(
    prices: Prices,
    name: str = "ANT",
    *,
    last: date = TONIGHT,
    sessions: NDArray[np.datetime64] | None = None,
) -> Series:
    """The history that these prices are, by default on the sessions up to `last`."""
    held = sessions_to(last, len(prices)) if sessions is None else sessions
    none = np.zeros(len(prices))
    returns = total_log_returns(prices.close, held, none + 1.0, none, "raw")
    variance, has_range = daily_variance(
        prices.open, prices.high, prices.low, prices.close, returns
    )
    ordinals = np.searchsorted(exchange().all_sessions, held).astype(np.int64)
    return Series(name, held, ordinals, prices.close, returns, variance, has_range)


def bars_table(
    name: str,
    prices: Prices,
    *,
    last: date = TONIGHT,
    step: int = 1,
    rows: slice = slice(None),
    known_at: datetime | None = None,
) -> pa.Table:
    """Facts: the bars of `rows`, each known an hour after its close unless `known_at` is given."""
    held = sessions_to(last, len(prices), step)[rows]
    known = exchange().closes(held) + np.timedelta64(LAG)
    count = len(held)

    def column(values: Floats) -> pa.Array:
        return pa.array(values[rows], pa.float64(), from_pandas=True)

    return pa.table(
        {
            "instrument": pa.array([name] * count, pa.string()),
            "session": pa.array(held.astype(object), pa.date32()),
            "open": column(prices.open),
            "high": column(prices.high),
            "low": column(prices.low),
            "close": column(prices.close),
            "price_basis": pa.array(["raw"] * count, pa.string()),
            "source": pa.array(["made up"] * count, pa.string()),
            "known_at": pa.array(
                known.astype(object) if known_at is None else [known_at] * count,
                pa.timestamp("us", tz="UTC"),
            ),
            "assumed": pa.array([known_at is None] * count, pa.bool_()),
        }
    )


def action_row(
    name: str, session: date, action: str, value: float, known_at: datetime
) -> dict[str, Any]:
    return {
        "instrument": name,
        "session": session,
        "action": action,
        "value": value,
        "source": "made up",
        "known_at": known_at,
        "assumed": False,
    }


def store_with(place: Path, *tables: pa.Table) -> Store:
    store = Store.open(place)
    store.commit_facts("bars", pa.concat_tables(tables), now=NOW)
    return store


def request_for(
    store: Store,
    *instruments: str,
    session: date = TONIGHT,
    settings: ForecastSettings = SETTINGS,
    config_hash: str = "config",
    run_id: str = "run",
) -> ShardRequest:
    return ShardRequest(
        store_url=store.url,
        shard=Shard("shard-0000", tuple(sorted(instruments))),
        session=session,
        as_of=exchange().close(session) + LAG,
        lag=LAG,
        calendars=CalendarConfig(),
        settings=settings,
        config_hash=config_hash,
        run_id=run_id,
        origin="live",
    )


def train_and_forecast(
    request: ShardRequest, decisions: Sequence[Decision] = ()
) -> tuple[TrainResult, ForecastResult]:
    trained = train_shard(request)
    return trained, forecast_shard(request, trained.models, decisions)


STAMPS = ("run_id", "made_at", "known_at")


def payload(table: pa.Table, *without: str) -> list[dict[str, Any]]:
    """Rows without what says only who wrote them, and when."""
    dropped = [name for name in (*STAMPS, *without) if name in table.column_names]
    rows: list[dict[str, Any]] = table.drop_columns(dropped).to_pylist()
    return rows


def row_counts(store: Store) -> dict[str, int]:
    """Rows ever written, duplicates included."""
    return {name: store.history(name).num_rows for name in DATASETS}


def forecast_rows(store: Store, *instruments: str) -> list[dict[str, Any]]:
    return payload(store.read("forecasts", instruments=instruments or None))


def forecasts_of(
    rows: Sequence[dict[str, Any]], instrument: str, target: str
) -> list[dict[str, Any]]:
    """The rows of one instrument and target, by lead."""
    found = [row for row in rows if (row["instrument"], row["target"]) == (instrument, target)]
    return sorted(found, key=lambda row: row["lead"])


def model_of(models: Sequence[Model], instrument: str, target: str) -> Model:
    (found,) = (m for m in models if (m.instrument, m.target) == (instrument, target))
    return found


@dataclass(frozen=True)
class Night:
    """A whole night over a small universe, trouble included."""

    store: Store
    request: ShardRequest
    trained: TrainResult
    decisions: tuple[Decision, ...]
    forecast: ForecastResult


UNIVERSE = ("ANT", "BEE", "CAT", "EMU", "FLY", "GNU", "HEN", "JAY", "OWL", "PIG", "YAK")
"""ANT and CAT have ranges, BEE closes only. EMU trades every second session, FLY and GNU are young,
HEN's price never moves, JAY has one bar, OWL's newest is two sessions old, PIG's thirty, and of YAK
nothing is known."""

ANT, BEE, CAT = garch(1), garch(2).close_only(), garch(3)


def universe_bars() -> list[pa.Table]:
    still = np.full(ROWS, 7.0)
    return [
        bars_table("ANT", ANT),
        bars_table("BEE", BEE),
        bars_table("CAT", CAT),
        bars_table("EMU", garch(4), step=2),
        bars_table("FLY", garch(5, 200)),
        bars_table("GNU", garch(6, 40)),
        bars_table("HEN", Prices(still, still, still, still)),
        bars_table("JAY", garch(7, 1)),
        bars_table("OWL", garch(8), last=exchange().offset(TONIGHT, -2)),
        bars_table("PIG", garch(9), last=exchange().offset(TONIGHT, -30)),
    ]


def copy_of(store: Store, place: Path) -> Store:
    assert store.local_path is not None
    shutil.copytree(store.local_path, place, dirs_exist_ok=True)
    return Store.open(place)
