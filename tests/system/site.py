"""A deployment of fleetcast on this machine, as the kit makes it: what tests of whole nights use.

Owns PostgreSQL, Prefect's server, a worker for each pool, and their end. Never touches those of
another site: port, database, home and folder are its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from flows.config import FleetcastConfig
from tasks.sessions import calendar
from tasks.store import Store
from tests.deploy.kit import compose
from tests.private_postgres import PrivatePostgres, private_postgres
from tests.system.api import PATIENCE, ROOT, Api, alive, environment, free_port
from tests.system.supervised import Supervised

T = TypeVar("T")

QUICK_SERVER = {
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
    "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "2",
    "PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": "30",
}
"""How often the server looks. What is decided by it stays as deploy/ has it."""

_KEPT = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"
LEASES = {_KEPT: compose()["services"]["server"]["environment"][_KEPT]}
"""Where the kit's server remembers who holds a slot."""

QUICK_WORKER = {"PREFECT_WORKER_QUERY_SECONDS": "1"}

STAYS_CRASHED = 420.0
"""Seconds after which nothing starts a crashed run again: the longest window of deploy/'s
automations is 300, for a run whose crash a killed server has not passed on."""

NIGHT = """
[source]
name = "files"
path = "bars"
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
"""A configuration whose night takes seconds. Prices are in `bars`, the store in `store`."""

ON_THE_GPU_POOL = """
[compute]
train = "deployment:train-shard/gpu"
shared_store = true
"""

SMALL = NIGHT + ON_THE_GPU_POOL


@dataclass
class Site:
    """What runs, and what is asked of it."""

    folder: Path
    postgres: PrivatePostgres
    api: Api
    server: Supervised
    cpu: Supervised
    gpu: Supervised

    @property
    def port(self) -> int:
        return self.api.port

    @property
    def store(self) -> Store:
        return Store.open(self.folder / "store")

    def ask(self, path: str, method: str | None = None, **wanted: object) -> Any:  # noqa: ANN401
        return self.api.ask(path, method, **wanted)

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """A flow's runs that have ended."""
        return self.api.runs(flow)

    def start(self, deployment: str, **parameters: object) -> str:
        """Asks for a run of a deployment (`flow/name`) now; returns its id."""
        found = self.ask(f"deployments/name/{deployment}")["id"]
        made = self.ask(
            f"deployments/{found}/create_flow_run",
            state={"type": "SCHEDULED"},
            parameters=parameters,
        )
        return str(made["id"])

    def wait(self, run_id: str) -> dict[str, Any]:
        """A run once it has ended; a crashed one may be started again, so it has to stay so."""
        crashed: list[float] = []

        def look() -> dict[str, Any] | None:
            run: dict[str, Any] = self.ask(f"flow_runs/{run_id}")
            kind = run["state"]["type"]
            if kind != "CRASHED":
                crashed.clear()
                return run if kind in ("COMPLETED", "FAILED", "CANCELLED") else None
            crashed.append(time.monotonic())
            return run if crashed[-1] - crashed[0] > STAYS_CRASHED else None

        return self.until(look, f"run {run_id} to end")

    def until(self, look: Callable[[], T | None], what: str) -> T:
        """What `look` finds at last; a server that is away is asked again."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if (found := look()) is not None:
                    return found
            except OSError:
                pass
            time.sleep(0.5)
        told = "\n".join(f"{one.name}: {one.said()[-3000:]}" for one in self.parts)
        raise AssertionError(f"waited in vain for {what}\n{told}")

    @property
    def parts(self) -> tuple[Supervised, ...]:
        return (self.server, self.cpu, self.gpu)

    def alive(self) -> dict[int, str]:
        """Every process of this site but PostgreSQL's, and its command."""
        return alive(f"PREFECT_HOME={self.folder / 'prefect'}")

    def processes(self) -> list[str]:
        """The command lines of `alive`."""
        return list(self.alive().values())

    def processes_of(self, run_id: str) -> dict[int, str]:
        """The processes of a flow run: its own, and those that it started; their commands."""
        return alive(f"PREFECT__FLOW_RUN_ID={run_id}")


