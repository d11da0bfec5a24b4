"""The canary of the class kinds: the future is corrupted, and no bit of the past may move.

As `test_walkforward` has it for the kind that forecasts means; what is fitted here besides are the
edges of the classes, their means, the linear path in logits and the class baselines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from lstm_models.fleet import Fleet
from lstm_models.fleet_config import Kind
from tasks import walkforward
from tasks.class_forecasts import BASELINES, Edges, edges_of_folds
from tasks.features import Floats
from tasks.folds import Fold
from tasks.methods import fit_beside
from tasks.walkforward import Subject, bounds, fit_fleet, predict_fold, subject
from tests.tasks.markets import HORIZON, ROWS, SETTINGS, Prices, garch, series_of

MARKET: Mapping[str, Prices] = {"ANT": garch(1), "BEE": garch(2).close_only()}
KINDS: tuple[Kind, ...] = ("direction", "quantile_class")
FLEET_PARTS = ("center", "spread", "skip", "recurrence", "head", "edges")
LEVELS = SETTINGS.evaluation.levels

Fitted = dict[tuple[str, int, str], bytes]
"""Bits by instrument, fold and parameter."""


def subjects_of(kind: Kind, market: Mapping[str, Prices] = MARKET) -> list[Subject]:
    return [
        subject(series_of(prices, name), "log_return", SETTINGS, kind)
        for name, prices in market.items()
    ]


def corrupted(first: int) -> dict[str, Prices]:
    wild = {name: prices.corrupted(first) for name, prices in MARKET.items()}
    return {**wild, "BEE": wild["BEE"].close_only()}


def bits(subjects: Sequence[Subject], fleet: Fleet) -> Fitted:
    """Everything that was fitted, as bytes."""
    found: Fitted = {}
    for one in subjects:
        for fold in one.folds:
            of = (one.instrument, fold.index)
            at = fleet.index(one.member(fold))
            found |= {(*of, part): getattr(fleet, part)[at].tobytes() for part in FLEET_PARTS}
            beside = fit_beside(one, fold)
            found |= {(*of, part): array.tobytes() for part, array in beside.tensors().items()}
            assert all(beside.rows().values())
    return found


def moved(before: Fitted, after: Fitted, fold: int) -> set[str]:
    """Parameters of a fold that changed for some instrument."""
    assert before.keys() == after.keys()
    return {key[2] for key in before if key[1] == fold and before[key] != after[key]}


@dataclass(frozen=True)
class Truth:
    """A kind's subjects on the true prices, their fleet, and the bits of all that was fitted."""

    kind: Kind
    subjects: list[Subject]
    fleet: Fleet
    fitted: Fitted

    @property
    def folds(self) -> tuple[Fold, ...]:
        return self.subjects[0].folds

    def after(self, first: int) -> Fitted:
        """What is fitted if all prices from row `first` on are others."""
        later = subjects_of(self.kind, corrupted(first))
        return bits(later, fit_fleet(later, SETTINGS))


@pytest.fixture(scope="module", params=KINDS)
def truth(request: pytest.FixtureRequest) -> Truth:
    subjects = subjects_of(request.param)
    fleet = fit_fleet(subjects, SETTINGS)
    return Truth(request.param, subjects, fleet, bits(subjects, fleet))


def test_the_canary_has_something_to_watch(truth: Truth) -> None:
    assert [fold.index for fold in truth.folds] == [0, 1, 2]
    learned = [report.best_update for lanes in truth.fleet.reports for report in lanes]
    assert sum(update > 0 for update in learned) > len(learned) / 4
    assert len({edges for one in truth.subjects for edges in one.edges}) == (
        1 if truth.kind == "direction" else 6
    )


def test_corrupting_all_prices_after_early_stopping_moves_no_parameter(truth: Truth) -> None:
    for fold in truth.folds[:2]:
        after = truth.after(fold.gate[0])
        for older in truth.folds[fold.index :]:
            assert moved(truth.fitted, after, older.index) == set()
        for newer in truth.folds[: fold.index]:
            assert {"center", "spread", "recurrence", "head", "frequencies"} <= moved(
                truth.fitted, after, newer.index
            )


def test_corrupting_all_prices_after_the_fit_moves_neither_edges_nor_scalers(truth: Truth) -> None:
    fold = truth.folds[0]
    assert fold.fit[1] + HORIZON == fold.early_stop[0]
    after = moved(truth.fitted, truth.after(fold.early_stop[0]), 0)
    assert not {"center", "spread", "edges", "class edges"} & after
    # The moment to stop and what is fitted on what the network has used: these may.
    assert {"class means", "frequencies", "skip"} <= after


