"""One side's run as it goes: a clock that stands still while we measure, and what was measured.

Owns time and validation. Never touches how a side trains.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.problem import Floats, Problem

Predict = Callable[[int, NDArray[np.int64]], Floats]
"""From a series and cutoff rows to predictions `(row, lead)` in natural units."""


class Stopwatch:
    """Seconds of wall time and of processor time, without those spent in `paused`."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    @property
    def wall(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._wall

    @property
    def cpu(self) -> float:
        """Of all threads, since the start."""
        return time.process_time() - self._cpu

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens inside."""
        wall, cpu = self.wall, self.cpu
        try:
            yield
        finally:
            self._wall = time.perf_counter() - wall
            self._cpu = time.process_time() - cpu


@dataclass(frozen=True)
class Check:
    """Validation of one instrument: when, on its training's clock, and the MSE per lead."""

    series: int
    seconds: float
    processor_seconds: float
    mse: tuple[float, ...]


@dataclass
class Trial:
    """What a side reports to while it trains; MSEs are in natural units."""

    problem: Problem
    checks: list[Check] = field(default_factory=list)
    test: dict[int, float] = field(default_factory=dict)
    validation: dict[int, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    clock: Stopwatch = field(default_factory=Stopwatch)
    _began: tuple[float, float] = (0.0, 0.0)

    def begin(self) -> None:
        """A training starts: checks are stamped with the seconds since."""
        self._began = self.since((0.0, 0.0))

    def since(self, began: tuple[float, float] | None = None) -> tuple[float, float]:
        """Seconds of wall and of processor time since this training began."""
        wall, cpu = self._began if began is None else began
        return self.clock.wall - wall, self.clock.cpu - cpu

    def check(self, series: Sequence[int], predict: Predict) -> float:
        """Measure the model as it is on the early-stop rows; mean over series and leads."""
        stamp = self.since()
        with self.clock.paused():
            found = [self._mse(one, predict, "early_stop") for one in series]
            for one, mse in zip(series, found, strict=True):
                self.checks.append(Check(one, *stamp, tuple(mse.tolist())))
            return float(np.mean(found))

    def finish(self, series: Sequence[int], predict: Predict) -> None:
        """Measure the finished model on the early-stop and the test rows."""
        with self.clock.paused():
            for one in series:
                self.validation[one] = float(self._mse(one, predict, "early_stop").mean())
                self.test[one] = float(self._mse(one, predict, "test").mean())

    def _mse(self, series: int, predict: Predict, segment: str) -> Floats:
        rows = self.problem.rows(segment)
        error = predict(series, rows) - self.problem.targets[series, rows]
        mse: Floats = (error**2).mean(axis=0)
        return mse


class EarlyStopping:
    """Stops after `patience` checks without a better one, or `limit` checks (0: no limit)."""

    def __init__(self, patience: int, limit: int) -> None:
        self.patience, self.limit = patience, limit
        self.best, self.misses, self.checks = np.inf, 0, 0

    def better(self, mse: float) -> bool:
        """Note a check; whether it is the best so far."""
        self.checks += 1
        self.misses = 0 if mse < self.best else self.misses + 1
        self.best = min(mse, self.best)
        return self.misses == 0

    @property
    def stop(self) -> bool:
        """Whether to stop."""
        return self.misses >= self.patience or bool(self.limit and self.checks >= self.limit)
