"""A Keras loop as in any tutorial: one `Sequential`, one `fit`, instrument after instrument.

Owns nothing but that. The network is what `Fleet.member` gives back without a skip path.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.problem import Floats, Problem, windows
from benchmarks.peers.trial import Trial

UNITS, BATCH, EPOCHS, PATIENCE = 32, 32, 50, 5


def run(problem: Problem, trial: Trial) -> None:
    """Train every instrument on windows of stride 1, with a loss at every time step.

    An epoch sees every fit row's window once. Early stopping watches our validation MSE.
    """
    scaled, targets, lookback = problem.scaled(), problem.scaled_targets(), problem.lookback
    rows = problem.rows("fit")
    for series in range(len(problem.names)):
        trial.begin()
        keras.utils.set_random_seed(problem.seed + series)
        x = windows(scaled[series], rows, lookback)
        y = windows(targets[series], rows, lookback)
        model = keras.Sequential(
            [
                keras.Input(x.shape[1:]),
                keras.layers.LSTM(UNITS, return_sequences=True),
                keras.layers.TimeDistributed(keras.layers.Dense(problem.horizon)),
            ]
        )
        model.compile(optimizer="adam", loss="mse")

        def predict(one: int, cutoffs: NDArray[np.int64], model: Any = model) -> Floats:  # noqa: ANN401
            seen = windows(scaled[one], cutoffs, lookback)
            return problem.unscaled(model.predict(seen, verbose=0)[:, -1], one)

        def validate(_: int, logs: dict[str, float], series: int = series) -> None:
            logs["val_mse"] = trial.check([series], predict)

        model.fit(
            x,
            y,
            batch_size=BATCH,
            epochs=problem.limit or EPOCHS,
            verbose=0,
            callbacks=[
                keras.callbacks.LambdaCallback(on_epoch_end=validate),
                keras.callbacks.EarlyStopping(
                    "val_mse", patience=PATIENCE, mode="min", restore_best_weights=True
                ),
            ],
        )
        trial.finish([series], predict)
