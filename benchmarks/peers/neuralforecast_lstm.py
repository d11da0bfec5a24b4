"""Neuralforecast's `LSTM`: series one by one, or its one global model over all of them.

Owns the way from our arrays to its frame and back. Defaults except for the network's size, the loss
(ours is the squared error) and the scaler (the frame is standardised already, by the fit rows).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MSE
from neuralforecast.models import LSTM
from numpy.typing import NDArray

from benchmarks.peers.lightning import QUIET, silence, watching
from benchmarks.peers.problem import TARGET, Floats, Problem, windows
from benchmarks.peers.trial import Trial
from lstm_models.features import FEATURES

UNITS, PATIENCE = 32, 10
EVERY = {"one by one": 10, "global": 50}
"""Steps between checks. A step is 128 windows, so 10 of them see one instrument's fit rows once."""
STEPS = {"one by one": 1000, "global": 3000}
"""At most; 1,000 is the default, and early stopping ends nearly every training before it."""


def run(problem: Problem, trial: Trial) -> None:
    """Train instrument after instrument."""
    silence()
    for series in range(len(problem.names)):
        _train(problem, trial, [series], "one by one")


def run_global(problem: Problem, trial: Trial) -> None:
    """Train one model on all instruments at once; it stops by their mean validation MSE."""
    silence()
    _train(problem, trial, range(len(problem.names)), "global")


def _train(problem: Problem, trial: Trial, series: Sequence[int], how: str) -> None:
    trial.begin()
    scaled = problem.scaled()
    others = [name for name in FEATURES if name != FEATURES[TARGET]]
    columns = [FEATURES.index(name) for name in others]

    def predict(module: Any, one: int, cutoffs: NDArray[np.int64]) -> Floats:  # noqa: ANN401
        seen = torch.from_numpy(windows(scaled[one], cutoffs, problem.lookback))
        with torch.no_grad():
            answer = module(
                {
                    "insample_y": seen[..., [TARGET]],
                    "hist_exog": seen[..., columns],
                    "futr_exog": None,
                    "stat_exog": None,
                }
            )
        return problem.unscaled(answer[..., 0].numpy(), one)

    def check(module: Any) -> float:  # noqa: ANN401
        return trial.check(series, partial(predict, module))

    callback, kept = watching(check, EVERY[how], PATIENCE, problem.limit)
    forecast = NeuralForecast(
        models=[
            LSTM(
                h=problem.horizon,
                input_size=problem.lookback,
                encoder_n_layers=1,
                encoder_hidden_size=UNITS,
                decoder_layers=1,
                hist_exog_list=others,
                loss=MSE(),
                scaler_type="identity",
                max_steps=STEPS[how],
                random_seed=problem.seed + series[0],
                callbacks=[callback],
                **QUIET,
            )
        ],
        freq=1,
    )
    forecast.fit(_frame(problem, scaled, series))
    module = forecast.models[0]
    module.load_state_dict(kept["best"])
    module.eval()
    trial.finish(series, partial(predict, module))


def _frame(problem: Problem, scaled: NDArray[np.float32], series: Sequence[int]) -> pd.DataFrame:
    """The long table it wants: fit rows, and the `horizon` after them that are their targets."""
    stop = problem.segments["fit"][1] + problem.horizon
    parts = []
    for one in series:
        part = pd.DataFrame(scaled[one, :stop], columns=list(FEATURES))
        part = part.rename(columns={FEATURES[TARGET]: "y"})
        part.insert(0, "ds", np.arange(stop))
        part.insert(0, "unique_id", problem.names[one])
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
