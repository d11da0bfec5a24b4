"""Multinomial logit with a small ridge, by Newton's method, in NumPy.

Owns the likelihood, its maximum and the logits. Never touches which columns or rows are read.

Of two classes it is the binary logit and has one output, the log odds of class 1. Of more it has
one logit per class, in the symmetric form: no class is the reference, and the intercepts of the
standardised columns sum to zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Real = NDArray[np.floating[Any]]

RIDGE = 10.0
"""Penalty ½·RIDGE·Σ slope² beside the log likelihood of all rows, on standardised columns: on every
slope of every class a normal prior of mean 0 and standard deviation 0.32. Worth ten rows."""
MAX_STEPS = 50
CONVERGED = 1e-12
"""Newton decrement, twice what is left to gain in log likelihood, per row."""


def outputs(classes: int) -> int:
    """Return how many logits there are: one for two classes, else one per class."""
    return 1 if classes == 2 else classes


def as_outputs(logits: Floats) -> Floats:
    """Return `(…, output)` from one logit per class `(…, class)`: for two their difference."""
    return logits[..., 1:] - logits[..., :1] if logits.shape[-1] == 2 else logits


def fit(
    inputs: Real,
    came: NDArray[np.int64],
    classes: int,
    *,
    pseudo_count: float,
    ridge: float = RIDGE,
) -> Floats:
    """Maximise the multinomial likelihood less the ridge (le Cessie & van Houwelingen 1992).

    `pseudo_count` more rows of every class lie at the columns' means, so that without slopes the
    probabilities are (count + pseudo_count) / (rows + class · pseudo_count) exactly, and no
    intercept is infinite.

    Args:
        inputs: `(row, column)`, finite, in natural units.
        came: `(row,)` class of each row, 0 … class − 1.
        classes: How many classes, at least 2.
        pseudo_count: See above; above zero.
        ridge: See `RIDGE`; above zero, which makes the maximum unique.

    Returns:
        `(column + 1, output)` on the raw columns, the intercept last. A constant column's are zero.
    """
    read = np.ascontiguousarray(inputs, dtype=np.float64)  # sums round by the order in memory
    count, width = read.shape
    centre = read.mean(axis=0)
    # A column is constant where it varies less than rounding could make it; its slopes are zero.
    varies = np.ptp(read, axis=0) > 1e-9 * np.abs(read).max(axis=0)
    spread = np.where(varies, read.std(axis=0), 1.0)
    design = np.zeros((width + 1, count + 1))
    design[:-1, :-1] = np.where(varies, (read - centre) / spread, 0.0).T
    design[-1] = 1.0
    targets = np.zeros((classes, count + 1))
    targets[came, np.arange(count)] = 1.0
    targets[:, -1] = pseudo_count
    weights = targets.sum(axis=0)
    penalty = np.append(np.full(width, ridge), 0.0)
    # Arrays are (class, row) and (class, term): NumPy is quick where long axes are last.
    products = (design[:, None, :] * design).reshape(-1, count + 1)
    place = np.arange(classes)

    def evaluate(coefficients: Floats) -> tuple[float, Floats]:
        log_probabilities = _log_probabilities(coefficients @ design)
        loss = 0.5 * np.sum(penalty * coefficients**2) - np.sum(targets * log_probabilities)
        return float(loss), log_probabilities

    coefficients = np.zeros((classes, width + 1))
    coefficients[:, -1] = np.log(targets.sum(axis=1))
    coefficients[:, -1] -= coefficients[:, -1].mean()
    loss, log_probabilities = evaluate(coefficients)
    for _ in range(MAX_STEPS):
        expected = weights * np.exp(log_probabilities)
        gradient = ((expected - targets) @ design.T + penalty * coefficients).ravel()
        outer = ((expected / np.sqrt(weights))[:, None, :] * design).reshape(-1, count + 1)
        hessian = -(outer @ outer.T).reshape(classes, width + 1, classes, width + 1)
        diagonal = (expected @ products.T).reshape(classes, width + 1, width + 1)
        hessian[place, :, place, :] += diagonal + np.diag(penalty)
        hessian[:, -1, :, -1] += count / classes**2  # the one free direction: a constant for all
        step = np.linalg.solve(hessian.reshape(len(gradient), -1), gradient)
        decrement, size = float(gradient @ step), 1.0
        step = step.reshape(coefficients.shape)
        if decrement <= CONVERGED * count:
            coefficients -= step  # no change of the loss to search along, but it squares the error
            break
        moved, log_probabilities = evaluate(coefficients - step)
        while moved > loss - 1e-4 * size * decrement and size > 1e-9:
            size /= 2.0
            moved, log_probabilities = evaluate(coefficients - size * step)
        coefficients -= size * step
        loss = moved
    slopes = coefficients[:, :-1] / spread
    intercepts = coefficients[:, -1] - slopes @ centre
    return as_outputs(np.concatenate([slopes.T, intercepts[None]]))


def predict(coefficients: Floats, inputs: Real) -> Floats:
    """Return `(row, class)` probabilities, NaN in a row whose inputs are not all finite.

    Term by term in the columns' order, as a network's skip path adds: a matrix product may round a
    row differently when the number of rows changes.

    Args:
        coefficients: `(column + 1, output)` of `fit`.
        inputs: `(row, column)` in natural units.
    """
    read = inputs.astype(np.float64)
    read[~np.isfinite(read).all(axis=-1)] = np.nan
    logits = np.broadcast_to(coefficients[-1], (len(read), coefficients.shape[1])).copy()
    for column, slopes in zip(read.T, coefficients[:-1], strict=True):
        logits += column[:, None] * slopes
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
    return np.ascontiguousarray(np.exp(_log_probabilities(logits.T)).T)


def _log_probabilities(logits: Floats) -> Floats:
    """Return `(class, row)` from logits of that shape."""
    shifted = logits - logits.max(axis=0)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=0)))
