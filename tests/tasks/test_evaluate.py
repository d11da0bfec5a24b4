"""Statistics and scores against direct recomputation, pair by pair, from given predictions."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lstm_models.baselines import BASELINES, DEFAULT_BASELINE
from tasks.evaluate import Evaluated, score_rows, statistics_rows
from tasks.features import Floats
from tasks.walkforward import CANDIDATES, Subject, all_methods, fit_baselines, subject
from tests.lstm_models.slow_intervals import slow_half_widths
from tests.tasks.markets import HORIZON, SETTINGS, garch, series_of

LEVEL = SETTINGS.evaluation.level
LEVELS = SETTINGS.evaluation.levels
TARGETS = ("log_return", "log_volatility")
PRICES = garch(1)
LAST = series_of(PRICES).sessions


def evaluated(one: Subject, fold: int) -> Evaluated:
    """One fold of a subject, with noise about the truth in place of an LSTM."""
    chosen = one.folds[fold]
    first, stop = chosen.gate[0], chosen.test[1] if fold else chosen.calibrate[1]
    noise = np.random.default_rng(fold).normal(0.0, 0.3, (stop - first, HORIZON))
    known = np.nan_to_num(one.targets[first:stop], nan=float(np.nanmean(one.targets)))
    methods = all_methods(one, known + noise, first, fit_baselines(one, chosen))
    name = f"evaluation of {one.target}"
    return Evaluated(one, chosen, first, methods, name, levels=LEVELS)


ONES = {target: subject(series_of(PRICES), target, SETTINGS) for target in TARGETS}
CASES = [
    pytest.param(evaluated(ONES[target], fold), id=f"{target} fold {fold}")
    for target in TARGETS
    for fold in (0, 1, 2)
]


def row_of(rows: list[dict[str, Any]], segment: str, method: str, lead: int) -> dict[str, Any]:
    (found,) = (
        row
        for row in rows
        if (row["segment"], row["method"], row["lead"]) == (segment, method, lead)
    )
    return found


def errors(done: Evaluated, method: str, row: int) -> list[float]:
    """Prediction less target at a row, per lead, one by one."""
    prediction = done.methods[method][row - done.first]
    return [float(prediction[h] - done.one.targets[row, h]) for h in range(HORIZON)]


@pytest.mark.parametrize("done", CASES)
def test_statistics_are_the_mean_squared_error_over_leads_per_cutoff(done: Evaluated) -> None:
    expected, apart = {}, {}
    default = DEFAULT_BASELINE[done.one.target]
    for segment, (first, stop) in (("gate", done.fold.gate), ("test", done.fold.test)):
        judged = (default, *CANDIDATES) if segment == "gate" else tuple(done.methods)
        for method in judged:
            for row in range(first, stop):
                loss = sum(error**2 for error in errors(done, method, row)) / HORIZON
                if np.isfinite(loss):
                    key = (segment, method, done.one.series.sessions[row].item())
                    expected[key] = loss
                    apart[key] = sum(
                        float(done.methods[method][row - done.first][h] - zero) ** 2
                        for h, zero in enumerate(done.methods[default][row - done.first])
                    )
    rows = statistics_rows(done).to_pylist()
    found = {(row["segment"], row["method"], row["cutoff"]): row["loss"] for row in rows}
    assert len(found) == len(rows)
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(list(found.values()), [expected[key] for key in found], rtol=1e-12)
    assert {row["fold"] for row in rows} == {done.fold.index}
    differences = [row["difference"] for row in rows]
    np.testing.assert_allclose(differences, [apart[key] / HORIZON for key in found], rtol=1e-12)
    assert {row["difference"] for row in rows if row["method"] == default} == {0.0}


def test_statistics_leave_out_cutoffs_whose_targets_have_not_matured() -> None:
    done = evaluated(ONES["log_return"], 1)
    rows = statistics_rows(done).to_pylist()
    last = max(row["cutoff"] for row in rows if row["segment"] == "test")
    assert last == LAST[-1 - HORIZON].item()


@pytest.mark.parametrize("done", CASES)
def test_every_method_is_scored_on_the_same_pairs(done: Evaluated) -> None:
    rows = score_rows(done)
    methods = {"lstm", "combination", *BASELINES[done.one.target]}
    segments = {"gate", "test"} if done.fold.index else {"gate"}
    for segment in segments:
        for lead in range(1, HORIZON + 1):
            pairs = {
                (row["count"], row["first_cutoff"], row["last_cutoff"], row["baseline"])
                for row in rows
                if (row["segment"], row["lead"]) == (segment, lead)
            }
            assert len(pairs) == 1
    assert {row["method"] for row in rows} == methods
    assert len(rows) == len(methods) * len(segments) * HORIZON
    assert len({row["score_id"] for row in rows}) == len(rows)


@pytest.mark.parametrize("done", CASES)
def test_mse_and_skill_equal_a_loop_over_the_pairs(done: Evaluated) -> None:
    default = DEFAULT_BASELINE[done.one.target]
    rows = score_rows(done)
    for row in rows:
        first, stop = done.fold.gate if row["segment"] == "gate" else done.fold.test
        mse = {}
        for method in (row["method"], default):
            squares = [errors(done, method, at)[row["lead"] - 1] ** 2 for at in range(first, stop)]
            known = [square for square in squares if np.isfinite(square)]
            mse[method] = sum(known) / len(known)
            assert row["count"] == len(known)
        assert row["mse"] == pytest.approx(mse[row["method"]], rel=1e-12)
        if row["method"] == default:
            assert row["skill"] is None
        else:
            assert row["skill"] == pytest.approx(1 - mse[row["method"]] / mse[default], abs=1e-12)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["lstm", "combination"])
def test_coverage_and_interval_score_equal_a_loop_over_the_test(target: str, method: str) -> None:
    done = evaluated(ONES[target], 1)
    rows = score_rows(done)
    span = range(done.fold.calibrate[0], done.fold.test[1])
    held = dict.fromkeys(range(*done.fold.test), 0.0)
    for lead in (1, 2, HORIZON):
        truth = {at: errors(done, method, at)[lead - 1] for at in span}
        sizes = {at: abs(e) / done.one.scale[at] for at, e in truth.items() if np.isfinite(e)}
        row = row_of(rows, "test", method, lead)
        assert (row["level"], len(row["intervals"])) == (LEVEL, len(LEVELS))
        for level, found in zip(LEVELS, row["intervals"], strict=True):
            widths = slow_half_widths(sizes, span, lead, level)
            inside, prices = [], []
            for at in range(*done.fold.test):
                if at in sizes:
                    half, error = widths[at] * done.one.scale[at], truth[at]
                    inside.append(abs(error) <= half)
                    prices.append(2 * half + 2 / (1 - level) * max(abs(error) - half, 0.0))
                    held[at] += (inside[-1] if level == LEVEL else 0) / HORIZON
            assert found["level"] == level
            assert found["coverage"] == pytest.approx(np.mean(inside), abs=1e-12)
            assert found["interval_score"] == pytest.approx(np.mean(prices), rel=1e-9)
        assert row["coverage"] == row["intervals"][0]["coverage"]
        assert row["interval_score"] == row["intervals"][0]["interval_score"]
        assert 0.0 < row["coverage_error"] < 0.2
    for one in statistics_rows(done).to_pylist():
        if (one["segment"], one["method"]) == ("test", method):
            at = int(np.flatnonzero(done.one.series.sessions == np.datetime64(one["cutoff"]))[0])
            assert one["covered"] == pytest.approx(held[at], abs=1e-12)
        elif one["segment"] == "gate":
            assert one["covered"] is None
    gate = row_of(rows, "gate", method, 1)
    assert (gate.get("coverage"), gate.get("interval_score"), gate["level"]) == (None, None, None)


def test_qlike_grades_the_variance_with_the_correction_that_runs_live() -> None:
    """Smearing from errors since the calibrate segment, as tonight's forecast has it."""
    done = evaluated(ONES["log_volatility"], 2)
    rows = score_rows(done)
    lead, losses = 2, []
    for at in range(*done.fold.test):
        past = range(done.fold.calibrate[0], at - lead + 1)
        smearing = np.mean([np.exp(-errors(done, "lstm", row)[lead - 1]) for row in past])
        ratio = float(np.exp(-errors(done, "lstm", at)[lead - 1]) / smearing)
        losses.append(ratio - np.log(ratio) - 1)
    assert row_of(rows, "test", "lstm", lead)["qlike"] == pytest.approx(np.mean(losses), rel=1e-9)
    assert all("qlike" not in row for row in score_rows(evaluated(ONES["log_return"], 2)))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_missing_forecast_is_an_error_and_never_a_pair_without_one(wrong: float) -> None:
    done = evaluated(ONES["log_volatility"], 1)
    broken = done.methods["lstm"].copy()
    broken[done.fold.test[0] - done.first + 3] = wrong
    holed = replace(done, methods={**done.methods, "lstm": broken})
    with pytest.raises(ValueError, match="not finite"):
        score_rows(holed)


def test_without_its_default_baseline_an_evaluation_has_no_skill_but_scores() -> None:
    done = evaluated(ONES["log_volatility"], 1)
    methods = {name: done.methods[name] for name in ("lstm", "har", "ewma")}
    rows = score_rows(replace(done, methods=methods))
    assert {row["method"] for row in rows} == set(methods)
    assert {row["skill"] for row in rows} == {None}
    statistics = statistics_rows(replace(done, methods=methods)).to_pylist()
    of = {(row["segment"], row["method"]) for row in statistics}
    assert of == {("gate", "lstm"), *(("test", name) for name in methods)}
    assert {row["difference"] for row in statistics} == {None}


def only_the_last_lead(one: Subject) -> Subject:
    known: Floats = one.targets.copy()
    known[:, :-1] = np.nan
    return replace(one, targets=known)


def test_a_lead_without_a_pair_has_no_row_and_a_cutoff_without_all_leads_no_statistic() -> None:
    done = evaluated(only_the_last_lead(ONES["log_return"]), 1)
    assert {row["lead"] for row in score_rows(done)} == {HORIZON}
    assert statistics_rows(done).num_rows == 0
