"""How much of a night is not forecasting: 500 instruments, a Prefect server, and what both cost.

    python -m benchmarks.orchestration [--instruments 500] [--years 10] [--nights 2]
        [--folds 5] [--seeds 2]

Makes daily bars of so many instruments, starts a Prefect server, and runs the installed command as
a night that trains everything and as nights that only forecast. Prints where wall and processor
time went, how many task runs the server saw, and what share neither trained, decided, forecast nor
scored. A folder outside the store is published to as well. Fewer folds and seeds than the default
make the training shorter, and so the share that is asked for larger.
Owns measuring from outside. Never touches what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.resident import family, watched
from flows.backfilled import WORK
from flows.prefect_server import answers
from tasks.identity import content_id
from tasks.sessions import calendar
from tasks.settings import EvaluationConfig, ModelConfig

LAST = date(2024, 12, 30)
CONFIG = """
[source]
name = "files"
path = "{bars}"
archive = true

[publish.folder]
url = "{outside}"

[model]
seeds = {seeds}

[evaluation]
folds = {folds}
"""
REQUIREMENT = "below 15 % of the wall time, fewer than 100 task runs (500 instruments, 2 cores)"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """A night from outside: seconds (wall, server, command), bytes at its peak, its answer."""

    wall: float
    server: float
    command: float
    peak: int
    answer: dict[str, Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=500)
    parser.add_argument("--years", type=int, default=10, help="of daily bars")
    parser.add_argument("--nights", type=int, default=2, help="the first trains everything")
    parser.add_argument("--folds", type=int, default=EvaluationConfig().folds)
    parser.add_argument("--seeds", type=int, default=ModelConfig().seeds)
    asked = parser.parse_args()
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}, "
        f"{asked.instruments} instruments, {asked.years} years, "
        f"{asked.folds} folds, {asked.seeds} seeds; wanted: {REQUIREMENT}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        days: list[date] = calendar("XNYS").sessions(date(1990, 1, 1), LAST).tolist()
        days = days[-asked.years * 252 - asked.nights :]
        closes = {f"X{i:03d}": walk(f"X{i:03d}", len(days)) for i in range(asked.instruments)}
        text = CONFIG.format(
            bars=folder / "bars",
            outside=folder / "outside",
            seeds=asked.seeds,
            folds=asked.folds,
        )
        (folder / "fleetcast.toml").write_text(text)
        with server(folder) as (api, process):
            for night in range(asked.nights):
                write(folder / "bars", days[: len(days) - asked.nights + night + 1], closes)
                before = task_runs(api)
                cost = measure(folder, api, process.pid)
                tell(f"night {night + 1}", cost, task_runs(api) - before)


def walk(name: str, length: int) -> np.ndarray:
    """Closes whose volatility comes in clusters (GARCH), drawn from the name."""
    random = np.random.default_rng(int(content_id("benchmarks.orchestration", name), 16))
    noise = random.standard_t(6, length) / np.sqrt(1.5)
    returns, variance = np.empty(length), 1e-4
    for t in range(length):
        returns[t] = np.sqrt(variance) * noise[t]
        variance = 2e-6 + 0.08 * returns[t] ** 2 + 0.9 * variance
    return 100 * np.exp(np.cumsum(returns))


def write(folder: Path, days: list[date], closes: dict[str, np.ndarray]) -> None:
    """A file per instrument, up to the last of these days."""
    folder.mkdir(exist_ok=True)
    for name, values in closes.items():
        rows = [f"{day},{close:.4f}" for day, close in zip(days, values, strict=False)]
        (folder / f"{name}.csv").write_text("\n".join(["date,close", *rows]) + "\n")


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A Prefect server of its own, as `prefect server start` starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    program = Path(sys.executable).with_name("prefect")
    with subprocess.Popen(
        [program, "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env=os.environ | {"PREFECT_HOME": str(folder / "prefect"), "DO_NOT_TRACK": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            while not answers(api):
                if process.poll() is not None:
                    raise SystemExit("the Prefect server ended")
                time.sleep(0.2)
            yield api, process
        finally:
            process.terminate()


def measure(folder: Path, api: str, server_pid: int) -> Cost:
    """One night of the installed command."""
    command = Path(sys.executable).with_name("fleetcast")
    began, before = time.perf_counter(), sum(map(processor, family(server_pid)))
    with (
        subprocess.Popen(
            [command, "nightly", "--format", "json"],
            cwd=folder,
            env=os.environ | {"PREFECT_API_URL": api, "PREFECT_HOME": str(folder / "client")},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process,
        watched() as peak,
    ):
        own = 0.0
        answer = b""
        while True:
            try:
                answer, _ = process.communicate(timeout=1)
                break
            except subprocess.TimeoutExpired:
                own = max(own, processor(process.pid))
    wall = time.perf_counter() - began
    if process.returncode not in (0, 3):
        raise SystemExit(f"the night ended with exit code {process.returncode}")
    spent = sum(map(processor, family(server_pid))) - before
    return Cost(wall, spent, own, peak.bytes, json.loads(answer))


def processor(pid: int) -> float:
    """Processor seconds of a process so far; 0 once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def task_runs(api: str) -> int:
    """How many task runs the server has seen."""
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{api}/task_runs/count", data=b"{}", headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return int(json.loads(answer.read()))


def tell(what: str, cost: Cost, runs: int) -> None:
    """Where a night's time went."""
    parts = {part["name"]: part["seconds"] for part in cost.answer["parts"]}
    work = sum(seconds for name, seconds in parts.items() if name in WORK)
    listed = ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items())
    print(
        f"{what}: {cost.wall:.0f} s, {1 - work / cost.wall:.1%} of it neither training, gate, "
        f"forecast nor score; {runs} task runs; {cost.answer['trained']} models trained, "
        f"{cost.answer['forecasts']:,} forecasts, {len(cost.answer['missing'])} missing\n"
        f"  parts, s: {listed}\n"
        f"  processor, s: server {cost.server:.1f}, the flow's own process {cost.command:.1f}; "
        f"peak {cost.peak / 2**30:.2f} GiB"
    )


if __name__ == "__main__":
    main()
