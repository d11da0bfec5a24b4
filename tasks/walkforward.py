"""Walk-forward evaluation on arrays: fit a fleet of all folds, predict, score, bound.

Owns what is fitted on which segment, and the pairs that are scored. Never touches the store.

Everything a fold fits comes from rows before its gate segment: scaler, skip path and weights from
the fit segment; the moment to stop from the early-stop segment; baselines, and the skip path that
stands in the finished model, from both, since the network used both. Forecasts of gate, calibrate
and test rows all come from `Fleet.predict` on `lookback` rows, as tonight's do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lstm_models import adaptive_intervals, baselines
from lstm_models.features import columns
from lstm_models.fleet_config import FleetConfig, Kind
from lstm_models.intervals import Bounds
from tasks.class_forecasts import Edges, edges_of_folds, skip_path
from tasks.features import (
    LONGEST_MEMORY,
    Floats,
    Series,
    features,
    first_complete,
    next_returns,
    padded,
    targets,
    variance_floor,
)
from tasks.folds import Fold, needed, plan
from tasks.kinds import is_class_kind
from tasks.settings import ForecastSettings

if TYPE_CHECKING:
    from lstm_models.fleet import Fleet

INTERVAL_WINDOW = 252
"""Rows whose matured errors an interval rests on, at most."""

SCALE_FEATURES = ("log_variance_5", "log_variance_22", "log_variance_66")
SCALE_POWER = 0.7
"""Chosen on validation years; see docs/scores.md."""

CANDIDATES = ("lstm", "combination")
SKIP_FORMS: Mapping[str, baselines.LinearForm] = {
    "log_return": baselines.FORMS["drift"],
    "log_volatility": baselines.FORMS["harx_market"],
}
"""The frozen linear path, per target: what the network's forecast starts from."""

BELIEF: dict[tuple[Kind, str], float] = {
    ("many_to_many", "log_return"): 0.15,
    ("many_to_many", "log_volatility"): 0.5,
    ("direction", "log_return"): 0.4,
    ("quantile_class", "log_return"): 1.0,
}
"""Share of what a network adds to its linear path that is forecast, by kind and target.

A network that stopped early still says too much where there is little signal. The shares are those
with the least error on validation years: a seventh for returns, about a half for volatility and
direction, all of it for deciles. Shrinking is what a prior on the variance of the forecast comes
to (James & Stein 1961)."""

COMBINED_WITH: Mapping[str, str] = {"log_return": "zero", "log_volatility": "harx_market"}
"""The baseline that is averaged with the LSTM to give the combination."""


@dataclass(frozen=True)
class Subject:
    """One instrument, target and kind: its arrays and its folds, newest first.

    `inputs (row, feature)`, `targets (row, lead)`, `scale (row,)` for intervals. `edges` are those
    of the classes by index of the fold; none where the kind forecasts means.
    """

    instrument: str
    target: str
    series: Series
    epsilon: float
    inputs: Floats
    targets: Floats
    scale: Floats
    folds: tuple[Fold, ...]
    too_short: str | None
    kind: Kind = "many_to_many"
    edges: tuple[Edges, ...] = ()

    def member(self, fold: Fold) -> str:
        """Name of a fold's LSTM: it seeds the network, so it holds dates, not positions."""
        what = self.kind if is_class_kind(self.kind) else self.target
        return f"{self.instrument}/{what}/{self.series.sessions[fold.fit[1] - 1]}"

    def used(self, fold: Fold) -> NDArray[np.bool_]:
        """The rows that a fold's network has used, `(row,)`: the baselines are fitted on them."""
        return _mask(len(self.inputs), _fitted_rows(fold))


def subject(
    series: Series, target: str, settings: ForecastSettings, kind: Kind = "many_to_many"
) -> Subject:
    """Arrays and fold plan of one instrument, target and kind, or why no LSTM is fitted."""
    evaluation = settings.evaluation
    epsilon = variance_floor(series, evaluation.min_fit)
    inputs = features(series, epsilon)
    folds = plan(first_complete(inputs), len(series), evaluation, settings.embargo)
    too_short = standstill(series)
    if too_short is None and len(series) > 1 and epsilon == 0.0:
        rows = min(evaluation.min_fit, len(series))
        too_short = f"its price never moved in its first {rows} sessions"
    elif too_short is None and not folds:
        warm_up = LONGEST_MEMORY - int(series.has_range)
        required = warm_up + needed(evaluation, settings.embargo)
        had = f"{len(series):,} session{'s' if len(series) > 1 else ''}"
        too_short = f"{had} of history, the LSTM needs {required:,}"
    edges: tuple[Edges, ...] = ()
    if is_class_kind(kind):
        outcomes = next_returns(series)[:, None]
        if too_short is None:
            edges, too_short = edges_of_folds(kind, outcomes[:, 0], folds)
            folds = folds[: len(edges)]
    else:
        outcomes = targets(series, target, settings.targets.horizon, epsilon)
    return Subject(
        instrument=series.instrument,
        target=target,
        series=series,
        epsilon=epsilon,
        inputs=inputs,
        targets=outcomes,
        scale=interval_scale(target, inputs),
        folds=() if too_short else folds,
        too_short=too_short,
        kind=kind,
        edges=edges,
    )


