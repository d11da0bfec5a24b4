"""Nights on a whole site whose processes are killed at random moments, without warning.

Each time the night has to become complete, equal to an undisturbed one to the last bit. `KILLS=20`
says how many kills of each kind; `KILLS_REPORT` names a file that gets a line of JSON for each.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tasks.schemas import DATASETS
from tasks.store import Store
from tests.system.kills.disturbed import CONFIG, PUBLISHER, Night, settled, signal_to
from tests.system.kills.nights import NAMES, leftovers, payload
from tests.system.site import Site, bars, site

KILLS = int(os.environ.get("KILLS", "2"))
VICTIMS = ("the flow", "the GPU worker", "both", "the server")


def kill_flow(night: Night) -> None:
    signal_to(night.process())


def kill_gpu_worker(night: Night) -> None:
    """Every second time it leaves what it started to itself, as a container would not."""
    gpu = night.site.gpu
    gpu.sweeps = night.name.endswith(("0", "2", "4", "6", "8"))
    with suppress(ProcessLookupError):
        if gpu.sweeps:
            gpu.kill_group()
        else:
            gpu.kill()


def kill_both(night: Night) -> None:
    kill_flow(night)
    kill_gpu_worker(night)


def kill_server(night: Night) -> None:
    night.site.server.kill()


KILL: dict[str, Callable[[Night], None]] = dict(
    zip(VICTIMS, (kill_flow, kill_gpu_worker, kill_both, kill_server), strict=True)
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with a database that takes forecasts."""
    folder = tmp_path_factory.mktemp("site")
    bars(folder, NAMES)
    secret = {"FLEETCAST_PUBLISH_SQL_PASSWORD": PUBLISHER}
    with site(folder, CONFIG, workers=secret) as made:
        made.postgres.run("psql", "-c", f"CREATE ROLE publisher LOGIN PASSWORD '{PUBLISHER}'")
        made.postgres.run("psql", "-c", "CREATE DATABASE forecasts OWNER publisher")
        yield made


@dataclass(frozen=True)
class Undisturbed:
    """What a night comes to that nobody disturbs, and when, in seconds, it trains."""

    payload: list[tuple[str, ...]]
    seconds: float
    training: tuple[float, float]


@pytest.fixture(scope="module")
def undisturbed(place: Site) -> Undisturbed:
    night = Night(place, "undisturbed")
    night.start()

    def trainings(count: int, key: str) -> float | None:
        runs = [run for run in night.trainings() if run[key]]
        return time.monotonic() - night.began if len(runs) >= count else None

    first = place.until(lambda: trainings(1, "id"), "a training")
    last = place.until(lambda: trainings(1, "end_time"), "its end")
    assert night.wait() == "COMPLETED"
    expected = payload(Store.open(night.folder))
    assert expected
    assert night.wrong(expected) == []
    assert leftovers(night.folder) == []
    return Undisturbed(expected, night.seconds, (first, last))


@dataclass(frozen=True)
class Outcome:
    """What came of one kill: seconds after the start of the night, and until it was complete."""

    victim: str
    number: int
    after: float
    by_itself: bool
    seconds: float
    wrong: list[str]
    trainings: list[str]
    history: list[str]


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_night_is_complete_whatever_is_killed(
    victim: str, place: Site, undisturbed: Undisturbed
) -> None:
    outcomes = []
    moments = random.Random(victim)
    trains = undisturbed.training if "GPU" in victim or victim == "both" else None
    begin, end = trains or (0.0, undisturbed.seconds)
    for number in range(KILLS):
        night = Night(place, f"n{VICTIMS.index(victim)}_{number}")
        after = moments.uniform(begin, end)
        night.start()
        while time.monotonic() < night.began + after:
            time.sleep(0.01)
        KILL[victim](night)
        outcomes.append(one := outcome_of(night, victim, number, after, undisturbed))
        if "KILLS_REPORT" in os.environ:
            with Path(os.environ["KILLS_REPORT"]).open("a") as report:
                report.write(json.dumps(asdict(one)) + "\n")
    alone = sum(one.by_itself for one in outcomes)
    assert [one for one in outcomes if one.wrong] == []
    assert alone == KILLS


def outcome_of(
    night: Night, victim: str, number: int, after: float, undisturbed: Undisturbed
) -> Outcome:
    state = night.wait()
    seconds = night.seconds
    told = []
    if state != "COMPLETED":
        told.append(state)
        again = Night(night.site, night.name)  # the same command
        again.start()
        told.append(again.wait())
        seconds += again.seconds
    wrong = night.wrong(undisturbed.payload) + settled(night.site)
    history = [
        f"{one['name']} {one['message']}"
        for one in night.site.ask(f"flow_run_states/?flow_run_id={night.run_id}")
    ]
    return Outcome(
        victim=victim,
        number=number,
        after=round(after, 2),
        by_itself=not told,
        seconds=round(seconds, 1),
        wrong=wrong,
        trainings=[f"{run['name']} {run['state']['name']}" for run in night.trainings()],
        history=told + history,
    )


def derived(night: Night) -> dict[str, int]:
    """How many rows of each derived dataset were ever written."""
    store = Store.open(night.folder, create=False)
    return {
        name: store.history(name, columns=list(one.key)).num_rows
        for name, one in DATASETS.items()
        if not one.fact
    }


def stopped(night: Night, pids: Iterable[int], run_id: str) -> None:
    """Stops these processes for so long that the server takes their run for crashed."""
    for pid in pids:
        signal_to(pid, signal.SIGSTOP)
    states = f"flow_run_states/?flow_run_id={run_id}"
    night.site.until(
        lambda: any(one["type"] == "CRASHED" for one in night.site.ask(states)) or None,
        "a missed heartbeat",
    )


def test_a_training_that_was_only_thought_dead_changes_nothing(
    place: Site, undisturbed: Undisturbed
) -> None:
    night = Night(place, "dead_training")
    night.start()
    (run,) = place.until(
        lambda: [one for one in night.trainings() if one["state"]["type"] == "RUNNING"] or None,
        "the training to run",
    )
    pids = list(place.gpu.alive())
    stopped(night, pids, run["id"])
    for pid in pids:
        signal_to(pid, signal.SIGCONT)
    assert night.wait() == "COMPLETED"
    assert settled(place) == []
    place.until(lambda: None if place.processes_of(run["id"]) else True, "its end")
    assert night.wrong(undisturbed.payload) == []


def test_a_night_that_was_only_thought_dead_changes_nothing(
    place: Site, undisturbed: Undisturbed
) -> None:
    night = Night(place, "dead_flow")
    night.start()
    place.until(lambda: night.trainings() or None, "the night to be under way")
    pids = list(place.processes_of(night.run_id))
    stopped(night, pids, night.run_id)
    assert night.wait() == "COMPLETED"  # by another process
    before = derived(night)
    for pid in pids:
        signal_to(pid, signal.SIGCONT)
    place.until(lambda: None if {*pids} & {*place.alive()} else True, "its end")
    assert night.wait() == "COMPLETED"
    assert derived(night) == before
    assert night.wrong(undisturbed.payload) == []
    assert settled(place) == []
