"""One side in a process of its own: `python -m benchmarks.peers.side NAME PROBLEM RESULT`.

Owns the list of sides and what a child writes down. Never compares.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.peers.problem import Problem
from benchmarks.peers.trial import Trial
from flows.worker_child import set_environment
from lstm_models.allocator import keep_freed_memory

SIDES: dict[str, tuple[str, str]] = {
    "fleet": ("fleet", "run"),
    "fleet-plain": ("fleet", "run_plain"),
    "keras": ("keras_loop", "run"),
    "neuralforecast": ("neuralforecast_lstm", "run"),
    "neuralforecast-global": ("neuralforecast_lstm", "run_global"),
    "darts": ("darts_rnn", "run"),
}
"""Module and function by name."""
OURS = ("fleet", "fleet-plain")
PEERS = tuple(name for name in SIDES if name not in OURS)
GLOBAL = ("neuralforecast-global",)
"""Peers that are one model of all instruments."""


def main() -> None:
    """Import, train, measure, write."""
    name, problem_path, result_path = sys.argv[1:]
    if name in OURS:
        set_environment()  # one thread and kept memory, as a worker of the nightly run
        keep_freed_memory()
    began = time.perf_counter()
    module, function = SIDES[name]
    run = getattr(importlib.import_module(f"benchmarks.peers.{module}"), function)
    imported = time.perf_counter() - began

    problem = Problem.load(Path(problem_path))
    trial = Trial(problem)
    run(problem, trial)
    wall, cpu = trial.clock.wall, trial.clock.cpu
    unit = 1024 if sys.platform == "linux" else 1024**2  # KiB on Linux, bytes on macOS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    result = {
        "import_seconds": imported,
        "train_seconds": wall,
        "processor_seconds": cpu,
        "peak_mib": peak,
        "checks": [asdict(check) for check in trial.checks],
        "validation_mse": [trial.validation[i] for i in range(len(problem.names))],
        "test_mse": [trial.test[i] for i in range(len(problem.names))],
        "notes": trial.notes,
    }
    Path(result_path).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
