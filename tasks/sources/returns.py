"""Closes from returns, compounded per instrument from 100.

Owns what a return is and the chain. Never touches texts or files.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.storage.rows import codes_of, starts_of

Floats = npt.NDArray[np.float64]

BASE = 100.0
"""The price before the first return, which no row holds."""

_USUAL = 0.25
"""A table whose median return is larger does not hold what it is said to hold."""


def compound(
    instrument: pa.ChunkedArray, session: pa.ChunkedArray, returns: Floats, kind: str
) -> Floats:
    """The close that each row's return leads to, from the close of the session before.

    C_t = C_{t-1} exp(r_t) for log returns, C_{t-1} (1 + r_t) for simple ones, in the order of the
    sessions, in whichever the rows come. A row that tells no session or return, or one that leads
    to no price, gets none, and the chain goes on from the close before it. Where a session comes
    more than once, its first row is the chain's.

    Args:
        instrument: whose row it is; axis (row).
        session: date32; axis (row).
        returns: NaN where there is none; axis (row).
        kind: log or simple; "_percent" says that 1 is one percent.

    Returns:
        Closes, NaN where there is none; axis (row).

    Raises:
        ValueError: the returns are too large to be daily ones of this kind.
    """
    step = returns / 100 if kind.endswith("_percent") else returns.copy()
    there = np.isfinite(step)
    if there.any() and np.median(np.abs(step[there])) > _USUAL:
        raise ValueError(
            f"half of its returns are above {_USUAL:.0%} if they are {kind!r}: state what they are "
            "by source.returns"
        )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        growth = np.exp(step) if kind.startswith("log") else 1 + step
        log = np.log(growth)
    rows = pa.table({"instrument": instrument, "session": session})
    code = codes_of(rows, ("instrument", "session"))
    order = np.argsort(code, kind="stable")
    first = starts_of(code[order])
    told = session.is_valid().to_numpy()[order]
    chained = np.where(first & told & np.isfinite(log[order]), log[order], 0.0)
    who = codes_of(rows.select(["instrument"]), ("instrument",))[order]
    total = np.cumsum(chained)
    begins = np.flatnonzero(starts_of(who))
    before = total - chained
    sizes = np.diff(np.append(begins, len(who)))
    before -= np.repeat(before[begins], sizes) if len(begins) else 0.0
    # Rows that repeat a session start from where its first row started.
    leader = np.flatnonzero(first)[np.cumsum(first) - 1] if len(first) else first.astype(int)
    closes = np.full(len(returns), np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        closes[order] = np.where(told, BASE * np.exp(before[leader]) * growth[order], np.nan)
    return closes
