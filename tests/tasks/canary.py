"""The canary check: corrupt the future, fold by fold, and name every bit of the past that moved.

All of it lies below the store: series keep their lengths, and what comes after a row is replaced by
wild prices. An as-of read would hide the future anyway, and prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from lstm_models.fleet import Fleet
from lstm_models.fleet_config import Kind
from tasks.folds import Fold
from tasks.market import with_market
from tasks.methods import fit_beside
from tasks.sessions import Calendars
from tasks.settings import ForecastSettings
from tasks.walkforward import Subject, bounds, fit_fleet, predict_fold, subject
from tests.tasks.markets import SETTINGS, Prices, exchange, garch, series_of

Stage = Literal["fit", "training", "forecast"]
"""fit: what comes from the fit rows alone; training: all that is fitted; forecast: what is said."""
STAGES: tuple[Stage, ...] = ("fit", "training", "forecast")
FIT_PARTS = ("epsilon", "center", "spread", "scale", "edges")
FLEET_PARTS = ("center", "spread", "scale", "edges", "skip", "recurrence", "head")

ROWS = 520
"""Enough for the baseline with the most columns in the oldest of SETTINGS' folds."""
MARKET: Mapping[str, Prices] = {"ANT": garch(1, ROWS), "BEE": garch(2, ROWS).close_only()}


class Moved(NamedTuple):
    """A fitted part, or a method's forecast, that the future changed."""

    target: str
    fold: int
    stage: Stage
    part: str


@dataclass
class Canary:
    """One kind's subjects on the true prices, their fleet, and what a corrupted future does to it.

    Attributes:
        kind: of the networks.
        settings: of all.
        market: the true prices.
        targets: none: all of the kind.
    """

    kind: Kind
    settings: ForecastSettings = SETTINGS
    market: Mapping[str, Prices] = field(default_factory=lambda: MARKET)
    targets: Sequence[str] = ()

    @cached_property
    def subjects(self) -> list[Subject]:
        return self._subjects(self.market)

    @cached_property
    def fleet(self) -> Fleet:
        return fit_fleet(self.subjects, self.settings)

    @cached_property
    def fitted(self) -> dict[tuple[str, str, int, str], bytes]:
        return _bits(self.subjects, self.fleet)

    @property
    def folds(self) -> tuple[Fold, ...]:
        return self.subjects[0].folds

    def moved(
        self,
        stages: Sequence[Stage] = STAGES,
        folds: Sequence[int] | None = None,
        *,
        early: int = 0,
    ) -> set[Moved]:
        """What moves if all prices are others that a stage of a fold may not read.

        Args:
            stages: see `Stage`.
            folds: by index; none: all.
            early: rows by which the prices change too early: then something has to move.
        """
        found: set[Moved] = set()
        seen: dict[int, dict[tuple[str, str, int, str], bytes]] = {}
        for fold in self.folds if folds is None else [self.folds[index] for index in folds]:
            for stage in stages:
                if stage == "forecast":
                    found |= set(self._said_otherwise(fold, early))
                    continue
                # A target reaches `horizon` rows beyond its cutoff.
                last = fold.fit[1] if stage == "fit" else fold.early_stop[1]
                first = last + self.settings.targets.horizon - early
                if first not in seen:
                    later = self._subjects(self.corrupted(first))
                    seen[first] = _bits(later, fit_fleet(later, self.settings))
                assert seen[first].keys() == self.fitted.keys()
                found |= {
                    Moved(target, index, stage, part)
                    for (name, target, index, part), bits in seen[first].items()
                    if index == fold.index
                    and (stage == "training" or part in FIT_PARTS)
                    and bits != self.fitted[name, target, index, part]
                }
        return found

    def corrupted(self, first: int) -> dict[str, Prices]:
        """The market with wild prices from row `first` on."""
        wild = {name: prices.corrupted(first) for name, prices in self.market.items()}
        return {
            name: prices if np.isfinite(self.market[name].high).all() else prices.close_only()
            for name, prices in wild.items()
        }

    def forecasts_at(self, one: Subject, fold: Fold, cutoff: int) -> dict[str, bytes]:
        """Mean, probabilities and intervals of every method at one cutoff."""
        first = fold.gate[0]
        (lstm,) = predict_fold(self.fleet, [one.member(fold)], [one], [(first, cutoff + 1)])
        predicted = fit_beside(one, fold).predict(one, lstm, first)
        found = {}
        for name, mean in predicted.means.items():
            assert np.isfinite(mean[-1]).all()
            at = bounds(one, mean, first, np.array([cutoff]), self.settings.evaluation.levels)
            # Some errors have to have matured, and more of them for a higher level.
            if cutoff >= fold.calibrate[0] + 30:
                assert np.isfinite(at.lower).any()
            chances = predicted.probabilities.get(name, mean)[-1]
            found[name] = b"".join(a.tobytes() for a in (mean[-1], chances, at.lower, at.upper))
        return found

    def _said_otherwise(self, fold: Fold, early: int) -> Iterator[Moved]:
        for cutoff in self.cutoffs(fold):
            later = self._subjects(self.corrupted(cutoff + 1 - early))
            for one, wild in zip(self.subjects, later, strict=True):
                expected = self.forecasts_at(one, fold, cutoff)
                found = self.forecasts_at(wild, fold, cutoff)
                assert found.keys() == expected.keys()
                for name in expected:
                    if found[name] != expected[name]:
                        yield Moved(one.target, fold.index, "forecast", name)

    def cutoffs(self, fold: Fold) -> tuple[int, ...]:
        """The first of the gate segment, one with intervals, and the last that is scored."""
        last = fold.test[1] - 1 if fold.index else len(self.subjects[0].series) - 1
        return fold.gate[0], fold.calibrate[1] - 1, last

    def _subjects(self, market: Mapping[str, Prices]) -> list[Subject]:
        """All of them stand for the market that each is forecast beside."""
        names = self.settings.targets.names if self.kind == "many_to_many" else ("log_return",)
        alone = {name: series_of(prices, name) for name, prices in market.items()}
        return [
            subject(series, target, self.settings, self.kind)
            for series in with_market(alone, alone, Calendars(exchange())).values()
            for target in self.targets or names
        ]


def _bits(subjects: Sequence[Subject], fleet: Fleet) -> dict[tuple[str, str, int, str], bytes]:
    """Everything that was fitted, as bytes, by instrument, target, fold and part."""
    found: dict[tuple[str, str, int, str], bytes] = {}
    for one in subjects:
        for fold in one.folds:
            of = (one.instrument, one.target, fold.index)
            at = fleet.index(one.member(fold))
            found |= {(*of, part): getattr(fleet, part)[at].tobytes() for part in FLEET_PARTS}
            found[(*of, "epsilon")] = np.float64(one.epsilon).tobytes()
            beside = fit_beside(one, fold)
            assert all(beside.rows().values())
            found |= {(*of, part): array.tobytes() for part, array in beside.tensors().items()}
    return found
