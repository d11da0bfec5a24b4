"""One night killed at every point where it leaves something behind, and the same command again.

The points are those that an undisturbed night passes. A point right after a commit is the state
right before the next one, so that only points which differ on disk are tried. All of them with
`FAULT_POINTS_EVERY=1`; by default every seventh, and every file that is half written.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.prefect_server import LocalServer
from tasks.store import Store
from tests.system.api import environment
from tests.system.kills import dying
from tests.system.kills.nights import NAMES, delivered, faults, leftovers, payload
from tests.system.site import SMALL, bars

EVERY = int(os.environ.get("FAULT_POINTS_EVERY", "7"))
AT_ONCE = 2
TRAINED = "before the commit to comparisons"
"""The first point after all training: what follows it starts from a night killed there."""

CONFIG = (
    SMALL.replace("deployment:train-shard/gpu", "local")
    + """
[publish.sql]
url = "sqlite:///forecasts.db"
[publish.folder]
url = "desk"
"""
)


@dataclass(frozen=True)
class Bench:
    """Where nights are run: each in a folder of its own, with one Prefect server for all."""

    folder: Path
    api_url: str

    def night(self, name: str, die_at: int | None = None) -> subprocess.CompletedProcess[str]:
        """`fleetcast nightly` in the folder `name`, which is made if it is not there."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "fleetcast.toml").write_text(CONFIG)
        if not (folder / "bars").exists():
            (folder / "bars").symlink_to(self.folder / "bars")
        points = folder / f"points-{len(list(folder.glob('points-*')))}"
        return subprocess.run(
            [sys.executable, "-m", "tests.system.kills.dying", "nightly", "--format", "json"],
            cwd=folder,
            env={
                **environment(folder),
                **dying.environment(points, die_at),
                "PREFECT_API_URL": self.api_url,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def points(self, name: str, run: int = 0) -> list[str]:
        return (self.folder / name / f"points-{run}").read_text().splitlines()

    def wrong(self, name: str) -> list[str]:
        """What is not as it has to be; empty where nothing is."""
        folder = self.folder / name
        store = Store.open(folder / "store", create=False)
        database = f"sqlite:///{folder}/forecasts.db"
        found = faults(folder / "store") + delivered(database, None, store)
        expected = payload(Store.open(self.folder / "undisturbed" / "store"))
        found += ["other forecasts than undisturbed"] * (payload(store) != expected)
        desk = {path.name for path in (folder / "desk" / "latest").iterdir()}
        unknown = {one for one in desk if not one.endswith(".part")}
        unknown -= {"forecasts.csv", "forecasts.parquet"}
        return found + [f"left: {one}" for one in sorted(unknown)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """With nights: `undisturbed`, `trained` (killed after that), `resumed` (that one, again)."""
    folder = tmp_path_factory.mktemp("nights")
    bars(folder, NAMES)
    with LocalServer(folder / "home") as server:
        server.wait()
        bench = Bench(folder, server.api_url)
        done = bench.night("undisturbed")
        assert done.returncode == 0, done.stderr
        assert bench.wrong("undisturbed") == []
        assert leftovers(folder / "undisturbed" / "store") == []
        killed = bench.night("trained", bench.points("undisturbed").index(TRAINED))
        assert killed.returncode == -signal.SIGKILL
        shutil.copytree(folder / "trained", folder / "resumed", symlinks=True)
        assert bench.night("resumed").returncode == 0
        assert bench.wrong("resumed") == []
        yield bench


def distinct(points: Sequence[str]) -> list[int]:
    """The numbers of the points that differ on disk: not those right before another."""
    following = [*points[1:], ""]
    return [
        number
        for number, (point, after) in enumerate(zip(points, following, strict=True))
        if not (point.startswith("after ") and after.startswith("before "))
    ]


@dataclass(frozen=True)
class Case:
    """A point of the night `of`: `undisturbed` begins with nothing, `resumed` with all trained."""

    of: str
    number: int
    point: str


def cases(bench: Bench) -> list[Case]:
    """Every point that differs on disk from the one before, in order."""
    found = []
    for of, run, begin, end in (("undisturbed", 0, None, TRAINED), ("resumed", 1, TRAINED, None)):
        points = bench.points(of, run)
        first = 0 if begin is None else points.index(begin)
        last = len(points) if end is None else points.index(end)
        numbers = [one for one in distinct(points) if first <= one < last]
        found += [Case(of, one, points[one]) for one in numbers]
    return found


def tried(bench: Bench, case: Case) -> list[str]:
    """What is wrong with a night that was killed at this point, and run again."""
    name = f"killed-{case.of}-{case.number}"
    if case.of == "resumed":
        shutil.copytree(bench.folder / "trained", bench.folder / name, symlinks=True)
    killed = bench.night(name, case.number)
    if killed.returncode != -signal.SIGKILL:
        return [f"it was not killed: {killed.returncode} {killed.stderr[-1000:]}"]
    again = bench.night(name)
    if again.returncode != 0:
        return [f"the second time: {again.returncode} {again.stderr[-1000:]}"]
    wrong = bench.wrong(name)
    shutil.rmtree(bench.folder / name)
    return wrong


def test_killed_at_any_point_and_run_again_the_night_is_whole(bench: Bench) -> None:
    every = cases(bench)
    wanted = [
        one for place, one in enumerate(every) if place % EVERY == 0 or "half of" in one.point
    ]
    with ThreadPoolExecutor(AT_ONCE) as several:
        found = list(several.map(lambda case: tried(bench, case), wanted))
    assert [(case, wrong) for case, wrong in zip(wanted, found, strict=True) if wrong] == []
