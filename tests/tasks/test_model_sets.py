"""The Model Confidence Set and SPA: what `arch` says, of losses of any kind, and their sizes."""

import numpy as np
import pytest
from arch.bootstrap import MCS, SPA
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.test_sizes import model_sets
from tasks.model_sets import block_length, model_set

Floats = NDArray[np.float64]


def losses(methods: int = 4, sessions: int = 200, seed: int = 0) -> Floats:
    generator = np.random.default_rng(seed)
    common = generator.chisquare(1, (sessions, 1))
    own = np.abs(generator.normal(0.5, 0.2, (sessions, methods)))
    return np.asarray(common + own + 0.02 * np.arange(methods))


def test_it_is_what_arch_says() -> None:
    table = losses()
    found = model_set(table, horizon=5, repetitions=100, seed=7)
    assert (found.block, found.seed, found.reason) == (10, 7, None)
    mcs = MCS(table, size=0.1, reps=100, block_size=10, method="R", seed=7)
    mcs.compute()
    assert {place: found.mcs[place] for place in range(4)} == dict(mcs.pvalues["Pvalue"])
    for place in range(4):
        spa = SPA(table[:, place], np.delete(table, place, 1), block_size=10, reps=100, seed=7)
        spa.compute()
        assert found.spa[place] == spa.pvalues["consistent"]
    assert found.mcs[0] == 1.0


def test_the_seed_decides() -> None:
    table = losses(3, 100)
    assert model_set(table, horizon=1, repetitions=100, seed=1) == model_set(
        table, horizon=1, repetitions=100, seed=1
    )
    assert (
        model_set(table, horizon=1, repetitions=100, seed=1).mcs
        != model_set(table, horizon=1, repetitions=100, seed=2).mcs
    )


def test_one_method_under_two_names_has_one_answer() -> None:
    """Float32 rounding apart: a network that has learnt nothing is its linear path."""
    table = losses(3)
    expected = model_set(table, horizon=1, repetitions=100, seed=3)
    noise = 1e-7 * np.random.default_rng(4).uniform(-1, 1, len(table))
    doubled = np.column_stack([table[:, 0] * (1 + noise), table, table[:, 2]])
    found = model_set(doubled, horizon=1, repetitions=100, seed=3)
    assert found.mcs == (expected.mcs[0], *expected.mcs, expected.mcs[2])
    assert found.spa == (expected.spa[0], *expected.spa, expected.spa[2])


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (np.ones((100, 3)), "identical losses"),
        (losses(1), "one method alone"),
        (losses(2)[:, [0, 0]], "identical losses"),
        (
            losses(2)[:, [0, 0, 1]] + [0.0, 0.5, 0.0],
            "the losses of two methods differ by a constant",
        ),
        (losses(2)[:29], "29 sessions, 30 needed"),
        (losses(2)[:0], "0 sessions, 30 needed"),
        (np.empty((100, 0)), "one method alone"),
    ],
)
def test_what_cannot_be_tested_is_said(table: Floats, reason: str) -> None:
    found = model_set(table, horizon=5, repetitions=100, seed=0)
    assert found.reason == reason
    assert found.mcs == found.spa == (None,) * table.shape[1]


def test_a_flat_loss_beside_one_that_varies_has_an_answer() -> None:
    table = np.column_stack([np.full(100, 2.0), losses(1, 100)])
    found = model_set(table, horizon=1, repetitions=100, seed=0)
    assert found.reason is None
    assert all(p is not None and 0 <= p <= 1 for p in (*found.mcs, *found.spa))


@given(st.integers(8, 5000), st.integers(1, 20))
def test_blocks_follow_the_stated_rule(count: int, horizon: int) -> None:
    block = block_length(count, horizon)
    assert 1 <= block <= max(1, count // 3)
    if count >= 6 * horizon:
        assert block >= 2 * horizon


def test_wrong_losses_are_named() -> None:
    table = losses(2)
    with pytest.raises(ValueError, match=r"expected losses \(session, method\)"):
        model_set(table[:, 0], horizon=1, repetitions=100, seed=0)
    table[7, 1] = np.nan
    with pytest.raises(
        ValueError, match="every loss must be finite: received nan of method 1 at 7"
    ):
        model_set(table, horizon=1, repetitions=100, seed=0)
    with pytest.raises(ValueError, match="horizon=0"):
        block_length(10, 0)


def test_the_best_are_kept_and_the_worse_are_found() -> None:
    mcs, spa = model_sets(1, sessions=400, repetitions=20, seed=5, samples=100)
    # 20 draws at 10 %: standard error 7 %.
    assert mcs.size <= 0.25
    assert mcs.power >= 0.8
    assert spa.size <= 0.15
    assert spa.power >= 0.8
