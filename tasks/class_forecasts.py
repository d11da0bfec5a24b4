"""The class kinds on arrays: edges of a fold, its linear path, its baselines, and what they score.

Owns what differs from a forecast of means. Never touches tables, nor what is fitted on which rows.

Probabilities are `(row, class)`, classes from the lowest return up; see `lstm_models.classes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_models import calibration, class_baselines, class_scores, classes
from lstm_models.fleet_config import CLASSES, Kind
from lstm_models.scores import ScoreState
from tasks.features import Floats
from tasks.folds import Fold
from tasks.kinds import default_baseline

Edges = tuple[float, ...]
Rows = NDArray[np.bool_]

BASELINES: Mapping[Kind, tuple[str, ...]] = {
    "direction": ("frequencies", "logit"),
    "quantile_class": ("frequencies", "climatology", "logit"),
}
"""The baselines that are scored beside the network. Scaled by volatility, the one edge of a
direction stays where it is: its climatology would be its frequencies."""


def class_edges(kind: Kind, returns: Floats) -> Edges:
    """Edges of the classes: zero for a direction, else from these returns of the fit segment.

    Raises:
        ValueError: the returns do not fill every class; the message says what they lack.
    """
    known = returns[np.isfinite(returns)]
    if not len(known):
        raise ValueError(f"in its first {len(returns)} sessions no bar has one of the next session")
    if kind == "direction":
        rises = int((known > 0.0).sum())
        if rises in (0, len(known)):
            what = "no rise" if rises == 0 else "nothing but rises"
            raise ValueError(f"its first {len(known)} known returns hold {what} to learn from")
        return (0.0,)
    found = len(np.unique(known))
    if found < CLASSES[kind]:
        raise ValueError(
            f"its first {len(known)} known returns have {found} distinct values, "
            f"{CLASSES[kind]} classes need as many"
        )
    return tuple(classes.quantile_edges(known, CLASSES[kind]).tolist())


def edges_of_folds(
    kind: Kind, returns: Floats, folds: Sequence[Fold]
) -> tuple[tuple[Edges, ...], str | None]:
    """Edges of the folds, newest first, up to the first whose fit segment can't fill its classes.

    Returns:
        Edges, and the reason why the newest fold has none.
    """
    found: list[Edges] = []
    for fold in folds:
        try:
            found.append(class_edges(kind, returns[slice(*fold.fit)]))
        except ValueError as error:
            return tuple(found), None if found else str(error)
    return tuple(found), None


def skip_path(
    kind: Kind, inputs: Floats, returns: Floats, rows: Rows, edges: Edges, *, full: bool
) -> Floats:
    """The frozen linear path in logits, `(feature + 1, output)`."""
    skip: Floats = class_baselines.class_skip(kind, inputs, returns, rows, edges, full=full)
    return skip


@dataclass(frozen=True)
class FittedClasses:
    """What stands beside a class network in a fold, all from the rows that the network has used.

    Attributes:
        edges: `(class − 1,)`, of the fit segment.
        means: `(class,)` mean training return of each class, log return.
        baselines: by name, fitted.
    """

    edges: Floats
    means: Floats
    baselines: Mapping[str, class_baselines.FittedClassBaseline]

    @classmethod
    def fit(
        cls,
        inputs: Floats,
        returns: Floats,
        rows: Rows,
        edges: Edges,
        names: Sequence[str],
    ) -> FittedClasses:
        """Fit the baselines `names` on `rows (row,)` of `inputs (row, feature)` and `returns`."""
        cut = np.asarray(edges, np.float64)
        return cls(
            edges=cut,
            means=classes.class_means(returns[rows], cut),
            baselines={
                name: class_baselines.fit(name, inputs, returns, rows, cut) for name in names
            },
        )

    def probabilities(self, inputs: Floats, first: int) -> dict[str, Floats]:
        """Of every baseline that could be fitted, at the rows from `first`: `(row, class)`."""
        return {
            name: baseline.predict(inputs)[first:]
            for name, baseline in self.baselines.items()
            if baseline.fitted
        }

    def mean(self, probabilities: Floats) -> Floats:
        """The log return that probabilities imply, `(row, lead)` of the one lead there is."""
        return np.asarray(classes.implied_mean(probabilities, self.means))[:, None]


def with_networks(kind: Kind, lstm: Floats, baselines: Mapping[str, Floats]) -> dict[str, Floats]:
    """Probabilities of every method: the LSTM's, the baselines', and the combination.

    The combination is the plain mean of the LSTM and the default baseline. For quantile classes
    that is the climatology: the logit is inside the network already, as its linear path.

    Args:
        kind: of the network.
        lstm: as `Fleet.predict` gives it: `(row, 1)` of a rise, or `(row, class)`.
        baselines: probabilities by name.
    """
    own = np.concatenate([1.0 - lstm, lstm], axis=1) if lstm.shape[1] == 1 else lstm
    methods = {"lstm": own, **baselines}
    partner = methods.get(default_baseline(kind, "log_return"))
    if partner is not None:
        methods["combination"] = 0.5 * (own + partner)
    return methods


def losses(probabilities: Floats, returns: Floats, edges: Floats) -> Floats:
    """The log loss of every row, `(row,)`; NaN where the return is unknown."""
    return np.asarray(class_scores.log_loss(probabilities, classes.labels(returns, edges)))


def scores(kind: Kind, probabilities: Floats, returns: Floats, edges: Floats) -> dict[str, Floats]:
    """The kind's own scores by column, `(lead,)` each: means over the rows with a known return.

    Raises:
        ValueError: a probability is missing where the return is known.
    """
    truth = classes.labels(returns, edges)
    known = np.isfinite(truth)
    statistics = {
        "log_loss": class_scores.log_loss(probabilities, truth),
        "brier": class_scores.brier(probabilities, truth),
        "accuracy": class_scores.correct(probabilities, truth),
    }
    if kind == "direction":
        # What a test of the calls needs, with the accuracy: see `tasks.directional`.
        statistics["rises"] = truth
        statistics["called_rises"] = np.argmax(probabilities, axis=-1).astype(np.float64)
    if kind != "direction":
        statistics["rps"] = class_scores.ranked_probability_score(probabilities, truth)
    found = {
        name: ScoreState.of(statistic, known, axis=0).mean()[None]
        for name, statistic in statistics.items()
    }
    if kind == "direction":
        found["auc"] = np.array([class_scores.auc(probabilities[known, 1], truth[known])])
    return found


def calibrated(kind: Kind, probabilities: Floats, returns: Floats, edges: Floats) -> dict[str, Any]:
    """The columns `calibration` and `reliability` of the one lead there is, `(lead,)` each.

    Raises:
        ValueError: a probability is missing where the return is known.
    """
    bins = calibration.calibration(kind, probabilities, classes.labels(returns, edges))
    found = calibration.reliability(bins)
    return {
        "calibration": [[one.record() for one in bins]],
        "reliability": np.array([np.nan if found is None else found]),
    }
