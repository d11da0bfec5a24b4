"""A fitted fleet: its predictions, and its members as plain Keras models that need nothing else."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from lstm_models.fleet import Fleet, linear_path, scaled_rows
from lstm_models.scaling import Scaler
from tests.lstm_models.synthetic_fleet import (
    CONFIG,
    FEATURES,
    LEADS,
    PLAIN,
    ROWS,
    Floats,
    panel,
    trained,
)

LOOKBACK = CONFIG.lookback
SERIES = 3


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    """With skip path and two seeds."""
    return trained(range(SERIES))


@pytest.fixture(scope="module")
def plain() -> Fleet:
    """Without skip path, one seed."""
    return trained(range(SERIES), PLAIN)


def every_cutoff(members: int = SERIES) -> NDArray[np.int64]:
    return np.tile(np.arange(LOOKBACK - 1, ROWS), (members, 1))


def windows(rows: Floats) -> NDArray[np.float32]:
    """Every window of a series, `(window, time, feature)`."""
    starts = range(len(rows) - LOOKBACK + 1)
    return np.stack([rows[s : s + LOOKBACK] for s in starts]).astype(np.float32)


def test_a_member_without_skip_is_the_plain_sequential_network(plain: Fleet) -> None:
    inputs, targets = panel(SERIES)
    predictions = plain.predict(inputs, range(SERIES), every_cutoff())
    for place, name in enumerate(plain.names):
        model = plain.member(name)
        assert type(model) is keras.Sequential
        lstm, head = model.layers
        assert type(lstm) is keras.layers.LSTM
        assert lstm.return_sequences
        assert type(head) is keras.layers.TimeDistributed
        assert type(head.layer) is keras.layers.Dense
        found = np.asarray(model(windows(inputs[place])))[:, -1]
        spread = targets[place].std(axis=0)
        np.testing.assert_allclose(found / spread, predictions[place] / spread, rtol=0, atol=1e-5)
        # Something was learned, or equality would be cheap.
        assert (predictions[place].std(axis=0) > 0.1 * spread).any()


def test_a_member_with_skip_and_seeds_is_a_functional_keras_model(fleet: Fleet) -> None:
    inputs, targets = panel(SERIES)
    predictions = fleet.predict(inputs, range(SERIES), every_cutoff())
    for place, name in enumerate(fleet.names):
        model = fleet.member(name)
        assert {type(layer).__module__.partition(".")[0] for layer in model.layers} == {"keras"}
        assert sum(type(layer) is keras.layers.LSTM for layer in model.layers) == CONFIG.seeds
        found = np.asarray(model(windows(inputs[place])))[:, -1]
        spread = targets[place].std(axis=0)
        np.testing.assert_allclose(found / spread, predictions[place] / spread, rtol=0, atol=1e-5)
        linear_part = linear_path(inputs[place, LOOKBACK - 1 :], fleet.skip[place])
        assert np.abs((predictions[place] - linear_part) / spread).max() > 0.05


ALONE = """
import json, sys
for package in ("lstm_models", "tasks", "flows"):
    sys.modules[package] = None
import keras, numpy as np
answer = {}
for name in ("plain", "fleet"):
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
def test_a_saved_member_loads_where_only_keras_is(
    fleet: Fleet, plain: Fleet, tmp_path: Path
) -> None:
    rows = windows(panel(2)[0][1])[:20]
    np.save(tmp_path / "windows.npy", rows)
    models = {"plain": plain.member("m1"), "fleet": fleet.member("m1")}
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.partition("ANSWER")[2])
    assert answer["alone"]
    for name, model in models.items():
        expected = np.asarray(model(rows))
        np.testing.assert_allclose(answer[name], expected, rtol=0, atol=1e-6)


def test_a_batch_of_cutoffs_and_one_at_a_time_give_the_same_bits(fleet: Fleet) -> None:
    inputs, _ = panel(SERIES)
    together = fleet.predict(inputs, range(SERIES), every_cutoff())
    assert together.shape == (SERIES, ROWS - LOOKBACK + 1, LEADS)
    assert np.isfinite(together).all()
    for cutoff in (LOOKBACK - 1, 50, 70, 71, 72, 150, ROWS - 1):
        one = fleet.predict(inputs, range(SERIES), np.full((SERIES, 1), cutoff))
        assert one.tobytes() == together[:, cutoff - LOOKBACK + 1][:, None].tobytes()


def test_order_company_and_padding_change_no_forecast(fleet: Fleet) -> None:
    inputs, _ = panel(SERIES)
    together = fleet.predict(inputs, range(SERIES), every_cutoff())
    shuffled = fleet.select(["m2", "m0"]).predict(inputs, [2, 0], every_cutoff(2))
    assert shuffled.tobytes() == together[[2, 0]].tobytes()
    padded = np.pad(inputs[1:2], ((0, 0), (0, 90), (0, 0)), constant_values=np.nan)
    alone = fleet.select(["m1"]).predict(padded, [0], every_cutoff(1))
    assert alone.tobytes() == together[1:2].tobytes()


@pytest.mark.parametrize("corruption", [np.nan, np.inf, -1e30, 1e300])
def test_rows_after_a_cutoff_change_no_forecast(fleet: Fleet, corruption: float) -> None:
    inputs, _ = panel(SERIES)
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


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_unknown_value_in_a_window_gives_no_forecast(fleet: Fleet, value: float) -> None:
    inputs, _ = panel(SERIES)
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


def test_selected_members_keep_everything_that_is_theirs(fleet: Fleet) -> None:
    some = fleet.select(["m2", "m0"])
    assert some.names == ("m2", "m0")
    assert some.reports == (fleet.reports[2], fleet.reports[0])
    for field in ("center", "spread", "skip", "scale", "recurrence", "head"):
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


def test_the_mean_of_seeds_is_predicted(fleet: Fleet) -> None:
    inputs, _ = panel(SERIES)
    both = fleet.predict(inputs, range(SERIES), every_cutoff())
    single = replace(CONFIG, seeds=1)
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
