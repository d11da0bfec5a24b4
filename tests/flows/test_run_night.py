"""`fleetcast nightly` as a person starts it: a process of its own, its server, its children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.prefect_server import LocalServer
from tasks.sessions import calendar

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A year of prices of two instruments, which is too short for an LSTM: nothing takes long."""
    sessions = calendar("XNYS").sessions(date(2019, 1, 2), date(2019, 12, 31))
    random = np.random.default_rng(7)
    (tmp_path / "bars").mkdir()
    for name in ("A", "B"):
        closes = 100 * np.exp(np.cumsum(random.normal(0, 0.01, len(sessions))))
        rows = [f"{day},{close}" for day, close in zip(sessions, closes, strict=True)]
        (tmp_path / "bars" / f"{name}.csv").write_text("\n".join(["date,close", *rows]) + "\n")
    (tmp_path / "fleetcast.toml").write_text(
        '[source]\nname = "files"\npath = "bars"\narchive = true\n'
    )
    return tmp_path


def nightly(
    folder: Path, *, as_of: str | None = None, **environment: str
) -> tuple[dict[str, Any], str]:
    """The answer and what was said on standard error of a night that is complete."""
    day = [] if as_of is None else ["--as-of", as_of]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TF_"))}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "nightly", "--format", "json", *day],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), "HOME": str(folder / "home"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer, done.stderr


def posted(api_url: str, path: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{api_url}/{path}", data=b"{}", headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        found: list[dict[str, Any]] = json.load(answer)
    return found


def test_a_night_without_any_server_answers_quietly_and_leaves_the_home_alone(
    folder: Path,
) -> None:
    answer, said = nightly(folder)
    assert answer["session"] == "2019-12-31"
    assert (answer["partial"], answer["written"], len(answer["rows"])) == (False, 20, 20)
    assert [part["name"] for part in answer["parts"]] == [
        "start",
        "ingest",
        "pin",
        "score",
        "train",
        "gate",
        "forecast",
        "publish",
        "report",
    ]
    titles = {"Start Prefect", "Ingest", "Pin the run", "Score what matured", "Train", "Gate"}
    for line in said.splitlines():
        start = line.partition(":")[0].removesuffix(" …")
        assert start in titles | {"Forecast", "Publish", "Report"}, f"not ours: {line}"
    assert not (folder / "home" / ".prefect").exists()
    assert (folder / "store" / ".prefect" / "prefect.db").exists()


def test_a_night_on_a_configured_server_is_recorded_there_completely(folder: Path) -> None:
    with LocalServer(folder / "theirs") as server:
        server.wait()
        answer, _ = nightly(folder, PREFECT_API_URL=server.api_url)
        (run,) = posted(server.api_url, "flow_runs/filter")
        tasks = posted(server.api_url, "task_runs/filter")
        artifacts = posted(server.api_url, "artifacts/filter")
    assert answer["written"] == 20
    assert (run["name"], run["state_type"]) == ("nightly-2019-12-31", "COMPLETED")
    assert {task["name"] for task in tasks} == {
        "ingest",
        "pin",
        "score",
        "train-shard-0000",
        "gate",
        "forecast-shard-0000",
        "publish",
        "report",
    }
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    assert {one["key"] for one in artifacts} == {"data-health", "scores", "forecasts", "report"}
    assert not (folder / "store" / ".prefect").exists()
