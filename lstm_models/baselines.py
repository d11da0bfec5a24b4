"""Baselines: forecasts that a network has to beat, each a linear map of the inputs, in NumPy.

Owns their forms, their least squares and the linear skip path. Never touches Keras or scores.

Every baseline here is `intercept + columns @ slopes`, one set of coefficients per member and lead,
fitted directly to the target of that lead. A member's coefficients come from its own rows alone
and its predictions are elementwise sums, so neither its company nor the length of the time axis
changes a bit of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_models.features import FEATURES, columns

Floats = NDArray[np.float64]
Real = NDArray[np.floating[Any]]
Rows = NDArray[np.bool_]

AR_LAGS = 5
MIN_ROWS_PER_COEFFICIENT = 10
RIDGE = 1e-8
"""Ridge penalty, relative to the correlation matrix's unit diagonal: invisible beside sampling
error, but it makes the solution unique (near the one of least norm) where columns repeat."""


@dataclass(frozen=True)
class LinearForm:
    """Which linear map a baseline is.

    Attributes:
        columns: Features it reads at each of its lags.
        lags: Rows it reads: this one and the `lags - 1` before it.
        intercept: Whether a constant is fitted; without one nothing is.
        unit_slopes: Whether the slopes are held at one, so that only the constant is fitted.
        ridge: Penalty on the squared slopes of the standardised columns, in fit rows: as much as
            that many rows say that a slope is zero (Hoerl & Kennard 1970). A long history hardly
            notices; in a short one it keeps many related columns from fitting its noise.
    """

    columns: tuple[str, ...] = ()
    lags: int = 1
    intercept: bool = True
    unit_slopes: bool = False
    ridge: float = 0.0

    @property
    def min_rows(self) -> int:
        """Fit rows below which a member is not fitted; half as many where a ridge holds it."""
        slopes = 0 if self.unit_slopes else len(self.columns) * self.lags
        each = MIN_ROWS_PER_COEFFICIENT // (2 if self.ridge else 1)
        return each * (slopes + 1) if self.intercept else 0


_HAR = ("log_variance_1", "log_variance_5", "log_variance_22")
_HARX = (*_HAR, "log_return", "abs_return", "return_sign")
_HARX_LONG = (
    *_HARX,
    "log_variance_66",
    "log_variance_126",
    "log_variance_ewma",
    "return_5",
    "return_22",
)
_HARX_MARKET = (
    *_HARX_LONG,
    "market_return",
    "market_abs_return",
    "market_return_5",
    "market_log_variance_1",
    "market_log_variance_5",
    "market_log_variance_22",
)

FORMS: Mapping[str, LinearForm] = {
    "zero": LinearForm(intercept=False),
    "drift": LinearForm(),
    "ar": LinearForm(columns=("log_return",), lags=AR_LAGS),
    "har": LinearForm(columns=_HAR),
    "harx": LinearForm(columns=_HARX),
    "harx_long": LinearForm(columns=_HARX_LONG),
    "harx_market": LinearForm(columns=_HARX_MARKET, ridge=100.0),
    "ewma": LinearForm(columns=("log_variance_ewma",), unit_slopes=True),
}
"""Every baseline by name. Formulas and sources are in docs/scores.md."""

BASELINES: Mapping[str, tuple[str, ...]] = {
    "log_return": ("zero", "drift", "ar"),
    "log_volatility": ("ewma", "har", "harx", "harx_long", "harx_market"),
}
"""The baselines that are scored beside the network, per target."""

DEFAULT_BASELINE: Mapping[str, str] = {"log_return": "zero", "log_volatility": "harx_market"}
"""What is published, per target, unless a candidate earns its place."""

FALLBACKS: Mapping[str, tuple[str, ...]] = {
    "log_return": ("zero",),
    "log_volatility": ("harx_market", "har", "ewma"),
}
"""For a member with little history: the first of these that is fitted for it."""


@dataclass(frozen=True)
class FittedBaseline:
    """A baseline with one set of coefficients per member.

    Attributes:
        name: Its name in `FORMS`.
        form: Which linear map it is.
        coefficients: `(member, term, lead)`: the slopes, first by column and then by lag, then the
            intercept; NaN for a member that had too few rows.
        rows: `(member,)` fit rows that were used: rows with every input and every lead present.
    """

    name: str
    form: LinearForm
    coefficients: Floats
    rows: NDArray[np.int64]

    @property
    def fitted(self) -> Rows:
        """`(member,)`: which members had enough rows. The others' predictions are all NaN."""
        return self.rows >= self.form.min_rows

    def predict(self, inputs: Real) -> Floats:
        """Predict at every row, from that row and the ones before it.

        Args:
            inputs: `(member, time, feature)` in the order of `FEATURES`, natural units.

        Returns:
            `(member, time, lead)` in the target's units; NaN where an input that the form reads
            is missing or the member is not fitted.
        """
        _check_inputs(inputs)
        if inputs.shape[0] != self.coefficients.shape[0]:
            raise ValueError(
                f"{self.name} was fitted for {self.coefficients.shape[0]} members: "
                f"received inputs of {inputs.shape[0]}"
            )
        intercepts = self.coefficients[:, None, -1, :]
        members, time = inputs.shape[:2]
        predictions = np.broadcast_to(intercepts, (members, time, intercepts.shape[-1])).copy()
        design = _design(self.form, inputs)
        # Term by term, not a matrix product: BLAS may round a row differently when the number of
        # rows changes, and a forecast must not depend on how much history was loaded.
        for term in range(design.shape[-1]):
            predictions += design[:, :, term, None] * self.coefficients[:, None, term, :]
        return predictions


