"""The walk-forward plan: its segments as properties, and its edges by hand."""

import math
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tasks.folds import SHORTEST_TEST, Fold, needed, plan, trainings
from tasks.settings import EvaluationConfig


class Case(NamedTuple):
    first: int
    stop: int
    config: EvaluationConfig
    embargo: int

    @property
    def spare(self) -> int:
        """Rows beyond what tonight's fold needs: what tests can be made of."""
        return self.stop - self.first - needed(self.config, self.embargo)

    def folds(self) -> tuple[Fold, ...]:
        return plan(*self)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Expanding and rolling windows, a refit for every fold or for several."""
    min_fit = draw(st.integers(50, 90))
    config = EvaluationConfig(
        folds=draw(st.integers(1, 6)),
        min_fit=min_fit,
        fit_sessions=draw(st.none() | st.integers(min_fit, 300)),
        folds_per_refit=draw(st.integers(1, 4)),
        early_stop=draw(st.integers(20, 40)),
        gate=draw(st.integers(20, 40)),
        calibrate=draw(st.integers(60, 80)),
        test=draw(st.integers(1, 150)),
    )
    first, embargo = draw(st.integers(0, 150)), draw(st.integers(0, 12))
    spare = draw(st.integers(-5, 600))
    return Case(first, first + needed(config, embargo) + spare, config, embargo)


def segments(fold: Fold) -> list[tuple[int, int]]:
    return [fold.fit, fold.early_stop, fold.gate, fold.calibrate, fold.test]


@given(cases())
def test_segments_are_in_order_inside_the_rows_and_an_embargo_apart(case: Case) -> None:
    folds = case.folds()
    for fold in folds:
        parts = segments(fold)
        assert case.first <= parts[0][0]
        assert parts[-1][1] <= case.stop
        for place, ((first, stop), (following, _)) in enumerate(pairwise(parts)):
            assert first < stop
            # Only a training that is an older fold's leaves more than an embargo before the gate.
            shared = place == 1 and any(
                older.training == fold.training for older in folds[fold.index + 1 :]
            )
            gap = following - stop
            assert gap > case.embargo if shared else gap == case.embargo


@given(cases())
def test_of_each_group_of_test_folds_all_have_the_training_of_the_oldest(case: Case) -> None:
    folds, every = case.folds(), case.config.folds_per_refit
    one_each = plan(
        case.first,
        case.stop,
        case.config.model_copy(update={"folds_per_refit": 1}),
        case.embargo,
    )
    assert [(f.index, f.gate, f.calibrate, f.test) for f in folds] == [
        (f.index, f.gate, f.calibrate, f.test) for f in one_each
    ]
    assert folds[:1] == one_each[:1]
    for fold in folds[1:]:
        last_of_group = -(-fold.index // every) * every
        oldest = one_each[min(last_of_group, len(folds) - 1)]
        assert fold.training == oldest.training
    assert trainings(folds) == (1 + math.ceil((len(folds) - 1) / every) if folds else 0)


@given(cases())
def test_a_window_rolls_once_the_history_is_longer_and_never_falls_short(case: Case) -> None:
    most = case.config.fit_sessions
    for fold in case.folds():
        first, stop = fold.fit
        assert stop - first >= case.config.min_fit
        if most is None or stop - case.first <= most:
            assert first == case.first
        else:
            assert stop - first == most


@given(cases())
def test_segments_have_the_lengths_that_were_asked_for(case: Case) -> None:
    config = case.config
    for fold in case.folds():
        lengths = [stop - first for first, stop in segments(fold)]
        assert lengths[1:4] == [config.early_stop, config.gate, config.calibrate]
        if fold.index == 0:
            assert lengths[4] == 0
        elif case.spare >= config.test:
            assert lengths[4] == config.test
        else:
            assert lengths[4] == case.spare


@given(cases())
def test_tests_tile_backwards_from_the_last_row(case: Case) -> None:
    folds = case.folds()
    assume(folds)
    assert [fold.index for fold in folds] == list(range(len(folds)))
    assert folds[0].test == (case.stop, case.stop)
    for newer, older in pairwise(folds):
        assert older.test[1] == newer.test[0]


@given(cases())
def test_there_are_as_many_folds_as_the_history_holds(case: Case) -> None:
    config = case.config
    tests = len(case.folds()) - 1
    if case.spare < 0:
        assert tests == -1
    elif case.spare >= config.test:
        assert tests == min(config.folds, case.spare // config.test)
    else:
        assert tests == (case.spare >= SHORTEST_TEST)


@given(cases())
def test_what_is_needed_is_exactly_the_threshold(case: Case) -> None:
    enough = case._replace(stop=case.first + needed(case.config, case.embargo))
    (fold,) = enough.folds()[:1]
    assert fold.fit == (case.first, case.first + case.config.min_fit)  # fit_sessions are no fewer
    assert enough._replace(stop=enough.stop - 1).folds() == ()


@given(cases(), st.integers(1, 30))
def test_a_longer_history_moves_folds_but_never_their_lengths(case: Case, more: int) -> None:
    assume(case.spare >= case.config.test)
    case = case._replace(config=case.config.model_copy(update={"folds_per_refit": 1}))
    longer = case._replace(stop=case.stop + more)
    for fold, moved in zip(case.folds(), longer.folds(), strict=False):
        for (first, stop), (later, end) in zip(
            segments(fold)[1:], segments(moved)[1:], strict=True
        ):
            assert (later, end) == (first + more, stop + more)


DEFAULT = EvaluationConfig()


def test_the_default_plan_of_ten_years_by_hand() -> None:
    folds = plan(126, 2520, DEFAULT, 5)
    assert len(folds) == 5
    assert folds[0] == Fold(0, (126, 1870), (1875, 2127), (2132, 2384), (2389, 2515), (2520, 2520))
    assert folds[1].test == (2268, 2520)
    assert folds[4] == Fold(4, (126, 862), (867, 1119), (1124, 1376), (1381, 1507), (1512, 1764))


def test_two_folds_per_refit_and_a_window_of_two_years_by_hand() -> None:
    config = EvaluationConfig(fit_sessions=504, folds_per_refit=2)
    folds = plan(126, 2520, config, 5)
    assert folds[0] == Fold(0, (1366, 1870), (1875, 2127), (2132, 2384), (2389, 2515), (2520, 2520))
    assert folds[1] == Fold(1, (862, 1366), (1371, 1623), (1880, 2132), (2137, 2263), (2268, 2520))
    assert folds[2] == Fold(2, (862, 1366), (1371, 1623), (1628, 1880), (1885, 2011), (2016, 2268))
    assert folds[3].training == folds[4].training == ((358, 862), (867, 1119))
    assert trainings(folds) == 3
    assert trainings(()) == 0


@pytest.mark.parametrize(("spare", "test"), [(62, None), (63, 63), (251, 251), (252, 252)])
def test_a_history_without_a_whole_test_has_one_of_what_there_is(
    spare: int, test: int | None
) -> None:
    stop = 126 + needed(DEFAULT, 5) + spare
    folds = plan(126, stop, DEFAULT, 5)
    assert len(folds) == (1 if test is None else 2)
    assert folds[-1].test == (stop - (test or 0), stop)


def test_a_history_that_is_too_short_has_no_fold() -> None:
    assert plan(0, 0, DEFAULT, 5) == ()
    assert plan(500, 400, DEFAULT, 5) == ()
