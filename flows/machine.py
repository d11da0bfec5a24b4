"""What this machine can bear: the cores and the memory that this process may use.

Owns asking the operating system, containers' limits included. Never decides what to do with it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_PROC, _CONTROL_GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def cores() -> int:
    """Cores that this process may keep busy: by its affinity and its control groups' quotas.

    At least one: a container with half a core is slower, not idle.
    """
    try:
        own = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity
        own = os.cpu_count() or 1
    quotas = [math.ceil(quota) for quota in map(_quota, _groups()) if quota is not None]
    return max(min([own, *quotas]), 1)


def available_memory() -> int | None:
    """Bytes that can still be taken without swapping; None where the system does not say."""
    left = [free for free in map(_left, _groups()) if free is not None]
    for line in _lines(_PROC / "meminfo"):
        if line.startswith("MemAvailable:"):
            left.append(int(line.split()[1]) * 1024)
    return max(min(left), 0) if left else None


def _groups() -> Iterator[Path]:
    """The control group of this process and those that contain it (version 2 of the interface)."""
    for line in _lines(_PROC / "self" / "cgroup"):
        hierarchy, _, path = line.partition("::")
        if hierarchy == "0":
            own = _CONTROL_GROUPS / path.lstrip("/")
            yield own
            yield from (one for one in own.parents if one.is_relative_to(_CONTROL_GROUPS))


def _quota(group: Path) -> float | None:
    """Cores that a control group may use: `cpu.max` holds microseconds per period, or "max"."""
    words = " ".join(_lines(group / "cpu.max")).split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else None


def _left(group: Path) -> int | None:
    """Bytes below a control group's limit; cached files can be dropped and do not count."""
    limit, current = (" ".join(_lines(group / f"memory.{one}")) for one in ("max", "current"))
    if not (limit.isdigit() and current.isdigit()):
        return None
    stat = dict(line.split() for line in _lines(group / "memory.stat"))
    return int(limit) - int(current) + int(stat.get("inactive_file", 0))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
