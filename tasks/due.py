"""Which models the facts and settings call for tonight, each with its computed id.

Owns the refit sessions, a model's identity and what it starts from. Never touches training.

A model is fitted on what was known when its refit session's bars had been published, so it is the
same on every night until the next refit, and whichever runs happened to run. Refits are numbered on
the exchange's calendar; one whose number is divisible by `training.cold_every` starts from nothing,
any other from the model of the refit before, whose id is part of its own. With `training.champion`
the model of the refit before is also what the new one is compared with: as it was trained itself,
not what stood after its own comparison, so that no chain of comparisons goes back further.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime

from lstm_models.fleet_config import Kind
from tasks.features import Series
from tasks.folds import Fold
from tasks.history import load_series
from tasks.identity import FORECAST_CODE_VERSION, content_id, fingerprint
from tasks.kinds import is_class_kind
from tasks.sessions import Calendars, ExchangeCalendar
from tasks.settings import ForecastSettings, TrainingConfig
from tasks.shards import ShardRequest
from tasks.store import Store
from tasks.walkforward import Subject, subject


@dataclass(frozen=True)
class Due:
    """A model that there is to be.

    Attributes:
        model_id: hash of all that decides it.
        one: its arrays and folds, on what was known at its refit.
        refit: the session after which it is due.
        start: the model whose weights it starts from; None: it starts from nothing.
        champion: the model of the refit before, that it is compared with; None: it is not.
    """

    model_id: str
    one: Subject
    refit: date
    start: Due | None
    champion: Due | None = None

    def starts(self) -> dict[str, str]:
        """Each member of its fleet → the member of `start` that it starts from.

        That is the fold of the same index. One that is not there, or whose data would end later
        than its own (bars that were retracted in between), is no start.
        """
        if self.start is None:
            return {}
        before = {fold.index: fold for fold in self.start.one.folds}
        names: dict[str, str] = {}
        for fold in self.one.folds:
            old = before.get(fold.index)
            if old is not None and _last_used(self.start.one, old) <= _last_used(self.one, fold):
                names[self.one.member(fold)] = self.start.one.member(old)
        return names

    def champions(self) -> dict[int, str]:
        """Index of each fold that is compared → the member of `champion` that stood there before.

        That is the fold of the same index, whose data ended earlier: so before the gate segment
        that they are compared on. Where the classes have other edges nothing is to be compared.
        """
        if self.champion is None:
            return {}
        before = {fold.index: fold for fold in self.champion.one.folds}
        names: dict[int, str] = {}
        for fold in self.one.folds:
            old = before.get(fold.index)
            if old is not None and _is_comparable(self.one, fold, self.champion.one, old):
                names[fold.index] = self.champion.one.member(old)
        return names


def due_models(store: Store, request: ShardRequest) -> list[Due]:
    """The models of a shard that are due tonight; starts and champions hang on them."""
    calendars = Calendars.load(request.calendars)
    refits = {
        name: refit_sessions(request, calendars.of(name)) for name in request.shard.instruments
    }
    found: dict[tuple[str, Kind, str], Due] = {}
    for back in reversed(range(max((len(each) for each in refits.values()), default=0))):
        groups: dict[tuple[date, datetime], list[str]] = {}
        for name, sessions in refits.items():
            if back < len(sessions):
                known = calendars.of(name).close(sessions[back]) + request.lag
                groups.setdefault((sessions[back], known), []).append(name)
        level = [
            _due(
                series,
                forecast,
                refit,
                found.get((name, *forecast)),
                request.settings,
                cold=_is_cold(calendars.of(name), refit, request.settings.training),
                compared=back == 0 and request.settings.training.champion,
            )
            for (refit, known), names in sorted(groups.items())
            for name, series in load_series(
                store,
                names,
                calendars,
                as_of=known,
                last=refit,
                versions=dict(request.versions) or None,
                market=request.market,
            ).items()
            for forecast in request.settings.forecasts
        ]
        found = {(due.one.instrument, due.one.kind, due.one.target): due for due in level}
    return list(found.values())


def refit_sessions(request: ShardRequest, calendar: ExchangeCalendar) -> list[date]:
    """Tonight's refit session of a calendar, then those before it down to one from nothing.

    With champions, down to the one from nothing that the refit before goes back to.

    Tonight's is one whose bars had been published by `as_of`. Another exchange may close its
    session after the run's: that session is for the next night.
    """
    training = request.settings.training
    published = min(request.session, calendar.last_session(request.as_of, request.lag))
    newest = refit_session(calendar, published, training.refit_every)
    number = calendar.ordinal(newest) // training.refit_every
    held = (calendar.count(calendar.first, newest) - 1) // training.refit_every
    links = number % training.cold_every
    if training.champion:
        links = 1 + (number - 1) % training.cold_every
    return [
        calendar.offset(newest, -training.refit_every * back)
        for back in range(min(links, held) + 1)
    ]


def refit_session(calendar: ExchangeCalendar, session: date, every: int) -> date:
    """The last session on or before `session` after which models are refitted.

    Refits fall on every `every`-th session of the exchange's calendar, counted from 1990, so a
    model never depends on when somebody first ran the pipeline.
    """
    known = calendar.session_on_or_before(session)
    return calendar.offset(known, -(calendar.ordinal(known) % every))


def training_hash(settings: ForecastSettings, kind: Kind) -> str:
    """Identity of the settings that a trained model of a kind depends on: of no other kind's."""
    chosen = settings.model_dump(
        mode="json",
        exclude={
            "targets": {"max_stale"},
            "model": {"kinds", "bidirectional"},
            "training": {"processes", "shard_size"},
            "evaluation": {"gate_rule", "drift_sessions", "drift_significance"},
        },
    )
    if is_class_kind(kind):
        chosen["targets"] = {}
        chosen["evaluation"]["embargo"] = settings.embargo
        chosen["model"]["bidirectional"] = kind in settings.model.bidirectional
    return content_id(chosen)


