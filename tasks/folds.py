"""The walk-forward plan: for each fold, which rows fit, stop, gate, calibrate and test.

Owns segments, as row ranges of one instrument. Never touches values or dates.

Fold 0 is the model that forecasts tonight; its test segment is empty. Folds 1, 2, … test the
`test` rows before it, and the ones before those. Inside a fold the segments are disjoint and in
order, with `embargo` rows between them, and the fit segment reaches back to the first usable row.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    return tuple(folds)


def needed(config: EvaluationConfig, embargo: int) -> int:
    """Usable rows that fold 0 needs."""
    return config.min_fit + config.early_stop + config.gate + config.calibrate + 4 * embargo


def _fold(index: int, first: int, test: Segment, config: EvaluationConfig, gap: int) -> Fold | None:
    if test[0] - first < needed(config, gap):
        return None
    calibrate = (test[0] - gap - config.calibrate, test[0] - gap)
    gate = (calibrate[0] - gap - config.gate, calibrate[0] - gap)
    early_stop = (gate[0] - gap - config.early_stop, gate[0] - gap)
    fit = (first, early_stop[0] - gap)
    return Fold(index, fit, early_stop, gate, calibrate, test)
