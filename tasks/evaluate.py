"""From predictions of the folds to rows of `statistics` and `scores`.

Owns which pairs a score counts and what a row says. Never touches fitting or the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_models import intervals, scores
from lstm_models.scores import ScoreState, skill_score
from tasks import class_forecasts
from tasks.features import Floats
from tasks.folds import Fold
from tasks.identity import content_id
from tasks.kinds import default_baseline, is_class_kind, primary_score
from tasks.walkforward import CANDIDATES, INTERVAL_WINDOW, Subject, bounds

Row = dict[str, Any]


@dataclass(frozen=True)
class Evaluated:
    """One fold of one subject: every method's predictions over rows `first …`, out of sample.

    Attributes:
        methods: `(row, lead)` means by method; of a class kind those that it implies.
        probabilities: `(row, class)` by method; empty where the kind forecasts means.
        edges: `(class − 1,)` of the fold's classes; empty likewise.
    """

    one: Subject
    fold: Fold
    first: int
    methods: Mapping[str, Floats]
    evaluation_id: str
    probabilities: Mapping[str, Floats] = field(default_factory=dict)
    edges: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def default(self) -> str:
        """The default baseline, which the others are measured against."""
        return default_baseline(self.one.kind, self.one.target)

    def segments(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """The segments that are scored: the gate's, and the test's where the fold has one."""
        yield "gate", self.fold.gate
        if self.fold.test[1] > self.fold.test[0]:
            yield "test", self.fold.test


def statistics_rows(done: Evaluated) -> list[Row]:
    """Rows of `statistics`: per cutoff, the squared error averaged over leads, or the log loss.

    For the default baseline and the candidates only: it is what the gate is recomputed from.
    """
    rows: list[Row] = []
    for segment, (first, stop) in done.segments():
        for method in (done.default, *CANDIDATES):
            if method not in done.methods:
                continue
            losses = _losses(done, method, first, stop)
            rows += [
                {
                    "evaluation_id": done.evaluation_id,
                    "instrument": done.one.instrument,
                    "target": done.one.target,
                    "kind": done.one.kind,
                    "method": method,
                    "fold": done.fold.index,
                    "segment": segment,
                    "cutoff": session,
                    "loss": float(loss),
                }
                for session, loss in zip(
                    done.one.series.sessions[first:stop].tolist(), losses, strict=True
                )
                if np.isfinite(loss)
            ]
    return rows


def score_rows(done: Evaluated, level: float) -> list[Row]:
    """Rows of `scores`, one per segment, method and lead; all methods on the same pairs.

    Intervals, and so coverage and interval score, belong to the test segment: they rest on errors
    that had matured since the calibrate segment began.
    """
    rows: list[Row] = []
    for segment, (first, stop) in done.segments():
        present = np.isfinite(done.one.targets[first:stop])
        states = {
            method: ScoreState.of(_errors(done, method, first, stop), present, axis=0)
            for method in done.methods
        }
        means = {
            method: {"mse": state.mean(), **_more(done, method, segment, (first, stop), level)}
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
                            done.evaluation_id, done.fold.index, segment, method, lead, level
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
                        "level": level if segment == "test" else None,
                        **{name: _known(values[place]) for name, values in own.items()},
                    }
                )
    return rows


def _more(
    done: Evaluated, method: str, segment: str, rows: tuple[int, int], level: float
) -> dict[str, Floats]:
    """The scores of a segment beside the mean squared error, `(lead,)` each by column."""
    first, stop = rows
    more = _interval_scores(done, method, first, stop, level) if segment == "test" else {}
    if done.one.target == "log_volatility":
        since = done.fold.calibrate[0] if segment == "test" else done.first
        more["qlike"] = _qlike(done, method, since, first, stop)
    if is_class_kind(done.one.kind):
        more |= class_forecasts.scores(
            done.one.kind, *_classified(done, method, first, stop), done.edges
        )
    return more


def _skill(
    done: Evaluated, own: Mapping[str, Floats], reference: Mapping[str, Floats] | None
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


def _classified(done: Evaluated, method: str, first: int, stop: int) -> tuple[Floats, Floats]:
    """A method's probabilities `(row, class)` at rows `[first, stop)`, and the returns `(row,)`."""
    rows = slice(first - done.first, stop - done.first)
    return done.probabilities[method][rows], done.one.targets[first:stop, 0]


def _errors(done: Evaluated, method: str, first: int, stop: int) -> Floats:
    """Squared errors of rows `[first, stop)`, `(row, lead)`; NaN where the target is unknown."""
    predictions = done.methods[method][first - done.first : stop - done.first]
    return scores.squared_error(predictions, done.one.targets[first:stop])


def _interval_scores(
    done: Evaluated, method: str, first: int, stop: int, level: float
) -> dict[str, NDArray[np.float64]]:
    """Coverage and interval score per lead, over the cutoffs that have an interval."""
    start = done.fold.calibrate[0]
    found = bounds(
        done.one, done.methods[method][start - done.first :], start, np.arange(first, stop), level
    )
    truth = done.one.targets[first:stop]
    known = np.isfinite(truth) & np.isfinite(found.lower)
    inside = scores.covered(found.lower, found.upper, truth)
    price = scores.interval_score(found.lower, found.upper, truth, level=level)
    return {
        "coverage": ScoreState.of(np.where(known, inside, 0.0), known, axis=0).mean(),
        "interval_score": ScoreState.of(np.where(known, price, 0.0), known, axis=0).mean(),
    }


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


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
