"""Which windows of a series a lane learns from, is checked on and predicts from.

Owns start rows; a window is `start … start + lookback − 1` and is gathered on the fly, never
materialised ahead. Never touches values: starts depend on lengths, names and seeds only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Starts = NDArray[np.int32]


def generator(*names: str | int) -> np.random.Generator:
    """A random stream that depends on its names alone, not on order or company."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    key = np.frombuffer(digest[:16], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def require_window(first: int, stop: int, lookback: int) -> None:
    """Check that a window fits into `[first, stop)`.

    Raises:
        ValueError: if not even one does.
    """
    if stop - first < lookback:
        raise ValueError(
            f"a window of lookback={lookback} steps does not fit into {stop - first} rows "
            f"({first} … {stop - 1}): shorten lookback or give more history"
        )


def tiles(first: int, stop: int, lookback: int, burn_in: int, phase: int) -> Starts:
    """Starts of windows inside `[first, stop)` whose supervised steps tile it.

    Steps `burn_in … lookback − 1` of a window carry a loss, so windows are `lookback − burn_in`
    apart; `phase` shifts them all. Source: dense supervision as in the "forking sequences" of
    Wen et al. (2017), arXiv:1711.11053.
    """
    return np.arange(first + phase, stop - lookback + 1, lookback - burn_in, dtype=np.int32)


def passes(
    first: int, stop: int, lookback: int, burn_in: int, random: np.random.Generator
) -> Iterator[int]:
    """Endless window starts: pass after pass, each with its own phase and order.

    Raises:
        ValueError: if not even one window fits into `[first, stop)`.
    """
    require_window(first, stop, lookback)
    slack = stop - first - lookback
    stride = lookback - burn_in
    while True:
        phase = int(random.integers(0, min(stride, slack + 1)))
        yield from random.permutation(tiles(first, stop, lookback, burn_in, phase)).tolist()


def checks(first: int, stop: int, lookback: int, stride: int) -> Starts:
    """Starts of windows whose last `stride` steps cover `[first, stop)` once each.

    The last window may reach past `stop`; what lies there must be masked by the caller.
    """
    return np.arange(first, stop, stride, dtype=np.int32) - (lookback - stride)
