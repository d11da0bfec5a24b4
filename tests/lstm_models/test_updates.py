"""Compiled updates against plain Keras: the same network, windows, loss, clipping and AdamW."""

from collections.abc import Sequence
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from lstm_models.fleet_config import FleetConfig
from lstm_models.updates import (
    BETA_1,
    BETA_2,
    EPSILON,
    Data,
    Lanes,
    Weights,
    check_stride,
    prediction_program,
    training_program,
)
from lstm_models.windows import checks

Floats = NDArray[np.float32]
LANES, ROWS, FEATURES, LEADS, WINDOWS, UPDATES = 3, 64, 3, 2, 5, 6
CONFIG = FleetConfig(
    units=4,
    lookback=9,
    burn_in=3,
    learning_rate=0.02,
    warmup_updates=3,
    weight_decay=0.5,
    clip_norm=1e6,
    windows_per_update=WINDOWS,
    check_every=UPDATES,
    width=LANES,
)
CLIPPED = replace(CONFIG, clip_norm=0.05)


def example() -> tuple[Lanes, Data, NDArray[np.int32], NDArray[np.int32]]:
    """Random lanes and rows; some targets are unknown, and lane 2's errors are ten times larger."""
    random = np.random.default_rng(0)

    def draw(*shape: int) -> Floats:
        return (0.5 * random.normal(size=(LANES, *shape))).astype(np.float32)

    w, v = draw(CONFIG.units + FEATURES + 1, 4 * CONFIG.units), draw(CONFIG.units + 1, LEADS)
    lanes = Lanes(
        Weights(w, np.zeros_like(w), np.zeros_like(w)),
        Weights(v, np.zeros_like(v), np.zeros_like(v)),
        np.zeros(LANES, np.float32),
    )
    inputs = np.concatenate([draw(ROWS, FEATURES), np.ones((LANES, ROWS, 1), np.float32)], axis=-1)
    targets = draw(ROWS, LEADS)
    targets[2] *= 10.0
    targets[random.random(targets.shape) < 0.1] = np.nan
    check_targets = targets.copy()
    check_targets[:, :40] = np.nan
    starts = random.integers(0, 30, (UPDATES, LANES, WINDOWS)).astype(np.int32)
    stride = check_stride(CONFIG)
    check_starts = checks(40, 60, CONFIG.lookback, stride)
    check_targets[:, 60:] = np.nan
    return (
        lanes,
        Data(inputs, targets, check_targets),
        starts,
        np.stack([check_starts] * LANES)[None],
    )


def keras_network(lanes: Lanes, lane: int) -> keras.Sequential:
    """A lane as the plain network that it claims to be."""
    units = CONFIG.units
    model = keras.Sequential(
        [
            keras.Input((None, FEATURES)),
            keras.layers.LSTM(units, return_sequences=True),
            keras.layers.TimeDistributed(keras.layers.Dense(LEADS)),
        ]
    )
    w, v = lanes.recurrence.value[lane], lanes.head.value[lane]
    model.set_weights([w[units:-1], w[:units], w[-1], v[:-1], v[-1]])
    return model


def windows(rows: Floats, starts: Sequence[int] | NDArray[np.int32]) -> Floats:
    """`(window, time, column)`."""
    return np.stack([rows[start : start + CONFIG.lookback] for start in starts])


