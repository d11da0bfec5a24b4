"""What is asked of a deployment and what becomes of its answers; the server's side is played."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running

from flows import remote_training
from flows.config import FleetcastConfig, check
from flows.remote_training import RemoteTrainingError, parameters, train
from flows.train_shard import train_pinned, train_shard
from tasks import runs
from tasks.sessions import CalendarConfig
from tasks.shards import Shard, ShardRequest
from tasks.store import Store
from tasks.train import TrainResult

pytestmark = pytest.mark.filterwarnings("ignore")  # Prefect's and its libraries' own


@pytest.fixture
def config(tmp_path: Path) -> FleetcastConfig:
    return check(
        {
            "store": {"url": str(tmp_path / "store")},
            "training": {"shard_size": 2},
            "compute": {"train": "deployment:train-shard/gpu", "shared_store": True},
            "calendar": {"closed": {"XNYS": ["2012-10-30"]}},
        },
        "test",
    )


@pytest.fixture
def request_(config: FleetcastConfig) -> ShardRequest:
    return ShardRequest(
        store_url="/shared/store",
        shard=Shard("shard-0001", ("C", "D")),
        session=date(2013, 3, 1),
        as_of=datetime(2013, 3, 1, 22, tzinfo=UTC),
        lag=timedelta(hours=1),
        calendars=CalendarConfig(),
        settings=config.forecast_settings(),
        config_hash=config.config_hash,
        run_id="run",
        origin="live",
    )


@dataclass
class Server:
    """Answers one state after another, and remembers what it was asked."""

    answers: list[State[Any] | Exception]
    asked: list[dict[str, Any]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def run_deployment(self, name: str, **asked: Any) -> FlowRun:  # noqa: ANN401 - Prefect's
        self.asked.append({"name": name, **asked})
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        made: dict[str, Any] = {
            "id": "id",
            "state": answer,
            "start_time": datetime.now(UTC) if answer.is_running() else None,
            "total_run_time": timedelta(seconds=7),
        }
        return FlowRun.model_construct(**made)


@pytest.fixture
def playing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Server]:
    def play(*answers: State[Any] | Exception) -> Server:
        server = Server(list(answers))
        monkeypatch.setattr(remote_training, "run_deployment", server.run_deployment)
        monkeypatch.setattr(remote_training, "LONGEST_PAUSE", 0.01)
        monkeypatch.setattr(
            remote_training, "_cancel", lambda run: server.cancelled.append(str(run.id))
        )
        monkeypatch.setattr(
            "flows.steps.trained", lambda request: TrainResult(request.shard, (), 4, 0.0)
        )
        return server

    return play


def test_what_is_sent_is_small_and_pins_the_same_configuration(
    config: FleetcastConfig, request_: ShardRequest
) -> None:
    sent = json.loads(json.dumps(parameters(config, request_)))
    assert (sent["run_id"], sent["shard"]) == ("run", "shard-0001")
    assert set(sent["config"]) == {"calendar", "training", "store"}
    flow: Flow[..., Any] = train_shard
    back = flow.validate_parameters(sent)["config"]
    assert back.config_hash == config.config_hash
    assert back.store.url == "/shared/store"
    assert len(json.dumps(sent)) < 500


def test_a_shard_that_completes_is_read_from_the_store(
    config: FleetcastConfig, request_: ShardRequest, playing: Callable[..., Server]
) -> None:
    server = playing(Completed())
    done = train(config, request_)
    assert (done.trained, done.seconds) == (4, 7.0)
    (asked,) = server.asked
    assert asked["name"] == "train-shard/gpu"
    assert asked["parameters"] == parameters(config, request_)


@pytest.mark.parametrize("first", [Failed(message="out of memory"), Crashed()])
def test_a_shard_that_fails_is_tried_once_more_under_another_key(
    first: State[Any],
    config: FleetcastConfig,
    request_: ShardRequest,
    playing: Callable[..., Server],
) -> None:
    server = playing(first, Completed())
    assert train(config, request_).trained == 4
    keys = [asked["idempotency_key"] for asked in server.asked]
    assert [key.rpartition("/")[2] for key in keys] == ["1", "2"]
    assert len({key.rpartition("/")[0] for key in keys}) == 1
    assert keys[0].startswith("run/shard-0001/")


def test_a_shard_that_fails_twice_is_told_without_secrets(
    config: FleetcastConfig, request_: ShardRequest, playing: Callable[..., Server]
) -> None:
    server = playing(Failed(message="OSError: s3://me:hunter2@bucket"))
    with pytest.raises(RemoteTrainingError, match="attempt 2 of 2: OSError") as caught:
        train(config, request_)
    assert "hunter2" not in str(caught.value)
    assert len(server.asked) == 2


def test_a_shard_that_a_person_cancels_is_not_tried_again(
    config: FleetcastConfig, request_: ShardRequest, playing: Callable[..., Server]
) -> None:
    server = playing(Cancelled())
    with pytest.raises(RemoteTrainingError, match="ended as Cancelled"):
        train(config, request_)
    assert len(server.asked) == 1


@pytest.mark.parametrize(("state", "told"), [(Pending(), "started"), (Running(), "done")])
def test_a_shard_that_takes_too_long_is_taken_back(
    state: State[Any],
    told: str,
    config: FleetcastConfig,
    request_: ShardRequest,
    playing: Callable[..., Server],
) -> None:
    server = playing(state)
    with pytest.raises(RemoteTrainingError, match=f"was not {told} within 240 minutes"):
        train(config, request_)
    assert (len(server.asked), server.cancelled) == (1, ["id"])


def test_a_server_that_is_away_is_asked_again_under_the_same_key(
    config: FleetcastConfig, request_: ShardRequest, playing: Callable[..., Server]
) -> None:
    away = httpx.ConnectError("refused")
    server = playing(away, away, Completed())
    train(config, request_)
    assert len(server.asked) == 3
    assert len({asked["idempotency_key"] for asked in server.asked}) == 1


def test_a_server_that_is_away_does_not_stop_a_night_before_it_began(
    config: FleetcastConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def away(**_: object) -> None:
        asked.append(True)
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(remote_training, "get_client", away)
    remote_training.refuse_unknown(config)
    assert asked


def test_an_answer_that_is_no_accident_is_not_asked_for_again(
    config: FleetcastConfig, request_: ShardRequest, playing: Callable[..., Server]
) -> None:
    server = playing(ValueError("no such parameter"))
    with pytest.raises(ValueError, match="no such parameter"):
        train(config, request_)
    assert len(server.asked) == 1


# The other side


def pinned(config: FleetcastConfig) -> runs.PinnedRun:
    moment = runs.Moment(date(2013, 3, 1), None, "live")
    return runs.pin(
        Store.open(config.store.url),
        moment,
        config_hash=config.config_hash,
        shards={"shard-0000": ("A",)},
        now=datetime(2013, 3, 1, 23, tzinfo=UTC),
    )


def test_a_run_of_another_configuration_code_or_store_is_refused(
    config: FleetcastConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = pinned(config)
    with pytest.raises(runs.RunError, match="holds no run lost"):
        train_pinned("lost", "shard-0000", config)
    with pytest.raises(runs.RunError, match="has no shard shard-0009; it has shard-0000"):
        train_pinned(run.run_id, "shard-0009", config)
    wider = config.training.model_copy(update={"shard_size": 3})
    with pytest.raises(runs.RunError, match="Use the configuration that pinned it"):
        train_pinned(run.run_id, "shard-0000", config.model_copy(update={"training": wider}))
    monkeypatch.setattr(runs, "FORECAST_CODE_VERSION", "older")
    with pytest.raises(runs.RunError, match="the same fleetcast on every machine"):
        train_pinned(run.run_id, "shard-0000", config)
