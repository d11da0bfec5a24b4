"""Classical univariate methods of statsforecast: their losses on a panel's test sessions.

Owns what they are fitted to, and how their paths become forecasts. Never touches the network.

A method sees one instrument's series alone. Of the log return that is the log price, of the log
volatility the daily log variance. It is fitted where a fold's network is, on the newest `HISTORY`
sessions up to the last early-stop row. Later cutoffs keep its parameters and initial state, and
filter from the first of those sessions on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from benchmarks.quality.study import Panel
from lstm_models import scores
from tasks.features import Floats, Series
from tasks.folds import Fold
from tasks.settings import ForecastSettings
from tasks.walkforward import Subject, subject

METHODS = ("auto_ets", "auto_theta", "auto_arima")
HISTORY = 1_000
STRIDE = 5
"""Every how many test sessions they forecast."""
WARM_UP = 100
BIAS_STRIDE = 10
"""The bias rests on every how many fit rows, after the first `WARM_UP`."""


class Estimator(Protocol):
    """What is used of a statsforecast model."""

    def fit(self, y: Floats) -> Any:  # noqa: ANN401 - the model itself, as its class types it
        """Choose and estimate."""

    def forward(self, y: Floats, h: int) -> Mapping[str, Floats]:
        """Filter `y` without another fit; under "mean" the path `(h,)` after it."""


Estimators = Mapping[str, Callable[[], Estimator]]


def estimators() -> Estimators:
    """Makers of unfitted models by method; empty where statsforecast is not installed.

    Season length 1. ETS and Theta choose among all their forms. ARIMA(p, d, q) is chosen stepwise
    by AICc of approximate fits, with p and q at most 3.

    Sources: Hyndman & Khandakar (2008); Fiorucci et al. (2016).
    """
    if find_spec("statsforecast") is None:
        return {}
    from statsforecast.models import AutoARIMA, AutoETS, AutoTheta

    return {
        "auto_ets": lambda: AutoETS(season_length=1),
        "auto_theta": lambda: AutoTheta(season_length=1),
        "auto_arima": lambda: AutoARIMA(max_p=3, max_q=3, approximation=True, season_length=1),
    }


def with_classics(
    panel: Panel,
    series: Mapping[str, Series],
    settings: ForecastSettings,
    makers: Estimators,
) -> Panel:
    """The panel, with each method's squared errors at every `STRIDE`-th test session.

    Args:
        panel: of the kind `many_to_many`.
        series: that it was walked on, by instrument.
        settings: that it was walked with.
        makers: see `estimators`.
    """
    shape = panel.losses[panel.baseline].shape
    losses = {method: np.full(shape, np.nan) for method in makers}
    for place, name in enumerate(panel.instruments):
        one = subject(series[name], panel.target, settings, panel.kind)
        for fold in (fold for fold in one.folds if fold.index):
            rows = np.arange(*fold.test)
            days = np.searchsorted(panel.sessions, one.series.sessions[rows])
            rows, days = rows[days % STRIDE == 0], days[days % STRIDE == 0]
            for method, make in makers.items():
                said = forecasts(one, fold, rows, make())
                losses[method][place, days] = scores.squared_error(said, one.targets[rows])
    return replace(panel, losses={**panel.losses, **losses})


def forecasts(
    one: Subject, fold: Fold, cutoffs: Sequence[int] | np.ndarray, model: Estimator
) -> Floats:
    """Fit where the fold's network is fitted, forecast at later rows: `(cutoff, lead)`.

    With m the path of the method at a cutoff: a log return is m(h) less the log price there; a log
    volatility is ln of the mean of exp m over the leads up to h, plus a constant of each lead. The
    mean of an exponential is no exponential of a mean, so the constant is what targets in the fit
    rows had more than that, on average. Those targets end inside the fit rows, too.

    Args:
        one: of the kind `many_to_many`.
        fold: its fit and early-stop rows are fitted on.
        cutoffs: rows, after the fold's early-stop rows.
        model: unfitted.
    """
    stop = fold.early_stop[1]
    start = max(fold.fit[0], stop - HISTORY)
    leads = one.targets.shape[1]
    levels = _levels(one)[start:]
    if one.target == "log_return":
        levels = levels - levels[0]  # so that the currency of a price chooses no model
    with warnings.catch_warnings():
        # Of orders that a search tries and leaves.
        warnings.filterwarnings("ignore", "possible convergence problem", UserWarning)
        model.fit(levels[: stop - start])

    def paths(rows: Sequence[int] | np.ndarray) -> Floats:
        return np.array([model.forward(levels[: row - start + 1], leads)["mean"] for row in rows])

    if one.target == "log_return":
        return paths(cutoffs) - levels[np.asarray(cutoffs) - start, None]
    known = np.arange(start + WARM_UP, stop - leads, BIAS_STRIDE)
    bias = np.nanmean(one.targets[known] - _log_means(paths(known)), axis=0)
    return np.asarray(_log_means(paths(cutoffs)) + bias)


def _levels(one: Subject) -> Floats:
    """Log price of total returns from the first row on, or the log variance, `(row,)`."""
    if one.target == "log_return":
        return np.cumsum(np.where(np.isfinite(one.series.log_return), one.series.log_return, 0.0))
    return np.log(one.series.variance + one.epsilon)


def _log_means(paths: Floats) -> Floats:
    """Log of the mean of exp over the leads so far, `(cutoff, lead)`."""
    totals = np.cumsum(np.exp(paths), axis=1)
    return np.asarray(np.log(totals / np.arange(1, paths.shape[1] + 1)))
