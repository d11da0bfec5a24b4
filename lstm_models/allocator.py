"""How a process keeps memory between two calls of a compiled program.

Owns one switch of the C library. Never touches an array, a backend or an environment variable.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Keep what is freed for the next allocation, for the rest of this process.

    A compiled program takes its temporary arrays anew at every call: some tens of MiB that glibc
    maps from the system and gives back each time, and the system fills with zeros, page by page.
    Kept, the gradient of an update takes a quarter less time (benchmarks/recurrence.py). The
    process then stays as large as it once was, which suits a worker that trains and ends.

    Returns:
        Whether the C library took it: glibc does. On another (musl, macOS) nothing changes.

    Source: mallopt(3), M_MMAP_MAX and M_TRIM_THRESHOLD.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))
