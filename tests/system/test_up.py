"""`fleetcast up` as a person starts it: a schedule, a server on PostgreSQL, workers, the GPU pool.

The night that the schedule creates is compared with one that trains in processes of its own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.config import FleetcastConfig
from tasks.sessions import calendar
from tasks.store import Store
from tests.system.private_postgres import private_postgres

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("A", "B", "C")
PATIENCE = 900.0
OURS = {"forecast_id", "run_id", "made_at", "known_at", "as_of"}
"""Columns of `forecasts` that say whose work a row is; the others are its payload."""

CONFIG = """
[source]
name = "files"
path = "bars"
[schedule]
cron = "* 3-23 * * *"
timezone = "{zone}"
[training]
shard_size = 2
max_updates = 2
check_every = 1
warmup_updates = 0
windows_per_update = 2
fleet_width = 4
processes = 1
[model]
units = 2
lookback = 10
burn_in = 2
seeds = 1
[evaluation]
folds = 1
min_fit = 150
early_stop = 20
gate = 30
calibrate = 60
test = 20
"""


@dataclass
class Live:
    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    said: Path

    def ask(self, path: str, method: str | None = None, **wanted: object) -> Any:  # noqa: ANN401
        url = f"http://127.0.0.1:{self.port}/api/{path}"
        data = json.dumps(wanted).encode() if wanted or path.endswith("filter") else None
        request = urllib.request.Request(
            url, data=data, headers={"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read() or "null")

    def runs(self, flow: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask(
            "flow_runs/filter",
            flows={"name": {"any_": [flow]}},
            flow_runs={"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}},
            sort="EXPECTED_START_TIME_ASC",
        )
        return found

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
                found = self.runs(flow)
            except OSError:
                found = []
            if len(found) >= count:
                return found
            time.sleep(1)
        raise AssertionError(f"{len(found)} runs of {flow}: {self.said.read_text()}")

    def processes(self) -> list[str]:
        """The command lines of whatever lives on this server's home, in any process group."""
        found = []
        for one in Path("/proc").glob("[0-9]*"):
            try:
                environment = (one / "environ").read_bytes()
                if f"PREFECT_HOME={self.folder}".encode() in environment:
                    found.append((one / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return [line for line in found if line]


def environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TF_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "HOME": str(folder / "home")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three instruments with two years of prices up to the last session, two to a shard."""
    folder = tmp_path_factory.mktemp("up")
    exchange = calendar("XNYS")
    last = exchange.last_session(datetime.now(UTC), FleetcastConfig().source.lag)
    sessions = exchange.sessions(exchange.offset(last, -520), last)
    random = np.random.default_rng(7)
    (folder / "bars").mkdir()
    for name in NAMES:
        closes = 100 * np.exp(np.cumsum(random.normal(0, 0.01, len(sessions))))
        rows = [f"{day},{close}" for day, close in zip(sessions, closes, strict=True)]
        (folder / "bars" / f"{name}.csv").write_text("\n".join(["date,close", *rows]) + "\n")
    east = (12 - datetime.now(UTC).hour) % 24  # where it is about noon, so that the cron is due
    zone = f"Etc/GMT{-east if east <= 12 else 24 - east:+d}"
    (folder / "fleetcast.toml").write_text(CONFIG.format(zone=zone))
    return folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    with ExitStack() as stack:
        postgres = stack.enter_context(private_postgres())
        postgres.run("psql", "-c", "CREATE ROLE prefect LOGIN PASSWORD 'one'")
        postgres.run("psql", "-c", "CREATE DATABASE prefect OWNER prefect")
        database = f"postgresql+asyncpg://prefect:one@127.0.0.1:{postgres.port}/prefect"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        said = folder / "said"
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "up", "--port", str(port)],
            cwd=folder,
            env=environment(folder) | {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database},
            stdout=stack.enter_context(said.open("wb")),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            up = Live(process, port, folder, said)
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
    shards = live.runs("train-shard")
    assert sorted(run["name"] for run in shards) == ["train-shard-0000", "train-shard-0001"]
    assert {run["work_pool_name"] for run in shards} == {"gpu"}
    assert {run["state"]["type"] for run in shards} == {"COMPLETED"}
    assert all(run["parent_task_run_id"] for run in shards)
    told = [json.dumps(run["parameters"]) for run in shards]
    assert max(map(len, told)) < 2000
    models = Store.open(live.folder / "store").read("models").to_pylist()
    assert {row["status"] for row in models} == {"trained"}


def test_what_people_see_of_it(live: Live, night: dict[str, Any]) -> None:
    own = live.ask("artifacts/filter", flow_runs={"id": {"any_": [night["id"]]}})
    assert {one["key"] for one in own} >= {"data-health", "scores", "forecasts"}


def test_the_forms_of_the_deployments_are_typed(live: Live, night: dict[str, Any]) -> None:
    del night
    found = {one["name"]: one for one in live.ask("deployments/filter")}
    assert set(found) >= {"nightly", "gpu", "ingest", "compact"}
    form = found["nightly"]["parameter_openapi_schema"]
    assert form["properties"]["catch_up"]["type"] == "boolean"
    assert "FleetcastConfig" in form["definitions"]
    assert all("description" in one for one in form["properties"].values())
    for one in found.values():
        assert one["description"]
        assert "fleetcast" in one["tags"]
    assert found["nightly"]["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    automations = live.ask("automations/filter")
    assert {one["name"] for one in automations} == {
        "fleetcast-missing-heartbeat",
        "fleetcast-crash",
        "fleetcast-late",
    }


def test_the_next_run_finds_no_new_session_and_stops(live: Live, night: dict[str, Any]) -> None:
    del night
    again = live.wait_for("nightly", 2)[1]
    assert again["state"]["type"] == "COMPLETED"
    assert again["state"]["message"].startswith("No session is newer than ")
    tasks = live.ask("task_runs/filter", flow_runs={"id": {"any_": [again["id"]]}})
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
        live.ask(f"flow_runs/{run_id}/set_state", state={"type": state}, force=True)


def wait_until_started_again(live: Live, run_id: str) -> None:
    end = time.monotonic() + PATIENCE
    while live.ask(f"flow_runs/{run_id}")["state"]["name"] != "AwaitingRetry":
        assert time.monotonic() < end, live.ask(f"flow_runs/{run_id}")["state"]
        time.sleep(0.2)


def test_a_crashed_run_is_started_again_three_times_and_no_more(live: Live) -> None:
    (deployment,) = live.ask("deployments/filter", deployments={"name": {"any_": ["compact"]}})
    live.ask("work_pools/cpu", "PATCH", is_paused=True)  # no worker takes what is started again
    made = f"deployments/{deployment['id']}/create_flow_run"
    first, second = (live.ask(made, state={"type": "SCHEDULED"})["id"] for _ in range(2))
    for _ in range(3):
        crash(live, first)
        wait_until_started_again(live, first)
    crash(live, first)
    crash(live, second)  # answered later than the fourth crash of the first would have been
    wait_until_started_again(live, second)
    state = live.ask(f"flow_runs/{first}")
    assert (state["run_count"], state["state"]["type"]) == (4, "CRASHED")
    live.ask("work_pools/cpu", "PATCH", is_paused=False)


def test_an_interrupt_ends_all_of_it(live: Live) -> None:
    assert len(live.processes()) >= 6, "server, two workers, and a guard of each"
    live.process.send_signal(signal.SIGINT)
    assert live.process.wait(120) == 0, live.said.read_text()
    assert live.processes() == []
