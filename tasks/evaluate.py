"""From predictions of the folds to rows of `statistics` and `scores`.

Owns which pairs a score counts and what a row says. Never touches fitting or the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lstm_models import intervals, scores
from lstm_models.intervals import Bounds
from lstm_models.scores import ScoreState, skill_score
from tasks import class_forecasts, coverage
from tasks.derived_schemas import STATISTICS
from tasks.features import Floats
from tasks.folds import Fold
from tasks.identity import content_id
from tasks.kinds import default_baseline, is_class_kind, primary_score
from tasks.walkforward import CANDIDATES, INTERVAL_WINDOW, Subject, bounds

Row = dict[str, Any]

_STATISTICS = pa.schema(
    [pa.field(field.name, field.type) for field in STATISTICS if field.name != "known_at"]
)


@dataclass(frozen=True)
class Evaluated:
    """One fold of one subject: every method's predictions over rows `first …`, out of sample.

    Attributes:
        methods: `(row, lead)` means by method; of a class kind those that it implies.
        probabilities: `(row, class)` by method; empty where the kind forecasts means.
        edges: `(class − 1,)` of the fold's classes; empty likewise.
        levels: nominal coverages of the intervals; tables show the first.
    """

    one: Subject
    fold: Fold
    first: int
    methods: Mapping[str, Floats]
    evaluation_id: str
    probabilities: Mapping[str, Floats] = field(default_factory=dict)
    edges: Floats = field(default_factory=lambda: np.empty(0))
    levels: tuple[float, ...] = (0.8,)

    @cached_property
    def tested(self) -> Mapping[str, Bounds]:
        """Bounds of the test segment by method, `(level, row, lead)`: once for all that asks.

        They rest on errors that had matured since the calibrate segment began, as tonight's do.
        """
        start, (first, stop) = self.fold.calibrate[0], self.fold.test
        predictions = np.stack([mean[start - self.first :] for mean in self.methods.values()])
        found = bounds(self.one, predictions, start, np.arange(first, stop), self.levels)
        return {
            method: Bounds(found.lower[:, place], found.upper[:, place], found.residuals[place])
            for place, method in enumerate(self.methods)
        }

    @property
    def default(self) -> str:
        """The default baseline, which the others are measured against."""
        return default_baseline(self.one.kind, self.one.target)

    def segments(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """The segments that are scored: the gate's, and the test's where the fold has one."""
        yield "gate", self.fold.gate
        if self.fold.test[1] > self.fold.test[0]:
            yield "test", self.fold.test


def statistics_rows(done: Evaluated) -> pa.Table:
    """Rows of `statistics`: per cutoff, the squared error averaged over leads, or the log loss.

    Of the gate segment for the default baseline and the candidates only, which the gate is
    recomputed from; of the test segment for every method. A cutoff without a loss has no row.
    """
    parts = []
    for segment, (first, stop) in done.segments():
        for method in done.methods if segment == "test" else (done.default, *CANDIDATES):
            if method not in done.methods:
                continue
            losses = _losses(done, method, first, stop)
            known = np.isfinite(losses)
            columns = {
                "evaluation_id": done.evaluation_id,
                "instrument": done.one.instrument,
                "target": done.one.target,
                "kind": done.one.kind,
                "method": method,
                "fold": done.fold.index,
                "segment": segment,
                "cutoff": done.one.series.sessions[first:stop][known],
                "loss": losses[known],
                "difference": _differences(done, method, first, stop)[known],
                "covered": _covered(done, method, segment, (first, stop))[known],
            }
            parts.append(_table(columns, int(known.sum())))
    return pa.concat_tables([_STATISTICS.empty_table(), *parts])


def score_rows(done: Evaluated) -> list[Row]:
    """Rows of `scores`, one per segment, method and lead; all methods on the same pairs.

    Intervals, and so coverage and interval score, belong to the test segment: they rest on errors
    that had matured since the calibrate segment began.
    """
    rows: list[Row] = []
    levels = list(done.levels)
    for segment, (first, stop) in done.segments():
        present = np.isfinite(done.one.targets[first:stop])
        states = {
            method: ScoreState.of(_errors(done, method, first, stop), present, axis=0)
            for method in done.methods
        }
        means = {
            method: {"mse": state.mean(), **_more(done, method, segment, (first, stop))}
            for method, state in states.items()
        }
        reference = means.get(done.default)
        for method, own in means.items():
            skill = _skill(done, own, reference if method != done.default else None)
            for place in range(present.shape[1]):
                if not present[:, place].any():
                    continue
                lead = place + 1
                scored = np.flatnonzero(present[:, place]) + first
                sessions = done.one.series.sessions[scored[[0, -1]]].tolist()
                rows.append(
                    {
                        "score_id": content_id(
                            done.evaluation_id, done.fold.index, segment, method, lead, levels
                        ),
                        "evaluation_id": done.evaluation_id,
                        "instrument": done.one.instrument,
                        "target": done.one.target,
                        "kind": done.one.kind,
                        "lead": lead,
                        "method": method,
                        "fold": done.fold.index,
                        "segment": segment,
                        "first_cutoff": sessions[0],
                        "last_cutoff": sessions[1],
                        "count": int(states[method].count[place]),
                        "baseline": done.default,
                        "skill": skill[place],
                        "level": levels[0] if segment == "test" else None,
                        **{name: _known(values[place]) for name, values in own.items()},
                    }
                )
    return rows


def _more(done: Evaluated, method: str, segment: str, rows: tuple[int, int]) -> dict[str, Any]:
    """The scores of a segment beside the mean squared error, `(lead,)` each by column."""
    first, stop = rows
    more: dict[str, Any] = {}
    if segment == "test":
        truth = done.one.targets[first:stop]
        more |= coverage.interval_columns(done.tested[method], truth, done.levels)
    if done.one.target == "log_volatility":
        since = done.fold.calibrate[0] if segment == "test" else done.first
        more["qlike"] = _qlike(done, method, since, first, stop)
    if is_class_kind(done.one.kind):
        pairs = (done.one.kind, *_classified(done, method, first, stop), done.edges)
        more |= class_forecasts.scores(*pairs) | class_forecasts.calibrated(*pairs)
    return more


def _skill(
    done: Evaluated, own: Mapping[str, Any], reference: Mapping[str, Any] | None
) -> list[float | None]:
    """Skill per lead, of the kind's own score; None without something to measure against."""
    name = primary_score(done.one.kind)
    if reference is None:
        return [None] * len(own[name])
    return [
        skill_score(float(mine), float(theirs))
        for mine, theirs in zip(own[name], reference[name], strict=True)
    ]


