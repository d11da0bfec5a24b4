"""One group walked forward: every method's losses on the test sessions, and what the gate chose.

Owns the way from series to arrays of losses, through the product's own functions. Never prints.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lstm_models import scores
from lstm_models.fleet_config import Kind
from lstm_models.intervals import duan_smearing
from tasks import class_forecasts
from tasks.decisions import PUBLISHED
from tasks.evaluate import Evaluated, statistics_rows
from tasks.features import Floats, Series
from tasks.gate import decide_at
from tasks.kinds import default_baseline, is_class_kind
from tasks.methods import fit_beside
from tasks.settings import ForecastSettings
from tasks.walkforward import INTERVAL_WINDOW, bounds, fit_fleet, predict_fold, subject


@dataclass(frozen=True)
class Panel:
    """Everything scored of one kind and target on the test sessions of a group.

    Attributes:
        losses: by method `(instrument, session, lead)`: squared errors, or log losses of a class
            kind; NaN where an instrument has no such session.
        qlike: the same of volatility; empty otherwise.
        covered: by method `(instrument, session, lead)`, 1 where the first level's interval held.
        widths: the interval score of the same intervals; under `CONSTANT` that of intervals of
            constant width around what was published.
        rises: `(instrument, session)` whether the next session rose; empty unless direction.
        called: by method `(instrument, session)` whether a rise was the likelier.
        chosen: share of instruments and folds by the method that was published.
        not_fitted: instruments without a network, and why.
        seconds: that training took.
    """

    kind: Kind
    target: str
    instruments: tuple[str, ...]
    sessions: NDArray[np.datetime64]
    losses: Mapping[str, Floats]
    qlike: Mapping[str, Floats]
    covered: Mapping[str, Floats]
    widths: Mapping[str, Floats]
    rises: Floats
    called: Mapping[str, Floats]
    chosen: Mapping[str, float]
    not_fitted: Mapping[str, str]
    seconds: float

    @property
    def baseline(self) -> str:
        """The default baseline."""
        return default_baseline(self.kind, self.target)


CONSTANT = "constant"
"""In `Panel.widths`: intervals as wide as the same quantile of the plain calibration errors."""


def walk_forward(
    series: Mapping[str, Series],
    settings: ForecastSettings,
    kind: Kind,
    target: str,
) -> Panel:
    """Train, forecast, gate and score every fold.

    Raises:
        ValueError: no instrument has enough history.
    """
    subjects = [subject(one, target, settings, kind) for one in series.values()]
    able = [one for one in subjects if one.too_short is None]
    started = time.perf_counter()
    fleet = fit_fleet(able, settings)
    seconds = time.perf_counter() - started
    folds = [(one, fold) for one in able for fold in one.folds if fold.index]
    spans = [(fold.gate[0], fold.test[1]) for _, fold in folds]
    predicted = predict_fold(
        fleet, [one.member(fold) for one, fold in folds], [one for one, _ in folds], spans
    )
    done = []
    for (one, fold), (first, _), lstm in zip(folds, spans, predicted, strict=True):
        found = fit_beside(one, fold).predict(one, lstm, first)
        done.append(
            Evaluated(
                one,
                fold,
                first,
                found.means,
                f"{one.instrument} {kind} {target}",
                found.probabilities,
                found.edges,
            )
        )
    missing = {one.instrument: one.too_short for one in subjects if one.too_short is not None}
    return _panel(done, _published(done, settings), missing, settings, seconds)


def _published(done: Sequence[Evaluated], settings: ForecastSettings) -> list[str]:
    """What the gate published in each fold, from the gate rows known when its test began."""
    rows = pa.concat_tables([statistics_rows(one) for one in done])
    gate = rows.filter(pc.equal(rows["segment"], "gate"))
    ends = [_session(one, one.fold.gate[1] - 1) for one in done]
    rule, horizon = settings.evaluation.gate_rule, settings.targets.horizon
    decided = decide_at(gate, rule, horizon=horizon, limits=set(ends))
    by_name = {
        limit: {decision.instrument: decision.method for decision in decisions}
        for limit, decisions in decided.items()
    }
    return [
        by_name[end].get(one.one.instrument, one.default)
        for one, end in zip(done, ends, strict=True)
    ]


def _session(done: Evaluated, row: int) -> date:
    day: date = done.one.series.sessions[row].item()
    return day


def _panel(
    done: Sequence[Evaluated],
    published: Sequence[str],
    missing: Mapping[str, str],
    settings: ForecastSettings,
    seconds: float,
) -> Panel:
    one = done[0].one
    names = sorted({each.one.instrument for each in done})
    sessions = np.unique(
        np.concatenate([each.one.series.sessions[slice(*each.fold.test)] for each in done])
    )
    methods = [*sorted({method for each in done for method in each.methods}), PUBLISHED]
    leads = one.targets.shape[1]
    level = settings.evaluation.level

    def empty(*more: str) -> dict[str, Floats]:
        shape = (len(names), len(sessions), leads)
        return {method: np.full(shape, np.nan) for method in [*methods, *more]}

    losses, qlike, covered, widths, called = empty(), empty(), empty(), empty(CONSTANT), empty()
    rises = np.full((len(names), len(sessions)), np.nan)
    for each, choice in zip(done, published, strict=True):
        first, stop = each.fold.test
        at = names.index(each.one.instrument)
        days = np.searchsorted(sessions, each.one.series.sessions[first:stop])
        truth = each.one.targets[first:stop]
        rises[at, days] = np.where(np.isfinite(truth[:, 0]), truth[:, 0] > 0.0, np.nan)
        for method in methods:
            source = choice if method == PUBLISHED else method
            if source not in each.methods:
                continue
            losses[method][at, days] = _losses(each, source)
            if each.one.kind == "direction":
                rise = each.probabilities[source][first - each.first : stop - each.first, 1] > 0.5
                called[method][at, days, 0] = rise
            if is_class_kind(each.one.kind):
                continue
            if each.one.target == "log_volatility":
                qlike[method][at, days] = _qlike(each, source)
            if method in (PUBLISHED, "lstm"):
                lower, upper = _interval(each, source, level)
                covered[method][at, days] = _known(scores.covered(lower, upper, truth), truth)
                widths[method][at, days] = scores.interval_score(lower, upper, truth, level=level)
            if method == PUBLISHED:
                lower, upper = _constant_interval(each, source, level)
                widths[CONSTANT][at, days] = scores.interval_score(lower, upper, truth, level=level)
    return Panel(
        kind=one.kind,
        target=one.target,
        instruments=tuple(names),
        sessions=sessions,
        losses=losses,
        qlike=qlike if one.target == "log_volatility" else {},
        covered=covered,
        widths=widths,
        rises=rises,
        called={method: each[..., 0] for method, each in called.items()},
        chosen={
            method: published.count(method) / len(published) for method in sorted(set(published))
        },
        not_fitted=missing,
        seconds=seconds,
    )


def _losses(done: Evaluated, method: str) -> Floats:
    """`(row, lead)` of the test rows."""
    first, stop = done.fold.test
    rows = slice(first - done.first, stop - done.first)
    truth = done.one.targets[first:stop]
    if is_class_kind(done.one.kind):
        probabilities = done.probabilities[method][rows]
        return class_forecasts.losses(probabilities, truth[:, 0], done.edges)[:, None]
    return scores.squared_error(done.methods[method][rows], truth)


def _qlike(done: Evaluated, method: str) -> Floats:
    """QLIKE of the test rows, `(row, lead)`, each method corrected for its own bias."""
    since, (first, stop) = done.fold.calibrate[0], done.fold.test
    predictions = done.methods[method]
    smearing = duan_smearing(
        predictions[since - done.first :],
        done.one.targets[since:stop],
        np.arange(first, stop) - since,
        window=INTERVAL_WINDOW,
    )
    corrected = predictions[first - done.first : stop - done.first] + np.log(smearing)
    return scores.qlike(corrected, done.one.targets[first:stop])


def _interval(done: Evaluated, method: str, level: float) -> tuple[Floats, Floats]:
    start, (first, stop) = done.fold.calibrate[0], done.fold.test
    found = bounds(
        done.one,
        done.methods[method][start - done.first :],
        start,
        np.arange(first, stop),
        (level,),
    )
    return found.lower[0], found.upper[0]


def _constant_interval(done: Evaluated, method: str, level: float) -> tuple[Floats, Floats]:
    """The quantile of the calibrate segment's plain errors, the same for every test session."""
    start, end = done.fold.calibrate
    first, stop = done.fold.test
    sizes = np.abs(
        done.methods[method][start - done.first : end - done.first] - done.one.targets[start:end]
    )
    half = np.nanquantile(sizes, level, axis=0)
    centre = done.methods[method][first - done.first : stop - done.first]
    return centre - half, centre + half


def _known(values: Floats, truth: Floats) -> Floats:
    return np.where(np.isfinite(truth), values, np.nan)


def complete(panel: Panel, methods: Sequence[str]) -> NDArray[np.bool_]:
    """Where every one of the methods has a loss, `(instrument, session)`: the pairs compared."""
    held = [np.isfinite(panel.losses[method]).all(axis=-1) for method in methods]
    return np.asarray(np.logical_and.reduce(held))
