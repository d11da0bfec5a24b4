"""One-row jumps: a close that jumps away and comes back, while crashes and splits do not.

Owns what makes a jump absurd, whatever the instrument's usual moves. Never touches other rules.
"""

from __future__ import annotations

import numpy as np

from tasks.rules.config import ValidationConfig
from tasks.rules.panel import NOTHING, Felt, Floats, Found, Panel, words
from tasks.storage.rows import Codes, Mask

_TICKS = 2.5
"""A move of at most two steps of the price's own grid is the coarsest a quiet day can be."""

_DECIMALS = 8


def absurd_jumps(panel: Panel, felt: Felt, config: ValidationConfig) -> Found:
    """Bars whose close leaves the one before, is left by the one after, and no action tells why.

    A bar is absurd if its close moves by more than `jump_ratio` against both neighbours, in
    opposite directions, and these are within `jump_reverts` of each other. It is not absurd

    - if a split or dividend explains either move (a split in raw prices only);
    - if its own high and low reach back to the close before or span half the move, unless the
      move exceeds `jump_ratio_in_range`: wild days trade through many prices, bad ticks at one;
    - if the move is at most two steps of the grid that the three prices lie on: a penny stock at
      0.0001 or 0.0002;
    - if the bar beside it does the same: a price that swings is not one bad row;
    - if it is an instrument's first or last: nothing tells yet whether it comes back.
    """
    if len(panel) < 3:
        return NOTHING
    move = felt.told(panel)
    jump = np.log(config.jump_ratio)
    large = np.abs(move) > jump
    here = np.flatnonzero(large[1:-1] & large[2:]) + 1
    here = here[move[here] * move[here + 1] < 0]  # NaN, a first bar, is no move
    if not len(here):
        return NOTHING
    close, high, low = panel.close, panel.high, panel.low
    before, after = close[here - 1], close[here + 1]
    size = np.minimum(np.abs(move[here]), np.abs(move[here + 1]))
    near = np.abs(np.log(after / before)) <= np.log1p(config.jump_reverts)
    reach = 1 + config.jump_reverts
    in_range = (low[here] <= before * reach) & (high[here] >= before / reach)
    in_range |= np.log(high[here] / low[here]) >= size / 2
    wild = np.log(max(config.jump_ratio, config.jump_ratio_in_range))
    here = here[near & (size > np.where(in_range, wild, jump))]
    here = here[~on_grid(close[here - 1], close[here], close[here + 1])]
    here = here[solitary(here)]
    return Found(here, told_jump(close, here))


def on_grid(*prices: Floats) -> Mask:
    """Whether all moves are at most two steps of the coarsest decimal grid of the prices."""
    largest = np.abs(np.diff(prices, axis=0)).max(axis=0)
    quiet: Mask = largest <= _TICKS * coarsest_grid(*prices)
    return quiet


def coarsest_grid(*prices: Floats) -> Floats:
    """The largest of 1, 0.1, 0.01, … of which all prices are multiples; 0 if none is."""
    grid = np.zeros(len(prices[0]))
    for decimals in range(_DECIMALS, -1, -1):
        steps = np.stack(prices) * 10.0**decimals
        fits = (np.abs(steps - np.round(steps)) < 1e-4).all(axis=0)
        grid[fits] = 10.0**-decimals
    return grid


def solitary(places: Codes) -> Mask:
    """Which of the ascending `places` have no neighbour among them."""
    beside = np.diff(places) == 1
    lonely: Mask = np.ones(len(places), dtype=bool)
    lonely[1:] &= ~beside
    lonely[:-1] &= ~beside
    return lonely


def told_jump(close: Floats, here: Codes) -> np.ndarray[tuple[int, ...], np.dtype[np.object_]]:
    """The reasons, with the three closes."""
    three = (close[here - 1], close[here], close[here + 1])
    return words("the close goes from ", three[0], " to ", three[1], " and back to ", three[2])
