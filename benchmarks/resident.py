"""Peak memory of this process and all that it started, sampled from /proc (Linux).

Owns the sampling. Never touches what is measured. Resident sets are summed, so pages that
processes share count once for each: the sum is never too small.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 0.2
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Peak:
    """The largest sum of resident sets seen so far, in bytes."""

    bytes = 0


@contextmanager
def watched() -> Iterator[Peak]:
    """Samples until the context ends."""
    peak, over = Peak(), threading.Event()

    def sample() -> None:
        while not over.wait(SECONDS):
            peak.bytes = max(peak.bytes, sum(map(resident, family(os.getpid()))))

    thread = threading.Thread(target=sample, name="memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def family(pid: int) -> list[int]:
    """The process and all that it started, and they."""
    found = [pid]
    for member in found:
        for children in Path("/proc").glob(f"{member}/task/*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except OSError:  # it has ended
                continue
    return found


def resident(pid: int) -> int:
    """Resident bytes of a process; 0 once it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0
