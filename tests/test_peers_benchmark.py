"""The peer benchmark's own arithmetic, and our side of it; no peer is needed."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.peers.__main__ import main, ratios_table, sides_table
from benchmarks.peers.bars import from_folder, synthetic
from benchmarks.peers.comparison import Result, best_of, compilation, reached, relative
from benchmarks.peers.problem import TARGET, Floats, Problem, aligned, windows
from benchmarks.peers.trial import EarlyStopping, Stopwatch, Trial
from lstm_models.features import FEATURES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def problem() -> Problem:
    return aligned(*synthetic(3, 700), lookback=20, horizon=3)


def test_segments_are_in_order_apart_and_inside(problem: Problem) -> None:
    segments = problem.segments
    assert segments["fit"][0] == 0
    assert segments["early_stop"][0] - segments["fit"][1] == problem.horizon
    assert segments["test"][0] - segments["early_stop"][1] == problem.horizon
    assert segments["test"][1] + problem.horizon == problem.inputs.shape[1]
    lengths = [len(problem.rows(name)) for name in ("fit", "early_stop", "test")]
    assert np.allclose(np.array(lengths) / sum(lengths), (0.6, 0.2, 0.2), atol=0.005)
    assert problem.rows("fit")[0] == problem.lookback - 1


def test_targets_are_the_next_values(problem: Problem) -> None:
    row, lead = 50, 2
    assert problem.targets[1, row, lead - 1] == problem.inputs[1, row + lead, TARGET]
    for name in problem.segments:
        assert np.isfinite(problem.targets[:, problem.rows(name)]).all()


def test_scaling_is_fitted_on_the_fit_rows_only(problem: Problem) -> None:
    later = problem.inputs.copy()
    later[:, problem.segments["fit"][1] :] *= 7.0
    spoilt = replace(problem, inputs=later)
    assert np.array_equal(spoilt.center, problem.center)
    assert np.array_equal(spoilt.spread, problem.spread)
    scaled = problem.scaled()[:, : problem.segments["fit"][1]]
    np.testing.assert_allclose(scaled.mean(axis=1), 0.0, atol=1e-4)
    moving = [place for place, name in enumerate(FEATURES) if not name.startswith("market")]
    np.testing.assert_allclose(scaled.std(axis=1)[:, moving], 1.0, atol=1e-4)


def test_scaled_targets_come_back_in_natural_units(problem: Problem) -> None:
    rows = problem.rows("test")
    for series in range(3):
        natural = problem.unscaled(problem.scaled_targets()[series, rows], series)
        np.testing.assert_allclose(natural, problem.targets[series, rows], rtol=1e-5)


def test_window_ends_at_its_cutoff(problem: Problem) -> None:
    rows, cutoffs = problem.scaled()[0], np.array([19, 300])
    found = windows(rows, cutoffs, 20)
    assert np.array_equal(found, np.stack([rows[:20], rows[281:301]]))


def test_problem_survives_its_file(problem: Problem, tmp_path: Path) -> None:
    path = tmp_path / "problem.npz"
    replace(problem, seed=3, limit=2).save(path)
    read = Problem.load(path)
    assert (read.names, read.lookback, read.horizon) == (problem.names, 20, 3)
    assert (read.seed, read.limit) == (3, 2)
    assert np.array_equal(read.inputs, problem.inputs)


def test_instruments_keep_the_newest_rows_that_all_of_them_have() -> None:
    rows = np.arange(500.0)[:, None] * np.ones(11)
    cut = aligned(["A", "B"], [rows, rows[:450]], lookback=20, horizon=3).inputs
    assert cut.shape == (2, 450, 11)
    assert np.array_equal(cut[:, [0, -1], 0], [[50.0, 499.0], [0.0, 449.0]])


def test_too_little_history_is_refused_with_the_numbers() -> None:
    with pytest.raises(ValueError, match=r"needs 412 complete rows .* shortest has 175"):
        aligned(*synthetic(2, 300), lookback=100, horizon=3)


def test_har_agrees_with_plain_least_squares(problem: Problem) -> None:
    first, stop = problem.segments["fit"]
    columns = [5, 6, 7]  # daily, weekly, monthly log variance
    design = np.concatenate([problem.inputs[0][:, columns], np.ones((575, 1))], axis=1)
    targets, rows = problem.targets[0], problem.rows("test")
    slopes = np.linalg.lstsq(design[first:stop], targets[first:stop], rcond=None)[0]
    expected = ((design[rows] @ slopes - targets[rows]) ** 2).mean()
    assert problem.har()[0] == pytest.approx(expected, rel=1e-5)


def test_synthetic_market_is_seeded_and_can_be_forecast() -> None:
    names, rows = synthetic(4, 1500, seed=1)
    again = synthetic(4, 1500, seed=1)[1]
    assert names == ["S000", "S001", "S002", "S003"]
    assert all(np.array_equal(a, b) for a, b in zip(rows, again, strict=True))
    assert not np.array_equal(rows[0], synthetic(4, 1500, seed=2)[1][0])
    made = aligned(names, rows, lookback=50, horizon=3)
    naive = made.targets[:, made.rows("test")] - made.center[:, :, TARGET, None]
    assert (made.har() / (naive**2).mean(axis=(1, 2))).mean() < 0.9


def write_bars(path: Path, sessions: int, *, gap: int | None = None) -> None:
    random = np.random.default_rng(sessions)
    days = np.datetime64("2010-01-04") + np.arange(sessions)
    closes = 50 * np.exp(np.cumsum(random.normal(0, 0.01, sessions)))
    lines = ["date,open,high,low,close,volume"]
    for row, (day, close) in enumerate(zip(days, closes, strict=True)):
        high = "" if row == gap else f"{close * 1.01:.4f}"
        lines.append(f"{day},{close * 1.001:.4f},{high},{close * 0.99:.4f},{close:.4f},1000")
    path.write_text("\n".join(lines) + "\n")


def test_folder_gives_the_first_instruments_that_are_long_and_whole(tmp_path: Path) -> None:
    write_bars(tmp_path / "A.csv", 400, gap=390)
    write_bars(tmp_path / "B.csv", 400, gap=10)
    write_bars(tmp_path / "C.csv", 200)
    write_bars(tmp_path / "D.csv", 300)
    names, rows = from_folder(tmp_path, 2, 300)
    assert names == ["B", "D"]
    assert {len(one) for one in rows} == {175}
    assert all(np.isfinite(one).all() for one in rows)
    with pytest.raises(ValueError, match=r"holds 2 instruments with 300 whole sessions"):
        from_folder(tmp_path, 3, 300)


def test_stopwatch_leaves_out_what_is_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    now = {"wall": 10.0, "cpu": 1.0}
    monkeypatch.setattr("time.perf_counter", lambda: now["wall"])
    monkeypatch.setattr("time.process_time", lambda: now["cpu"])
    clock = Stopwatch()
    now.update(wall=13.0, cpu=2.0)
    with clock.paused():
        now.update(wall=113.0, cpu=52.0)
    now.update(wall=114.0, cpu=52.5)
    assert (clock.wall, clock.cpu) == (4.0, 1.5)


def test_check_measures_the_early_stop_rows_and_stops_the_clock(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    trial = Trial(problem)
    now[0] = 5.0
    trial.begin()
    now[0] = 7.0

    def predict(series: int, cutoffs: NDArray[np.int64]) -> Floats:
        now[0] += 100.0
        assert np.array_equal(cutoffs, problem.rows("early_stop"))
        wrong: Floats = problem.targets[series, cutoffs] + np.array([1.0, 2.0, 3.0])
        return wrong

    assert trial.check([0, 2], predict) == pytest.approx((1 + 4 + 9) / 3)
    now[0] += 1.0
    trial.check([1], predict)
    assert [check.series for check in trial.checks] == [0, 2, 1]
    assert [check.seconds for check in trial.checks] == [2.0, 2.0, 3.0]
    np.testing.assert_allclose(trial.checks[0].mse, (1.0, 4.0, 9.0))


def test_early_stopping_waits_for_its_patience() -> None:
    stopping = EarlyStopping(patience=2, limit=0)
    found = [(stopping.better(mse), stopping.stop) for mse in (3.0, 2.0, 2.5, 1.0, 1.0, 1.5)]
    assert found == [
        (True, False),
        (True, False),
        (False, False),
        (True, False),
        (False, False),
        (False, True),
    ]
    limited = EarlyStopping(patience=2, limit=1)
    assert limited.better(1.0)
    assert limited.stop


def checked(*rows: tuple[int, float, float]) -> Result:
    """A peer's result: series, seconds and the MSE of both leads of each check."""
    checks = [
        {"series": s, "seconds": t, "processor_seconds": 2 * t, "mse": [mse, mse + 1]}
        for s, t, mse in rows
    ]
    return {"checks": checks, "train_seconds": 40.0, "processor_seconds": 80.0, "peak_mib": 50.0}


