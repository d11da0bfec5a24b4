"""Coverage with its own uncertainty, by simulation, and the drift flag."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lstm_models.adaptive_intervals import adaptive_bounds
from tasks.coverage import covered_share, drift, mean_error, overall, pooled_error
from tasks.scoreboard import pool
from tests.tasks.test_scoreboard import score

Floats = NDArray[np.float64]


def test_the_error_of_independent_sessions_is_the_textbook_one() -> None:
    hits = (np.random.default_rng(0).random(4000) < 0.8).astype(float)
    assert mean_error(hits, 1) == pytest.approx(math.sqrt(0.16 / 4000), rel=0.15)


def test_the_error_of_overlapping_intervals_is_what_repetitions_show() -> None:
    rng = np.random.default_rng(1)
    shocks = rng.normal(size=(400, 504))
    overlapping = sum(shocks[:, step : 500 + step] for step in range(5))
    hits = (np.abs(overlapping) < 1.2816 * math.sqrt(5)).astype(float)
    errors = [mean_error(series, 5) for series in hits]
    true = hits.mean(axis=1).std()
    assert np.mean([one for one in errors if one is not None]) == pytest.approx(true, rel=0.1)
    assert true > 1.4 * math.sqrt(0.16 / 500)


def test_too_little_or_nothing_that_varies_has_no_error() -> None:
    assert mean_error(np.array([1.0, 0.0] * 3), 1) is None
    assert mean_error(np.ones(100), 1) is None
    assert mean_error(np.array([np.nan] * 100), 1) is None


def test_errors_of_folds_pool_as_those_of_independent_means() -> None:
    assert pooled_error([(100, 0.03), (300, 0.02)]) == pytest.approx(
        math.sqrt(3.0**2 + 6.0**2) / 400
    )
    assert pooled_error([(100, 0.03), (300, None)]) is None
    assert pooled_error([(0, None)]) is None


def test_the_board_pools_errors_levels_and_calibration() -> None:
    def fold(index: int, count: int, share: float, came: float | None) -> dict[str, Any]:
        return score(
            [1.0] * count,
            fold=index,
            coverage=share,
            coverage_error=0.1 / index,
            intervals=[{"level": 0.8, "coverage": share, "interval_score": share * 2}],
            calibration=[
                {"count": 0.0, "probability": None, "came": None},
                {"count": float(count), "probability": 0.6, "came": came},
            ],
        )

    (merged,) = pool([fold(1, 10, 0.7, 0.5), fold(2, 30, 0.9, 0.7)])
    assert merged["coverage_error"] == pytest.approx(math.hypot(1.0, 1.5) / 40)
    (only,) = merged["intervals"]
    assert only == {
        "level": 0.8,
        "coverage": pytest.approx(0.85),
        "interval_score": pytest.approx(1.7),
    }
    assert merged["calibration"][0] == {"count": 0.0, "probability": None, "came": None}
    assert merged["calibration"][1]["came"] == pytest.approx(0.65)
    # Of the merged bins: the folds' own are 0.01 each, and their mean would be that too.
    assert merged["reliability"] == pytest.approx(0.05**2)


def pairs(hits: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Sessions and hits of `(session, instrument)`, in no order."""
    shuffled = np.random.default_rng(9).permutation(hits.size)
    return np.repeat(np.arange(len(hits)), hits.shape[1])[shuffled], hits.ravel()[shuffled]


def test_instruments_that_miss_together_are_one_session_and_not_many() -> None:
    rng = np.random.default_rng(2)
    one = (rng.random((600, 1)) < 0.8).astype(float)
    alone = overall(*pairs(one), 1)
    copies = overall(*pairs(np.repeat(one, 20, axis=1)), 1)
    assert alone is not None
    assert copies is not None
    assert copies.share == pytest.approx(alone.share)
    assert copies.error == pytest.approx(alone.error, rel=1e-9)
    apart = overall(*pairs((rng.random((600, 20)) < 0.8).astype(float)), 1)
    assert apart is not None
    assert apart.error == pytest.approx(math.sqrt(0.16 / 12_000), rel=0.2)
    assert apart.sessions == 600
    assert overall(np.arange(3), np.full(3, np.nan), 1) is None


def test_every_pair_weighs_the_same() -> None:
    sessions = np.concatenate([np.repeat(np.arange(20), 3), np.arange(20, 60)])
    found = overall(sessions, (sessions < 20).astype(float), 1)
    assert found is not None
    assert found.share == pytest.approx(60 / 100)
    assert found.sessions == 60


def flags(seed: int, size: float, ago: int, horizon: int = 3, series: int = 100) -> float:
    """Share of series flagged tonight when errors grew to `size` that many sessions ago."""
    rng = np.random.default_rng(seed)
    rows = 189
    shocks = rng.standard_t(6, (series, rows + horizon))
    shocks[:, rows - ago :] *= size
    steps = [shocks[:, 1 + step : rows + 1 + step] for step in range(horizon)]
    targets = np.cumsum(np.stack(steps, axis=-1), axis=-1)
    for lead in range(1, horizon + 1):
        targets[:, rows - lead :, lead - 1] = np.nan
    flagged = 0
    for truth in targets:
        found = adaptive_bounds(
            np.zeros_like(truth), truth, np.ones(rows), np.arange(rows), levels=(0.8,), window=252
        )
        held = covered_share(found, truth)[: rows - horizon]
        result = drift(held[-63:], level=0.8, horizon=horizon, significance=0.01)
        assert result is not None
        flagged += result.drifted
    return flagged / series


def test_the_drift_flag_is_rare_without_drift_and_raised_after_it() -> None:
    nominal = flags(3, 1.0, 0)
    assert nominal <= 0.03
    # Doubled variance costs an adaptive interval little: one in ten is flagged within a quarter.
    assert flags(3, math.sqrt(2.0), 63) > nominal + 0.04
    assert flags(3, 2.0, 63) > 0.4


def test_drift_of_intervals_that_all_missed_and_of_none() -> None:
    worst = drift(np.zeros(30), level=0.8, horizon=1, significance=0.01)
    assert worst is not None
    assert (worst.coverage, worst.drifted, worst.sessions) == (0.0, True, 30)
    best = drift(np.ones(30), level=0.8, horizon=1, significance=0.01)
    assert best is not None
    assert not best.drifted
    few = drift(np.zeros(3), level=0.8, horizon=1, significance=0.01)
    assert few is not None
    assert not few.drifted
    assert drift(np.full(9, np.nan), level=0.8, horizon=1, significance=0.01) is None
