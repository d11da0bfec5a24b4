"""The methods of a fold, whatever its kind: what stands beside the LSTM, fitted, kept and applied.

Owns the choice between means and classes. Never touches the store: a checkpoint's arrays and notes
come and go as plain mappings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lstm_models import baselines
from lstm_models.class_baselines import FittedClassBaseline
from tasks.class_forecasts import BASELINES, FittedClasses, class_edges, with_networks
from tasks.features import Floats
from tasks.folds import Fold
from tasks.kinds import is_class_kind
from tasks.walkforward import Subject, all_methods, fit_baselines

Tensors = Mapping[str, NDArray[np.generic]]
_EDGES, _MEANS = "class edges", "class means"


@dataclass(frozen=True)
class Predicted:
    """What every method forecasts over some rows.

    Attributes:
        means: `(row, lead)` by method, in target units; of a class kind the mean that it implies.
        probabilities: `(row, class)` by method; empty where the kind forecasts means.
        edges: `(class − 1,)`; empty likewise.
    """

    means: Mapping[str, Floats]
    probabilities: Mapping[str, Floats] = field(default_factory=dict)
    edges: Floats = field(default_factory=lambda: np.empty(0))


class Beside(Protocol):
    """What stands beside the LSTM of one fold."""

    def predict(self, one: Subject, lstm: Floats, first: int) -> Predicted:
        """Every method over the rows that `lstm` covers, from `first`."""

    def tensors(self) -> dict[str, Floats]:
        """What a checkpoint holds of it, by name."""

    def rows(self) -> dict[str, int]:
        """The rows that each baseline was fitted on, by name."""


def fit_beside(one: Subject, fold: Fold) -> Beside:
    """Fit what stands beside the LSTM of a fold, on the rows that the network has used."""
    if is_class_kind(one.kind):
        edges = one.edges[fold.index]
        return _Classes(
            FittedClasses.fit(
                one.inputs, one.targets[:, 0], one.used(fold), edges, BASELINES[one.kind]
            )
        )
    return _Means(fit_baselines(one, fold))


def restore_beside(kind: str, tensors: Tensors, rows: Mapping[str, int]) -> Beside:
    """What `tensors` and `rows` were taken from, with the same bits."""
    arrays = {name: np.asarray(tensors[name], np.float64) for name in tensors}
    if not is_class_kind(kind):
        return _Means(
            {
                name: baselines.FittedBaseline(
                    name, baselines.FORMS[name], arrays[name][None], np.array([count])
                )
                for name, count in rows.items()
            }
        )
    edges = arrays[_EDGES]
    fitted = {
        name: FittedClassBaseline(name, edges, arrays[name], count) for name, count in rows.items()
    }
    return _Classes(FittedClasses(edges, arrays[_MEANS], fitted))


def fallback(one: Subject, name: str, rows: NDArray[np.bool_], first: int) -> Predicted | None:
    """One baseline for a history without an LSTM, fitted on `rows (row,)`, at those from `first`.

    Returns:
        None where it can't be fitted, or can't forecast from the last row.

    Raises:
        ValueError: the returns at `rows` do not fill the kind's classes.
    """
    if is_class_kind(one.kind):
        returns = one.targets[:, 0]
        # A direction has its classes whatever the returns; a baseline needs none of them filled.
        edges = (0.0,) if one.kind == "direction" else class_edges(one.kind, returns[rows])
        fitted = FittedClasses.fit(one.inputs, returns, rows, edges, names=(name,))
        found = _of_classes(fitted, fitted.probabilities(one.inputs, first))
    else:
        linear = baselines.fit(name, one.inputs[None], one.targets[None], rows[None])
        found = Predicted(
            {name: linear.predict(one.inputs[None])[0, first:]} if linear.fitted[0] else {}
        )
    usable = name in found.means and np.isfinite(found.means[name][-1]).all()
    return found if usable else None


@dataclass(frozen=True)
class _Means:
    fitted: Mapping[str, baselines.FittedBaseline]

    def predict(self, one: Subject, lstm: Floats, first: int) -> Predicted:
        return Predicted(all_methods(one, lstm, first, self.fitted))

    def tensors(self) -> dict[str, Floats]:
        return {name: one.coefficients[0] for name, one in self.fitted.items()}

    def rows(self) -> dict[str, int]:
        return {name: int(one.rows[0]) for name, one in self.fitted.items()}


@dataclass(frozen=True)
class _Classes:
    fitted: FittedClasses

    def predict(self, one: Subject, lstm: Floats, first: int) -> Predicted:
        beside = self.fitted.probabilities(one.inputs[: first + len(lstm)], first)
        return _of_classes(self.fitted, with_networks(one.kind, lstm, beside))

    def tensors(self) -> dict[str, Floats]:
        return {
            _EDGES: self.fitted.edges,
            _MEANS: self.fitted.means,
            **{name: one.parameters for name, one in self.fitted.baselines.items()},
        }

    def rows(self) -> dict[str, int]:
        return {name: one.rows for name, one in self.fitted.baselines.items()}


def _of_classes(fitted: FittedClasses, probabilities: Mapping[str, Floats]) -> Predicted:
    means = {name: fitted.mean(each) for name, each in probabilities.items()}
    return Predicted(means, probabilities, fitted.edges)
