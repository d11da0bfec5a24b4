"""What a kill leaves on a server that no process would ever put right by itself.

A site without a night: runs and slots are made as processes make them that are killed at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.site import SMALL, Site, site

SOON = 20


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose automations wait for seconds, and whose workers take nothing."""
    with site(tmp_path_factory.mktemp("site"), SMALL, within=SOON, stuck=SOON) as made:
        for pool in ("cpu", "gpu"):
            made.ask(f"work_pools/{pool}", "PATCH", is_paused=True)
        yield made


def started(place: Site, *states: str) -> str:
    """A run of `compact` that has gone through these states, and of which nothing more is heard."""
    run_id = place.start("compact/compact")
    for state in states:
        place.ask(f"flow_runs/{run_id}/set_state", state={"type": state}, force=True)
    return run_id


def state_of(place: Site, run_id: str, name: str) -> dict[str, Any]:
    """The run's state once it has this name."""

    def look() -> dict[str, Any] | None:
        state: dict[str, Any] = place.ask(f"flow_runs/{run_id}")["state"]
        return state if state["name"] == name else None

    return place.until(look, f"{name} of {run_id}")


def test_a_run_that_a_killed_worker_had_taken_is_given_to_a_worker_again(place: Site) -> None:
    found = state_of(place, started(place, "PENDING"), "AwaitingRetry")
    assert found["message"].startswith("Not started within")


def test_a_run_of_which_nothing_is_heard_after_its_start_is_started_again(place: Site) -> None:
    found = state_of(place, started(place, "PENDING", "RUNNING"), "AwaitingRetry")
    assert found["message"] == "Started again after a crash."


def test_a_run_that_crashes_before_it_starts_is_started_again_until_it_is_no_accident(
    place: Site,
) -> None:
    """Its process was killed while it was still importing, or found no server."""
    run_id = place.start("compact/compact")
    for _ in range(4):
        for state in ("PENDING", "CRASHED"):
            place.ask(f"flow_runs/{run_id}/set_state", state={"type": state}, force=True)
        crashed = place.ask(f"flow_runs/{run_id}")
        assert crashed["run_count"] == 0
        found = place.until(
            lambda: next(
                (
                    one
                    for one in [place.ask(f"flow_runs/{run_id}")["state"]]
                    if one["name"] in ("AwaitingRetry", "GaveUp")
                ),
                None,
            ),
            "an answer",
        )
    assert (found["type"], found["name"]) == ("CRASHED", "GaveUp")


def test_a_killed_server_knows_who_holds_a_slot(place: Site) -> None:
    """A training that was killed with it does not hold the GPU for ever."""
    place.ask(
        "v2/concurrency_limits/increment-with-lease",
        names=["gpu"],
        slots=1,
        lease_duration=60,
    )
    assert place.ask("v2/concurrency_limits/gpu")["active_slots"] == 1
    before = place.server.starts
    place.server.kill()
    place.until(lambda: place.server.starts > before or None, "the server's second start")

    def look() -> bool | None:
        return place.ask("v2/concurrency_limits/gpu")["active_slots"] == 0 or None

    place.until(look, "the slot to be free")