def _losses(done: Evaluated, method: str, first: int, stop: int) -> Floats:
    """What the gate compares, `(row,)`: the squared error over leads, or the log loss."""
    if is_class_kind(done.one.kind):
        return class_forecasts.losses(*_classified(done, method, first, stop), done.edges)
    return np.asarray(_errors(done, method, first, stop).mean(axis=1))


def _differences(done: Evaluated, method: str, first: int, stop: int) -> Floats:
    """Squared difference from the default baseline's forecast, mean over leads, `(row,)`.

    NaN of a class kind, and where there is no default baseline.
    """
    if is_class_kind(done.one.kind) or done.default not in done.methods:
        return np.full(stop - first, np.nan)
    rows = slice(first - done.first, stop - done.first)
    apart = done.methods[method][rows] - done.methods[done.default][rows]
    return np.asarray((apart**2).mean(axis=1))


def _table(columns: Mapping[str, Any], rows: int) -> pa.Table:
    """Columns of `statistics`: arrays `(row,)`, NaN for what is not known, or one value for all."""
    arrays = [
        pa.array(columns[field.name], field.type, from_pandas=True)
        if isinstance(columns[field.name], np.ndarray)
        else pa.repeat(pa.scalar(columns[field.name], field.type), rows)
        for field in _STATISTICS
    ]
    return pa.Table.from_arrays(arrays, schema=_STATISTICS)


def _classified(done: Evaluated, method: str, first: int, stop: int) -> tuple[Floats, Floats]:
    """A method's probabilities `(row, class)` at rows `[first, stop)`, and the returns `(row,)`."""
    rows = slice(first - done.first, stop - done.first)
    return done.probabilities[method][rows], done.one.targets[first:stop, 0]


def _errors(done: Evaluated, method: str, first: int, stop: int) -> Floats:
    """Squared errors of rows `[first, stop)`, `(row, lead)`; NaN where the target is unknown."""
    predictions = done.methods[method][first - done.first : stop - done.first]
    return scores.squared_error(predictions, done.one.targets[first:stop])


def _covered(done: Evaluated, method: str, segment: str, rows: tuple[int, int]) -> Floats:
    """Share of the leads inside the interval, `(row,)`; NaN outside the test segment."""
    first, stop = rows
    if segment != "test":
        return np.full(stop - first, np.nan)
    return coverage.covered_share(done.tested[method], done.one.targets[first:stop])


def _qlike(done: Evaluated, method: str, since: int, first: int, stop: int) -> NDArray[np.float64]:
    """QLIKE per lead of the bias-corrected variance, over cutoffs with enough matured errors.

    The errors that correct it are those since row `since`: for a test those since its calibrate
    segment began, as tonight.
    """
    predictions = done.methods[method]
    end = done.first + len(predictions)
    smearing = intervals.duan_smearing(
        predictions[since - done.first :],
        done.one.targets[since:end],
        np.arange(first, stop) - since,
        window=INTERVAL_WINDOW,
    )
    truth = done.one.targets[first:stop]
    corrected = predictions[first - done.first : stop - done.first] + np.log(smearing)
    known = np.isfinite(truth) & np.isfinite(corrected)
    losses = np.where(known, scores.qlike(corrected, truth), 0.0)
    return ScoreState.of(losses, known, axis=0).mean()


def _known(value: Any) -> Any:  # noqa: ANN401 - a number of a column, or its list of records
    if isinstance(value, list):
        return value
    return float(value) if np.isfinite(value) else None
