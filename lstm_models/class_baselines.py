"""Baselines of a class forecast: probabilities of the next return's classes, in NumPy.

Owns their forms, their fits and a class network's linear skip path. Never touches Keras or scores.

A baseline is fitted to one member and fold at a time, on that member's fit rows alone. Nothing has
probability zero: to the counts of the classes each form adds one half (Krichevsky & Trofimov 1981,
the posterior mean under Jeffreys' prior). Predictions are elementwise, so that a row's bits do not
depend on how many rows are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_models import multinomial_logit
from lstm_models.classes import Edges, checked_edges, labels
from lstm_models.features import FEATURES, columns
from lstm_models.multinomial_logit import as_outputs, outputs

Floats = NDArray[np.float64]
Real = NDArray[np.floating[Any]]
Rows = NDArray[np.bool_]

CLASS_BASELINES: tuple[str, ...] = ("frequencies", "climatology", "logit")
"""Every class baseline by name. Formulas and sources are in docs/scores.md."""

DEFAULT_CLASS_BASELINE: Mapping[str, str] = {
    "direction": "frequencies",
    "quantile_class": "climatology",
}
"""What is published, per kind, unless a candidate earns its place."""

LOGIT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "direction": ("log_return", "return_5", "log_variance_22"),
    "quantile_class": (
        "abs_return",
        "log_variance_1",
        "log_variance_5",
        "log_variance_22",
        "log_variance_ewma",
    ),
}
"""What the logit reads, per kind, in the order of `FEATURES`, in which the skip path adds too.
Two classes are a direction, more are quantile classes."""

VOLATILITY = "log_variance_ewma"
PSEUDO_COUNT = 0.5
MIN_ROWS_PER_PARAMETER = 10


@dataclass(frozen=True)
class FittedClassBaseline:
    """A class baseline fitted to one member.

    Attributes:
        name: Its name in `CLASS_BASELINES`.
        edges: `(class − 1,)` of the classes that it gives probabilities of.
        parameters: `frequencies`: `(class,)` probabilities. `climatology`: `(row,)` standardised
            returns, sorted. `logit`: `(column + 1, output)` coefficients of the raw columns, the
            intercept last; one output, the log odds of a rise, for two classes, else one logit per
            class. NaN, or nothing, if not fitted.
        rows: Fit rows that were used: rows with a return and every input that the form reads.
    """

    name: str
    edges: Floats
    parameters: Floats
    rows: int

    @property
    def fitted(self) -> bool:
        """Whether there were enough rows. If not, every prediction is NaN."""
        return self.rows >= min_rows(self.name, len(self.edges) + 1)

    def predict(self, inputs: Real) -> Floats:
        """Return the probability of every class of the next return, at every row.

        Args:
            inputs: `(row, feature)` in the order of `FEATURES`, natural units.

        Returns:
            `(row, class)`: each row sums to 1. NaN where an input that the form reads is missing,
            or if it is not fitted.
        """
        _check_inputs(inputs)
        shape = (len(inputs), len(self.edges) + 1)
        if not self.fitted:
            return np.full(shape, np.nan)
        if self.name == "frequencies":
            return np.broadcast_to(self.parameters, shape).copy()
        if self.name == "climatology":
            return _climatology(self.parameters, self.edges, _volatility(inputs))
        read = inputs[:, columns(_logit_columns(shape[1]))]
        return multinomial_logit.predict(self.parameters, read)


def min_rows(name: str, classes: int) -> int:
    """Return the fit rows below which a baseline is not fitted: 10 for each of its parameters.

    `climatology` counts the free probabilities, `logit` the free coefficients; `frequencies` needs
    10 in all, whatever the classes, as it stands in where nothing else can be fitted.
    """
    parameters = {
        "frequencies": 1,
        "climatology": classes - 1,
        "logit": (len(_logit_columns(classes)) + 1) * (classes - 1),
    }
    if name not in parameters:
        raise ValueError(f"unknown class baseline {name!r}: expected one of {CLASS_BASELINES}")
    return MIN_ROWS_PER_PARAMETER * parameters[name]


def fit(name: str, inputs: Real, returns: Real, rows: Rows, edges: Edges) -> FittedClassBaseline:
    """Fit one baseline to one member.

    The caller answers for time: a row belongs in `rows` only if its next session lies before the
    end of the fit segment. Nothing outside `rows` is read.

    Args:
        name: One of `CLASS_BASELINES`.
        inputs: `(row, feature)` in the order of `FEATURES`, natural units.
        returns: `(row,)` log return of the next session, NaN where unknown.
        rows: `(row,)`, true for the rows of the fit segment.
        edges: `(class − 1,)`, see `lstm_models.classes`.

    Returns:
        The fitted baseline; `fitted` is false if fewer than `min_rows` rows could be used.

    Raises:
        ValueError: unknown name, or arrays whose axes do not agree.
    """
    edges = checked_edges(edges)
    classes = len(edges) + 1
    needed = min_rows(name, classes)
    _check_arrays(inputs, returns, rows)
    read = inputs[:, columns(_columns_read(name, classes))].astype(np.float64)
    used = rows & np.isfinite(returns) & np.isfinite(read).all(axis=-1)
    volatility = _volatility(inputs)
    if name == "climatology":
        used &= np.isfinite(volatility)
    outcomes, count = returns[used].astype(np.float64), int(used.sum())
    if name == "frequencies":
        parameters = _frequencies(outcomes, edges) if count >= needed else np.full(classes, np.nan)
    elif name == "climatology":
        parameters = np.sort(outcomes / volatility[used]) if count >= needed else np.empty(0)
    elif count >= needed:
        came = labels(outcomes, edges).astype(np.int64)
        parameters = multinomial_logit.fit(read[used], came, classes, pseudo_count=PSEUDO_COUNT)
    else:
        parameters = np.full((read.shape[1] + 1, outputs(classes)), np.nan)
    return FittedClassBaseline(name, edges, parameters, count)


def class_skip(
    kind: str, inputs: Real, returns: Real, rows: Rows, edges: Edges, *, full: bool
) -> Floats:
    """Fit the frozen linear path of a class network: logits that its own are added to.

    Args:
        kind: A key of `LOGIT_COLUMNS`.
        inputs: `(row, feature)` in the order of `FEATURES`, natural units.
        returns: `(row,)` log return of the next session, NaN where unknown.
        rows: `(row,)`, true for the rows of the fit segment (see `fit`).
        edges: `(class − 1,)`.
        full: Whether quantile classes get the `logit` baseline's coefficients, where it can be
            fitted. A direction never does: on daily bars its slopes are noise.

    Returns:
        `(feature + 1, output)`: zero outside the columns read, the intercept last. Output is one,
        the log odds of a rise, for a direction, else one logit per class. Without slopes the
        intercept is the `frequencies` baseline's: equal for all classes where no row can be used.

    Raises:
        ValueError: unknown kind, edges that do not suit it, or arrays whose axes do not agree.
    """
    if kind not in LOGIT_COLUMNS:
        raise ValueError(f"unknown class kind {kind!r}: expected one of {sorted(LOGIT_COLUMNS)}")
    edges = checked_edges(edges)
    classes = len(edges) + 1
    if (kind == "direction") != (classes == 2):
        raise ValueError(f"a direction has 2 classes, quantiles more: {kind} received {classes}")
    skip = np.zeros((len(FEATURES) + 1, outputs(classes)))
    if full and kind != "direction":
        logit = fit("logit", inputs, returns, rows, edges)
        if logit.fitted:
            skip[[*columns(LOGIT_COLUMNS[kind]), -1]] = logit.parameters
            return skip
    _check_arrays(inputs, returns, rows)
    skip[-1] = as_outputs(np.log(_frequencies(returns[rows & np.isfinite(returns)], edges)))
    return skip


def _logit_columns(classes: int) -> tuple[str, ...]:
    return LOGIT_COLUMNS["direction" if classes == 2 else "quantile_class"]


def _columns_read(name: str, classes: int) -> tuple[str, ...]:
    reads = {"frequencies": (), "climatology": (VOLATILITY,), "logit": _logit_columns(classes)}
    return reads[name]


def _frequencies(outcomes: Real, edges: Floats) -> Floats:
    """Return `(class,)` (count + ½) / (rows + class/2)."""
    counts = np.bincount(labels(outcomes, edges).astype(np.int64), minlength=len(edges) + 1)
    smoothed = counts + PSEUDO_COUNT
    return np.asarray(smoothed / smoothed.sum())


def _volatility(inputs: Real) -> Floats:
    """Return `(row,)` σ of one day; NaN where it is missing or no positive number."""
    with np.errstate(over="ignore", under="ignore"):
        volatility = np.exp(inputs[:, columns((VOLATILITY,))[0]].astype(np.float64) / 2.0)
    return np.where(np.isfinite(volatility) & (volatility > 0.0), volatility, np.nan)


def _climatology(standardised: Floats, edges: Floats, volatility: Floats) -> Floats:
    """Return `(row, class)`: add-half frequencies of σₜ × standardised returns (Hull & White 1998).

    The returns of the history as they would have been at the row's volatility.
    """
    known = ~np.isnan(volatility)
    with np.errstate(over="ignore", under="ignore"):  # an edge may lie beyond any number of σ
        bounds = edges / np.where(known, volatility, 1.0)[:, None]
    # How many lie at or below each edge: a value on an edge belongs to the class below it.
    below = np.searchsorted(standardised, bounds, side="right")
    counts = np.diff(below, axis=-1, prepend=0, append=len(standardised))
    probabilities = (counts + PSEUDO_COUNT) / (len(standardised) + PSEUDO_COUNT * counts.shape[-1])
    return np.where(known[:, None], probabilities, np.nan)


def _check_inputs(inputs: Real) -> None:
    if inputs.ndim != 2 or inputs.shape[-1] != len(FEATURES):
        raise ValueError(
            f"inputs must be (row, feature) with {len(FEATURES)} features: "
            f"received shape {inputs.shape}"
        )


def _check_arrays(inputs: Real, returns: Real, rows: Rows) -> None:
    _check_inputs(inputs)
    if returns.shape != inputs.shape[:1]:
        raise ValueError(
            f"returns must be (row,) of the inputs' {len(inputs)} rows: "
            f"received shape {returns.shape}"
        )
    if rows.dtype != np.bool_ or rows.shape != inputs.shape[:1]:
        raise ValueError(
            f"rows must be a boolean mask (row,) of shape {inputs.shape[:1]}: "
            f"received {rows.dtype} of shape {rows.shape}"
        )