def test_best_of_networks_adds_up_the_seconds_of_each_ones_best() -> None:
    peer = checked((0, 1.0, 5.0), (0, 2.0, 3.0), (0, 3.0, 4.0), (1, 1.5, 2.0), (1, 2.5, 6.0))
    best = best_of(peer, together=False)
    assert (best.seconds, best.processor_seconds) == (3.5, 7.0)
    assert best.mse.tolist() == [[3.0, 4.0], [2.0, 3.0]]


def test_best_of_one_network_is_one_moment_for_all() -> None:
    peer = checked((0, 1.0, 5.0), (1, 1.0, 2.0), (0, 2.0, 3.0), (1, 2.0, 3.5))
    best = best_of(peer, together=True)
    assert best.seconds == 2.0
    assert best.mse.tolist() == [[3.0, 4.0], [3.5, 4.5]]


FLEET: Result = {
    "notes": {
        "ends": [(4.0, 3.0), (5.0, 3.5), (6.0, 4.0), (7.0, 4.5)],
        # Two instruments, of two seeds each, in units of residual variance.
        "histories": [[[1.0, 0.5, 0.7, 0.2], [1.0, 0.7, 0.5]], [[1.0, 0.6], [1.0, 0.8]]],
        "scale": [[1.0, 1.0], [2.0, 1.0]],
    },
    "train_seconds": 8.0,
    "processor_seconds": 5.0,
    "peak_mib": 100.0,
    "validation_mse": [0.1, 0.2],
    "test_mse": [0.1, 0.4],
    "import_seconds": 1.0,
}