def keras_training(
    model: keras.Sequential, data: Data, starts: NDArray[np.int32], lane: int, config: FleetConfig
) -> tuple[float, float]:
    """Train with Keras' own optimiser; the last loss, and the largest gradient norm."""
    optimizer = keras.optimizers.AdamW(
        weight_decay=config.weight_decay, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    loss, largest = np.nan, 0.0
    for update, drawn in enumerate(starts[:, lane], start=1):
        rate = config.learning_rate * min(update / config.warmup_updates, 1.0)
        optimizer.learning_rate = rate
        x = windows(data.inputs[lane, :, :-1], drawn)
        y = windows(data.targets[lane], drawn)[:, config.burn_in :]
        known = np.isfinite(y)
        with tf.GradientTape() as tape:
            error = model(x, training=True)[:, config.burn_in :] - np.where(known, y, 0.0)
            total = tf.reduce_sum(tf.where(known, error * error, 0.0)) / known.sum()
        gradients, norm = tf.clip_by_global_norm(
            tape.gradient(total, model.trainable_variables), config.clip_norm
        )
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        loss, largest = float(total), max(largest, float(norm))
    return loss, largest


def fleet_weights(lanes: Lanes, lane: int) -> list[Floats]:
    """A lane's weights in Keras' order."""
    w, v = np.asarray(lanes.recurrence.value)[lane], np.asarray(lanes.head.value)[lane]
    return [w[CONFIG.units : -1], w[: CONFIG.units], w[-1], v[:-1], v[-1]]


@pytest.mark.parametrize("config", [CONFIG, CLIPPED], ids=["unclipped", "clipped"])
def test_updates_are_those_of_keras(config: FleetConfig) -> None:
    lanes, data, starts, check_starts = example()
    after, _, loss = training_program(config)(lanes, data, starts, check_starts)
    norms = []
    for lane in range(LANES):
        model = keras_network(lanes, lane)
        last, norm = keras_training(model, data, starts, lane, config)
        norms.append(norm)
        for found, expected in zip(fleet_weights(after, lane), model.get_weights(), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        assert float(loss[lane]) == pytest.approx(last, rel=1e-5)
        moved = np.abs(np.asarray(after.recurrence.value)[lane] - lanes.recurrence.value[lane])
        assert moved.max() > 0.02
    # The example tells the two configs apart: every lane is clipped in one, none in the other.
    assert (min(norms) > config.clip_norm) == (config is CLIPPED)
    assert np.asarray(after.updates).tolist() == [UPDATES] * LANES


def test_two_calls_go_on_where_the_first_stopped() -> None:
    lanes, data, starts, check_starts = example()
    program = training_program(CONFIG)
    for _ in range(2):
        lanes = Lanes(*program(lanes, data, starts, check_starts)[0])
    first = example()[0]
    for lane in range(LANES):
        model = keras_network(first, lane)
        keras_training(model, data, np.concatenate([starts, starts]), lane, CONFIG)
        for found, expected in zip(fleet_weights(lanes, lane), model.get_weights(), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_the_check_is_the_mse_of_every_early_stop_row_once_before_the_updates() -> None:
    lanes, data, starts, check_starts = example()
    _, before, _ = training_program(CONFIG)(lanes, data, starts, check_starts)
    stride = check_stride(CONFIG)
    for lane in range(LANES):
        model = keras_network(lanes, lane)
        errors = []
        for row in range(40, 60):
            # Rows are judged `stride` at a time, each from one window that ends with the last.
            last = 40 + (row - 40) // stride * stride + stride - 1
            first = last - CONFIG.lookback + 1
            output = np.asarray(model(data.inputs[lane, None, first : last + 1, :-1]))
            errors.append(output[0, row - first] - data.targets[lane, row])
        assert float(before[lane]) == pytest.approx(np.nanmean(np.square(errors)), rel=1e-5)


def test_lanes_never_mix_and_one_without_known_targets_says_so() -> None:
    lanes, data, starts, check_starts = example()
    program = training_program(CONFIG)
    after, before, _ = program(lanes, data, starts, check_starts)
    data.targets[1], data.check_targets[1] = np.nan, np.nan
    lanes.recurrence.value[2] = np.nan
    spoilt, spoilt_before, _ = program(lanes, data, starts, check_starts)
    for found, expected in zip(fleet_weights(spoilt, 0), fleet_weights(after, 0), strict=True):
        assert found.tobytes() == expected.tobytes()
    assert float(spoilt_before[0]) == float(before[0])
    assert np.isnan(spoilt_before[1:]).all()
    # Without a target there is no gradient: weights decay, biases stay.
    kernel, _, bias, _, head_bias = fleet_weights(spoilt, 1)
    rates = CONFIG.learning_rate * np.minimum(np.arange(1, UPDATES + 1) / 3, 1.0)
    shrunk = np.prod(1.0 - CONFIG.weight_decay * rates)
    expected_kernel, _, expected_bias, _, expected_head_bias = fleet_weights(lanes, 1)
    np.testing.assert_allclose(kernel, shrunk * expected_kernel, rtol=1e-5)
    assert bias.tobytes() == expected_bias.tobytes()
    assert head_bias.tobytes() == expected_head_bias.tobytes()


def test_only_supervised_steps_of_drawn_windows_are_learned_from() -> None:
    lanes, data, starts, check_starts = example()
    program = training_program(CONFIG)
    starts[:] = 20
    after, _, _ = program(lanes, data, starts, check_starts)
    data.targets[:, : 20 + CONFIG.burn_in] = 1e3
    data.targets[:, 20 + CONFIG.lookback :] = 1e3
    data.inputs[:, 20 + CONFIG.lookback : 30] = 1e3
    data.inputs[:, :20] = 1e3
    again, _, _ = program(lanes, data, starts, check_starts)
    assert np.asarray(after.head.value).tobytes() == np.asarray(again.head.value).tobytes()
    data.targets[:, 20 + CONFIG.burn_in] = 1e3
    other, _, _ = program(lanes, data, starts, check_starts)
    assert not np.array_equal(np.asarray(after.head.value), np.asarray(other.head.value))


def test_predictions_are_the_networks_last_step() -> None:
    lanes, data, starts, _ = example()
    outputs = prediction_program(CONFIG.lookback)(
        lanes.recurrence.value, lanes.head.value, data.inputs, starts[0]
    )
    for lane in range(LANES):
        x = windows(data.inputs[lane, :, :-1], starts[0, lane])
        expected = np.asarray(keras_network(lanes, lane)(x))[:, -1]
        np.testing.assert_allclose(np.asarray(outputs)[lane], expected, rtol=0, atol=1e-5)