def standstill(series: Series) -> str | None:
    """What to say of a price that never moved, which nothing can be learnt from; None if it did."""
    if len(series) < 2 or np.ptp(series.close) > 0.0:
        return None
    return f"its price never moved in {len(series)} sessions"


def interval_scale(target: str, inputs: Floats) -> Floats:
    """What errors are divided by before they are pooled over time, `(row,)`.

    Log returns by a power of the recent volatility, of the last 5, 22 and 66 sessions: to the full
    power it would follow every burst, and volatility returns to its mean before the longer leads
    are over. Log-variances are on one scale already.
    """
    if target == "log_return":
        recent = inputs[:, columns(SCALE_FEATURES)].mean(axis=1)
        return np.asarray(np.exp(SCALE_POWER * 0.5 * recent))
    return np.ones(len(inputs))


def fit_fleet(
    subjects: Sequence[Subject],
    settings: ForecastSettings,
    report: Callable[[int, int], None] | None = None,
    *,
    start: Fleet | None = None,
    starts: Mapping[str, str] | None = None,
) -> Fleet:
    """Train the folds of all subjects as one fleet; members in the order of `subjects`, folds.

    Folds that share a training are one member.

    On a GPU the program is as wide as its memory allows, on a CPU as configured.

    Args:
        subjects: all of one kind.
        settings: of all.
        report: called with (networks done, networks).
        start: a fleet of the same kind that training starts from, where `starts` says so.
        starts: name of a member → name of the member of `start` whose weights it starts from.

    Raises:
        ValueError: if no subject has a fold.
    """
    from lstm_models.devices import fitting_width  # noqa: PLC0415 - loads TensorFlow
    from lstm_models.training import Member, fit  # noqa: PLC0415 - the same

    pairs = [
        (place, one, fold)
        for place, one in enumerate(subjects)
        for fold in {one.member(fold): fold for fold in one.folds}.values()
    ]
    if not pairs:
        raise ValueError("no instrument has enough history for a fold: nothing to train")
    members = [
        Member(
            name=one.member(fold),
            series=place,
            fit=fold.fit,
            early_stop=fold.early_stop,
            edges=one.edges[fold.index] if one.edges else (),
            start=(starts or {}).get(one.member(fold)),
        )
        for place, one, fold in pairs
    ]
    config = fleet_config(settings, subjects[0].kind)
    early = np.stack([_skip(one, fold, fold.fit, config.skip) for _, one, fold in pairs])
    final = early
    if config.skip:
        # Of the same form, or the network would have learned another path's residual.
        final = np.stack(
            [
                _skip(one, fold, _fitted_rows(fold), bool(path[:-1].any()))
                for (_, one, fold), path in zip(pairs, early, strict=True)
            ]
        )
    inputs = padded([one.inputs for one in subjects])
    outcomes = padded([one.targets for one in subjects])
    rows, features, leads = *inputs.shape[1:], outcomes.shape[2]
    width = fitting_width(config, rows=rows, features=features, leads=leads)
    wide = replace(config, width=width)
    belief = [BELIEF[one.kind, one.target] if config.skip else 1.0 for _, one, _ in pairs]
    if start is not None:  # from what its networks said, not from the share that was forecast
        shares = {member.start: share for member, share in zip(members, belief, strict=True)}
        start = _louder(start, [1.0 / shares.get(name, 1.0) for name in start.names])
    fleet = fit(inputs, outcomes, members, early, wide, start=start, report=report)
    # Forecast at the configured width, wherever it was trained.
    return replace(_louder(fleet, belief), skip=final, config=config)


def _louder(fleet: Fleet, factors: Sequence[float]) -> Fleet:
    """What each member adds to its linear path, times its factor."""
    return replace(fleet, head=fleet.head * np.array(factors, np.float32)[:, None, None, None])