@contextmanager
def site(
    folder: Path,
    config: str,
    *,
    within: int = 90,
    stuck: int = 300,
    server: Mapping[str, str] | None = None,
    workers: Mapping[str, str] | None = None,
) -> Iterator[Site]:
    """A site that is ready for runs, and is gone with the context.

    Args:
        folder: of this site alone; its `fleetcast.toml`, `store`, `logs` and Prefect's home.
        config: the text of `fleetcast.toml`, whose `store.url` is not set; `SMALL` is one.
        within: seconds without a heartbeat after which a run counts as crashed; deploy/ has 90,
            and Prefect allows no heartbeat more often than every 30.
        stuck: seconds after which a run that a worker took, and that did not start, is given to a
            worker again; deploy/ has 300.
        server: more of the server's environment.
        workers: more of the workers' environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fleetcast.toml").write_text(config)
    with ExitStack() as stack:
        postgres = stack.enter_context(private_postgres())
        postgres.run("psql", "-c", "CREATE ROLE prefect LOGIN PASSWORD 'one'")
        postgres.run("psql", "-c", "CREATE DATABASE prefect OWNER prefect")
        api = Api(free_port())
        common = environment(folder) | {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": api.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }

        def keep(name: str, *command: str, **more: str) -> Supervised:
            own = [sys.executable, "-m", "prefect", *command]
            one = Supervised(name, own, common | more, folder)
            stack.callback(one.close)
            return one

        serving = keep(
            "server",
            *("server", "start", "--host", "127.0.0.1", "--port", str(api.port)),
            PREFECT_SERVER_DATABASE_CONNECTION_URL=(
                f"postgresql+asyncpg://prefect:one@127.0.0.1:{postgres.port}/prefect"
            ),
            PREFECT_UI_API_URL=api.url,
            **LEASES,
            **QUICK_SERVER,
            **(server or {}),
        )
        _until_it_answers(api, serving)
        _register(api, folder, common, within, stuck)
        own = QUICK_WORKER | dict(workers or {})
        cpu = keep("cpu", "worker", "start", "--pool", "cpu", "--name", "cpu", **own)
        gpu = keep(
            "gpu",
            *("worker", "start", "--pool", "gpu", "--name", "gpu-0", "--limit", "1"),
            CUDA_VISIBLE_DEVICES="",
            **own,
        )
        yield Site(folder, postgres, api, serving, cpu, gpu)


def _until_it_answers(api: Api, server: Supervised) -> None:
    end = time.monotonic() + PATIENCE
    while api.answers() != 200:
        assert server.starts == 1, server.said()
        assert time.monotonic() < end, server.said()
        time.sleep(0.2)


def _register(api: Api, folder: Path, common: dict[str, str], within: int, stuck: int) -> None:
    """Pools, limits, deployments and automations by the kit's own script.

    Runs work in `folder`, where their configuration is, instead of the kit's /opt/fleetcast.
    """
    path = f"{Path(sys.executable).parent}:{common['PATH']}"

    def run(*command: str | Path) -> None:
        done = subprocess.run(
            command,
            env=common | {"PATH": path, "GPUS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run("sh", ROOT / "deploy" / "register.sh")
    for pool in ("cpu", "gpu"):
        template = api.ask(f"work_pools/{pool}")["base_job_template"]
        place = template["variables"]["properties"]["working_dir"]
        assert place["default"] == "/opt/fleetcast"
        place["default"] = str(folder)
        api.ask(f"work_pools/{pool}", "PATCH", base_job_template=template)
    if (within, stuck) != (90, 300):
        text = (ROOT / "deploy" / "automations.yaml").read_text()
        for kit, ours in ((90, within), (300, stuck)):
            assert text.count(f"within: {kit}\n") == 1
            text = text.replace(f"within: {kit}\n", f"within: {ours}\n")
        (folder / "automations.yaml").write_text(text)
        run("python", "-m", "flows.automations", folder / "automations.yaml")


def bars(
    folder: Path, names: Sequence[str], *, seed: int = 7, sessions: int = 520, start: float = 100.0
) -> None:
    """Generated prices in `folder`/bars up to the last session, a file per name.

    Args:
        folder: where the configuration is.
        names: instruments.
        seed: of the random walks.
        sessions: how many each has.
        start: the price before the first.
    """
    exchange = calendar("XNYS")
    last = exchange.last_session(datetime.now(UTC), FleetcastConfig().source.lag)
    days = exchange.sessions(exchange.offset(last, -sessions), last)
    random = np.random.default_rng(seed)
    (folder / "bars").mkdir(parents=True, exist_ok=True)
    for name in names:
        closes = start * np.exp(np.cumsum(random.normal(0, 0.01, len(days))))
        rows = [f"{day},{close}" for day, close in zip(days, closes, strict=True)]
        (folder / "bars" / f"{name}.csv").write_text("\n".join(["date,close", *rows]) + "\n")
