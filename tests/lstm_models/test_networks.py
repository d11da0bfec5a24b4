"""What a member is made of: initial weights as Keras draws them, and the plain Keras model."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from lstm_models.fleet_config import KINDS, FleetConfig, Kind
from lstm_models.networks import Array, fold_scaling, initial_weights, keras_member

Floats = NDArray[np.float64]
CONFIG = FleetConfig(units=6, lookback=10, burn_in=2)
UNITS, FEATURES, LEADS = CONFIG.units, 5, 3


def drawn(name: str, seed: int = 0, config: FleetConfig = CONFIG) -> tuple[Array, Array]:
    return initial_weights(
        name, seed, features=FEATURES, outputs=config.outputs(LEADS), config=config
    )


def lane(
    seed: int, config: FleetConfig, scaling: tuple[Floats, Floats, Floats] | None = None
) -> tuple[list[Array], list[Array]]:
    """Keras weights of one lane, by default without any scaling."""
    recurrence, head = drawn("AAPL", seed, config)
    head = np.random.default_rng(seed).normal(size=head.shape).astype(np.float32)
    nothing = np.zeros(FEATURES), np.ones(FEATURES), np.ones(head.shape[1])
    return fold_scaling(recurrence, head, *(scaling or nothing))


def test_initial_weights_are_of_the_kind_that_keras_draws() -> None:
    (recurrence,), head = drawn("AAPL", config=replace(CONFIG, skip=False))
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
    kernels = np.stack([drawn(str(name))[0][0, UNITS:-1] for name in range(300)])
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


def test_a_backward_lstm_has_weights_of_its_own() -> None:
    both = drawn("AAPL", config=replace(CONFIG, kind="direction", bidirectional=True, skip=False))
    one = drawn("AAPL", config=replace(CONFIG, kind="direction", skip=False))
    assert both[0].shape == (2, UNITS + FEATURES + 1, 4 * UNITS)
    assert both[1].shape == (2 * UNITS + 1, 1)
    assert both[0][0].tobytes() == one[0][0].tobytes()
    assert not np.isclose(both[0][1], both[0][0])[:-1].any(axis=0).all()
    assert both[0][1, -1].tolist() == both[0][0, -1].tolist()
    other = drawn("AAPL", 1, replace(CONFIG, kind="direction", bidirectional=True))
    assert not np.array_equal(other[0][1], both[0][1])
    limit = np.sqrt(6 / (2 * UNITS + 1))
    assert 0.5 * limit < np.abs(both[1]).max() <= limit


@pytest.mark.parametrize("kind", KINDS)
def test_folded_scaling_takes_raw_features_to_unscaled_outputs(kind: Kind) -> None:
    random = np.random.default_rng(0)
    config = replace(CONFIG, kind=kind)
    raw = random.normal(size=(4, 10, FEATURES)) * [1, 0.01, 2, 0.3, 5] + [0, 0.01, -9, 1, 20]
    center, spread = raw.mean(axis=(0, 1)), raw.std(axis=(0, 1))
    scale = np.array([0.02, 1.0, 3.0]) if kind == "many_to_many" else np.ones(config.outputs(1))
    standardised = keras_member([lane(0, config)], None, kind=kind, name="standardised")
    folded = keras_member([lane(0, config, (center, spread, scale))], None, kind=kind, name="raw")
    expected = np.asarray(standardised(((raw - center) / spread).astype(np.float32))) * scale
    found = np.asarray(folded(raw.astype(np.float32)))
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=1e-5)
    assert (expected.std(axis=0) > 1e-3 * scale).all()


def test_seeds_are_averaged_and_the_skip_path_added() -> None:
    random = np.random.default_rng(1)
    lanes = [lane(seed, CONFIG) for seed in range(3)]
    skip = random.normal(size=(FEATURES + 1, LEADS))
    x = random.normal(size=(2, 7, FEATURES)).astype(np.float32)

    def outputs(chosen: slice, path: Floats | None) -> Array:
        return np.asarray(keras_member(lanes[chosen], path, kind="many_to_many", name="some")(x))

    alone = [outputs(slice(seed, seed + 1), None) for seed in range(3)]
    linear = x @ skip[:-1] + skip[-1]
    for chosen, path, expected in (
        (slice(None), skip, np.mean(alone, axis=0) + linear),
        (slice(None), None, np.mean(alone, axis=0)),
        (slice(1), skip, alone[0] + linear),
    ):
        np.testing.assert_allclose(outputs(chosen, path), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["direction", "quantile_class"])
def test_probabilities_are_averaged_and_the_skip_path_added_to_logits(kind: Kind) -> None:
    random = np.random.default_rng(1)
    config = replace(CONFIG, kind=kind)
    lanes = [lane(seed, config) for seed in range(3)]
    skip = random.normal(size=(FEATURES + 1, config.outputs(1)))
    x = random.normal(size=(4, 7, FEATURES)).astype(np.float32)

    def outputs(chosen: slice, path: Floats | None) -> Array:
        return np.asarray(keras_member(lanes[chosen], path, kind=kind, name="some")(x))

    def with_path(p: Array) -> Floats:
        logits = np.log(p) if kind == "quantile_class" else np.log(p / (1.0 - p))
        power = np.exp(logits + x[:, -1] @ skip[:-1] + skip[-1])
        total = power.sum(axis=-1, keepdims=True) if kind == "quantile_class" else 1.0 + power
        return np.asarray(power / total)

    alone = [outputs(slice(seed, seed + 1), None) for seed in range(3)]
    for chosen, path, expected in (
        (slice(None), skip, np.mean([with_path(p) for p in alone], axis=0)),
        (slice(None), None, np.mean(alone, axis=0)),
        (slice(1), skip, with_path(alone[0])),
    ):
        np.testing.assert_allclose(outputs(chosen, path), expected, atol=1e-5)