def predict_fold(
    fleet: Fleet,
    members: Sequence[str],
    subjects: Sequence[Subject],
    rows: Sequence[tuple[int, int]],
) -> list[Floats]:
    """The ungated LSTM forecast of each named member over its rows, as `Fleet.predict` gives it.

    Returns:
        Per member `(row, lead)` means, `(row, 1)` probabilities of a rise, or `(row, class)`.
    """
    longest = max(stop - first for first, stop in rows)
    cutoffs = np.full((len(members), longest), -1)
    for place, (first, stop) in zip(cutoffs, rows, strict=True):
        place[: stop - first] = np.arange(first, stop)
    unique = list({id(one): one for one in subjects}.values())
    position = {id(one): place for place, one in enumerate(unique)}
    predictions = fleet.select(members).predict(
        padded([one.inputs for one in unique]), [position[id(one)] for one in subjects], cutoffs
    )
    return [
        prediction[: stop - first]
        for prediction, (first, stop) in zip(predictions, rows, strict=True)
    ]


def fit_baselines(one: Subject, fold: Fold) -> dict[str, baselines.FittedBaseline]:
    """Every baseline of the subject's target, fitted on the fold's fit and early-stop rows."""
    rows = one.used(fold)
    return {
        name: baselines.fit(name, one.inputs[None], one.targets[None], rows[None])
        for name in baselines.BASELINES[one.target]
    }


def all_methods(
    one: Subject, lstm: Floats, first: int, fitted: Mapping[str, baselines.FittedBaseline]
) -> dict[str, Floats]:
    """Predictions of every method over the rows that `lstm` covers, from `first`: `(row, lead)`.

    Baselines that could not be fitted are left out.
    """
    stop = first + len(lstm)
    methods = {"lstm": lstm}
    for name, baseline in fitted.items():
        if baseline.fitted[0]:
            methods[name] = baseline.predict(one.inputs[None, :stop])[0, first:]
    partner = methods.get(COMBINED_WITH[one.target])
    if partner is not None:
        methods["combination"] = 0.5 * (lstm + partner)
    return methods


def bounds(
    one: Subject,
    predictions: Floats,
    first: int,
    cutoffs: NDArray[np.integer],
    levels: Sequence[float],
) -> Bounds:
    """Adaptive conformal bounds at `cutoffs` from errors since `first` that had matured by then.

    Args:
        one: the subject.
        predictions: `(..., row, lead)`, of rows `first …`, all out of sample.
        first: see `predictions`.
        cutoffs: rows, `first` or later.
        levels: nominal coverages.

    Returns:
        `lower` and `upper` `(level, ..., cutoff, lead)`.
    """
    stop = first + predictions.shape[-2]
    return adaptive_intervals.adaptive_bounds(
        predictions,
        np.broadcast_to(one.targets[first:stop], predictions.shape),
        np.broadcast_to(one.scale[first:stop], predictions.shape[:-1]),
        np.asarray(cutoffs) - first,
        levels=levels,
        window=INTERVAL_WINDOW,
    )


def fleet_config(settings: ForecastSettings, kind: Kind) -> FleetConfig:
    """The config of a kind's fleet from the settings."""
    model, training = settings.model, settings.training
    return FleetConfig(
        units=model.units,
        lookback=model.lookback,
        burn_in=model.burn_in,
        seeds=model.seeds,
        skip=model.skip,
        learning_rate=training.learning_rate,
        warmup_updates=training.warmup_updates,
        weight_decay=training.weight_decay,
        clip_norm=training.clip_norm,
        windows_per_update=training.windows_per_update,
        check_every=training.check_every,
        patience=training.patience,
        max_updates=training.max_updates,
        width=training.fleet_width,
        kind=kind,
        bidirectional=kind in model.bidirectional,
    )


def _skip(one: Subject, fold: Fold, segment: tuple[int, int], full: bool) -> Floats:
    """Coefficients of the linear path, `(feature + 1, output)`.

    Only the mean unless `full`, or where the segment has too few complete rows for more.
    """
    rows = _mask(len(one.inputs), segment)[None]
    if is_class_kind(one.kind):
        edges = one.edges[fold.index]
        return skip_path(one.kind, one.inputs, one.targets[:, 0], rows[0], edges, full=full)
    inputs, targets = one.inputs[None], one.targets[None]
    form = SKIP_FORMS[one.target]
    if full and form.columns:
        skip: Floats = baselines.linear_skip(inputs, targets, rows, form.columns, ridge=form.ridge)[
            0
        ]
        if skip.any():
            return skip
    mean: Floats = baselines.linear_skip(inputs, targets, rows, ())[0]
    return mean


def _fitted_rows(fold: Fold) -> tuple[int, int]:
    """From the first fit row to the last early-stop row: what the network has used.

    The embargo rows between the two are history by then, so they count as well.
    """
    return fold.fit[0], fold.early_stop[1]


def _mask(rows: int, segment: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(rows, dtype=bool)
    mask[slice(*segment)] = True
    return mask
