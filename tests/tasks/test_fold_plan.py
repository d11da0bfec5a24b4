"""The plan before the run: it is the one that training follows, and it counts its networks."""

from datetime import timedelta
from pathlib import Path

import pytest

from lstm_models.fleet_config import KINDS
from tasks.due import due_models
from tasks.fold_plan import SEGMENTS, FoldPlan, plan_of_calendar, plans_of
from tasks.folds import needed, trainings
from tasks.sessions import CalendarConfig, Calendars
from tasks.settings import ForecastSettings
from tasks.store import Store
from tasks.train import train_shard
from tests.tasks.class_markets import ILL, with_kinds
from tests.tasks.markets import (
    ANT,
    BEE,
    LAG,
    REFIT,
    SETTINGS,
    TONIGHT,
    bars_table,
    exchange,
    garch,
    request_for,
    row_counts,
    store_with,
)

NAMES = ("ANT", "BEE", "FLY", "ILL", "NEW")
EVERY = with_kinds(*KINDS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_with(
        tmp_path_factory.mktemp("plan"),
        bars_table("ANT", ANT),
        bars_table("BEE", BEE),
        bars_table("FLY", garch(5, 200)),
        bars_table("ILL", ILL),
        bars_table("NEW", garch(6, 2)),  # both bars are later than the refit
    )


def plans(store: Store, settings: ForecastSettings = SETTINGS) -> dict[str, FoldPlan]:
    found = plans_of(
        store,
        NAMES,
        settings,
        Calendars.load(CalendarConfig()),
        session=TONIGHT,
        as_of=exchange().close(TONIGHT) + LAG,
        lag=LAG,
    )
    return {one.instrument: one for one in found}


def test_it_is_what_training_follows(store: Store) -> None:
    before = row_counts(store)
    for settings in (SETTINGS, EVERY):
        planned = plans(store, settings)
        for due in due_models(store, request_for(store, *NAMES, settings=settings)):
            plan = planned[due.one.instrument]
            assert plan.refit == due.refit
            assert plan.sessions.tolist() == due.one.series.sessions.tolist()
            assert plan.folds[: len(due.one.folds)] == due.one.folds
            assert due.one.too_short is None or due.one.too_short in (plan.reason or "")
            networks = trainings(due.one.folds) * settings.model.seeds
            assert plan.networks[due.one.kind, due.one.target] == networks
    assert row_counts(store) == before


def test_the_networks_that_it_counts_are_those_that_are_trained(tmp_path: Path) -> None:
    store = store_with(tmp_path, bars_table("ANT", ANT), bars_table("FLY", garch(5, 200)))
    told: list[int] = []
    train_shard(request_for(store, "ANT", "FLY"), lambda _step, _done, total: told.append(total))
    networks = plans(store)["ANT"].networks
    assert networks == dict.fromkeys(SETTINGS.forecasts, 3 * SETTINGS.model.seeds)
    assert max(told) == sum(networks.values())


def test_segments_have_their_sessions_and_what_is_empty_has_none(store: Store) -> None:
    plan = plans(store)["ANT"]
    tonight, newest = plan.folds[:2]
    assert plan.dated(tonight, "test") is None
    assert plan.dated(newest, "test") == (plan.sessions[-40].item(), REFIT, 40)
    for fold in plan.folds:
        for segment in SEGMENTS:
            held = plan.dated(fold, segment)
            assert held is None or exchange().count(held[0], held[1]) == held[2]


def test_what_is_too_short_says_what_is_needed_and_what_there_is(store: Store) -> None:
    planned = plans(store)
    assert planned["FLY"].reason == "198 sessions of history, the LSTM needs 387"
    assert (
        planned["NEW"].reason
        == f"no bar of it was known when its last refit was due, after {REFIT}"
    )
    for name in ("FLY", "NEW"):
        assert planned[name].folds == ()
        assert set(planned[name].networks.values()) == {0}


def test_folds_that_share_a_training_are_named_and_counted_once(store: Store) -> None:
    evaluation = SETTINGS.evaluation.model_copy(update={"folds_per_refit": 2})
    plan = plans(store, SETTINGS.model_copy(update={"evaluation": evaluation}))["ANT"]
    assert [plan.trained_with(fold) for fold in plan.folds] == [0, 2, 2]
    assert set(plan.networks.values()) == {2 * SETTINGS.model.seeds}


def test_without_bars_it_is_as_long_as_all_folds_need() -> None:
    plan = plan_of_calendar(exchange(), SETTINGS, last=TONIGHT)
    assert plan.refit == REFIT
    rows = 126 + needed(SETTINGS.evaluation, SETTINGS.embargo) + 2 * 40
    assert (len(plan.sessions), plan.sessions[-1].item()) == (rows, REFIT)
    assert len(plan.folds) == 3
    assert plan.folds[2].fit == (126, 126 + SETTINGS.evaluation.min_fit)
    early = plan_of_calendar(exchange(), SETTINGS, last=exchange().first + timedelta(days=365))
    assert early.folds == ()
    assert early.reason is not None
    assert early.reason.endswith("the LSTM needs 468")
