"""The walk-forward plan of a universe before it is run: dates per fold, and networks to train.

Owns the step from stored bars to dated segments. Never trains, and never writes to the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from tasks.due import refit_session
from tasks.features import LONGEST_MEMORY
from tasks.folds import Fold, needed, plan, trainings
from tasks.history import load_series
from tasks.sessions import Calendars, ExchangeCalendar
from tasks.settings import ForecastSettings
from tasks.store import Store
from tasks.walkforward import subject

SEGMENTS = tuple(each.name for each in fields(Fold) if each.name != "index")
"""In order of time."""


@dataclass(frozen=True)
class FoldPlan:
    """The folds of one instrument at one refit.

    Attributes:
        instrument: its name.
        refit: the session after which its networks are fitted.
        sessions: those that its history has up to then, `(row,)`.
        folds: newest first, as row ranges of `sessions`; none where the history is too short.
        reason: why there is none.
        networks: networks to train, by kind and target, over all seeds.
    """

    instrument: str
    refit: date
    sessions: NDArray[np.datetime64] = field(compare=False, repr=False)
    folds: tuple[Fold, ...]
    reason: str | None
    networks: dict[tuple[str, str], int]

    def dated(self, fold: Fold, segment: str) -> tuple[date, date, int] | None:
        """First and last session of a fold's segment, and how many; None where it is empty."""
        first, stop = getattr(fold, segment)
        if first == stop:
            return None
        return self.sessions[first].item(), self.sessions[stop - 1].item(), stop - first

    def trained_with(self, fold: Fold) -> int:
        """Index of the fold whose training a fold has: of those that share it, the oldest."""
        return max(other.index for other in self.folds if other.training == fold.training)


def plans_of(
    store: Store,
    instruments: Sequence[str],
    settings: ForecastSettings,
    calendars: Calendars,
    *,
    session: date,
    as_of: datetime,
    lag: timedelta,
) -> list[FoldPlan]:
    """The plan of each instrument for its last refit up to `session`, in the order of names.

    Args:
        store: holds the bars.
        instruments: names.
        settings: what is forecast, and how.
        calendars: of the exchanges.
        session: the last session that the run may know.
        as_of: the run's knowledge time, UTC.
        lag: from a session's close to the publication of its bars.

    Raises:
        StoreError: the store can't be read.
    """
    found: list[FoldPlan] = []
    for calendar, places in calendars.grouped(instruments).items():
        published = min(session, calendar.last_session(as_of, lag))
        refit = refit_session(calendar, published, settings.training.refit_every)
        names, known = [instruments[place] for place in places], calendar.close(refit) + lag
        held = load_series(store, names, calendars, as_of=known, last=refit)
        for name in names:
            if name not in held:
                found.append(_without_bars(name, refit, settings))
                continue
            series = held[name]
            folds: tuple[Fold, ...] = ()
            reasons: list[str] = []
            networks: dict[tuple[str, str], int] = {}
            for kind, target in settings.forecasts:
                one = subject(series, target, settings, kind)
                networks[kind, target] = trainings(one.folds) * settings.model.seeds
                folds = max(folds, one.folds, key=len)
                if one.too_short is not None and one.too_short not in reasons:
                    reasons.append(one.too_short)
            reason = "; ".join(reasons) or None
            found.append(FoldPlan(name, refit, series.sessions, folds, reason, networks))
    return sorted(found, key=lambda one: one.instrument)


def _without_bars(name: str, refit: date, settings: ForecastSettings) -> FoldPlan:
    return FoldPlan(
        name,
        refit,
        np.empty(0, "datetime64[D]"),
        (),
        f"no bar of it was known when its last refit was due, after {refit}",
        dict.fromkeys(settings.forecasts, 0),
    )


def plan_of_calendar(
    calendar: ExchangeCalendar, settings: ForecastSettings, *, last: date
) -> FoldPlan:
    """The plan of a made-up instrument that has a bar at every session, with all folds.

    Its history ends with the last refit up to `last`, and is just as long as all folds need.
    """
    evaluation = settings.evaluation
    rows = LONGEST_MEMORY + needed(evaluation, settings.embargo)
    rows += evaluation.folds * evaluation.test
    refit = refit_session(calendar, last, settings.training.refit_every)
    sessions = calendar.sessions(calendar.first, refit)[-rows:]
    folds = plan(LONGEST_MEMORY, len(sessions), evaluation, settings.embargo)
    reason = None
    if not folds:
        reason = f"{calendar.name} knows {len(sessions):,} sessions, the LSTM needs {rows:,}"
    each = trainings(folds) * settings.model.seeds
    return FoldPlan(
        calendar.name, refit, sessions, folds, reason, dict.fromkeys(settings.forecasts, each)
    )