def test_one_row_earlier_the_canary_sings(truth: Truth) -> None:
    """The return into the last embargo row belongs to no row; the one before is a fit row's."""
    fold = truth.folds[0]
    still = subjects_of(truth.kind, corrupted(fold.fit[1] + 1))
    early = subjects_of(truth.kind, corrupted(fold.fit[1] - 1))
    if truth.kind == "quantile_class":
        for one, same, other in zip(truth.subjects, still, early, strict=True):
            assert one.edges[0] == same.edges[0] != other.edges[0]
    scaled = moved(truth.fitted, truth.after(fold.fit[1] - 1), 0)
    assert {"center", "spread", "recurrence", "head"} <= scaled


def leaky_edges(
    kind: Kind, returns: Floats, folds: Sequence[Fold]
) -> tuple[tuple[Edges, ...], str | None]:
    return edges_of_folds(kind, returns, [folds[0]] * len(folds))


def test_with_edges_of_a_later_fit_segment_the_canary_sings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(walkforward, "edges_of_folds", leaky_edges)
    before = subjects_of("quantile_class")
    after = subjects_of("quantile_class", corrupted(before[0].folds[1].gate[0]))
    assert before[0].edges[1] != after[0].edges[1]


def forecasts_at(fleet: Fleet, one: Subject, fold: Fold, cutoff: int) -> dict[str, bytes]:
    """Probabilities, means, and bounds where there are any, of every method at one cutoff."""
    first = fold.gate[0]
    (lstm,) = predict_fold(fleet, [one.member(fold)], [one], [(first, cutoff + 1)])
    predicted = fit_beside(one, fold).predict(one, lstm, first)
    found = {}
    for name, mean in predicted.means.items():
        at = bounds(one, mean, first, np.array([cutoff]), LEVELS)
        chances = predicted.probabilities[name][-1]
        assert np.isfinite(mean[-1]).all()
        assert chances.sum() == pytest.approx(1.0, abs=1e-6)
        found[name] = b"".join(array.tobytes() for array in (chances, mean[-1], at.lower, at.upper))
    return found


def test_corrupting_all_prices_after_a_cutoff_moves_no_forecast_of_it(truth: Truth) -> None:
    # Ten logits need more rows than these histories have.
    fitted = {*BASELINES[truth.kind]} - ({"logit"} if truth.kind == "quantile_class" else set())
    for fold in truth.folds:
        last = fold.test[1] - 1 if fold.index else ROWS - 1
        for cutoff in {fold.gate[0], fold.calibrate[1] - 1, fold.test[0] - 1, last}:
            later = subjects_of(truth.kind, corrupted(cutoff + 1))
            for one, wild in zip(truth.subjects, later, strict=True):
                expected = forecasts_at(truth.fleet, one, fold, cutoff)
                assert forecasts_at(truth.fleet, wild, fold, cutoff) == expected
                assert set(expected) == {"lstm", "combination", *fitted}


def test_corrupting_the_cutoff_itself_moves_its_forecasts(truth: Truth) -> None:
    fold = truth.folds[1]
    later = subjects_of(truth.kind, corrupted(fold.test[0]))
    constant = {"frequencies"}  # which interval they get does change
    for one, wild in zip(truth.subjects, later, strict=True):
        true = forecasts_at(truth.fleet, one, fold, fold.test[0])
        false = forecasts_at(truth.fleet, wild, fold, fold.test[0])
        assert {name for name in true if true[name] == false[name]} <= constant
        assert true["lstm"] != false["lstm"]


def test_a_linear_path_with_slopes_is_the_logit_of_the_rows_that_were_used() -> None:
    """A history long enough for ten logits, which those above are not."""
    market = {"ANT": garch(1, 1000)}
    (one,) = subjects_of("quantile_class", market)
    gate = one.folds[0].gate[0]
    (wild,) = subjects_of("quantile_class", {"ANT": market["ANT"].corrupted(gate)})
    fleet = fit_fleet([one], SETTINGS)
    after = bits([wild], fit_fleet([wild], SETTINGS))
    assert moved(bits([one], fleet), after, 0) == set()
    path = fleet.skip[0]
    assert np.any(path[:-1])
    logit = fit_beside(one, one.folds[0]).tensors()["logit"]
    assert path[-1].tobytes() == logit[-1].tobytes()


def test_company_moves_no_bit_of_a_member(truth: Truth) -> None:
    alone = [one for one in truth.subjects if one.instrument == "BEE"]
    mine = {key: value for key, value in truth.fitted.items() if key[0] == "BEE"}
    assert bits(alone, fit_fleet(alone, SETTINGS)) == mine
