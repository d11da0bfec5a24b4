"""Darts' `BlockRNNModel` with an LSTM, instrument after instrument, as its user guide does it.

Owns the way from our arrays to its series and back. Defaults except for the network's size.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from darts import TimeSeries
from darts.models import BlockRNNModel
from darts.utils.data.torch_datasets.utils import PLModuleInput
from numpy.typing import NDArray

from benchmarks.peers.lightning import QUIET, silence, watching
from benchmarks.peers.problem import TARGET, Floats, Problem, windows
from benchmarks.peers.trial import Trial

UNITS, EPOCHS, PATIENCE = 32, 50, 5


def run(problem: Problem, trial: Trial) -> None:
    """Train every instrument; a check once an epoch of windows at stride 1, batch 32 (default).

    The target's own past is the series; the other features are past covariates. Series are
    float32, which is quicker than darts' default of float64.
    """
    silence()
    scaled = problem.scaled()
    others = [column for column in range(scaled.shape[2]) if column != TARGET]
    stop = problem.segments["fit"][1]
    for series in range(len(problem.names)):
        trial.begin()

        def predict(module: Any, one: int, cutoffs: NDArray[np.int64]) -> Floats:  # noqa: ANN401
            seen = torch.from_numpy(windows(scaled[one], cutoffs, problem.lookback))
            with torch.no_grad():
                answer = module(
                    PLModuleInput(
                        past_target=seen[..., [TARGET]], past_covariates=seen[..., others]
                    )
                )
            return problem.unscaled(answer.prediction[:, :, 0, 0].numpy(), one)

        def check(module: Any, series: int = series) -> float:  # noqa: ANN401
            return trial.check([series], partial(predict, module))

        callback, kept = watching(check, None, PATIENCE, problem.limit)
        model = BlockRNNModel(
            input_chunk_length=problem.lookback,
            output_chunk_length=problem.horizon,
            model="LSTM",
            hidden_dim=UNITS,
            n_epochs=EPOCHS,
            random_state=problem.seed + series,
            pl_trainer_kwargs={**QUIET, "callbacks": [callback]},
        )
        # Its last window ends with the fit rows; the targets of that one reach `horizon` further.
        model.fit(
            TimeSeries.from_values(scaled[series, : stop + problem.horizon, [TARGET]].T),
            past_covariates=TimeSeries.from_values(scaled[series, :stop, others].T),
        )
        module = model.model
        module.load_state_dict(kept["best"])
        module.eval()
        trial.finish([series], partial(predict, module))
