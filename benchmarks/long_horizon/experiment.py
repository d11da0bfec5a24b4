"""One horizon on one version of the data: every method, scored.

Owns the order of work, in which test rows come last. Never touches files or tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.long_horizon import linear, lstm
from benchmarks.long_horizon.gate import Comparison, chosen, compared, decisions
from benchmarks.long_horizon.protocol import Errors, Floats, Segment, Split, errors
from lstm_models.fleet import Fleet, LaneReport
from tasks.gate import Decision

REPEAT, DRIFT, AR, LSTM, GATE = "Repeat", "drift", "AR", "LSTM, ungated", "gate's choice"


@dataclass(frozen=True)
class Outcome:
    """What came out at one horizon.

    Attributes:
        horizon: rows ahead.
        validation: errors of the methods that are fitted on the training rows.
        test: the same and of the gate's choice; None where test rows are left alone.
        gate: what is published of each series, decided on validation alone.
        on_validation: the LSTM against Repeat there, on rows that also decided when it stopped.
        on_test: the same on the test windows, or None.
        lanes: how the training of each network went.
    """

    horizon: int
    validation: Mapping[str, Errors]
    test: Mapping[str, Errors] | None
    gate: tuple[Decision, ...]
    on_validation: Comparison
    on_test: Comparison | None
    lanes: tuple[LaneReport, ...]

    @property
    def tested(self) -> Mapping[str, Errors]:
        """Errors on the test windows.

        Raises:
            ValueError: if they were left alone.
        """
        if self.test is None:
            raise ValueError("the test rows were left alone: there is nothing to report of them")
        return self.test


def run(
    levels: Floats, split: Split, horizon: int, names: Sequence[str], *, test: bool = True
) -> Outcome:
    """Fit, decide, and then score.

    Args:
        levels: `(row, series)`, standardised by the training rows.
        split: of the rows.
        horizon: rows ahead.
        names: of the series.
        test: whether the test rows are scored, too.

    Raises:
        ValueError: if the horizon does not fit into a segment.
    """
    fleet = lstm.fit(levels, split, horizon, names)
    cutoffs = {segment: split.cutoffs(segment, horizon) for segment in ("validation", "test")}
    validation = _scored(levels, split, horizon, fleet, "validation")
    both = validation[REPEAT], validation[LSTM]
    decided = decisions(*both, cutoffs["validation"], names, horizon)
    tested: dict[str, Errors] | None = None
    on_test: Comparison | None = None
    if test:
        tested = _scored(levels, split, horizon, fleet, "test")
        tested[GATE] = chosen(decided, tested[REPEAT], tested[LSTM], names)
        on_test = compared(tested[REPEAT], tested[LSTM], cutoffs["test"], names, horizon)
    return Outcome(
        horizon=horizon,
        validation=validation,
        test=tested,
        gate=decided,
        on_validation=compared(*both, cutoffs["validation"], names, horizon),
        on_test=on_test,
        lanes=tuple(lane for member in fleet.reports for lane in member),
    )


def _scored(
    levels: Floats, split: Split, horizon: int, fleet: Fleet, segment: Segment
) -> dict[str, Errors]:
    cutoffs = split.cutoffs(segment, horizon)
    forecasts = {
        REPEAT: linear.repeat(levels, cutoffs, horizon),
        DRIFT: linear.drift(levels, split, cutoffs, horizon),
        AR: linear.autoregression(levels, split, cutoffs, horizon),
        LSTM: lstm.forecast(fleet, levels, cutoffs, horizon),
    }
    return {name: errors(levels, cutoffs, forecast) for name, forecast in forecasts.items()}
