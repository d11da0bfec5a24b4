"""The network of a member: its initial weights, and its plain Keras form.

Owns what one LSTM is made of. Never touches training or data.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
from numpy.typing import NDArray

from lstm_models.fleet_config import FleetConfig, Kind
from lstm_models.windows import generator

Array = NDArray[np.float32]

ACTIVATIONS: Mapping[Kind, str] = {
    "many_to_many": "linear",
    "direction": "sigmoid",
    "quantile_class": "softmax",
}


def initial_weights(
    name: str, seed: int, *, features: int, outputs: int, config: FleetConfig
) -> tuple[Array, Array]:
    """Initial weights of one lane, in the fleet's layout and as Keras would draw them.

    Glorot-uniform input kernel, orthogonal recurrent kernel, zero bias but 1 for the forget
    gate. With a skip path the head starts at zero, so that the lane starts *at* the baseline.

    Returns:
        Recurrence `(direction, units + feature + 1, 4·units)` and head `(direction·units + 1,
        output)`.

    Source: Glorot & Bengio (2010); Saxe et al. (2014); Jozefowicz et al. (2015).
    """
    random = generator(name, seed, "initial weights")
    recurrence = [_initial_recurrence(random, features, config.units)]
    state = config.directions * config.units
    limit = np.sqrt(6.0 / (state + outputs))
    head = np.zeros((state + 1, outputs))
    if not config.skip:
        head[:state] = random.uniform(-limit, limit, (state, outputs))
    if config.both_ways:
        random = generator(name, seed, "initial weights", "backwards")
        recurrence.append(_initial_recurrence(random, features, config.units))
    return np.stack(recurrence).astype(np.float32), head.astype(np.float32)


def _initial_recurrence(
    random: np.random.Generator, features: int, units: int
) -> NDArray[np.float64]:
    """One direction's `(units + feature + 1, 4·units)`."""
    square = random.standard_normal((4 * units, units))
    q, r = np.linalg.qr(square)
    recurrent = (q * np.sign(np.diag(r))).T
    limit = np.sqrt(6.0 / (features + 4 * units))
    kernel = random.uniform(-limit, limit, (features, 4 * units))
    bias = np.zeros((1, 4 * units))
    bias[:, units : 2 * units] = 1.0
    return np.concatenate([recurrent, kernel, bias])


def fold_scaling(
    recurrence: Array,
    head: Array,
    center: NDArray[np.float64],
    spread: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> tuple[list[Array], list[Array]]:
    """Keras weights of one lane that take raw features and give unscaled outputs.

    Standardisation is linear, so it folds into the input kernel and bias, and the outputs' scale
    into the head.

    Returns:
        `[kernel, recurrent_kernel, bias]` of the LSTM, of each direction in turn, and `[kernel,
        bias]` of the Dense layer.
    """
    units = recurrence.shape[-1] // 4
    lstm = []
    for weights in recurrence:
        kernel = weights[units:-1].astype(np.float64) / spread[:, None]
        bias = weights[-1].astype(np.float64) - center @ kernel
        lstm += [kernel, weights[:units], bias]
    dense = head.astype(np.float64) * scale
    return (
        [np.asarray(a, np.float32) for a in lstm],
        [np.asarray(a, np.float32) for a in (dense[:-1], dense[-1])],
    )


def keras_member(
    lanes: list[tuple[list[Array], list[Array]]],
    skip: NDArray[np.float64] | None,
    *,
    kind: Kind,
    name: str,
) -> keras.Model:
    """A plain Keras model of one member: raw features in, the ungated forecast out.

    Args:
        lanes: per seed the LSTM's and the Dense layer's Keras weights, see `fold_scaling`.
        skip: coefficients `(feature + 1, output)` of the frozen linear path, intercept last; None
            for a member without one.
        kind: what it forecasts.
        name: of the model.

    Returns:
        A model from `(window, time, feature)` to means `(window, time, lead)`, or to probabilities
        `(window, output)` after the last step. Without a skip path and with one seed it is
        `Sequential([LSTM, TimeDistributed(Dense)])`, `Sequential([LSTM, Dense])` or
        `Sequential([Bidirectional(LSTM), Dense])`.
    """
    features = lanes[0][0][0].shape[0]
    inputs = keras.Input((None, features), name="features")
    plain = skip is None and len(lanes) == 1
    pairs = [_layers(lane, weights, kind, plain) for lane, weights in enumerate(lanes)]
    if plain:
        model = keras.Sequential([inputs, *pairs[0]], name=name)
    else:
        join = _means if kind == "many_to_many" else _probabilities
        outputs = [head(lstm(inputs)) for lstm, head in pairs]
        model = keras.Model(inputs, join(inputs, outputs, skip, ACTIVATIONS[kind]), name=name)
    for layers, weights in zip(pairs, lanes, strict=True):
        for layer, values in zip(layers, weights, strict=True):
            layer.set_weights(values)
    return model


def _layers(
    lane: int, weights: tuple[list[Array], list[Array]], kind: Kind, activated: bool
) -> tuple[keras.Layer, keras.Layer]:
    """LSTM and head of one lane; the head gives logits unless `activated`."""
    lstm_weights, (dense_kernel, _) = weights
    sequences = kind == "many_to_many"
    lstm = keras.layers.LSTM(
        lstm_weights[1].shape[0], return_sequences=sequences, name=f"lstm_{lane}"
    )
    if len(lstm_weights) == 6:
        lstm = keras.layers.Bidirectional(lstm, name=f"lstm_{lane}")
    if sequences:
        dense = keras.layers.Dense(dense_kernel.shape[1])
        return lstm, keras.layers.TimeDistributed(dense, name=f"head_{lane}")
    activation = ACTIVATIONS[kind] if activated else None
    return lstm, keras.layers.Dense(dense_kernel.shape[1], activation, name=f"head_{lane}")


def _means(
    inputs: keras.KerasTensor,
    outputs: list[keras.KerasTensor],
    skip: NDArray[np.float64] | None,
    activation: str,
) -> keras.KerasTensor:
    """The mean over seeds plus the linear path, at every step."""
    del activation
    mean = _averaged(outputs)
    if skip is None:
        return mean
    linear = keras.layers.Dense(skip.shape[1], trainable=False)
    path = keras.layers.TimeDistributed(linear, name="skip")(inputs)
    linear.set_weights(_dense_weights(skip))
    return keras.layers.Add(name="mean")([mean, path])


def _probabilities(
    inputs: keras.KerasTensor,
    outputs: list[keras.KerasTensor],
    skip: NDArray[np.float64] | None,
    activation: str,
) -> keras.KerasTensor:
    """The mean over seeds of probabilities, from logits with the linear path of the last step."""
    if skip is not None:
        linear = keras.layers.Dense(skip.shape[1], trainable=False, name="skip")
        path = linear(inputs[:, -1])
        linear.set_weights(_dense_weights(skip))
        outputs = [keras.layers.Add()([logits, path]) for logits in outputs]
    return _averaged([keras.layers.Activation(activation)(logits) for logits in outputs])


def _dense_weights(skip: NDArray[np.float64]) -> list[Array]:
    return [skip[:-1].astype(np.float32), skip[-1].astype(np.float32)]


def _averaged(tensors: list[keras.KerasTensor]) -> keras.KerasTensor:
    return tensors[0] if len(tensors) == 1 else keras.layers.Average(name="seeds")(tensors)
