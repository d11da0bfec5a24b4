"""The canary of every kind of network, baseline and interval, in every fold of a rolling plan.

`test_walkforward` and `test_class_canary` have it for the expanding plan, where each fold has a
training of its own; here windows roll, two test folds share a training, and there are two levels.
"""

import numpy as np
import pytest

from lstm_models import baselines
from lstm_models.fleet_config import KINDS
from tasks import class_forecasts
from tasks.methods import fit_beside
from tests.tasks.canary import FIT_PARTS, FLEET_PARTS, STAGES, Canary, Stage
from tests.tasks.markets import HORIZON, SETTINGS

ROLLING = SETTINGS.model_copy(
    update={
        "evaluation": SETTINGS.evaluation.model_copy(
            update={"fit_sessions": 160, "folds_per_refit": 2, "levels": (0.8, 0.6)}
        )
    }
)


@pytest.fixture(scope="module", params=KINDS)
def canary(request: pytest.FixtureRequest) -> Canary:
    return Canary(request.param, ROLLING)


def test_it_has_something_to_watch(canary: Canary) -> None:
    tonight, newer, older = canary.folds
    assert newer.training == older.training != tonight.training
    assert tonight.fit[1] - tonight.fit[0] == 160
    assert {one.series.has_range for one in canary.subjects} == {True, False}
    learned = [report.best_update for lanes in canary.fleet.reports for report in lanes]
    assert sum(update > 0 for update in learned) > len(learned) / 4
    parts = {part for _, _, _, part in canary.fitted}
    assert {*FLEET_PARTS, *FIT_PARTS} <= parts
    if canary.kind == "many_to_many":
        wanted = {name for each in baselines.BASELINES.values() for name in each}
    else:
        wanted = {*class_forecasts.BASELINES[canary.kind]}
    assert wanted <= parts
    for one in canary.subjects:
        for fold in canary.folds:
            fitted = fit_beside(one, fold).tensors()
            # Ten logits need more rows than these histories have.
            lacking = {name for name in fitted if not np.isfinite(fitted[name]).all()}
            assert lacking <= ({"logit"} if canary.kind == "quantile_class" else set())


@pytest.mark.parametrize("stage", STAGES)
def test_a_corrupted_future_moves_nothing(canary: Canary, stage: Stage) -> None:
    assert canary.moved([stage]) == set()


def test_what_moves_if_the_corruption_comes_too_early(canary: Canary) -> None:
    """The return into the last fit or early-stop row is an input of every kind."""
    targets = {one.target for one in canary.subjects}
    for stage in STAGES:
        early = 1 if stage == "forecast" else HORIZON + 1
        moved = canary.moved([stage], [1], early=early)
        assert {each.target for each in moved} == targets
        parts = {each.part for each in moved}
        if stage == "fit":
            assert {"center", "spread"} <= parts
        elif stage == "training":
            assert {"drift", "har"} <= parts or {"frequencies", "class means"} & parts
        else:
            assert {"lstm", "combination"} <= parts
