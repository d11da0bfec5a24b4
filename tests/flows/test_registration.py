"""What `fleetcast up` tells of runs, and that no server is told in vain."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from rich.console import Console

from flows import registration


def run(name: str, state: StateType) -> FlowRun:
    return FlowRun(id=uuid4(), name=name, flow_id=uuid4(), state=State(type=state))


class Enough(Exception):  # noqa: N818 - it ends the endless
    """Everything was looked at."""


def test_runs_that_were_over_before_are_no_news(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, going = run("old", StateType.FAILED), run("going", StateType.RUNNING)
    ended = going.model_copy(update={"state": State(type=StateType.COMPLETED)})
    looks = iter([[old, going], [old, ended, run("quick", StateType.FAILED)]])

    def begun(_client: SyncPrefectClient, _own: UUID | None) -> Sequence[FlowRun]:
        try:
            return next(looks)
        except StopIteration:
            raise Enough from None

    monkeypatch.setattr(registration, "_begun", begun)
    monkeypatch.setattr(registration, "get_client", lambda **_: nullcontext())
    with pytest.raises(Enough):
        registration.follow(Console(width=200), lambda: None, 0, once=False)
    told = [line.split(" ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert told == ["going Running", "going Completed", "quick Failed"]


@pytest.mark.parametrize(
    "command", [("flows.registration",), ("flows.automations", "deploy/automations.yaml")]
)
def test_without_a_server_that_is_set_nothing_is_told(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    environment = os.environ | {"PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "Set PREFECT_API_URL" in ended.stderr
    assert not list(tmp_path.glob("*.db"))
