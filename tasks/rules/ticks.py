"""One-row bad ticks that are small in themselves, but not for the instrument that they are of.

Owns what is far beyond an instrument's usual moves. Never touches other rules.
"""

from __future__ import annotations

import numpy as np

from tasks.rules.config import ValidationConfig
from tasks.rules.jumps import on_grid, solitary, told_jump
from tasks.rules.panel import NOTHING, PAST, Felt, Found, Panel, usual_size, words

_REVERTS = 0.25
"""A tick comes back but for a quarter of its step: whatever moved the market meanwhile."""

_TRADED = 0.5
"""A day whose range spans half of the step traded its way there: no tick."""

_AT_ONE_PRICE = 0.25
"""A day with a range, but one that spans less than this of the step, shows that nothing was traded
in between: less than the full multiple is enough."""

_EASED = 2 / 3
_LATELY = 20
_RESTLESS = 2.0
"""The step must be this many times the third largest move of the last 20 sessions: in a panic a
day that falls and recovers is one of several. Third, as a tick before this one made two moves."""


def bad_ticks(panel: Panel, felt: Felt, config: ValidationConfig) -> Found:
    """Bars whose close leaves for one row by `tick_moves` times the mean move of the past.

    Nothing is said of an instrument's first 20 moves, of its newest bar, of moves below
    `tick_floor` and of steps of one or two of the price's grid.
    """
    if len(panel) < 3:
        return NOTHING
    move = felt.told(panel)
    floor = np.log1p(config.tick_floor)
    large = np.abs(move) > floor
    here = np.flatnonzero(large[1:-1] & large[2:]) + 1
    into, back = move[here], move[here + 1]
    size = np.minimum(np.abs(into), np.abs(back))
    with np.errstate(invalid="ignore"):
        span = np.log(panel.high[here] / panel.low[here])
        back_again = (into * back < 0) & (np.abs(into + back) <= _REVERTS * size)
        here = here[back_again & ~(span >= _TRADED * size)]
    if not len(here):
        return NOTHING
    into, back = move[here], move[here + 1]
    size = np.minimum(np.abs(into), np.abs(back))
    span = np.log(panel.high[here] / panel.low[here])
    past = panel.past(move, here, PAST)
    usual = usual_size(past)
    latest = np.sort(np.abs(np.nan_to_num(past[:, :_LATELY])), axis=1)
    at_one_price = (span > 0) & (span < _AT_ONE_PRICE * size)
    multiple = config.tick_moves * np.where(at_one_price, _EASED, 1.0)
    far = (size > multiple * usual) & (size > _RESTLESS * latest[:, -3])
    far &= ~on_grid(panel.close[here - 1], panel.close[here], panel.close[here + 1])
    here, size, usual = here[far], size[far], usual[far]
    alone = solitary(here)
    here, times = here[alone], (size / np.maximum(usual, 1e-12))[alone]
    shown = np.minimum(np.round(times), 9999).astype(np.int64)
    return Found(here, words(told_jump(panel.close, here), ", ", shown, " times its usual move"))
