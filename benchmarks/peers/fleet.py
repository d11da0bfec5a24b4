"""Our side: the same instruments as one fleet.

Owns the stamps of the fleet's checks. The engine is used as the nightly run uses it, except that
the compiled program is as wide as there are lanes, so that its n-th call makes everyone's n-th
check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.problem import Floats, Problem
from benchmarks.peers.trial import Trial
from lstm_models import baselines, training
from lstm_models.fleet_config import FleetConfig
from lstm_models.updates import training_program
from tasks.walkforward import SKIP_FORMS


def run(problem: Problem, trial: Trial) -> None:
    """The default recipe: two seeds, on what a frozen linear fit leaves over."""
    _train(problem, trial, _config(problem))


def run_plain(problem: Problem, trial: Trial) -> None:
    """One plain LSTM per instrument: the same network as the Keras loop's."""
    _train(problem, trial, replace(_config(problem), skip=False, seeds=1))


def _config(problem: Problem) -> FleetConfig:
    """The default recipe; the burn-in is a fifth of the window, as 20 is of 100."""
    return FleetConfig(lookback=problem.lookback, burn_in=problem.lookback // 5)


def _train(problem: Problem, trial: Trial, config: FleetConfig) -> None:
    trial.begin()
    count = len(problem.names)
    config = replace(config, width=count * config.seeds)
    if problem.limit:
        config = replace(config, max_updates=problem.limit * config.check_every)
    targets, segments = problem.targets, problem.segments
    mask = np.zeros(targets.shape[:2], dtype=bool)
    mask[:, slice(*segments["fit"])] = True
    form = SKIP_FORMS["log_volatility"]
    columns = form.columns if config.skip else ()
    skip = baselines.linear_skip(problem.inputs, targets, mask, columns, ridge=form.ridge)
    members = [
        training.Member(name, series, segments["fit"], segments["early_stop"])
        for series, name in enumerate(problem.names)
    ]
    with stamped_programs(trial) as ends:
        fleet = training.fit(problem.inputs, targets, members, skip, config)
    histories = [[[mse for _, mse in lane.history] for lane in one] for one in fleet.reports]
    longest = max(len(lane) for one in histories for lane in one)
    if longest != len(ends):
        raise RuntimeError(
            f"the longest history has {longest} checks but {len(ends)} programs ran: the engine no "
            "longer checks every lane in each program, and this script must learn how it does"
        )
    trial.notes.update(ends=ends, histories=histories, scale=fleet.scale.tolist())

    def predict(series: int, cutoffs: NDArray[np.int64]) -> Floats:
        one = fleet.select([problem.names[series]])
        predictions: Floats = one.predict(problem.inputs, [series], cutoffs[None])[0]
        return predictions

    trial.finish(range(count), predict)


@contextmanager
def stamped_programs(trial: Trial) -> Iterator[list[tuple[float, float]]]:
    """When each call of the compiled training program ended: wall and processor seconds."""
    ends: list[tuple[float, float]] = []

    def stamped(*key: Any) -> Callable[..., Any]:  # noqa: ANN401
        program = training_program(*key)

        def call(*arguments: Any) -> Any:  # noqa: ANN401
            answer = program(*arguments)
            np.asarray(answer[1])  # waits for it
            ends.append(trial.since())
            return answer

        return call

    with patch.object(training, "training_program", stamped):
        yield ends