def fit(name: str, inputs: Real, targets: Real, rows: Rows) -> FittedBaseline:
    """Fit one baseline to every member.

    The caller answers for time: a row belongs in `rows` only if its whole target lies before the
    end of the fit segment. Nothing outside `rows` is read, except the earlier inputs that a row's
    own lags reach back to.

    Args:
        name: A key of `FORMS`.
        inputs: `(member, time, feature)` in the order of `FEATURES`, natural units.
        targets: `(member, time, lead)`, NaN where not matured.
        rows: `(member, time)`, true for the rows of the fit segment.

    Returns:
        The fitted baseline. A member with fewer than `FORMS[name].min_rows` usable rows is not
        fitted: `fitted` is false and its coefficients are NaN.

    Raises:
        ValueError: unknown name, or arrays whose axes do not agree.
    """
    if name not in FORMS:
        raise ValueError(f"unknown baseline {name!r}: expected one of {sorted(FORMS)}")
    form = FORMS[name]
    coefficients, counts = _least_squares(form, inputs, targets, rows)
    return FittedBaseline(name, form, coefficients, counts)


def linear_skip(
    inputs: Real, targets: Real, rows: Rows, names: Sequence[str], *, ridge: float = 0.0
) -> Floats:
    """Fit the frozen linear path of a network: the same least squares, at the full width.

    Args:
        inputs: `(member, time, feature)` in the order of `FEATURES`, natural units.
        targets: `(member, time, lead)`, NaN where not matured.
        rows: `(member, time)`, true for the rows of the fit segment (see `fit`).
        names: Features to regress on; none gives the mean training target.
        ridge: As in `LinearForm`.

    Returns:
        `(member, feature + 1, lead)`: zero outside `names`, the intercept last. All zeros for a
        member with too few rows, so that padding members stay finite.

    Raises:
        ValueError: an unknown feature, or arrays whose axes do not agree.
    """
    places = [*columns(names), len(FEATURES)]
    if len(set(places)) != len(places):
        raise ValueError(f"features must be distinct: received {list(names)}")
    form = LinearForm(columns=tuple(names), ridge=ridge)
    coefficients, _ = _least_squares(form, inputs, targets, rows)
    full = np.zeros((inputs.shape[0], len(FEATURES) + 1, targets.shape[-1]))
    full[:, places] = np.nan_to_num(coefficients, nan=0.0)
    return full


