"""A night on a site, in a store and a database schema of its own, that somebody disturbs.

Owns how it is started, found among the processes, waited for and looked at. Never disturbs it.
"""

from __future__ import annotations

import os
import signal
import time
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.store import Store
from tests.system.kills.nights import delivered, faults, leftovers, payload
from tests.system.site import SMALL, Site

PUBLISHER = "two"
CONFIG = SMALL.replace("shard_size = 2", "shard_size = 3")
"""A single shard: a training is most of what such a night costs."""


@dataclass
class Night:
    """A night in a store of its own, on a site that others have been on before."""

    site: Site
    name: str
    run_id: str = ""
    began: float = 0.0
    seconds: float = 0.0

    @property
    def folder(self) -> Path:
        return self.site.folder / self.name

    @property
    def config(self) -> dict[str, Any]:
        database = f"127.0.0.1:{self.site.postgres.port}/forecasts"
        url = f"postgresql+psycopg://publisher@{database}"
        outside = {
            "sql": {"url": url, "namespace": self.name},
            "folder": {"url": str(self.site.folder / f"{self.name}_desk")},
        }
        told = {"store": {"url": str(self.folder)}, "publish": outside}
        return {**tomllib.loads(CONFIG), **told}

    def start(self) -> None:
        self.run_id = self.site.start("nightly/nightly", config=self.config)
        self.site.until(self.process, "the flow's process")
        self.began = time.monotonic()

    def process(self) -> int | None:
        """The flow's own process; its children have the same environment."""
        own = {
            pid: line
            for pid, line in self.site.processes_of(self.run_id).items()
            if "multiprocessing" not in line
        }
        return min(own, default=None)

    def wait(self) -> str:
        """How the run ended: COMPLETED, or how it has stayed for longer than any window."""
        ended = self.site.wait(self.run_id)
        self.seconds = time.monotonic() - self.began
        return str(ended["state"]["type"])

    def trainings(self) -> list[dict[str, Any]]:
        """The runs that train, as far as they are this night's."""
        runs = self.site.ask("flow_runs/filter", flows={"name": {"any_": ["train-shard"]}})
        own = str(self.folder)
        return [run for run in runs if run["parameters"]["config"]["store"]["url"] == own]

    def database(self) -> str:
        port = self.site.postgres.port
        return f"postgresql+psycopg://publisher:{PUBLISHER}@127.0.0.1:{port}/forecasts"

    def wrong(self, expected: list[tuple[str, ...]]) -> list[str]:
        """What is not as it has to be; empty where nothing is."""
        store = Store.open(self.folder, create=False)
        found = faults(self.folder) + delivered(self.database(), self.name, store)
        found += ["other forecasts than undisturbed"] * (payload(store) != expected)
        unknown = [
            path
            for path in leftovers(self.folder)
            if not path.name.endswith(".part") and path.suffix != ".parquet"
        ]
        return found + [f"left: {path}" for path in unknown]


def signal_to(pid: int | None, what: signal.Signals = signal.SIGKILL) -> None:
    """A process may have ended by itself a moment before."""
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, what)


def settled(one: Site) -> list[str]:
    """What is still held or under way once every lease is over; empty where nothing is."""

    def look() -> bool | None:
        limit = one.ask("v2/concurrency_limits/gpu")["active_slots"]
        under_way = one.ask(
            "flow_runs/filter",
            flow_runs={"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}},
        )
        return True if limit == 0 and not under_way else None

    try:
        one.until(look, "every slot to be free")
    except AssertionError:
        return ["a slot is still held, or a run is still under way"]
    return []
