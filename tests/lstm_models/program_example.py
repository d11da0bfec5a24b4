"""Arguments of a training program, and the plain Keras network that each of its lanes claims to be.

The network is built from Keras' own layers, activations, losses and optimisers, so that it shares
nothing with the fleet but the weights it starts from.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from lstm_models.fleet_config import FleetConfig
from lstm_models.optimisers import Weights
from lstm_models.recurrence import Tensor
from lstm_models.updates import Data, Lanes, check_stride
from lstm_models.windows import checks
from tests.lstm_models.keras_gradients import loss_and_gradients

Floats = NDArray[np.float32]
Starts = NDArray[np.int32]
LANES, ROWS, FEATURES, LEADS, WINDOWS, UPDATES = 3, 64, 3, 2, 5, 6
CHECKED = 40, 60
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
CASES = {
    "many_to_many": CONFIG,
    "direction, every step": replace(CONFIG, kind="direction"),
    "direction, last step": replace(CONFIG, kind="direction", burn_in=CONFIG.lookback - 1),
    "direction, both ways": replace(CONFIG, kind="direction", bidirectional=True),
    "quantile_class": replace(CONFIG, kind="quantile_class"),
    "quantile_class, forwards": replace(CONFIG, kind="quantile_class", bidirectional=False),
}
ACTIVATIONS = {"many_to_many": "linear", "direction": "sigmoid", "quantile_class": "softmax"}


def example(
    config: FleetConfig = CONFIG, *, with_path: bool = False
) -> tuple[Lanes, Data, Starts, Starts]:
    """Random lanes and rows; some targets are unknown, and lane 2 has the steepest gradients.

    `with_path` gives a class network's logits random offsets; without it they are zero.
    """
    random = np.random.default_rng(0)

    def draw(*shape: int) -> Floats:
        return (0.5 * random.normal(size=(LANES, *shape))).astype(np.float32)

    outputs = config.outputs(LEADS)
    w = draw(config.directions, config.units + FEATURES + 1, 4 * config.units)
    v = draw(config.directions * config.units + 1, outputs)
    lanes = Lanes(
        Weights(w, np.zeros_like(w), np.zeros_like(w)),
        Weights(v, np.zeros_like(v), np.zeros_like(v)),
        np.zeros(LANES, np.float32),
    )
    inputs = np.concatenate([draw(ROWS, FEATURES), np.ones((LANES, ROWS, 1), np.float32)], axis=-1)
    offsets = None
    if config.classes:
        targets = random.integers(0, config.classes, (LANES, ROWS, 1)).astype(np.float32)
        offsets = draw(ROWS, outputs) * np.float32(4.0 * with_path)
    else:
        targets = draw(ROWS, LEADS)
        targets[2] *= 10.0
    targets[random.random(targets.shape) < 0.1] = np.nan
    check_targets = targets.copy()
    check_targets[:, : CHECKED[0]], check_targets[:, CHECKED[1] :] = np.nan, np.nan
    starts = random.integers(0, 30, (UPDATES, LANES, WINDOWS)).astype(np.int32)
    check_starts = checks(*CHECKED, config.lookback, check_stride(config))
    return (
        lanes,
        Data(inputs, targets, check_targets, offsets),
        starts,
        np.stack([check_starts] * LANES)[None],
    )


def keras_network(
    config: FleetConfig, lanes: Lanes, lane: int, *, activated: bool = True
) -> keras.Sequential:
    """A lane as the plain network that it claims to be, with or without its activation.

    Supervised at every step it gives its outputs at every step, else after the last one alone.
    """
    every_step = config.supervised_from < config.lookback - 1
    activation = ACTIVATIONS[config.kind] if activated else "linear"
    # Unrolled on JAX, which would compile Keras' scan anew at every call.
    unroll = keras.backend.backend() == "jax"
    lstm = keras.layers.LSTM(config.units, return_sequences=every_step, unroll=unroll)
    if config.both_ways:
        lstm = keras.layers.Bidirectional(lstm)
    dense = keras.layers.Dense(config.outputs(LEADS), activation)
    head = keras.layers.TimeDistributed(dense) if every_step else dense
    model = keras.Sequential([keras.Input((config.lookback, FEATURES)), lstm, head])
    model.set_weights(fleet_weights(config, lanes, lane))
    return model


def fleet_weights(config: FleetConfig, lanes: Lanes, lane: int) -> list[Floats]:
    """A lane's weights, or its gradients in their place, in Keras' order."""
    w, v = np.asarray(lanes.recurrence.value)[lane], np.asarray(lanes.head.value)[lane]
    units = config.units
    lstm = [part for one in w for part in (one[units:-1], one[:units], one[-1])]
    return [*lstm, v[:-1], v[-1]]


def windows(config: FleetConfig, rows: Floats, starts: Sequence[int] | NDArray[np.int32]) -> Floats:
    """`(window, time, column)`."""
    return np.stack([rows[start : start + config.lookback] for start in starts])


def keras_loss(config: FleetConfig, targets: Floats) -> Callable[[Tensor], Tensor]:
    """Keras' own loss of outputs at the known ones of `targets (window, time, column)`."""
    every_step = config.supervised_from < config.lookback - 1
    known = targets[:, config.supervised_from :] if every_step else targets[:, -1:]
    if config.kind == "many_to_many":
        places = np.flatnonzero(np.isfinite(known.ravel()))
        columns, loss = 1, keras.losses.MeanSquaredError()
        wanted = known.reshape(-1, 1)[places]
    else:
        places = np.flatnonzero(np.isfinite(known[..., 0].ravel()))
        labels = known.reshape(-1)[places].astype(int)
        if config.kind == "direction":
            columns, loss = 1, keras.losses.BinaryCrossentropy()
            wanted = labels[:, None].astype(np.float32)
        else:
            columns, loss = 10, keras.losses.CategoricalCrossentropy()
            wanted = np.eye(10, dtype=np.float32)[labels]

    def of(outputs: Tensor) -> Tensor:
        supervised = outputs[:, config.supervised_from :] if every_step else outputs
        return loss(wanted, ops.take(ops.reshape(supervised, (-1, columns)), places, axis=0))

    return of


def keras_optimizer(config: FleetConfig) -> keras.optimizers.Optimizer:
    """The optimiser of the kind, by Keras; its rate is set before every update."""
    optimizer: keras.optimizers.Optimizer = (
        keras.optimizers.RMSprop(rho=0.9, epsilon=1e-7, weight_decay=config.weight_decay)
        if config.kind == "quantile_class"
        else keras.optimizers.AdamW(
            weight_decay=config.weight_decay, beta_1=0.9, beta_2=0.999, epsilon=1e-7
        )
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def keras_training(
    model: keras.Sequential, data: Data, starts: Starts, lane: int, config: FleetConfig
) -> tuple[float, float]:
    """Train with Keras' own optimiser; the last loss, and the largest gradient norm."""
    optimizer = keras_optimizer(config)
    total, largest = np.nan, 0.0
    for update, drawn in enumerate(starts[:, lane], start=1):
        optimizer.learning_rate = config.learning_rate * min(update / config.warmup_updates, 1.0)
        x = windows(config, data.inputs[lane, :, :-1], drawn)
        loss = keras_loss(config, windows(config, data.targets[lane], drawn))
        total, gradients = loss_and_gradients(model, x, loss)
        norm = float(np.sqrt(sum(np.sum(np.square(g)) for g in gradients)))
        clipped = [g * min(1.0, config.clip_norm / norm) for g in gradients]
        optimizer.apply_gradients(zip(clipped, model.trainable_variables, strict=True))
        largest = max(largest, norm)
    return total, largest
