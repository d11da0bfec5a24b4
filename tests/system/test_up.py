"""`fleetcast up` as a person starts it: a schedule, a server on PostgreSQL, workers, the GPU pool.

The night that the schedule creates is compared with one that trains in processes of its own.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.store import Store
from tests.private_postgres import private_postgres
from tests.system.api import PATIENCE, ROOT, Api, alive, environment, free_port
from tests.system.site import NIGHT, bars

NAMES = ("A", "B", "C")
OURS = {"forecast_id", "run_id", "made_at", "known_at", "as_of"}
"""Columns of `forecasts` that say whose work a row is; the others are its payload."""

SCHEDULE = """
[schedule]
cron = "* 3-23 * * *"
timezone = "{zone}"
"""


@dataclass
class Live:
    process: subprocess.Popen[bytes]
    api: Api
    folder: Path
    said: Path

    def wait_until_up(self) -> None:
        end = time.monotonic() + PATIENCE
        while "The UI is at " not in self.said.read_text():
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < end, self.said.read_text()
            time.sleep(0.5)

    def wait_for(self, flow: str, count: int) -> list[dict[str, Any]]:
        """The first runs of a flow that have ended."""
        end = time.monotonic() + PATIENCE
        found: list[dict[str, Any]] = []
        while time.monotonic() < end:
            assert self.process.poll() is None, self.said.read_text()
            try:
                found = self.api.runs(flow)
            except OSError:
                found = []
            if len(found) >= count:
                return found
            time.sleep(1)
        raise AssertionError(f"{len(found)} runs of {flow}: {self.said.read_text()}")

    def processes(self) -> list[str]:
        return list(alive(f"PREFECT_HOME={self.folder / 'store' / '.prefect'}").values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three instruments with two years of prices up to the last session, two to a shard."""
    folder = tmp_path_factory.mktemp("up")
    bars(folder, NAMES)
    east = (12 - datetime.now(UTC).hour) % 24  # where it is about noon, so that the cron is due
    zone = f"Etc/GMT{-east if east <= 12 else 24 - east:+d}"
    (folder / "fleetcast.toml").write_text(NIGHT + SCHEDULE.format(zone=zone))
    return folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    with ExitStack() as stack:
        postgres = stack.enter_context(private_postgres())
        postgres.run("psql", "-c", "CREATE ROLE prefect LOGIN PASSWORD 'one'")
        postgres.run("psql", "-c", "CREATE DATABASE prefect OWNER prefect")
        database = f"postgresql+asyncpg://prefect:one@127.0.0.1:{postgres.port}/prefect"
        api = Api(free_port())
        said = folder / "said"
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "up", "--port", str(api.port)],
            cwd=folder,
            env=environment(folder) | {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database},
            stdout=stack.enter_context(said.open("wb")),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            up = Live(process, api, folder, said)
            up.wait_until_up()
            yield up
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait()


@pytest.fixture(scope="module")
def night(live: Live) -> dict[str, Any]:
    """The night that the schedule created."""
    return live.wait_for("nightly", 1)[0]


def payload(store: Store) -> list[tuple[object, ...]]:
    rows = store.read("forecasts")
    columns = [rows[name].to_pylist() for name in sorted(set(rows.column_names) - OURS)]
    return sorted(tuple(map(repr, row)) for row in zip(*columns, strict=True))


def test_the_schedule_creates_a_run_that_completes(live: Live, night: dict[str, Any]) -> None:
    assert (night["auto_scheduled"], night["created_by"]["type"]) == (True, "SCHEDULE")
    assert night["state"]["type"] == "COMPLETED", night["state"]
    store = Store.open(live.folder / "store")
    (run,) = store.read("runs").to_pylist()
    assert night["name"] == f"nightly-{run['session']}"
    assert (run["status"], run["message"], run["origin"]) == ("finished", None, "live")
    assert set(store.read("forecasts")["instrument"].to_pylist()) == set(NAMES)
    assert store.exists("latest/forecasts.parquet")


def test_its_shards_were_trained_on_the_gpu_pool(live: Live, night: dict[str, Any]) -> None:
    del night
    shards = live.api.runs("train-shard")
    assert sorted(run["name"] for run in shards) == ["train-shard-0000", "train-shard-0001"]
    assert {run["work_pool_name"] for run in shards} == {"gpu"}
    assert {run["state"]["type"] for run in shards} == {"COMPLETED"}
    assert all(run["parent_task_run_id"] for run in shards)
    told = [json.dumps(run["parameters"]) for run in shards]
    assert max(map(len, told)) < 2000
    models = Store.open(live.folder / "store").read("models").to_pylist()
    assert {row["status"] for row in models} == {"trained"}


