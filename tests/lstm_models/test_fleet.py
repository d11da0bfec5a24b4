"""A fitted fleet: its predictions, and its members as plain Keras models that need nothing else."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from lstm_models.fleet import Fleet, scaled_rows
from lstm_models.fleet_config import CLASSES, KINDS, Kind
from lstm_models.linear_path import linear_path
from lstm_models.scaling import Scaler
from tests.lstm_models.synthetic_fleet import (
    CONFIG,
    CONFIGS,
    FEATURES,
    LEADS,
    ROWS,
    Floats,
    data_of,
    panel,
    returns,
    trained,
)

LOOKBACK = CONFIG.lookback
SERIES = 3


every_kind = pytest.mark.parametrize("kind", KINDS)


@cache
def fleet_of(kind: Kind) -> Fleet:
    """With skip path and two seeds."""
    return trained(range(SERIES), CONFIGS[kind])


@cache
def plain_of(kind: Kind) -> Fleet:
    """Without skip path, one seed."""
    return trained(range(SERIES), replace(CONFIGS[kind], skip=False, seeds=1))


@pytest.fixture
def fleet() -> Fleet:
    """Of paths of means, with skip path and two seeds."""
    return fleet_of("many_to_many")


def every_cutoff(members: int = SERIES) -> NDArray[np.int64]:
    return np.tile(np.arange(LOOKBACK - 1, ROWS), (members, 1))


def windows(rows: Floats) -> NDArray[np.float32]:
    """Every window of a series, `(window, time, feature)`."""
    starts = range(len(rows) - LOOKBACK + 1)
    return np.stack([rows[s : s + LOOKBACK] for s in starts]).astype(np.float32)


def unit(kind: Kind, targets: Floats) -> Floats:
    """What an error is measured in: the targets' standard deviation, or 1 for a probability."""
    return targets.std(axis=0) if kind == "many_to_many" else np.ones(1)


def after_each_window(model: keras.Model, rows: Floats) -> NDArray[np.float32]:
    """A member's forecasts after every window of a series, by Keras."""
    outputs = np.asarray(model(windows(rows)))
    return outputs[:, -1] if outputs.ndim == 3 else outputs


def form(kind: Kind, units: int = CONFIG.units) -> keras.Sequential:
    """The network as anybody would write it."""
    layers: dict[Kind, list[keras.Layer]] = {
        "many_to_many": [
            keras.layers.LSTM(units, return_sequences=True),
            keras.layers.TimeDistributed(keras.layers.Dense(LEADS)),
        ],
        "direction": [keras.layers.LSTM(units), keras.layers.Dense(1, activation="sigmoid")],
        "quantile_class": [
            keras.layers.Bidirectional(keras.layers.LSTM(units)),
            keras.layers.Dense(10, activation="softmax"),
        ],
    }
    return keras.Sequential([keras.Input((None, FEATURES)), *layers[kind]])


def settings(value: object) -> object:
    """A layer's configuration without names and build shapes, all the way down."""
    if isinstance(value, dict):
        dropped = ("name", "build_config", "module", "registered_name")
        return {key: settings(each) for key, each in value.items() if key not in dropped}
    return value


@every_kind
def test_a_plain_member_is_the_network_as_anybody_would_write_it(kind: Kind) -> None:
    plain = plain_of(kind)
    inputs, targets = data_of(kind, SERIES)
    predictions = plain.predict(inputs, range(SERIES), every_cutoff())
    for place, name in enumerate(plain.names):
        model, expected = plain.member(name), form(kind)
        assert type(model) is keras.Sequential
        assert [type(layer) for layer in model.layers] == [type(one) for one in expected.layers]
        for layer, one in zip(model.layers, expected.layers, strict=True):
            assert settings(layer.get_config()) == settings(one.get_config())
        expected.set_weights(model.get_weights())
        found = after_each_window(expected, inputs[place])
        spread = unit(kind, targets[place])
        np.testing.assert_allclose(found / spread, predictions[place] / spread, rtol=0, atol=1e-5)
        # Something was learned, or equality would be cheap.
        assert (predictions[place].std(axis=0) > 0.01 * spread).any()


@every_kind
def test_a_member_with_skip_and_seeds_is_a_functional_keras_model(kind: Kind) -> None:
    inputs, targets = data_of(kind, SERIES)
    random = np.random.default_rng(0)
    fleet = fleet_of(kind)
    # A linear path with slopes, which the training of these class networks had not.
    slopes = 0.2 * random.normal(size=fleet.skip.shape) / inputs.std(axis=(0, 1))[0]
    fleet = replace(fleet, skip=fleet.skip + slopes * bool(fleet.config.classes))
    predictions = fleet.predict(inputs, range(SERIES), every_cutoff())
    for place, name in enumerate(fleet.names):
        model = fleet.member(name)
        assert {type(layer).__module__.partition(".")[0] for layer in model.layers} == {"keras"}
        lstm = keras.layers.Bidirectional if fleet.config.both_ways else keras.layers.LSTM
        assert sum(type(layer) is lstm for layer in model.layers) == CONFIG.seeds
        found = after_each_window(model, inputs[place])
        spread = unit(kind, targets[place])
        np.testing.assert_allclose(found / spread, predictions[place] / spread, rtol=0, atol=1e-5)
        flat = replace(fleet, head=np.zeros_like(fleet.head))
        without = flat.predict(inputs, range(SERIES), every_cutoff())[place]
        assert np.abs((predictions[place] - without) / spread).max() > 0.01
        assert without.std(axis=0).max() > 0.01 * spread.min()


