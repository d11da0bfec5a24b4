"""Compiled updates against plain Keras: network, windows, loss, gradient, clipping, optimiser."""

from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from lstm_models.fleet_config import FleetConfig
from lstm_models.optimisers import Weights
from lstm_models.recurrence import Tensor
from lstm_models.updates import (
    Lanes,
    check_stride,
    gradients,
    prediction_program,
    training_program,
)
from tests.lstm_models.keras_gradients import loss_and_gradients
from tests.lstm_models.program_example import (
    ACTIVATIONS,
    CASES,
    CHECKED,
    LANES,
    UPDATES,
    Floats,
    example,
    fleet_weights,
    keras_loss,
    keras_network,
    keras_training,
    windows,
)

every_case = pytest.mark.parametrize("config", CASES.values(), ids=CASES)
class_case = pytest.mark.parametrize(
    "config",
    [c for c in CASES.values() if c.classes],
    ids=[n for n, c in CASES.items() if c.classes],
)


def as_lanes(recurrence: Tensor, head: Tensor) -> Lanes:
    """Two arrays in the place of weights, so that `fleet_weights` can take them apart."""
    return Lanes(Weights(recurrence, None, None), Weights(head, None, None), None)


# One update


@every_case
def test_loss_and_gradients_are_those_of_the_plain_keras_network(config: FleetConfig) -> None:
    lanes, data, starts, _ = example(config)
    judged, d_recurrence, d_head = gradients(
        lanes.recurrence.value, lanes.head.value, data, starts[0], config
    )
    found = as_lanes(d_recurrence, d_head)
    for lane in range(LANES):
        model = keras_network(config, lanes, lane)
        x = windows(config, data.inputs[lane, :, :-1], starts[0, lane])
        y = windows(config, data.targets[lane], starts[0, lane])
        loss, expected = loss_and_gradients(model, x, keras_loss(config, y))
        assert float(judged.total[lane] / judged.count[lane]) == pytest.approx(loss, rel=1e-5)
        for one, other in zip(fleet_weights(config, found, lane), expected, strict=True):
            # 1e-5 of the largest entry where that exceeds 1.
            tolerance = 1e-5 * max(1.0, float(np.abs(other).max()))
            np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)
            assert np.abs(other).max() > 1e-4


@class_case
def test_the_linear_path_is_an_offset_of_the_logits(config: FleetConfig) -> None:
    lanes, data, starts, _ = example(config, with_path=True)
    assert data.offsets is not None
    judged, d_recurrence, d_head = gradients(
        lanes.recurrence.value, lanes.head.value, data, starts[0], config
    )
    found = as_lanes(d_recurrence, d_head)
    for lane in range(LANES):
        model = keras_network(config, lanes, lane, activated=False)
        x = windows(config, data.inputs[lane, :, :-1], starts[0, lane])
        y = windows(config, data.targets[lane], starts[0, lane])
        path = windows(config, data.offsets[lane], starts[0, lane])
        shift = path if len(model.output_shape) == 3 else path[:, -1]
        of_probabilities = keras_loss(config, y)
        activation = keras.activations.get(ACTIVATIONS[config.kind])

        def of_logits(
            logits: Tensor,
            shift: Floats = shift,
            loss: Callable[[Tensor], Tensor] = of_probabilities,
            activation: Callable[[Tensor], Tensor] = activation,
        ) -> Tensor:
            return loss(activation(logits + shift))

        loss, expected = loss_and_gradients(model, x, of_logits)
        assert float(judged.total[lane] / judged.count[lane]) == pytest.approx(loss, rel=1e-5)
        for one, other in zip(fleet_weights(config, found, lane), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@every_case
def test_predictions_are_the_networks_last_step(config: FleetConfig) -> None:
    lanes, data, starts, _ = example(config)
    outputs = prediction_program(config.lookback)(
        lanes.recurrence.value, lanes.head.value, data.inputs, starts[0]
    )
    for lane in range(LANES):
        x = windows(config, data.inputs[lane, :, :-1], starts[0, lane])
        expected = np.asarray(keras_network(config, lanes, lane)(x))
        expected = expected[:, -1] if expected.ndim == 3 else expected
        found = keras.activations.get(ACTIVATIONS[config.kind])(
            ops.convert_to_tensor(outputs[lane])
        )
        np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=1e-5)


# Trajectories


