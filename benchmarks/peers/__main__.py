"""Run the sides one after the other, each in its own process, and print what came out.

    python -m benchmarks.peers [--peers keras,darts] [--data FOLDER] [--json FILE]

Owns the command line and the tables. The rules of the comparison are in the package's docstring.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.peers.bars import from_folder, synthetic
from benchmarks.peers.comparison import Result, best_of, compilation, reached, relative
from benchmarks.peers.problem import Problem, aligned
from benchmarks.peers.side import GLOBAL, OURS, PEERS

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
PACKAGES = ("tensorflow", "keras", "torch", "pytorch-lightning", "neuralforecast", "darts", "numpy")


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 if a side failed."""
    options = _parser().parse_args(arguments)
    problem = replace(_problem(options), seed=options.seed, limit=options.limit)
    console = Console()
    console.width = max(console.width, 120)
    setting, har = _setting(problem, options), problem.har()
    console.print(setting, highlight=False)
    results: dict[str, Result] = {}
    for name in (*OURS, *options.peers):
        console.print(f"{name} … ", end="")
        load = os.getloadavg()[0]
        result = measure(name, problem, options.threads)
        if isinstance(result, str):
            console.print(f"failed: {result}", markup=False)
            continue
        results[name] = {**result, "load_before": load, "load_after": os.getloadavg()[0]}
        console.print(f"{result['train_seconds']:.0f} s, load {load:.1f}")
        if options.json:  # after every side: what is measured is kept, whatever comes next
            everything = {"setting": setting, "versions": versions(), "results": results}
            everything |= {"summary": _summary(results, har), "har_test_mse": har.tolist()}
            options.json.write_text(json.dumps(everything, indent=1))
    console.print(sides_table(results, har))
    for ours in OURS:
        if ours in results:
            console.print(ratios_table(ours, results))
    return int(len(results) < len(OURS) + len(options.peers))


def measure(name: str, problem: Problem, threads: int) -> Result | str:
    """Run one side in a process of its own; what it measured, or why it failed.

    Args:
        name: of the side.
        problem: the same for all.
        threads: of each native library; 0 leaves them their defaults.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if threads:
        environment |= dict.fromkeys(THREADS, str(threads))
    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder) / "problem.npz", Path(folder) / "result.json"
        problem.save(given)
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks.peers.side", name, str(given), str(result)],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
        )
        if child.returncode != 0:
            lines = child.stderr.strip().splitlines()
            return lines[-1] if lines else f"exit code {child.returncode}"
        answer: dict[str, Any] = json.loads(result.read_text())
        return answer


def sides_table(results: Mapping[str, Result], har: np.ndarray[Any, Any]) -> Table:
    """What each side cost and how good its models are."""
    table = Table(title="training all instruments, imports left out")
    headings = ("side", "wall s", "cpu s", "cores", "compile s", "peak MiB")
    for heading in (*headings, "import s", "validation MSE", "test MSE / HAR's"):
        table.add_column(heading, justify="left" if heading == "side" else "right")
    for name, result in results.items():
        table.add_row(
            name,
            f"{result['train_seconds']:.1f}",
            f"{result['processor_seconds']:.1f}",
            f"{result['processor_seconds'] / result['train_seconds']:.1f}",
            f"{compilation(result):.1f}" if name in OURS else "",
            f"{result['peak_mib']:.0f}",
            f"{result['import_seconds']:.1f}",
            f"{np.mean(result['validation_mse']):.4f}",
            f"{relative(result['test_mse'], har):.3f}",
        )
    return table


def ratios_table(ours: str, results: Mapping[str, Result]) -> Table:
    """One of our sides beside every peer: who is how many times quicker and smaller."""
    table = Table(title=f"{ours}: until validation is as good as the peer's best")
    headings = ("peer", "its best, s", "ours there, s", "ratio", "ratio of cpu")
    for heading in (*headings, "there", "all training", "memory"):
        table.add_column(heading, justify="left" if heading == "peer" else "right")
    for peer, row in _summary(results, None).get(ours, {}).items():
        table.add_row(
            peer,
            f"{row['best']['seconds']:.1f}",
            f"{row['reached']['seconds']:.1f}",
            f"{row['ratio']:.1f}",
            f"{row['processor_ratio']:.1f}",
            f"{row['reached']['instruments']} of {row['instruments']}",
            f"{row['training_ratio']:.1f}",
            f"{row['memory_ratio']:.1f}",
        )
    return table


def _summary(results: Mapping[str, Result], har: np.ndarray[Any, Any] | None) -> dict[str, Any]:
    """Ratios by our side and peer; with `har`, also the test MSE of every side relative to it."""
    summary: dict[str, Any] = {}
    for ours in (name for name in OURS if name in results):
        mine, summary[ours] = results[ours], {}
        for peer in (name for name in PEERS if name in results):
            theirs = results[peer]
            best = best_of(theirs, together=peer in GLOBAL)
            there = reached(mine, best.mse)
            summary[ours][peer] = {
                "best": {"seconds": best.seconds, "processor_seconds": best.processor_seconds},
                "reached": asdict(there),
                "instruments": len(best.mse),
                "ratio": best.seconds / there.seconds,
                "processor_ratio": best.processor_seconds / there.processor_seconds,
                "training_ratio": theirs["train_seconds"] / mine["train_seconds"],
                "memory_ratio": theirs["peak_mib"] / mine["peak_mib"],
            }
    if har is not None:
        summary["test_to_har"] = {n: relative(r["test_mse"], har) for n, r in results.items()}
    return summary


def versions() -> dict[str, str]:
    """Python, the packages that are compared, and the machine's kind."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _setting(problem: Problem, options: argparse.Namespace) -> str:
    segments = ", ".join(
        f"{name.replace('_', ' ')} {stop - first}"
        for name, (first, stop) in problem.segments.items()
    )
    source = "synthetic, seeded" if options.data is None else f"from {options.data.name}"
    threads = options.threads or "their default number of"
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    return (
        f"{len(problem.names)} instruments ({source}), rows: {segments}; "
        f"lookback {problem.lookback}, horizon {problem.horizon}, "
        f"{os.cpu_count()} cores, peers on {threads} thread(s), load {os.getloadavg()[0]:.1f}\n"
        f"{packages}"
    )


def _problem(options: argparse.Namespace) -> Problem:
    if options.data is None:
        names, rows = synthetic(options.instruments, options.sessions, options.seed)
    else:
        names, rows = from_folder(
            options.data, options.instruments, options.sessions, options.date_format
        )
    return aligned(names, rows, lookback=options.lookback, horizon=options.horizon)


def _parser() -> argparse.ArgumentParser:
    def names(text: str) -> tuple[str, ...]:
        chosen = tuple(name for name in text.split(",") if name)
        if unknown := set(chosen) - set(PEERS):
            raise argparse.ArgumentTypeError(
                f"unknown peer {', '.join(sorted(unknown))}: choose among {', '.join(PEERS)}"
            )
        return chosen

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--peers", type=names, default=PEERS, help=f"some of {','.join(PEERS)}")
    parser.add_argument("--data", type=Path, help="folder of files of daily bars, instead")
    parser.add_argument("--date-format", help="of those files, such as %%m/%%d/%%Y; ISO without")
    parser.add_argument("--json", type=Path, help="where to write everything that was measured")
    for name, default in (("instruments", 20), ("sessions", 2500), ("lookback", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--horizon", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of peers' libraries; 0: defaults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=0, help="checks after which each side stops")
    return parser


if __name__ == "__main__":
    sys.exit(main())
