"""What the sides' results say together: when a fleet was as good as a peer's best, and ratios.

Owns the arithmetic of the tables. Never touches a model or a clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.peers.problem import Floats

Result = Mapping[str, Any]
"""What `side.py` wrote."""


@dataclass(frozen=True)
class Best:
    """A peer's own best validation.

    Attributes:
        seconds: at which its best checks ended, summed over its trainings.
        processor_seconds: the same of processor time.
        mse: there, per instrument and lead, `(series, lead)`.
    """

    seconds: float
    processor_seconds: float
    mse: Floats


@dataclass(frozen=True)
class Reached:
    """When a fleet had validated as well as a peer's best.

    Attributes:
        seconds: until the last instrument that got there did; wall time.
        processor_seconds: the same of processor time.
        instruments: how many got there.
    """

    seconds: float
    processor_seconds: float
    instruments: int


def best_of(result: Result, *, together: bool) -> Best:
    """The best check of every training of a peer; `together` if one model served all instruments.

    A global model has one best check, by the mean over instruments, as it has one set of weights.
    """
    checks: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for check in result["checks"]:
        checks[check["series"]].append(check)
    if together:
        panel = np.array([[check["mse"] for check in checks[i]] for i in sorted(checks)])
        at = int(panel.mean(axis=(0, 2)).argmin())
        chosen = checks[0][at]
        return Best(chosen["seconds"], chosen["processor_seconds"], panel[:, at])
    best = [min(checks[i], key=lambda check: np.mean(check["mse"])) for i in sorted(checks)]
    return Best(
        sum(check["seconds"] for check in best),
        sum(check["processor_seconds"] for check in best),
        np.array([check["mse"] for check in best]),
    )


def reached(fleet: Result, target: Floats) -> Reached:
    """When every instrument of a fleet was as good as `target (series, lead)`, in natural units.

    A fleet's history is in units of its residuals' variance, so the target is brought to them, lead
    by lead. With several seeds the mean of their MSEs stands for the MSE of their mean, which is
    never larger. The weights kept are the best so far, so the running minimum counts.
    """
    notes = fleet["notes"]
    last, count = -1, 0
    for lanes, scale, wanted in zip(notes["histories"], notes["scale"], target, strict=True):
        goal = float(np.mean(wanted / np.square(scale)))
        length = max(map(len, lanes))
        padded = [np.pad(lane, (0, length - len(lane)), "edge") for lane in lanes]
        running = np.minimum.accumulate(padded, axis=1)
        there = np.flatnonzero(running.mean(axis=0) <= goal)
        if len(there):
            count += 1
            last = max(last, int(there[0]))
    if last < 0:
        return Reached(np.nan, np.nan, 0)
    wall, processor = notes["ends"][last]
    return Reached(wall, processor, count)


def compilation(fleet: Result) -> float:
    """Seconds of a fleet's first program beyond what a later one takes: tracing and compiling."""
    ends = [end for end, _ in fleet["notes"]["ends"]]
    return float(ends[0] - np.median(np.diff(ends))) if len(ends) > 1 else float(ends[0])


def relative(mse: Sequence[float], reference: Floats) -> float:
    """Mean over instruments of MSE as a share of the reference's."""
    return float(np.mean(np.asarray(mse) / reference))
