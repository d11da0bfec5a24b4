"""The network of a member: its initial weights, and its plain Keras form.

Owns what one LSTM is made of. Never touches training or data.
"""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

from lstm_models.fleet_config import FleetConfig
from lstm_models.windows import generator

Array = NDArray[np.float32]


def initial_weights(
    name: str, seed: int, *, features: int, leads: int, config: FleetConfig
) -> tuple[Array, Array]:
    """Initial weights of one lane, in the fleet's layout and as Keras would draw them.

    Glorot-uniform input kernel, orthogonal recurrent kernel, zero bias but 1 for the forget
    gate. With a skip path the head starts at zero, so that the lane starts *at* the baseline.

    Returns:
        Recurrence `(units + feature + 1, 4·units)` and head `(units + 1, lead)`.

    Source: Glorot & Bengio (2010); Saxe et al. (2014); Jozefowicz et al. (2015).
    """
    random = generator(name, seed, "initial weights")
    units = config.units
    square = random.standard_normal((4 * units, units))
    q, r = np.linalg.qr(square)
    recurrent = (q * np.sign(np.diag(r))).T
    limit = np.sqrt(6.0 / (features + 4 * units))
    kernel = random.uniform(-limit, limit, (features, 4 * units))
    bias = np.zeros((1, 4 * units))
    bias[:, units : 2 * units] = 1.0
    limit = np.sqrt(6.0 / (units + leads))
    head = np.zeros((units + 1, leads))
    if not config.skip:
        head[:units] = random.uniform(-limit, limit, (units, leads))
    recurrence = np.concatenate([recurrent, kernel, bias])
    return recurrence.astype(np.float32), head.astype(np.float32)


def fold_scaling(
    recurrence: Array,
    head: Array,
    center: NDArray[np.float64],
    spread: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> tuple[list[Array], list[Array]]:
    """Keras weights of one lane that take raw features and give the unscaled residual.

    Standardisation is linear, so it folds into the input kernel and bias, and the residual's
    scale into the head.

    Returns:
        `[kernel, recurrent_kernel, bias]` of the LSTM and `[kernel, bias]` of the Dense layer.
    """
    units = head.shape[0] - 1
    kernel = recurrence[units:-1].astype(np.float64) / spread[:, None]
    bias = recurrence[-1].astype(np.float64) - center @ kernel
    dense = head.astype(np.float64) * scale
    lstm = [kernel, recurrence[:units], bias]
    return (
        [np.asarray(a, np.float32) for a in lstm],
        [np.asarray(a, np.float32) for a in (dense[:-1], dense[-1])],
    )


def keras_member(
    lanes: list[tuple[list[Array], list[Array]]],
    skip: NDArray[np.float64] | None,
    *,
    name: str,
) -> keras.Model:
    """A plain Keras model of one member: raw features in, the ungated mean out.

    Args:
        lanes: per seed the LSTM's and the Dense layer's Keras weights, see `fold_scaling`.
        skip: coefficients `(feature + 1, lead)` of the frozen linear path, intercept last; None
            for a member without one.
        name: of the model.

    Returns:
        A model from `(window, time, feature)` to `(window, time, lead)`. Without a skip path and
        with one seed it is `Sequential([LSTM, TimeDistributed(Dense)])`.
    """
    (lstm_weights, dense_weights) = lanes[0]
    features, units = lstm_weights[0].shape[0], lstm_weights[1].shape[0]
    leads = dense_weights[0].shape[1]

    def layers_of(lane: int) -> list[keras.Layer]:
        return [
            keras.layers.LSTM(units, return_sequences=True, name=f"lstm_{lane}"),
            keras.layers.TimeDistributed(keras.layers.Dense(leads), name=f"head_{lane}"),
        ]

    layers = [layers_of(lane) for lane in range(len(lanes))]
    inputs = keras.Input((None, features), name="features")
    if skip is None and len(lanes) == 1:
        model = keras.Sequential([inputs, *layers[0]], name=name)
    else:
        outputs = [head(lstm(inputs)) for lstm, head in layers]
        mean = outputs[0] if len(outputs) == 1 else keras.layers.Average(name="seeds")(outputs)
        if skip is not None:
            linear = keras.layers.TimeDistributed(
                keras.layers.Dense(leads, trainable=False), name="skip"
            )
            mean = keras.layers.Add(name="mean")([mean, linear(inputs)])
            linear.set_weights([skip[:-1].astype(np.float32), skip[-1].astype(np.float32)])
        model = keras.Model(inputs, mean, name=name)
    for (lstm, head), (lstm_weights, dense_weights) in zip(layers, lanes, strict=True):
        lstm.set_weights(lstm_weights)
        head.set_weights(dense_weights)
    return model
