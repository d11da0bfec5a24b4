"""The fleet's recurrence against keras.layers.LSTM and against a loop that anybody can read."""

from functools import partial

import keras
import numpy as np
import pytest
from keras import ops
from numpy.typing import NDArray

from lstm_models.recurrence import Tensor, backward, forward, with_bias
from tests.lstm_models.keras_gradients import loss_and_gradients

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
# lane, window, time, feature, units
SIZES = [(1, 1, 1, 1, 1), (1, 3, 12, 5, 4), (3, 2, 7, 1, 8), (2, 5, 20, 9, 3)]


def case(size: tuple[int, int, int, int, int], scale: float = 1.0) -> tuple[Floats, Floats, Floats]:
    """Inputs `(lane, window, time, feature)`, weights, and a gradient in the layout of inputs."""
    lanes, windows, time, features, units = size
    random = np.random.default_rng(sum(size))
    inputs = scale * random.normal(size=(lanes, windows, time, features))
    weights = 0.6 * random.normal(size=(lanes, units + features + 1, 4 * units))
    gradient = random.normal(size=(lanes, windows, time, units))
    return inputs.astype(np.float32), weights.astype(np.float32), gradient.astype(np.float32)


def by_time(array: Floats) -> Tensor:
    """`(lane, window, time, column)` to the fleet's `(time, lane, window, column)`."""
    return ops.convert_to_tensor(np.transpose(array, (2, 0, 1, 3)))


def run(inputs: Floats, weights: Floats) -> tuple[Tensor, Tensor]:
    """States after each step, `(time, lane, window, units)`."""
    hidden, cell = forward(with_bias(by_time(inputs)), ops.convert_to_tensor(weights))
    return hidden[1:], cell[1:]


def run_back(inputs: Floats, weights: Floats, gradient: Floats) -> Floats:
    seen, tensor = with_bias(by_time(inputs)), ops.convert_to_tensor(weights)
    hidden, cell = forward(seen, tensor)
    return np.asarray(backward(seen, tensor, hidden, cell, by_time(gradient)))


def keras_layer(weights: Floats, features: int) -> keras.layers.LSTM:
    """The layer of one lane."""
    units = weights.shape[1] // 4
    layer = keras.layers.LSTM(units, return_sequences=True)
    layer.build((None, None, features))
    layer.set_weights([weights[units:-1], weights[:units], weights[-1]])
    return layer


def weighted(gradient: Floats, states: Tensor) -> Tensor:
    """A loss whose gradient by the states is given."""
    return ops.sum(states * gradient)


def sigmoid(z: Doubles) -> Doubles:
    return np.asarray(1.0 / (1.0 + np.exp(-z)))


@pytest.mark.parametrize("size", SIZES)
def test_a_lane_is_a_keras_layer(size: tuple[int, int, int, int, int]) -> None:
    inputs, weights, _ = case(size)
    hidden = np.transpose(np.asarray(run(inputs, weights)[0]), (1, 2, 0, 3))
    for lane in range(size[0]):
        expected = keras_layer(weights[lane], size[3])(inputs[lane])
        np.testing.assert_allclose(hidden[lane], np.asarray(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_gradients_are_those_of_a_keras_layer(size: tuple[int, int, int, int, int]) -> None:
    inputs, weights, gradient = case(size)
    units = size[4]
    found = run_back(inputs, weights, gradient)
    for lane in range(size[0]):
        layer = keras_layer(weights[lane], size[3])
        _, (kernel, recurrent, bias) = loss_and_gradients(
            layer, inputs[lane], partial(weighted, gradient[lane])
        )
        # Sums over windows and steps: 1e-5 of the largest entry where that exceeds 1.
        tolerance = 1e-5 * max(1.0, float(np.abs(found[lane]).max()))
        for part, expected in (
            (found[lane, units:-1], kernel),
            (found[lane, :units], recurrent),
            (found[lane, -1], bias),
        ):
            np.testing.assert_allclose(part, expected, rtol=0, atol=tolerance)
        assert np.abs(found[lane, units:]).max() > 1e-3


def slow_states(inputs: Floats, weights: Floats | Doubles) -> tuple[Doubles, Doubles]:
    """Hidden and cell states `(time, window, units)` of one lane in float64, gate by gate."""
    windows, time, _ = inputs.shape
    h = c = np.zeros((windows, weights.shape[1] // 4))
    hidden, cell = [], []
    for step in range(time):
        seen = np.c_[h, inputs[:, step], np.ones(windows)].astype(np.float64)
        enter, forget, candidate, leave = np.split(seen @ weights, 4, axis=1)
        c = sigmoid(forget) * c + sigmoid(enter) * np.tanh(candidate)
        h = sigmoid(leave) * np.tanh(c)
        hidden.append(h)
        cell.append(c)
    return np.stack(hidden), np.stack(cell)


def test_states_are_those_of_the_formula() -> None:
    inputs, weights, _ = case((2, 3, 6, 2, 3))
    hidden, cell = (np.asarray(states) for states in run(inputs, weights))
    for lane in range(2):
        expected_hidden, expected_cell = slow_states(inputs[lane], weights[lane])
        np.testing.assert_allclose(hidden[:, lane], expected_hidden, atol=1e-6)
        np.testing.assert_allclose(cell[:, lane], expected_cell, atol=1e-6)


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    inputs, weights, gradient = case((1, 2, 5, 2, 2))
    found = run_back(inputs, weights, gradient)[0]
    upstream = np.transpose(gradient[0], (1, 0, 2)).astype(np.float64)
    for place in np.ndindex(found.shape):
        losses = []
        for sign in (1.0, -1.0):
            moved = weights[0].astype(np.float64)
            moved[place] += sign * 1e-5
            losses.append((slow_states(inputs[0], moved)[0] * upstream).sum())
        assert found[place] == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e30])
def test_lanes_never_mix(poison: float) -> None:
    inputs, weights, gradient = case((3, 4, 9, 3, 5))
    hidden = np.asarray(run(inputs, weights)[0])
    slopes = run_back(inputs, weights, gradient)
    inputs[1], weights[1], gradient[1] = poison, poison, poison
    poisoned = np.asarray(run(inputs, weights)[0])
    poisoned_slopes = run_back(inputs, weights, gradient)
    for lane in (0, 2):
        assert hidden[:, lane].tobytes() == poisoned[:, lane].tobytes()
        assert slopes[lane].tobytes() == poisoned_slopes[lane].tobytes()
    assert not np.array_equal(hidden[:, 1], poisoned[:, 1])


def test_later_steps_change_no_earlier_state() -> None:
    inputs, weights, _ = case((1, 2, 10, 3, 4))
    before = np.asarray(run(inputs, weights)[0])
    inputs[:, :, 6:] = 1e9
    after = np.asarray(run(inputs, weights)[0])
    assert before[:6].tobytes() == after[:6].tobytes()
    assert not np.array_equal(before[6:], after[6:])


def test_saturated_gates_stay_finite() -> None:
    inputs, weights, gradient = case((1, 2, 10, 3, 4), scale=1e6)
    assert np.isfinite(np.asarray(run(inputs, weights)[0])).all()
    assert np.isfinite(run_back(inputs, weights, gradient)).all()