def _least_squares(
    form: LinearForm, inputs: Real, targets: Real, rows: Rows
) -> tuple[Floats, NDArray[np.int64]]:
    """Return coefficients `(member, term, lead)`, NaN where not fitted, and rows used `(member,)`.

    Members one by one, each on its own rows cut out of the padding: that is what keeps a member's
    bits free of its company. It costs about a millisecond a member.
    """
    _check_arrays(inputs, targets, rows)
    design = _design(form, inputs)
    members, _, terms = design.shape
    coefficients = np.full((members, terms + 1, targets.shape[-1]), np.nan)
    counts = np.zeros(members, dtype=np.int64)
    for member in range(members):
        present = (
            rows[member]
            & np.isfinite(design[member]).all(axis=-1)
            & np.isfinite(targets[member]).all(axis=-1)
        )
        counts[member] = present.sum()
        if counts[member] >= form.min_rows:
            coefficients[member] = _solve(form, design[member, present], targets[member, present])
    return coefficients, counts


def _solve(form: LinearForm, design: Floats, targets: Real) -> Floats:
    """Return `(term + 1, lead)` from one member's `(row, term)` and `(row, lead)`."""
    terms, leads = design.shape[-1], targets.shape[-1]
    if not form.intercept:
        return np.zeros((terms + 1, leads))
    outcomes = targets.astype(np.float64)
    if form.unit_slopes:
        slopes = np.ones((terms, leads))
        intercept = (outcomes - design.sum(axis=-1, keepdims=True)).mean(axis=0)
        return np.concatenate([slopes, intercept[None]])
    centre, outcome_centre = design.mean(axis=0), outcomes.mean(axis=0)
    deviation = design - centre
    # A column is constant where it varies less than rounding could make it; its slope is zero.
    varies = np.ptp(design, axis=0) > 1e-9 * np.abs(design).max(axis=0)
    spread = np.where(varies, np.sqrt((deviation**2).mean(axis=0)), 1.0)
    standard = np.where(varies, deviation / spread, 0.0)
    penalty = RIDGE + form.ridge / len(design)
    correlation = standard.T @ standard / len(design) + penalty * np.eye(terms)
    covariance = standard.T @ (outcomes - outcome_centre) / len(design)
    slopes = np.linalg.solve(correlation, covariance) / spread[:, None]
    intercept = outcome_centre - centre @ slopes
    return np.concatenate([slopes, intercept[None]])


def _design(form: LinearForm, inputs: Real) -> Floats:
    """Return `(member, time, term)`, terms by column then by lag, NaN before the first lag."""
    read = inputs[:, :, columns(form.columns)].astype(np.float64)
    members, time, width = read.shape
    lagged = np.full((members, time, width, form.lags), np.nan)
    for lag in range(min(form.lags, time)):
        lagged[:, lag:, :, lag] = read[:, : time - lag]
    return lagged.reshape(members, time, width * form.lags)


def _check_inputs(inputs: Real) -> None:
    if inputs.ndim != 3 or inputs.shape[-1] != len(FEATURES):
        raise ValueError(
            f"inputs must be (member, time, feature) with {len(FEATURES)} features: "
            f"received shape {inputs.shape}"
        )


def _check_arrays(inputs: Real, targets: Real, rows: Rows) -> None:
    _check_inputs(inputs)
    panel = inputs.shape[:2]
    if targets.ndim != 3 or targets.shape[:2] != panel:
        raise ValueError(
            f"targets must be (member, time, lead) with the inputs' members and time {panel}: "
            f"received shape {targets.shape}"
        )
    if rows.dtype != np.bool_ or rows.shape != panel:
        raise ValueError(
            f"rows must be a boolean mask (member, time) of shape {panel}: "
            f"received {rows.dtype} of shape {rows.shape}"
        )
