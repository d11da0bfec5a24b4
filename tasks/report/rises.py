"""How often an instrument rose: what a probability of a rise is read beside.

Owns that count. Never touches a forecast or the store.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.actions import align_actions, total_log_returns
from tasks.report.prices import by_instrument, dates, floats


@dataclass(frozen=True)
class Rises:
    """Steps from bar to bar with a total return above zero, and all of them."""

    rises: int
    steps: int

    @property
    def share(self) -> float:
        """A fraction; NaN of no step."""
        return self.rises / self.steps if self.steps else float("nan")


def rises(
    bars: pa.Table, actions: pa.Table, instruments: Collection[str], last: date
) -> dict[str, Rises]:
    """Per instrument, over all bars up to the session `last`; dividends and splits are counted in.

    Args:
        bars: (row) of `bars`, sorted by instrument and session.
        actions: (row) of `actions`.
        instruments: whose.
        last: the last session that counts.
    """
    if not instruments:
        return {}
    wanted = pa.array(sorted(instruments), pa.string())
    limit = pa.scalar(last, pa.date32())
    bars = bars.filter(pc.is_in(bars["instrument"], value_set=wanted))
    bars = bars.filter(pc.less_equal(bars["session"], limit))
    found = {}
    for name, rows in by_instrument(bars):
        of = actions.filter(pc.equal(actions["instrument"], name))
        sessions, basis = dates(rows["session"]), rows["price_basis"][-1].as_py()
        steps = align_actions(
            sessions,
            dates(of["session"]),
            np.asarray(of["action"].to_pylist(), dtype=str),
            floats(of["value"]),
            basis,
        )
        returns = total_log_returns(
            floats(rows["close"]), sessions, steps.split_ratio, steps.dividend, basis
        )
        known = np.isfinite(returns)
        found[name] = Rises(int((returns[known] > 0).sum()), int(known.sum()))
    return found