def test_fleet_is_there_when_its_last_instrument_is() -> None:
    there = reached(FLEET, np.array([[0.5, 0.5], [4.0, 0.5]]))
    assert (there.seconds, there.processor_seconds, there.instruments) == (6.0, 4.0, 2)


def test_target_is_brought_to_the_units_of_the_history() -> None:
    # (4 / 2² + 0.5 / 1²) / 2 = 0.75, which the second one first falls below at its second check.
    assert reached(FLEET, np.array([[1.0, 1.0], [4.0, 0.5]])).seconds == 5.0


def test_fleet_that_never_gets_there_says_for_how_many() -> None:
    there = reached(FLEET, np.array([[0.6, 0.6], [0.1, 0.1]]))
    assert (there.seconds, there.instruments) == (5.0, 1)
    nowhere = reached(FLEET, np.zeros((2, 2)))
    assert nowhere.instruments == 0
    assert np.isnan(nowhere.seconds)


def test_compilation_is_what_the_first_program_takes_longer() -> None:
    assert compilation(FLEET) == 3.0


def test_relative_is_the_mean_of_ratios() -> None:
    assert relative([1.0, 6.0], np.array([2.0, 2.0])) == 1.75


def test_tables_hold_the_ratios() -> None:
    peer = {**FLEET, **checked((0, 10.0, 0.5), (1, 20.0, 1.0)), "notes": {}}
    results = {"fleet": FLEET, "darts": peer}
    ratios = ratios_table("fleet", results)
    # First goals 0.5 + 1.5 → 1.0 at once; second (1 / 4 + 2) / 2 = 1.125 at once: 30 s against 4 s.
    cells = [next(iter(column.cells)) for column in ratios.columns]
    assert cells == ["darts", "30.0", "4.0", "7.5", "20.0", "2 of 2", "5.0", "0.5"]
    costs = sides_table(results, np.array([0.2, 0.4]))
    assert list(costs.columns[0].cells) == ["fleet", "darts"]
    assert list(costs.columns[-1].cells) == ["0.750", "0.750"]


def test_our_side_stamps_every_check_and_reaches_its_own_validation(problem: Problem) -> None:
    from benchmarks.peers.fleet import run, run_plain

    small = replace(problem, limit=3)
    for side, seeds in ((run, 2), (run_plain, 1)):
        trial = Trial(small)
        side(small, trial)
        ends = [wall for wall, _ in trial.notes["ends"]]
        assert len(ends) == 4  # update 0 and three times check_every
        assert ends == sorted(ends)
        assert [len(lanes) for lanes in trial.notes["histories"]] == [seeds] * 3
        assert sorted(trial.validation) == sorted(trial.test) == [0, 1, 2]
        start = [lanes[0][0] for lanes in trial.notes["histories"]]
        goal = np.array(start)[:, None] * np.square(trial.notes["scale"])
        assert reached({"notes": trial.notes}, goal * 1.001).seconds == ends[0]


def test_unknown_peer_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--peers", "keras,prophet"])
    assert "unknown peer prophet: choose among keras, neuralforecast," in capsys.readouterr().err


def test_failed_side_is_told_and_the_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(name: str, problem: Problem, threads: int) -> Result | str:
        assert (len(problem.names), problem.lookback, threads) == (2, 20, 1)
        return "no module named darts" if name == "darts" else FLEET

    monkeypatch.setattr("benchmarks.peers.__main__.measure", measured)
    file = tmp_path / "results.json"
    arguments = ["--instruments", "2", "--sessions", "700", "--lookback", "20", "--peers", "darts"]
    assert main([*arguments, "--json", str(file)]) == 1
    assert "darts … failed: no module named darts" in capsys.readouterr().out
    written = json.loads(file.read_text())
    assert list(written["results"]) == ["fleet", "fleet-plain"]
    assert written["summary"]["test_to_har"].keys() == {"fleet", "fleet-plain"}
    assert len(written["har_test_mse"]) == 2


def test_make_target_has_an_environment_of_its_own() -> None:
    answer = subprocess.run(
        ["make", "--dry-run", "bench-peers", "ARGS=--peers keras"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ".venv-peers/bin/python -m benchmarks.peers --peers keras" in answer.stdout