def data_fingerprint(series: Series) -> str:
    """Identity of what a model reads: sessions, returns, variances, market; not price levels."""
    market = (series.market_return, series.market_variance)
    return fingerprint(
        series.sessions,
        series.ordinals,
        series.log_return,
        series.variance,
        *(part for part in market if part is not None),
    )


def _due(
    series: Series,
    forecast: tuple[Kind, str],
    refit: date,
    before: Due | None,
    settings: ForecastSettings,
    *,
    cold: bool,
    compared: bool,
) -> Due:
    kind, target = forecast
    one = subject(series, target, settings, kind)
    if before is not None and before.one.too_short is not None:
        before = None
    start = None if cold else before
    model_id = content_id(
        one.instrument,
        target,
        kind,
        refit,
        data_fingerprint(series),
        training_hash(settings, kind),
        FORECAST_CODE_VERSION,
        None if start is None else start.model_id,
    )
    due = Due(model_id, one, refit, start, before if compared else None)
    return due if due.champions() else replace(due, champion=None)


def _is_cold(calendar: ExchangeCalendar, refit: date, training: TrainingConfig) -> bool:
    """Whether the models of a refit session start from nothing."""
    return calendar.ordinal(refit) // training.refit_every % training.cold_every == 0


def _is_comparable(one: Subject, fold: Fold, before: Subject, old: Fold) -> bool:
    earlier = _last_used(before, old) < _last_used(one, fold)
    edges = one.edges[fold.index] == before.edges[old.index] if one.edges else True
    return earlier and edges and before.member(old) != one.member(fold)


def _last_used(one: Subject, fold: Fold) -> date:
    """The last session of the rows that a fold's network has used."""
    last: date = one.series.sessions[fold.early_stop[1] - 1].item()
    return last