ALONE = """
import json, sys
for package in ("lstm_models", "tasks", "flows"):
    sys.modules[package] = None
import keras, numpy as np
answer = {}
for name in json.loads(sys.argv[1]):
    model = keras.saving.load_model(f"{name}.keras")
    answer[name] = np.asarray(model(np.load("windows.npy"))).tolist()
try:
    import lstm_models
except ImportError:
    answer["alone"] = True
print("ANSWER" + json.dumps(answer))
"""


# Keras' own conversion of its variables, with NumPy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_saved_member_loads_where_only_keras_is(tmp_path: Path) -> None:
    rows = windows(panel(2)[0][1])[:20]
    np.save(tmp_path / "windows.npy", rows)
    fleets = {
        f"{kind}_{what}": of(kind)
        for what, of in (("fleet", fleet_of), ("plain", plain_of))
        for kind in KINDS
    }
    models = {name: fleet.member("m1") for name, fleet in fleets.items()}
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
    command = [sys.executable, "-c", ALONE, json.dumps(list(models))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.partition("ANSWER")[2])
    assert answer["alone"]
    for name, model in models.items():
        expected = np.asarray(model(rows))
        np.testing.assert_allclose(answer[name], expected, rtol=0, atol=1e-6)
        # And they say what the fleet says.
        predicted = fleets[name].predict(panel(2)[0], [0, 1, 1], every_cutoff())[1, :20]
        last = expected[:, -1] if expected.ndim == 3 else expected
        unit_of = fleets[name].scale[1]
        np.testing.assert_allclose(last / unit_of, predicted / unit_of, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", CLASSES)
def test_probabilities_are_probabilities_however_extreme(kind: Kind) -> None:
    inputs, _ = returns(SERIES)
    fleet = fleet_of(kind)
    for factor in (1.0, 1e3, 1e30):
        wild = replace(fleet, head=(fleet.head * factor).astype(np.float32))
        found = wild.predict(inputs, range(SERIES), every_cutoff())
        assert found.shape == (*every_cutoff().shape, fleet.config.outputs(1))
        assert ((found >= 0.0) & (found <= 1.0)).all()
        if kind == "quantile_class":
            np.testing.assert_allclose(found.sum(axis=-1), 1.0, rtol=0, atol=1e-12)


@every_kind
def test_a_batch_of_cutoffs_and_one_at_a_time_give_the_same_bits(kind: Kind) -> None:
    inputs, fleet = panel(SERIES)[0], fleet_of(kind)
    together = fleet.predict(inputs, range(SERIES), every_cutoff())
    assert together.shape == (SERIES, ROWS - LOOKBACK + 1, fleet.config.outputs(LEADS))
    assert np.isfinite(together).all()
    for cutoff in (LOOKBACK - 1, 50, 70, 71, 72, 150, ROWS - 1):
        one = fleet.predict(inputs, range(SERIES), np.full((SERIES, 1), cutoff))
        assert one.tobytes() == together[:, cutoff - LOOKBACK + 1][:, None].tobytes()


@every_kind
def test_order_company_and_padding_change_no_forecast(kind: Kind) -> None:
    inputs, fleet = panel(SERIES)[0], fleet_of(kind)
    together = fleet.predict(inputs, range(SERIES), every_cutoff())
    shuffled = fleet.select(["m2", "m0"]).predict(inputs, [2, 0], every_cutoff(2))
    assert shuffled.tobytes() == together[[2, 0]].tobytes()
    padded = np.pad(inputs[1:2], ((0, 0), (0, 90), (0, 0)), constant_values=np.nan)
    alone = fleet.select(["m1"]).predict(padded, [0], every_cutoff(1))
    assert alone.tobytes() == together[1:2].tobytes()


@every_kind
@pytest.mark.parametrize("corruption", [np.nan, np.inf, -1e30, 1e300])
def test_rows_after_a_cutoff_change_no_forecast(kind: Kind, corruption: float) -> None:
    inputs, fleet = panel(SERIES)[0], fleet_of(kind)
    cutoffs = np.tile([60, 100, 140], (SERIES, 1))
    before = fleet.predict(inputs, range(SERIES), cutoffs)
    inputs[:, 141:] = corruption
    assert fleet.predict(inputs, range(SERIES), cutoffs).tobytes() == before.tobytes()
    inputs[:, 101:] = corruption
    after = fleet.predict(inputs, range(SERIES), cutoffs)
    assert after[:, :2].tobytes() == before[:, :2].tobytes()
    assert (after[:, 2] != before[:, 2]).all()


def test_rows_before_the_window_change_no_forecast(fleet: Fleet) -> None:
    inputs, _ = panel(SERIES)
    cutoffs = np.full((SERIES, 1), 100)
    before = fleet.predict(inputs, range(SERIES), cutoffs)
    inputs[:, : 101 - LOOKBACK] = np.nan
    assert fleet.predict(inputs, range(SERIES), cutoffs).tobytes() == before.tobytes()
    inputs[:, 101 - LOOKBACK] += 1.0
    assert (fleet.predict(inputs, range(SERIES), cutoffs) != before).all()


@every_kind
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_unknown_value_in_a_window_gives_no_forecast(kind: Kind, value: float) -> None:
    inputs, fleet = panel(SERIES)[0], fleet_of(kind)
    whole = fleet.predict(inputs, range(SERIES), every_cutoff())
    inputs[1, 90, 2] = value
    found = fleet.predict(inputs, range(SERIES), every_cutoff())
    unknown = np.isnan(found[1]).any(axis=1)
    cutoffs = every_cutoff()[1]
    assert cutoffs[unknown].tolist() == list(range(90, 90 + LOOKBACK))
    assert found[1, ~unknown].tobytes() == whole[1, ~unknown].tobytes()
    assert found[[0, 2]].tobytes() == whole[[0, 2]].tobytes()


def test_minus_one_asks_for_nothing(fleet: Fleet) -> None:
    inputs, _ = panel(SERIES)
    cutoffs = np.array([[50, -1, 70], [-1, -1, -1], [199, 60, -1]])
    found = fleet.predict(inputs, range(SERIES), cutoffs)
    assert (np.isnan(found).all(axis=-1) == (cutoffs < 0)).all()
    assert np.isfinite(found[cutoffs >= 0]).all()
    assert (
        found[0, 2].tobytes()
        == fleet.select(["m0"]).predict(inputs, [0], np.array([[70]])).tobytes()
    )


def test_impossible_cutoffs_are_named(fleet: Fleet) -> None:
    inputs, _ = panel(SERIES)
    with pytest.raises(ValueError, match="needs lookback=8 rows up to it, received row 6"):
        fleet.predict(inputs, range(SERIES), np.array([[50, 7], [6, 50], [-1, 50]]))
    with pytest.raises(ValueError, match="one of the 200 rows, received row 200"):
        fleet.predict(inputs, range(SERIES), np.full((SERIES, 1), 200))


def test_an_unknown_member_is_named_beside_those_there_are(fleet: Fleet) -> None:
    for ask in (fleet.index, fleet.member, lambda name: fleet.select(["m0", name])):
        with pytest.raises(KeyError, match="no member 'm7' in this fleet; it has m0, m1, m2"):
            ask("m7")


@every_kind
def test_selected_members_keep_everything_that_is_theirs(kind: Kind) -> None:
    fleet = fleet_of(kind)
    some = fleet.select(["m2", "m0"])
    assert some.names == ("m2", "m0")
    assert some.reports == (fleet.reports[2], fleet.reports[0])
    for field in ("center", "spread", "skip", "scale", "edges", "recurrence", "head"):
        assert getattr(some, field).tobytes() == getattr(fleet, field)[[2, 0]].tobytes()


def test_the_linear_path_is_a_matrix_product_that_reads_only_what_it_uses() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(30, FEATURES))
    coefficients = random.normal(size=(FEATURES + 1, LEADS))
    expected = features @ coefficients[:-1] + coefficients[-1]
    np.testing.assert_allclose(linear_path(features, coefficients), expected, rtol=1e-12)
    coefficients[1] = 0.0
    whole = linear_path(features, coefficients)
    features[:, 1] = np.nan
    assert linear_path(features, coefficients).tobytes() == whole.tobytes()
    features[3, 0] = np.nan
    assert np.isnan(linear_path(features, coefficients)).all(axis=1).tolist() == [
        row == 3 for row in range(30)
    ]


def test_scaled_rows_hold_standardised_features_zeros_and_the_bias_one() -> None:
    features = np.array([[1.0, np.nan], [3.0, 8.0], [np.inf, 6.0]])
    scaled = scaled_rows(features, Scaler(np.array([1.0, 6.0]), np.array([2.0, 4.0])), 5)
    assert scaled.tolist() == [[0, 0, 1], [1, 0.5, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]]
    assert scaled.dtype == np.float32


@every_kind
def test_the_mean_of_seeds_is_predicted(kind: Kind) -> None:
    inputs, fleet = panel(SERIES)[0], fleet_of(kind)
    both = fleet.predict(inputs, range(SERIES), every_cutoff())
    single = replace(CONFIGS[kind], seeds=1)
    alone = [
        replace(
            fleet,
            config=single,
            recurrence=fleet.recurrence[:, seed : seed + 1],
            head=fleet.head[:, seed : seed + 1],
        ).predict(inputs, range(SERIES), every_cutoff())
        for seed in range(CONFIG.seeds)
    ]
    assert not np.allclose(alone[0], alone[1])
    np.testing.assert_allclose(both, np.mean(alone, axis=0), rtol=1e-9, atol=1e-12)
