"""What a scheduled night does before its own session, on a real Prefect server."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from flows import steps, workers
from flows.config import FleetcastConfig
from flows.failures import Refused
from flows.night import Night
from tasks.live_schedule import Agenda
from tests.flows.test_nightly import InThisProcess, config, flow_runs, night, prefect, rows

__all__ = ["config", "prefect"]  # fixtures of the nightly flow's tests

pytestmark = pytest.mark.filterwarnings("ignore")  # Prefect's and its libraries' own

TONIGHT = date(2019, 12, 31)
MISSED = (date(2019, 12, 27), date(2019, 12, 30))


def scheduled(config: FleetcastConfig, plan: Agenda, patch: pytest.MonkeyPatch) -> Night:
    """A night as a schedule starts it."""
    from flows.nightly import nightly

    patch.setattr("flows.steps.agenda", lambda *_: plan)
    token = workers._CURRENT.set(InThisProcess())
    try:
        return nightly(config=config, catch_up=True)
    finally:
        workers._CURRENT.reset(token)


def test_missed_sessions_are_caught_up_first_each_as_a_run_of_what_is_known_now(
    config: FleetcastConfig, prefect: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bars" / "E.csv").unlink()
    plan = Agenda(TONIGHT, news=True, missed=MISSED, left_out=2)
    done = scheduled(config, plan, monkeypatch)
    assert flow_runs(prefect)[0].name == "nightly-2019-12-31"
    assert (done.session, done.origin) == (TONIGHT, "live")
    assert done.problems[0].startswith("2 earlier sessions were missed too")
    made = sorted(rows(config, "runs"), key=lambda row: row["made_at"])
    assert [(row["session"], row["origin"], row["status"]) for row in made] == [
        (MISSED[0], "backfill", "finished"),
        (MISSED[1], "backfill", "finished"),
        (TONIGHT, "live", "finished"),
    ]
    late = [row["as_of"] for row in made[:2]]
    assert late == sorted(set(late)), "one knowledge time is one run's"
    assert all(as_of >= made[0]["made_at"] for as_of in late)
    cutoffs = {row["as_of"]: row["cutoff"] for row in rows(config, "forecasts")}
    assert [cutoffs[row["as_of"]] for row in made] == [*MISSED, TONIGHT]
    assert len(rows(config, "ingests")) == 1

    before = rows(config, "forecasts")
    again = scheduled(config, plan, monkeypatch)
    assert again.repeated
    assert rows(config, "forecasts") == before
    assert len(rows(config, "runs")) == 3


def test_a_session_that_can_not_be_caught_up_does_not_stop_tonight(
    config: FleetcastConfig, prefect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_any_bar = Agenda(TONIGHT, news=True, missed=(date(2018, 12, 31),))
    done = scheduled(config, before_any_bar, monkeypatch)
    assert flow_runs(prefect)[0].state.is_completed()
    assert done.session == TONIGHT
    assert done.problems[0].startswith("session 2018-12-31 could not be caught up: ")


def test_what_went_wrong_with_a_missed_session_is_told_tonight(
    config: FleetcastConfig, prefect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del prefect  # the settings of its fixture hold
    score = steps.score

    def broken(request: Any) -> Any:  # noqa: ANN401 - as the real one
        if request.session == MISSED[1]:
            raise OSError("lost")
        return score(request)

    monkeypatch.setattr("flows.steps.score", broken)
    done = scheduled(config, Agenda(TONIGHT, news=True, missed=MISSED[1:]), monkeypatch)
    told = "session 2019-12-30: scoring what matured failed: OSError: lost"
    assert (done.session, done.problems) == (TONIGHT, (told,))


def test_without_a_new_session_it_says_so_and_asks_no_source(
    config: FleetcastConfig, prefect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("the source was asked")

    monkeypatch.setattr("flows.steps.ingest_bars", asked)
    scheduled(config, Agenda(TONIGHT, news=False), monkeypatch)
    run: Any = flow_runs(prefect)[0]
    assert run.state.is_completed()
    assert run.state.message == "No session is newer than 2019-12-31, which is done."
    assert run.name == "nightly-2019-12-31-again"
    assert rows(config, "runs") == []


def test_an_archive_has_no_agenda_and_what_grows_has(config: FleetcastConfig) -> None:
    from datetime import UTC, datetime

    evening = datetime(2020, 1, 3, 23, tzinfo=UTC)
    assert steps.agenda(config, evening) is None
    growing = config.source.model_copy(update={"archive": False})
    plan = steps.agenda(config.model_copy(update={"source": growing}), evening)
    assert plan == Agenda(date(2020, 1, 3), news=True)


def test_training_elsewhere_is_refused_before_any_work_where_it_can_not_be(
    config: FleetcastConfig, prefect: str
) -> None:
    remote = config.compute.model_copy(update={"train": "deployment:train-shard/gpu"})
    with pytest.raises(Refused, match="compute.shared_store"):
        night(config.model_copy(update={"compute": remote}))
    remote = remote.model_copy(update={"shared_store": True})
    with pytest.raises(Refused, match="has no deployment train-shard/gpu"):
        night(config.model_copy(update={"compute": remote}))
    assert flow_runs(prefect)[0].state.is_failed()
    assert rows(config, "runs") == []


def test_a_shard_that_no_deployment_trains_is_forecast_all_the_same(
    config: FleetcastConfig, prefect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: FleetcastConfig, request: Any) -> Any:  # noqa: ANN401 - as the real one
        if request.shard.name == "shard-0001":
            raise OSError("lost")
        return steps.train(request)

    monkeypatch.setattr("flows.remote_training.refuse_unknown", lambda _: None)
    monkeypatch.setattr("flows.remote_training.train", broken)
    remote = {"train": "deployment:train-shard/gpu", "shared_store": True}
    elsewhere = config.model_copy(update={"compute": config.compute.model_copy(update=remote)})
    done = night(elsewhere)
    assert flow_runs(prefect)[0].state.is_completed()
    assert done.problems == ("training of shard-0001 failed: OSError: lost (C, D)",)
    assert done.forecasts == 40
