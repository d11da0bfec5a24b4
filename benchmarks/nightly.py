"""What the default nightly run costs: wall time, processor time, peak memory, and its parts.

    python -m benchmarks.nightly [--runs 1]

Runs the installed command in an empty store, then once more in the same store, and prints a table.
Owns measuring from outside. Never touches what is measured. Memory is read from /proc (Linux) as
the summed proportional set size of the command and its children, ten times a second.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """One run from outside: seconds, seconds of processor time, peak MiB, and seconds by part."""

    wall: float
    cpu: float
    peak: float
    parts: dict[str, float]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1, help="fresh stores to measure")
    runs = parser.parse_args().runs
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    print(f"{'run':<8}{'wall s':>8}{'cpu s':>8}{'MiB':>8}  parts, s")
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("first", "second"):
                cost = measure(Path(folder) / "store")
                parts = ", ".join(f"{part} {seconds:.1f}" for part, seconds in cost.parts.items())
                print(f"{name:<8}{cost.wall:>8.1f}{cost.cpu:>8.1f}{cost.peak:>8.0f}  {parts}")


def measure(store: Path) -> Cost:
    """Run the default night in `store`."""
    command = Path(sys.executable).with_name("fleetcast")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    with subprocess.Popen(
        [str(command), "nightly", "--store", str(store), "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        peaks = [0.0]
        watcher = threading.Thread(target=_watch, args=(process, peaks))
        watcher.start()
        answer, _ = process.communicate()
        wall = time.perf_counter() - began
        watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    if process.returncode != 0:
        raise SystemExit(f"the nightly run ended with exit code {process.returncode}")
    parts = {part["name"]: part["seconds"] for part in json.loads(answer)["parts"]}
    return Cost(wall, cpu, max(peaks), parts)


def _watch(process: subprocess.Popen[bytes], peaks: list[float]) -> None:
    while process.poll() is None:
        peaks.append(sum(map(_proportional_mib, _family(process.pid))))
        time.sleep(0.1)


def _family(pid: int) -> list[int]:
    """The process and all that it started, and they."""
    family = [pid]
    for member in family:
        for children in Path("/proc").glob(f"{member}/task/*/children"):
            try:
                family += [int(child) for child in children.read_text().split()]
            except OSError:
                continue
    return family


def _proportional_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main()
