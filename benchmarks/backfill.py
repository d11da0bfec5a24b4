"""What a backfill of the default universe costs, interrupted and not, beside nights one by one.

    python -m benchmarks.backfill [--sessions 60] [--kills 3] [--nights 0] [--seed 6]

Kills the installed command so many times at random moments (SIGKILL, its children with it), starts
the same command again until it is done, and compares what is in the store with an undisturbed
backfill's, to the byte; with `--nights N`, also the last N sessions by `fleetcast nightly --as-of`,
night by night in a third store. Prints where the time went, per session.
Owns measuring from outside. Never touches what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.sessions import calendar
from tasks.store import Store

LAST = date(2013, 3, 1)
"""The last session of the bars that the default source brings."""
STAMPS = ("run_id", "made_at", "known_at")
DERIVED = ("models", "statistics", "scores", "forecasts")


@dataclass(frozen=True)
class Outcome:
    """A command that ended: its answer, None where it was killed, and its wall time in seconds."""

    answer: dict[str, Any] | None
    wall: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=60, help="sessions to go through")
    parser.add_argument("--kills", type=int, default=3, help="times the command is killed")
    parser.add_argument("--nights", type=int, default=0, help="nights to compare one by one")
    parser.add_argument("--seed", type=int, default=6, help="of the moments of the kills")
    asked = parser.parse_args()
    days: list[date] = calendar("XNYS").sessions(date(2012, 1, 1), LAST).tolist()[-asked.sessions :]
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}, "
        f"{len(days)} sessions from {days[0]} to {days[-1]}"
    )
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        command = ["backfill", str(days[0]), str(days[-1])]
        done = run([*command], whole)
        tell("undisturbed", done)
        interrupted(command, broken, asked.kills, done.wall, random.Random(asked.seed))  # noqa: S311
        tell("again, nothing to do", run(command, whole))
        same = {name: rows(whole, name).equals(rows(broken, name)) for name in DERIVED}
        print("interrupted and resumed, rows equal: " + json.dumps(same))
        if asked.nights:
            nights(days[-asked.nights :], whole, Path(folder) / "nights")


def interrupted(
    command: list[str], store: Path, kills: int, wall: float, moments: random.Random
) -> None:
    """Runs the command until it is done, killing it so many times on the way."""
    for kill in range(kills):
        after = moments.uniform(0.15, 0.75) * wall / (1 + kill / 2)
        outcome = run(command, store, kill_after=after)
        told = "was done before" if outcome.answer is not None else "killed"
        print(f"  kill {kill + 1}: {told} after {outcome.wall:.0f} s, {finished(store)} finished")
    tell("the rest", run(command, store))


def nights(days: list[date], backfilled: Path, store: Path) -> None:
    """The same sessions night by night, and whether their forecasts are the same."""
    began = time.perf_counter()
    for day in days:
        run(["nightly", "--as-of", str(day)], store)
    wall = time.perf_counter() - began
    alone = rows(store, "forecasts")
    beside = rows(backfilled, "forecasts")
    beside = beside.filter(pc.is_in(beside["as_of"], value_set=pc.unique(alone["as_of"])))
    print(
        f"{len(days)} nights one by one: {wall:.0f} s, {wall / len(days):.1f} s each; forecasts "
        f"equal: {beside.equals(alone)} ({alone.num_rows:,} rows)"
    )


def run(arguments: list[str], store: Path, *, kill_after: float | None = None) -> Outcome:
    """The installed command, killed with all its children after so many seconds."""
    command = Path(sys.executable).with_name("fleetcast")
    began = time.perf_counter()
    with subprocess.Popen(
        [str(command), *arguments, "--store", str(store), "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            said, _ = process.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)  # its children end by themselves with it
            process.communicate()
            return Outcome(None, time.perf_counter() - began)
    if process.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(arguments)} ended with exit code {process.returncode}")
    return Outcome(json.loads(said), time.perf_counter() - began)


def tell(what: str, outcome: Outcome) -> None:
    """What a backfill cost."""
    answer = outcome.answer or {}
    done = max(len(answer["nights"]), 1)
    parts = ", ".join(f"{part['name']} {part['seconds']:.1f}" for part in answer["parts"])
    work = ", ".join(f"{part['name']} {part['seconds']:.1f}" for part in answer["work"])
    print(
        f"{what}: {len(answer['nights'])} sessions, {outcome.wall:.0f} s, "
        f"{outcome.wall / done:.2f} s a session, overhead {answer['overhead']:.0%}"
    )
    each = [night["seconds"] for night in answer["nights"]]
    third = max(len(each) // 3, 1)
    early, late = (sum(some) / max(len(some), 1) for some in (each[:third], each[-third:]))
    print(f"  a session without its training, s: first third {early:.2f}, last third {late:.2f}")
    print(f"  parts, s: {parts}\n  work of the children, s: {work or 'none'}")


def finished(store: Path) -> int:
    """How many sessions a store has finished."""
    if not store.exists():
        return 0
    return sum(status == "finished" for status in rows(store, "runs")["status"].to_pylist())


def rows(store: Path, dataset: str) -> pa.Table:
    """The rows of a dataset, without the stamps of whoever wrote them."""
    found = Store.open(store, create=False).read(dataset)
    return found.drop_columns([name for name in STAMPS if name in found.column_names])


if __name__ == "__main__":
    main()
