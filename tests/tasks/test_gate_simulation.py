"""How often the gate publishes noise and finds a true advantage, where the truth is known."""

import numpy as np
import pytest

from benchmarks.gate_simulation import BASELINE, World, live_on, losses, simulate
from tasks.gate import GateConfig

RULE = GateConfig()


@pytest.mark.parametrize("instruments", [4, 20])
def test_noise_is_published_at_most_as_often_as_the_level(instruments: int) -> None:
    """The least favourable truth: one candidate that is exactly level with the baseline."""
    world = World((0.0,) * instruments, sessions=504, folds=2)
    rule = GateConfig(candidates=("lstm",))
    found = simulate(world, rule, repetitions=120, seed=1)
    # 120 draws at 5 %, and what stays at 10 %: standard error 2 %.
    assert found.passed <= 0.11
    assert found.instruments.mean() <= found.passed


@pytest.mark.parametrize("instruments", [4, 20])
def test_a_network_that_learnt_noise_is_hardly_ever_published(instruments: int) -> None:
    found = simulate(World((-0.5,) * instruments, sessions=504), RULE, repetitions=30, seed=2)
    assert found.passed <= 0.04


def test_a_true_advantage_is_found() -> None:
    world = World((0.5,) * 4, sessions=1008)
    assert 0.02 < world.skill(0.5) < 0.025
    found = simulate(world, RULE, repetitions=40, seed=3)
    assert found.passed >= 0.8
    assert found.instruments.mean() >= 0.75


def test_the_simulated_skill_is_the_stated_one() -> None:
    for advantage in (-0.5, 0.0, 0.5):
        world = World((advantage,) * 40, sessions=4000, correlation=0.0)
        drawn = losses(world, np.random.default_rng(4))
        skill = 1 - drawn["lstm"].mean() / drawn[BASELINE].mean()
        assert skill == pytest.approx(world.skill(advantage), abs=0.003)


def test_memory_costs_little_under_noise_and_finds_more_of_what_is_true() -> None:
    """Both rules see the same histories: one forgets, one keeps."""
    keeps = GateConfig(keep_significance=0.3)
    forgets = GateConfig(keep_significance=keeps.significance)
    level, true = (World((edge,) * 2, sessions=504, folds=2) for edge in (-0.25, 0.5))
    without, kept = live_on(level, (forgets, keeps), repetitions=15, seed=6, refits=5)
    assert without.passed <= kept.passed <= without.passed + 0.1
    without, kept = live_on(true, (forgets, keeps), repetitions=15, seed=6, refits=5)
    assert kept.passed > without.passed + 0.02
    assert (kept.instruments >= without.instruments).all()
