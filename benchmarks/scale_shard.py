"""One shard of `benchmarks.scale`, in a child process: made-up instruments, trained and forecast.

Owns the synthetic market and the clocks of a shard. The work itself is the nightly run's own:
`tasks.walkforward` on `lstm_models`. A shard draws its instruments itself, from their numbers, so
that nothing but their numbers is sent and no process holds more than its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy.signal import lfilter

from lstm_models.fleet_config import FleetConfig
from tasks.features import Series, daily_variance
from tasks.settings import ForecastSettings
from tasks.walkforward import Subject, fit_fleet, predict_fold, subject

STEPS = 16
"""Moves within a session, of which open, high, low and close are made."""
TARGET = "log_volatility"


@dataclass(frozen=True)
class Shard:
    """What a child is asked: instruments `first … first + count − 1`, and where to keep them."""

    first: int
    count: int
    sessions: int
    settings: ForecastSettings
    checkpoint: Path
    walk_forward: bool


@dataclass
class Costs:
    """What a shard cost: wall and processor seconds by part, lanes, and what they computed."""

    lanes: int = 0
    updates: int = 0
    operations: float = 0.0
    wall: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Adds what happens inside to a part."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall[name] = self.wall.get(name, 0.0) + time.perf_counter() - wall
        self.cpu[name] = self.cpu.get(name, 0.0) + time.process_time() - cpu


def instrument(number: int, sessions: int) -> Series:
    """An instrument whose log-variance is a persistent AR(1); falls in price push it up.

    Source: the stochastic-volatility model of Harvey & Shephard (1996); persistence 0.98.
    """
    random = np.random.default_rng((20, number))
    moves = random.normal(size=(sessions, STEPS)) / np.sqrt(STEPS)
    shocks = moves.sum(axis=1)
    news = 0.2 * (0.9 * random.normal(size=sessions) - 0.44 * np.r_[0.0, shocks[:-1]])
    level = 2.0 * np.log(random.uniform(0.010, 0.025))
    spread = np.exp(0.5 * (level + lfilter([1.0], [1.0, -0.98], news)))
    path = np.cumsum(moves, axis=1) * spread[:, None]
    before = np.cumsum(np.r_[0.0, path[:-1, -1]])
    open_, close = np.exp(before), np.exp(before + path[:, -1])
    high = np.exp(before + np.maximum(path.max(axis=1), 0.0))
    low = np.exp(before + np.minimum(path.min(axis=1), 0.0))
    log_return = np.diff(np.log(close), prepend=np.nan)
    variance, has_range = daily_variance(open_, high, low, close, log_return)
    return Series(
        instrument=f"S{number:05}",
        sessions=np.datetime64("2000-01-03", "D") + np.arange(sessions),
        ordinals=np.arange(sessions),
        close=close,
        log_return=log_return,
        variance=variance,
        has_range=has_range,
    )


def train(shard: Shard, report: Callable[[str, int, int], None]) -> Costs:
    """Train every fold and seed of the shard's instruments, and write their checkpoint."""
    from lstm_models import checkpoint, training
    from lstm_models.updates import training_program

    costs, calls = Costs(), list[float]()
    with costs.part("prepare"):
        subjects = _subjects(shard)

    def timed(config: FleetConfig) -> Callable[..., Any]:
        compiled = training_program(config)

        def call(*arguments: Any) -> Any:  # noqa: ANN401 - the program's own
            began = time.process_time()
            answer = compiled(*arguments)
            calls.append(time.process_time() - began)
            return answer

        return call

    with patch.object(training, "training_program", timed), costs.part("train"):
        fleet = fit_fleet(subjects, shard.settings, lambda done, of: report("train", done, of))
    compiling = max(calls[0] - float(np.median(calls)), 0.0)
    for clock in (costs.wall, costs.cpu):
        clock["train"] -= compiling
        clock["compile"] = compiling
    lanes = [lane for seeds in fleet.reports for lane in seeds]
    costs.lanes, costs.updates = len(lanes), sum(lane.updates for lane in lanes)
    features, leads = subjects[0].inputs.shape[1], subjects[0].targets.shape[1]
    costs.operations = costs.updates * operations(fleet.config, features, leads)
    if shard.walk_forward:
        folds = [(one, fold) for one in subjects for fold in one.folds if fold.index]
        with costs.part("walk forward"):
            predict_fold(
                fleet,
                [one.member(fold) for one, fold in folds],
                [one for one, _ in folds],
                [(fold.gate[0], fold.test[1]) for _, fold in folds],
            )
    with costs.part("write"):
        shard.checkpoint.write_bytes(checkpoint.save(fleet))
    return costs


def forecast(shard: Shard, report: Callable[[str, int, int], None]) -> Costs:
    """Forecast the session after the last with every lane of the shard's checkpoint."""
    from lstm_models import checkpoint

    costs = Costs()
    subjects = _subjects(shard)
    with costs.part("load"):
        fleet, *_ = checkpoint.load(shard.checkpoint.read_bytes(), shard.checkpoint.name)
    lookback = fleet.config.lookback
    with costs.part("forecast"):
        inputs = np.stack([one.inputs[-lookback:] for one in subjects])
        series = [place for place, one in enumerate(subjects) for _ in one.folds]
        cutoffs = np.full((len(series), 1), lookback - 1)
        predictions = fleet.predict(inputs, series, cutoffs)
    if not np.isfinite(predictions).all():
        raise AssertionError(f"{shard.checkpoint.name}: a forecast is not finite")
    costs.lanes = len(series) * fleet.config.seeds
    report("forecast", costs.lanes, costs.lanes)
    return costs


def operations(config: FleetConfig, features: int, leads: int) -> float:
    """Useful floating-point operations of one lane in one update.

    Three products a step in the recurrence and three in the head: forward, and two on the way
    back. Neither gates, nor the optimiser, nor checks, nor what is computed twice are counted.
    """
    recurrence = (config.units + features + 1) * 4 * config.units
    head = (config.units + 1) * leads
    return 6.0 * config.lookback * config.windows_per_update * (recurrence + head)


def _subjects(shard: Shard) -> list[Subject]:
    numbers = range(shard.first, shard.first + shard.count)
    return [
        subject(instrument(number, shard.sessions), TARGET, shard.settings) for number in numbers
    ]