@pytest.mark.parametrize(
    "config",
    [config for one in CASES.values() for config in (one, replace(one, clip_norm=0.05))],
    ids=[f"{name}{end}" for name in CASES for end in ("", ", clipped")],
)
def test_updates_are_those_of_keras(config: FleetConfig) -> None:
    lanes, data, starts, check_starts = example(config)
    after, _, loss = training_program(config)(lanes, data, starts, check_starts)
    norms = []
    for lane in range(LANES):
        model = keras_network(config, lanes, lane)
        last, norm = keras_training(model, data, starts, lane, config)
        norms.append(norm)
        trained = fleet_weights(config, after, lane)
        for found, expected in zip(trained, model.get_weights(), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        assert float(loss[lane]) == pytest.approx(last, rel=1e-5)
        moved = np.abs(np.asarray(after.recurrence.value)[lane] - lanes.recurrence.value[lane])
        assert moved.max() > 0.02
    # The example tells the two configs apart: every lane is clipped in one, none in the other.
    assert (min(norms) > config.clip_norm) == (config.clip_norm < 1.0)
    assert np.asarray(after.updates).tolist() == [UPDATES] * LANES


@pytest.mark.parametrize("name", ["many_to_many", "quantile_class"])
def test_two_calls_go_on_where_the_first_stopped(name: str) -> None:
    config = CASES[name]
    lanes, data, starts, check_starts = first = example(config)
    program = training_program(config)
    for _ in range(2):
        lanes = Lanes(*program(lanes, data, starts, check_starts)[0])
    for lane in range(LANES):
        model = keras_network(config, first[0], lane)
        keras_training(model, data, np.concatenate([starts, starts]), lane, config)
        trained = fleet_weights(config, lanes, lane)
        for found, expected in zip(trained, model.get_weights(), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


# Checks


@every_case
def test_the_check_is_the_loss_of_every_early_stop_row_once_before_the_updates(
    config: FleetConfig,
) -> None:
    lanes, data, starts, check_starts = example(config)
    _, before, _ = training_program(config)(lanes, data, starts, check_starts)
    stride = check_stride(config)
    assert (stride == 1) == (config.supervised_from == config.lookback - 1)
    for lane in range(LANES):
        model = keras_network(config, lanes, lane)
        losses: list[float] = []
        for row in range(*CHECKED):
            # Rows are judged `stride` at a time, each from one window that ends with the last.
            ahead = stride - 1 - (row - CHECKED[0]) % stride
            first = row + ahead - config.lookback + 1
            output = np.asarray(model(data.inputs[lane, None, first : row + ahead + 1, :-1]))
            output = output[0, -1 - ahead] if output.ndim == 3 else output[0]
            losses += slow_losses(config, output, data.targets[lane, row])
        assert float(before[lane]) == pytest.approx(np.mean(losses), rel=1e-5)


def slow_losses(config: FleetConfig, output: Floats, target: Floats) -> list[float]:
    """Losses of one row's known targets, by their definitions."""
    if config.kind == "many_to_many":
        return [float(e) for e in np.square(output - target) if np.isfinite(e)]
    if np.isnan(target[0]):
        return []
    if config.kind == "direction":
        return [-float(np.log(output[0] if target[0] == 1.0 else 1.0 - output[0]))]
    return [-float(np.log(output[int(target[0])]))]


# Lanes


@every_case
def test_lanes_never_mix_and_one_without_known_targets_says_so(config: FleetConfig) -> None:
    lanes, data, starts, check_starts = example(config, with_path=True)
    program = training_program(config)
    after, before, _ = program(lanes, data, starts, check_starts)
    data.targets[1], data.check_targets[1] = np.nan, np.nan
    lanes.recurrence.value[2] = np.nan
    spoilt, spoilt_before, _ = program(lanes, data, starts, check_starts)
    for found, expected in zip(
        fleet_weights(config, spoilt, 0), fleet_weights(config, after, 0), strict=True
    ):
        assert found.tobytes() == expected.tobytes()
    assert float(spoilt_before[0]) == float(before[0])
    assert np.isnan(spoilt_before[1:]).all()
    # Without a target there is no gradient: weights decay, biases stay.
    kernel, _, bias, *_, head_bias = fleet_weights(config, spoilt, 1)
    rates = config.learning_rate * np.minimum(np.arange(1, UPDATES + 1) / 3, 1.0)
    shrunk = np.prod(1.0 - config.weight_decay * rates)
    expected_kernel, _, expected_bias, *_, expected_head_bias = fleet_weights(config, lanes, 1)
    np.testing.assert_allclose(kernel, shrunk * expected_kernel, rtol=1e-5)
    assert bias.tobytes() == expected_bias.tobytes()
    assert head_bias.tobytes() == expected_head_bias.tobytes()


@every_case
def test_only_supervised_steps_of_drawn_windows_are_learned_from(config: FleetConfig) -> None:
    lanes, data, starts, check_starts = example(config)
    program = training_program(config)
    starts[:] = 20
    data.targets[:, 20 : 20 + config.lookback] = 1.0
    first, stop = 20 + config.supervised_from, 20 + config.lookback
    other = 0.0 if config.classes else 1e3
    after, _, _ = program(lanes, data, starts, check_starts)
    data.targets[:, :first], data.targets[:, stop:] = other, other
    data.inputs[:, :20], data.inputs[:, stop:30] = 1e3, 1e3
    again, _, _ = program(lanes, data, starts, check_starts)
    assert np.asarray(after.head.value).tobytes() == np.asarray(again.head.value).tobytes()
    data.targets[:, first] = other
    changed, _, _ = program(lanes, data, starts, check_starts)
    assert not np.array_equal(np.asarray(after.head.value), np.asarray(changed.head.value))


@class_case
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_extreme_logits_give_a_finite_loss_and_gradient(config: FleetConfig, size: float) -> None:
    lanes, data, starts, _ = example(config)
    lanes.head.value[:] *= np.float32(size)
    judged, d_recurrence, d_head = gradients(
        lanes.recurrence.value, lanes.head.value, data, starts[0], config
    )
    assert np.isfinite(np.asarray(judged.total)).all()
    assert np.isfinite(np.asarray(d_head)).all()
    assert size > 1e4 or np.isfinite(np.asarray(d_recurrence)).all()
