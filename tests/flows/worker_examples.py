"""Work for children of `flows.workers`: at the top of a module, so that they can be sent."""

# ruff: noqa: ARG001 - every work takes the report that it may send
from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

Report = Callable[[str, int, int], None]


def add(a: int, b: int, report: Report) -> int:
    report("add", 1, 2)
    report("add", 2, 2)
    return a + b


def refuse(reason: str, report: Report) -> None:
    raise ValueError(reason)


def identity(report: Report) -> int:
    return os.getpid()


def surroundings(report: Report) -> dict[str, str | None]:
    names = (
        "KERAS_BACKEND",
        "NPROC",
        "NVIDIA_TF32_OVERRIDE",
        "OMP_NUM_THREADS",
        "TF_CPP_MIN_LOG_LEVEL",
        "TF_ENABLE_ONEDNN_OPTS",
        "TF_FORCE_GPU_ALLOW_GROWTH",
        "XLA_FLAGS",
        "XLA_PYTHON_CLIENT_PREALLOCATE",
    )
    found = {name: os.environ.get(name) for name in names}
    return found | {"decimal": "yes" if "decimal" in sys.modules else "no"}


def die_once(marker: Path, report: Report) -> str:
    """Kills its own process the first time."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return "alive"
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def die(report: Report) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep_long(marker: Path, report: Report) -> None:
    marker.write_text(str(os.getpid()))
    time.sleep(600)
