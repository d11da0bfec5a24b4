"""Leaks, planted on purpose: the canary check must find each, or it would find none.

Each replaces a piece of the code by a variant that peeks. The gate's and the calibration's are
planted where those are tested.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import keras
import numpy as np
import pyarrow as pa
import pytest
from keras import ops

from lstm_models import states, training, updates
from lstm_models.fleet_config import KINDS, FleetConfig, Kind
from lstm_models.scaling import Scaler
from lstm_models.training_set import TrainingSet
from tasks import market, walkforward
from tasks.actions import total_log_returns
from tasks.class_forecasts import Edges, edges_of_folds
from tasks.features import Floats, Series, features, variance_floor
from tasks.folds import Fold
from tasks.history import load_series
from tasks.market import market_of
from tasks.sessions import Calendars
from tasks.settings import ModelConfig
from tasks.store import Store
from tasks.walkforward import Subject, subject
from tests.tasks.canary import MARKET, Canary, Stage
from tests.tasks.markets import (
    ANT,
    LAG,
    NOW,
    SETTINGS,
    TONIGHT,
    action_row,
    bars_table,
    exchange,
    sessions_to,
    store_with,
)

FOLD = 1
ANT_ONLY = {"ANT": MARKET["ANT"]}


def scaler_of_everything(training_set: TrainingSet, m: int) -> Scaler:
    return Scaler.fit(training_set.inputs[training_set.members[m].series])


def epsilon_of_everything(series: Series, _: int) -> float:
    return variance_floor(series, len(series))


def edges_of_everything(
    kind: Kind, returns: Floats, folds: Sequence[Fold]
) -> tuple[tuple[Edges, ...], str | None]:
    whole = [replace(fold, fit=(fold.fit[0], len(returns))) for fold in folds]
    return edges_of_folds(kind, returns, whole)


def up_to_the_test(fold: Fold) -> tuple[int, int]:
    return fold.fit[0], fold.test[1]


def up_to_the_gate(fold: Fold) -> tuple[int, int]:
    """The rows up to the gate segment: their targets reach into it."""
    return fold.fit[0], fold.gate[0]


def market_in_units_of_everything(members: Sequence[Series]) -> market.Market:
    honest = market_of(members)
    return replace(honest, variance=honest.variance / np.mean([*honest.variance, 1.0]))


def centred_features(series: Series, epsilon: float) -> Floats:
    inputs = features(series, epsilon)
    return np.asarray(inputs - np.nanmean(inputs, axis=0))


class Plant(NamedTuple):
    """A variant of a function, and what of whom the canary is to find moved by it."""

    module: ModuleType
    name: str
    leaking: Callable[..., Any]
    kind: Kind
    target: str
    stage: Stage
    part: str


PLANTS = {
    "the scaler sees all data": Plant(
        training, "_scaler", scaler_of_everything, "many_to_many", "log_volatility", "fit", "center"
    ),
    "epsilon is of test data": Plant(
        walkforward,
        "variance_floor",
        epsilon_of_everything,
        "many_to_many",
        "log_volatility",
        "fit",
        "epsilon",
    ),
    "decile edges are of test data": Plant(
        walkforward,
        "edges_of_folds",
        edges_of_everything,
        "quantile_class",
        "log_return",
        "fit",
        "edges",
    ),
    "baselines are fitted on the test": Plant(
        walkforward,
        "_fitted_rows",
        up_to_the_test,
        "many_to_many",
        "log_volatility",
        "training",
        "har",
    ),
    "no embargo behind the early-stop rows": Plant(
        walkforward,
        "_fitted_rows",
        up_to_the_gate,
        "many_to_many",
        "log_return",
        "training",
        "drift",
    ),
    "the market's unit is of all data": Plant(
        market,
        "market_of",
        market_in_units_of_everything,
        "many_to_many",
        "log_volatility",
        "fit",
        "center",
    ),
    "features are centred on all data": Plant(
        walkforward,
        "features",
        centred_features,
        "many_to_many",
        "log_volatility",
        "forecast",
        "lstm",
    ),
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_it_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plant.module, plant.name, plant.leaking)
    canary = Canary(plant.kind, market=ANT_ONLY, targets=(plant.target,))
    assert plant.part in {each.part for each in canary.moved([plant.stage], [FOLD])}


class _BothWays(FleetConfig):
    """What the settings refuse: every step of a window that is read both ways has a loss."""

    @property
    def both_ways(self) -> bool:
        return True

    @property
    def dense(self) -> bool:
        return True


def both_ways_at_every_step(hidden: Any, config: FleetConfig) -> Any:  # noqa: ANN401 - tensors
    """What the forward LSTM knows after each step, beside what the backward one knows there."""
    lanes = hidden.shape[1] // config.directions
    return ops.concatenate([hidden[1:, :lanes], ops.flip(hidden[1:, lanes:], 0)], axis=-1)


def steps_that_read_ahead(config: FleetConfig) -> list[int]:
    """Steps whose loss moves when the rows after them in their window are others."""
    random = np.random.default_rng(0)
    columns, leads = 3, config.outputs(2)
    recurrence = random.normal(
        size=(1, config.directions, config.units + columns + 1, 4 * config.units)
    ).astype(np.float32)
    head = random.normal(size=(1, config.directions * config.units + 1, leads)).astype(np.float32)
    rows = random.normal(size=(1, config.lookback, columns + 1)).astype(np.float32)
    known = leads if config.kind == "many_to_many" else 1
    targets = np.zeros((1, config.lookback, known), np.float32)
    start = np.zeros((1, 1), np.int32)

    def slopes(inputs: Any) -> Any:  # noqa: ANN401 - arrays
        offsets = None if known > 1 else np.zeros((1, config.lookback, leads), np.float32)
        data = updates.Data(inputs, targets, targets, offsets)
        judged, *_ = updates.gradients(recurrence, head, data, start, config)
        return keras.ops.convert_to_numpy(judged.slope)

    found, before = [], slopes(rows)
    for last in range(config.supervised_from, config.lookback):
        other = rows.copy()
        other[:, last + 1 :] += 1.0
        after = slopes(other)
        step = last - (config.lookback - len(before))
        if before[step].tobytes() != after[step].tobytes():
            found.append(last)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_step_with_a_loss_reads_what_comes_after_it(kind: Kind) -> None:
    assert steps_that_read_ahead(FleetConfig(kind=kind, units=4, lookback=5, burn_in=1)) == []


def test_a_bidirectional_many_to_many_network_is_refused_and_would_be_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for refused in (
        lambda: FleetConfig(bidirectional=True),
        lambda: ModelConfig(bidirectional=("many_to_many",)),
    ):
        with pytest.raises(ValueError, match="has read the very sessions"):
            refused()
    monkeypatch.setattr(updates, "_seen", both_ways_at_every_step)
    monkeypatch.setattr(states, "run_back", lambda *_: None)
    forced = _BothWays(units=4, lookback=5, burn_in=1)
    assert steps_that_read_ahead(forced) == [1, 2, 3]


ROWS = 480
SESSIONS = sessions_to(TONIGHT, ROWS).tolist()
AS_OF = exchange().close(TONIGHT) + LAG
LATER = AS_OF + timedelta(days=30)


Load = Callable[..., dict[str, Series]]


def seen_at(store: Store, load: Load) -> Subject:
    found = load(store, ["ANT"], Calendars(exchange()), as_of=AS_OF, last=TONIGHT)
    return subject(found["ANT"], "log_return", SETTINGS)


def as_bytes(one: Subject) -> dict[str, bytes]:
    parts = ("sessions", "close", "log_return", "variance")
    return {
        **{part: getattr(one.series, part).tobytes() for part in parts},
        "inputs": one.inputs.tobytes(),
        "targets": one.targets.tobytes(),
    }


@pytest.fixture
def split_later(tmp_path: Path) -> tuple[Store, Store]:
    """The same bars without an action, and with splits of then and of later, known later."""
    plain = store_with(tmp_path / "plain", bars_table("ANT", ANT))
    split = store_with(tmp_path / "split", bars_table("ANT", ANT))
    rows = [
        action_row("ANT", SESSIONS[300], "split", 2.0, LATER),
        action_row("ANT", exchange().offset(TONIGHT, 5), "split", 3.0, LATER),
    ]
    split.commit_facts("actions", pa.Table.from_pylist(rows), now=max(NOW, LATER))
    return plain, split


def moved_by_a_later_split(stores: tuple[Store, Store], load: Load = load_series) -> set[str]:
    before, after = (as_bytes(seen_at(store, load)) for store in stores)
    return {part for part in before if before[part] != after[part]}


def test_a_split_known_later_moves_nothing(split_later: tuple[Store, Store]) -> None:
    assert split_later[1].read("actions").num_rows == 2
    assert moved_by_a_later_split(split_later) == set()


def test_a_split_that_is_read_before_it_was_known_is_found(
    split_later: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Store.read

    def peeking(store: Store, dataset: str, **how: Any) -> pa.Table:  # noqa: ANN401 - as they come
        return read(store, dataset, **{**how, "as_of": None} if dataset == "actions" else how)

    monkeypatch.setattr(Store, "read", peeking)
    moved = moved_by_a_later_split(split_later)
    assert moved == {"log_return", "inputs", "targets"}


def restated(store: Store, names: Sequence[str], *more: Any, **how: Any) -> dict[str, Series]:  # noqa: ANN401 - as they come
    """Past closes in the shares of the last split in the store, as a provider restates them."""
    (series,) = load_series(store, names, *more, **how).values()
    close = series.close.copy()
    for split in store.read("actions").to_pylist():
        close[series.sessions < np.datetime64(split["session"])] /= split["value"]
    ones = np.ones(len(close))
    returns = total_log_returns(close, series.sessions, ones, 0.0 * ones, "split_adjusted")
    return {series.instrument: replace(series, close=close, log_return=returns)}


def test_past_levels_restated_for_a_future_split_are_found(
    split_later: tuple[Store, Store],
) -> None:
    moved = moved_by_a_later_split(split_later, restated)
    assert {"close", "log_return", "inputs"} <= moved
