"""The long-horizon benchmark's arithmetic, against slow references and the published figures."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks.long_horizon import experiment, gate, linear, lstm, meaning, protocol, published
from benchmarks.long_horizon.__main__ import main
from benchmarks.long_horizon.gate import Comparison
from benchmarks.long_horizon.protocol import BATCH, Errors, Floats, Segment, Split
from benchmarks.long_horizon.series import NAMES, bad_ticks, read, without
from lstm_models import training
from lstm_models.fleet_config import FleetConfig
from tasks.gate import Decision
from tasks.significance import LossTest

REAL = "FLEETCAST_EXCHANGE_RATE"
HORIZON = 4


def walks(rows: int = 200, series: int = 3, seed: int = 0) -> Floats:
    """Rates that wander, around 1."""
    steps = np.random.default_rng(seed).normal(0.0, 0.006, (rows, series))
    return np.exp(np.cumsum(steps, axis=0))


def even(squared: Floats) -> Errors:
    return Errors(squared, np.sqrt(squared))


@pytest.fixture(scope="module")
def levels() -> Floats:
    return protocol.standardised(walks(), Split.of(200))


SPLIT = Split.of(200)


def test_borders_are_the_published_ones() -> None:
    assert Split.of(7588) == Split(train=5311, test=6071, rows=7588)
    assert len(Split.of(7588).cutoffs("validation", 720)) == 41
    assert len(Split.of(7588).cutoffs("test", 720)) == 798


@pytest.mark.parametrize("segment", ["validation", "test"])
def test_windows_have_all_targets_in_their_segment_and_none_is_missing(segment: Segment) -> None:
    first, stop = {"validation": (140, 160), "test": (160, 200)}[segment]
    cutoffs = SPLIT.cutoffs(segment, HORIZON)
    assert cutoffs[0] + 1 == first
    assert cutoffs[-1] + HORIZON == stop - 1
    assert_array_equal(np.diff(cutoffs), 1)


def test_a_horizon_longer_than_a_segment_is_refused() -> None:
    with pytest.raises(ValueError, match="horizon 21 does not fit into the 20 rows of the valid"):
        SPLIT.cutoffs("validation", 21)


def test_units_are_those_of_the_training_rows() -> None:
    rates = walks()
    later = rates.copy()
    later[SPLIT.train :] *= 3.0
    scaled = protocol.standardised(later, SPLIT)
    assert_allclose(scaled[: SPLIT.train], protocol.standardised(rates, SPLIT)[: SPLIT.train])
    assert_allclose(scaled[: SPLIT.train].mean(axis=0), 0.0, atol=1e-12)
    assert_allclose(scaled[: SPLIT.train].std(axis=0), 1.0)


@pytest.mark.parametrize("batch", [1, 32])
def test_scores_equal_a_slow_reference(levels: Floats, batch: int) -> None:
    cutoffs = SPLIT.cutoffs("test", HORIZON)
    random = np.random.default_rng(1)
    forecast = random.normal(size=(len(cutoffs), levels.shape[1], HORIZON))
    used = {1: 37, 32: 32}[batch]
    squared, absolute = [], []
    for window in range(used):
        for series in range(levels.shape[1]):
            last = levels[159 + window, series]
            for lead in range(1, HORIZON + 1):
                told = last + forecast[window, series, lead - 1]
                missed = levels[159 + window + lead, series] - told
                squared.append(missed**2)
                absolute.append(abs(missed))
    scores = protocol.errors(levels, cutoffs, forecast).scores(batch=batch)
    assert_allclose(scores, (np.mean(squared), np.mean(absolute)))


def test_fewer_windows_than_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="31 windows do not fill a batch of 32"):
        even(np.ones((31, 2))).scores(batch=BATCH)


def test_repeat_and_drift_are_exact_where_they_are_true() -> None:
    trend = np.outer(np.arange(200.0), [1.0, -0.5])
    cutoffs = SPLIT.cutoffs("test", HORIZON)
    drift = linear.drift(trend, SPLIT, cutoffs, HORIZON)
    assert_allclose(protocol.errors(trend, cutoffs, drift).squared, 0.0, atol=1e-20)
    flat = np.ones((200, 2))
    repeat = linear.repeat(flat, cutoffs, HORIZON)
    assert protocol.errors(flat, cutoffs, repeat).scores() == (0.0, 0.0)


def test_autoregression_is_the_least_squares_of_statsmodels(levels: Floats) -> None:
    series, lead = 1, 3
    level = levels[:, series]
    rows = range(linear.LAGS, SPLIT.train - HORIZON)

    def design(row: int) -> list[float]:
        return [1.0, *(level[row - lag] - level[row - lag - 1] for lag in range(linear.LAGS))]

    target = [level[row + lead] - level[row] for row in rows]
    fitted = sm.OLS(target, np.array([design(row) for row in rows])).fit()
    cutoffs = SPLIT.cutoffs("test", HORIZON)
    ours = linear.autoregression(levels, SPLIT, cutoffs, HORIZON)[:, series, lead - 1]
    assert_allclose(ours, fitted.predict(np.array([design(row) for row in cutoffs])), rtol=1e-8)


def test_nothing_after_the_training_rows_is_fitted_on(levels: Floats) -> None:
    last = np.array([SPLIT.train - 1])
    later = levels.copy()
    later[SPLIT.train :] += np.random.default_rng(2).normal(size=later[SPLIT.train :].shape)
    for method in (linear.drift, linear.autoregression):
        assert_array_equal(
            method(later, SPLIT, last, HORIZON), method(levels, SPLIT, last, HORIZON)
        )


def test_networks_are_fitted_on_whole_training_windows_and_stopped_by_validation_ones(
    levels: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []
    monkeypatch.setattr(training, "fit", lambda *arguments: given.extend(arguments))
    horizon = 15
    monkeypatch.setattr(lstm, "STEP", 6)
    lstm.fit(levels, SPLIT, horizon, NAMES[:3])
    inputs, targets, members, skip, _ = given
    assert isinstance(inputs, np.ndarray)
    assert isinstance(targets, np.ndarray)
    assert isinstance(members, list)
    assert isinstance(skip, np.ndarray)
    assert lstm.leads(horizon).tolist() == [6, 12, 15]
    windows = SPLIT.cutoffs("validation", horizon)
    for series, member in enumerate(members):
        first, stop = member.fit
        assert np.isfinite(inputs[series, first:]).all()
        assert stop - 1 + horizon == SPLIT.train - 1
        assert np.arange(*member.early_stop).tolist() == windows.tolist()
        for place, lead in enumerate((6, 12, 15)):
            row = 100
            assert targets[series, row, place] == levels[row + lead, series] - levels[row, series]
    assert not skip.any()
    assert inputs[1, 80, 2] == levels[80, 1] - levels[80 - 22, 1]
    future = levels.copy()
    future[101:] = 9.0
    assert_array_equal(lstm.features(future)[:, :101], inputs[:, :101])


def test_between_the_leads_lies_a_straight_line_from_no_change() -> None:
    at = np.array([24, 48, 60])
    values = np.random.default_rng(3).normal(size=(2, 5, 3))
    lines = lstm.between(values, at)
    assert lines.shape == (2, 5, 60)
    knots = [0, *at]
    expected = np.interp(np.arange(1, 61), knots, [0.0, *values[1, 2]])
    assert_allclose(lines[1, 2], expected)
    with pytest.raises(ValueError, match="horizon must be at least 1, received 0"):
        lstm.leads(0)


def test_a_tick_that_comes_back_is_bad_and_a_crisis_is_not() -> None:
    rates = np.ones((30, 8))
    rates[4, 0] = 1.15  # comes back
    rates[12:, 1] = 0.85  # stays
    rates[20, 2], rates[21:, 2] = 1.10, 1.05  # half of it stays
    rates[25, 3] = 1.04  # small
    ticks = bad_ticks(rates)
    assert [(tick.row, tick.series) for tick in ticks] == [(4, 0)]
    assert_allclose(ticks[0].jump, np.log(1.15))
    cleaned = without(rates, ticks)
    assert cleaned[4, 0] == 1.0
    rates[4, 0] = 1.0
    assert_array_equal(cleaned, rates)


@pytest.mark.parametrize(
    ("windows", "horizon", "published_of"),
    [(400, 1, ["AU", "GB"]), (400, 11, [])],
)
def test_the_gate_hears_enough_windows_that_do_not_overlap(
    windows: int, horizon: int, published_of: list[str]
) -> None:
    random = np.random.default_rng(4)
    repeat = even(random.uniform(0.9, 1.1, (windows, 3)))
    better = even(repeat.squared * random.uniform([0.6, 0.7, 1.0], [0.9, 0.9, 1.1], (windows, 3)))
    names = NAMES[:3]
    cutoffs = np.arange(100, 100 + windows)
    decided = gate.decisions(repeat, better, cutoffs, names, horizon)
    assert [one.instrument for one in decided if one.method == "lstm"] == published_of
    chosen = gate.chosen(decided, repeat, better, names)
    for series, name in enumerate(names):
        source = better if name in published_of else repeat
        assert_array_equal(chosen.squared[:, series], source.squared[:, series])
        assert_array_equal(chosen.absolute[:, series], source.absolute[:, series])
    found = gate.compared(repeat, better, cutoffs, names, horizon)
    skill = np.mean(1.0 - better.squared.mean(axis=0) / repeat.squared.mean(axis=0))
    assert found.test.mean == pytest.approx(skill)
    assert (found.windows, found.apart) == (400, {1: 400, 11: 37}[horizon])


REPEATED = Decision("AU", "log_return", "many_to_many", "zero", "zero", "too few", None, None, None)


def outcome(horizon: int, mse: float, mae: float) -> experiment.Outcome:
    errors = Errors(np.full((64, 8), mse), np.full((64, 8), mae))
    methods = dict.fromkeys([experiment.REPEAT, experiment.LSTM], errors)
    none = Comparison(64, 1, LossTest(0.0, None, 1.0, 64, 0))
    return experiment.Outcome(horizon, methods, methods, (), none, none, ())


def test_the_check_passes_at_the_published_figures_only() -> None:
    same = [outcome(96, 0.0814, 0.1955), outcome(720, 0.8226, 0.6811)]
    assert "passed" in meaning.check_sentence(same)
    assert "at 96 and 720, to" in meaning.check_sentence(same)
    for wrong in (outcome(720, 0.8101, 0.6811), outcome(720, 0.8226, 0.6764)):
        assert "FAILED" in meaning.check_sentence([same[0], wrong])
        assert meaning.check_sentence([same[0], wrong]).endswith("at 720.**")
    assert "none of these" in meaning.check_sentence([outcome(5, 0.1, 0.1)])


def test_the_test_on_too_few_windows_is_called_fooled_only_where_it_is() -> None:
    def said(test: LossTest) -> str:
        same = outcome(720, 0.8226, 0.6811)
        fooled = replace(same, on_validation=Comparison(41, 1, test), gate=(REPEATED,))
        return "\n".join(meaning.meaning([fooled], [same], Split.of(7588)))

    assert "t = 28.9 on 41 validation windows" in said(LossTest(0.4, 28.9, 0.001, 41, 40))
    assert "fooled" not in said(LossTest(0.4, 1.2, 0.2, 41, 40))
    assert "fooled" not in said(LossTest(0.0, None, 1.0, 41, 40))
    words = said(LossTest(0.4, 28.9, 0.001, 41, 40))
    assert "41 windows that all share 680 of their 720 targets: about 1 independent obs" in words
    assert "hold 2 at 720 windows that do not overlap" in words
    assert "at 96, 192 and 336: only 720 is a win" in words


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rates.txt"
    rates = walks(420, 8)
    rates[400, 2] *= 1.3
    np.savetxt(path, rates, delimiter=",")
    return path


def test_from_a_file_to_a_page(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = FleetConfig(
        units=2, lookback=12, burn_in=4, seeds=1, width=8, windows_per_update=2, max_updates=5
    )
    monkeypatch.setattr(lstm, "fit", partial(lstm.fit, config=small))
    page = file.with_suffix(".md")
    assert main([str(file), "--horizons", "6", "--write", str(page)]) == 0
    text = page.read_text()
    assert "1 cells (0-based row, series, log change): 400 CA +0.26" in text
    assert f"PATH/{file.name}" in text
    assert str(file.parent) not in text
    assert text.count("| Repeat |") == 4
    assert "nan" not in text.lower()
    capsys.readouterr()
    assert main([str(file), "--horizons", "6", "--validation"]) == 0
    assert capsys.readouterr().out.count("| LSTM, ungated |") == 2


def test_what_cannot_be_read_is_said(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(file.parent / "absent.txt")]) == 2
    assert "absent.txt" in capsys.readouterr().err
    assert main([str(file), "--horizons", "43"]) == 2
    assert "horizon 43 does not fit into the 42 rows" in capsys.readouterr().err
    np.savetxt(file, np.ones((5, 3)), delimiter=",")
    with pytest.raises(ValueError, match="3 columns, expected 8: AU, GB"):
        read(file)
    np.savetxt(file, np.eye(8), delimiter=",")
    with pytest.raises(ValueError, match="above 0, received 0.0 in row 0 of GB"):
        read(file)


@pytest.mark.skipif(REAL not in os.environ, reason=f"{REAL} names no exchange_rate.txt")
def test_repeat_comes_out_at_the_published_figures() -> None:
    rates = read(Path(os.environ[REAL]))
    split = Split.of(len(rates))
    levels = protocol.standardised(rates, split)
    for horizon in published.HORIZONS:
        cutoffs = split.cutoffs("test", horizon)
        repeat = protocol.errors(levels, cutoffs, linear.repeat(levels, cutoffs, horizon))
        assert published.reproduced(horizon, repeat)
    assert [round(score, 4) for score in repeat.scores()] == [0.8101, 0.6764]
    found = {(row, NAMES[series]) for row, series, _ in bad_ticks(rates)}
    known = {3589: "AU GB CA CH JP NZ", 3660: "CA CH JP SG", 4135: "GB CH", 4894: "SG", 6620: "AU"}
    assert {(row, name) for row, names in known.items() for name in names.split()} <= found
    assert {
        name for _, name in found - {(r, n) for r, ns in known.items() for n in ns.split()}
    } == {"CN"}
    assert not {row for row, _ in found} & {4793, 4794}