def test_what_people_see_of_it(live: Live, night: dict[str, Any]) -> None:
    own = live.api.ask("artifacts/filter", flow_runs={"id": {"any_": [night["id"]]}})
    assert {one["key"] for one in own} >= {"data-health", "scores", "forecasts"}


def test_the_forms_of_the_deployments_are_typed(live: Live, night: dict[str, Any]) -> None:
    del night
    found = {one["name"]: one for one in live.api.ask("deployments/filter")}
    assert set(found) >= {"nightly", "gpu", "ingest", "compact"}
    form = found["nightly"]["parameter_openapi_schema"]
    assert form["properties"]["catch_up"]["type"] == "boolean"
    assert "FleetcastConfig" in form["definitions"]
    assert all("description" in one for one in form["properties"].values())
    for one in found.values():
        assert one["description"]
        assert "fleetcast" in one["tags"]
    assert found["nightly"]["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    wanted = yaml.safe_load((ROOT / "deploy" / "automations.yaml").read_text())["automations"]
    automations = live.api.ask("automations/filter")
    assert {one["name"] for one in automations} == {one["name"] for one in wanted}


def test_the_next_run_finds_no_new_session_and_stops(live: Live, night: dict[str, Any]) -> None:
    del night
    again = live.wait_for("nightly", 2)[1]
    assert again["state"]["type"] == "COMPLETED"
    assert again["state"]["message"].startswith("No session is newer than ")
    tasks = live.api.ask("task_runs/filter", flow_runs={"id": {"any_": [again["id"]]}})
    assert tasks == []
    assert Store.open(live.folder / "store").read("ingests").num_rows == 1


def test_the_same_bytes_as_a_night_that_trains_in_processes_of_its_own(
    live: Live, night: dict[str, Any]
) -> None:
    del night
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "nightly", "--store", "local", "--format", "json"],
        cwd=live.folder,
        env=environment(live.folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not json.loads(done.stdout)["partial"]
    alone, shared = (Store.open(live.folder / name) for name in ("local", "store"))
    files = [
        sorted(p.name for p in (live.folder / s / "checkpoints").iterdir())
        for s in ("local", "store")
    ]
    assert files[0] == files[1] != []
    for name in files[0]:
        path = f"checkpoints/{name}"
        assert alone.read_file(path) == shared.read_file(path)
    assert payload(alone) == payload(shared) != []


def crash(live: Live, run_id: str) -> None:
    """What the server is told of a run that starts, and whose process is killed."""
    for state in ("PENDING", "RUNNING", "CRASHED"):
        live.api.ask(f"flow_runs/{run_id}/set_state", state={"type": state}, force=True)


def wait_until_started_again(live: Live, run_id: str) -> None:
    end = time.monotonic() + PATIENCE
    while live.api.ask(f"flow_runs/{run_id}")["state"]["name"] != "AwaitingRetry":
        assert time.monotonic() < end, live.api.ask(f"flow_runs/{run_id}")["state"]
        time.sleep(0.2)


def test_a_crashed_run_is_started_again_three_times_and_no_more(live: Live) -> None:
    (deployment,) = live.api.ask("deployments/filter", deployments={"name": {"any_": ["compact"]}})
    live.api.ask("work_pools/cpu", "PATCH", is_paused=True)  # no worker takes what is started again
    made = f"deployments/{deployment['id']}/create_flow_run"
    first, second = (live.api.ask(made, state={"type": "SCHEDULED"})["id"] for _ in range(2))
    for _ in range(3):
        crash(live, first)
        wait_until_started_again(live, first)
    crash(live, first)
    crash(live, second)  # answered later than the fourth crash of the first would have been
    wait_until_started_again(live, second)
    state = live.api.ask(f"flow_runs/{first}")
    assert (state["run_count"], state["state"]["type"]) == (4, "CRASHED")
    live.api.ask("work_pools/cpu", "PATCH", is_paused=False)


def test_an_interrupt_ends_all_of_it(live: Live) -> None:
    assert len(live.processes()) >= 6, "server, two workers, and a guard of each"
    live.process.send_signal(signal.SIGINT)
    assert live.process.wait(120) == 0, live.said.read_text()
    assert live.processes() == []
