"""What a member is made of: initial weights as Keras draws them, and the plain Keras model."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from lstm_models.fleet_config import FleetConfig
from lstm_models.networks import Array, fold_scaling, initial_weights, keras_member

CONFIG = FleetConfig(units=6, lookback=10, burn_in=2)
UNITS, FEATURES, LEADS = CONFIG.units, 5, 3


def drawn(name: str, seed: int = 0, config: FleetConfig = CONFIG) -> tuple[Array, Array]:
    return initial_weights(name, seed, features=FEATURES, leads=LEADS, config=config)


def test_initial_weights_are_of_the_kind_that_keras_draws() -> None:
    recurrence, head = drawn("AAPL", config=replace(CONFIG, skip=False))
    layer = keras.layers.LSTM(UNITS)
    layer.build((None, None, FEATURES))
    kernel, recurrent, bias = layer.get_weights()
    assert recurrence.dtype == head.dtype == np.float32
    assert recurrence[-1].tolist() == bias.tolist()
    product = recurrence[:UNITS] @ recurrence[:UNITS].T
    np.testing.assert_allclose(product, recurrent @ recurrent.T, atol=1e-5)
    np.testing.assert_allclose(product, np.eye(UNITS), atol=1e-5)
    limit = np.sqrt(6.0 / (FEATURES + 4 * UNITS))
    for glorot in (recurrence[UNITS:-1], kernel):
        assert 0.8 * limit < np.abs(glorot).max() <= limit
    assert 0.5 * np.sqrt(6.0 / (UNITS + LEADS)) < np.abs(head).max() <= np.sqrt(6 / (UNITS + LEADS))
    assert head[-1].tolist() == [0.0] * LEADS


def test_many_draws_have_the_mean_and_variance_of_glorot() -> None:
    kernels = np.stack([drawn(str(name))[0][UNITS:-1] for name in range(300)])
    limit = np.sqrt(6.0 / (FEATURES + 4 * UNITS))
    assert kernels.mean() == pytest.approx(0.0, abs=0.01 * limit)
    assert kernels.var() == pytest.approx(limit**2 / 3, rel=0.02)


def test_beside_a_skip_path_the_head_starts_at_zero() -> None:
    assert not drawn("AAPL")[1].any()
    assert drawn("AAPL", config=replace(CONFIG, skip=False))[1].any()


def test_initial_weights_depend_on_name_and_seed_alone() -> None:
    first = drawn("AAPL", 0)[0]
    drawn("IBM", 3)
    assert first.tobytes() == drawn("AAPL", 0)[0].tobytes()
    assert not np.array_equal(first, drawn("AAPL", 1)[0])
    assert not np.array_equal(first, drawn("IBM", 0)[0])


def test_folded_scaling_takes_raw_features_to_unscaled_residuals() -> None:
    random = np.random.default_rng(0)
    recurrence, head = drawn("AAPL", config=replace(CONFIG, skip=False))
    raw = random.normal(size=(4, 10, FEATURES)) * [1, 0.01, 2, 0.3, 5] + [0, 0.01, -9, 1, 20]
    center, spread = raw.mean(axis=(0, 1)), raw.std(axis=(0, 1))
    scale = np.array([0.02, 1.0, 3.0])
    plain = [
        [recurrence[UNITS:-1], recurrence[:UNITS], recurrence[-1]],
        [head[:-1], head[-1]],
    ]
    standardised = keras_member([(plain[0], plain[1])], None, name="standardised")
    folded = keras_member([fold_scaling(recurrence, head, center, spread, scale)], None, name="raw")
    expected = np.asarray(standardised(((raw - center) / spread).astype(np.float32))) * scale
    found = np.asarray(folded(raw.astype(np.float32)))
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=1e-5)


def test_seeds_are_averaged_and_the_skip_path_added() -> None:
    random = np.random.default_rng(1)
    center, spread, scale = np.zeros(FEATURES), np.ones(FEATURES), np.ones(LEADS)
    lanes = [
        fold_scaling(*drawn("AAPL", seed, replace(CONFIG, skip=False)), center, spread, scale)
        for seed in range(3)
    ]
    skip = random.normal(size=(FEATURES + 1, LEADS))
    x = random.normal(size=(2, 7, FEATURES)).astype(np.float32)
    alone = [np.asarray(keras_member([lane], None, name="one")(x)) for lane in lanes]
    expected = np.mean(alone, axis=0) + x @ skip[:-1] + skip[-1]
    found = np.asarray(keras_member(lanes, skip, name="all")(x))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    without = np.asarray(keras_member(lanes, None, name="lanes")(x))
    np.testing.assert_allclose(without, np.mean(alone, axis=0), atol=1e-5)
    one = np.asarray(keras_member(lanes[:1], skip, name="one")(x))
    np.testing.assert_allclose(one, alone[0] + x @ skip[:-1] + skip[-1], atol=1e-5)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("units", 0, "units must be at least 1, received 0"),
        ("width", 0, "width must be at least 1, received 0"),
        ("burn_in", 10, r"burn_in must lie in 0 … lookback - 1 = 9, received 10"),
        ("clip_norm", 0.0, r"clip_norm must be a finite number above 0, received 0\.0"),
        ("clip_norm", float("inf"), "clip_norm must be a finite number above 0, received inf"),
        ("learning_rate", float("nan"), "learning_rate must be a finite number above 0"),
        ("weight_decay", -1.0, r"weight_decay must be a finite number, 0 or more, received -1\.0"),
    ],
)
def test_an_impossible_setting_is_named(field: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FleetConfig(**{"lookback": 10, field: value})  # type: ignore[arg-type]
