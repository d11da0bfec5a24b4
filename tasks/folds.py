"""The walk-forward plan: for each fold, which rows fit, stop, gate, calibrate and test.

Owns segments, as row ranges of one instrument. Never touches values or dates.

Fold 0 is the model that forecasts tonight; its test segment is empty. Folds 1, 2, … test the
`test` rows before it, and the ones before those. Inside a fold the segments are disjoint and in
order, with at least `embargo` rows between them. The fit segment reaches back to the first usable
row, or `config.fit_sessions` rows where the window rolls.

Neighbouring test folds may share one training: of each `config.folds_per_refit` of them, counted
from the newest, all have the fit and early-stop segments of the oldest, and the embargo before
their gate segment is longer. Fold 0 always has its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tasks.settings import EvaluationConfig

Segment = tuple[int, int]
"""First row and stop row."""

SHORTEST_TEST = 63


@dataclass(frozen=True)
class Fold:
    """One fold's segments, in order of time."""

    index: int
    fit: Segment
    early_stop: Segment
    gate: Segment
    calibrate: Segment
    test: Segment

    @property
    def training(self) -> tuple[Segment, Segment]:
        """What decides a network's weights: equal in folds that share one training."""
        return self.fit, self.early_stop


def plan(first: int, stop: int, config: EvaluationConfig, embargo: int) -> tuple[Fold, ...]:
    """Folds for the rows `[first, stop)`, newest first; empty if not even fold 0 fits.

    As many test folds as the history holds, at most `config.folds`. If it holds none of full
    length, one with what there is, from 63 rows on.
    """
    folds: list[Fold] = []
    end = stop
    for index in range(config.folds + 1):
        fold = _fold(index, first, (end - (config.test if index else 0), end), config, embargo)
        if fold is None and index == 1:
            spare = stop - first - needed(config, embargo)
            if spare >= SHORTEST_TEST:
                fold = _fold(index, first, (stop - spare, stop), config, embargo)
        if fold is None:
            break
        folds.append(fold)
        end = fold.test[0]
    return _shared(folds, config.folds_per_refit)


def trainings(folds: Iterable[Fold]) -> int:
    """How many networks these folds of one instrument take: one for each distinct training."""
    return len({fold.training for fold in folds})


def needed(config: EvaluationConfig, embargo: int) -> int:
    """Usable rows that fold 0 needs."""
    return config.min_fit + config.early_stop + config.gate + config.calibrate + 4 * embargo


def _fold(index: int, first: int, test: Segment, config: EvaluationConfig, gap: int) -> Fold | None:
    if test[0] - first < needed(config, gap):
        return None
    calibrate = (test[0] - gap - config.calibrate, test[0] - gap)
    gate = (calibrate[0] - gap - config.gate, calibrate[0] - gap)
    early_stop = (gate[0] - gap - config.early_stop, gate[0] - gap)
    stop = early_stop[0] - gap
    if config.fit_sessions is not None:
        first = max(first, stop - config.fit_sessions)
    return Fold(index, (first, stop), early_stop, gate, calibrate, test)


def _shared(folds: list[Fold], every: int) -> tuple[Fold, ...]:
    """Test folds with the training of the oldest of their group, newest first."""
    shared = folds[:1]
    for start in range(1, len(folds), every):
        group = folds[start : start + every]
        fit, early_stop = group[-1].training
        shared += [replace(fold, fit=fit, early_stop=early_stop) for fold in group]
    return tuple(shared)
