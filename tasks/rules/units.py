"""Prices that switch their unit: pence for pounds, cents for rands, thousands.

Owns what a step of units is and which side of it is held. Never touches other rules.
"""

from __future__ import annotations

import numpy as np

from tasks.rules.config import ValidationConfig
from tasks.rules.jumps import coarsest_grid
from tasks.rules.panel import NOTHING, Felt, Floats, Found, Panel, words
from tasks.storage.rows import Codes

_DECADES = (2, 3)
_FEW_STEPS = 2.5
_BACK = np.log(2.5)


def unit_switches(panel: Panel, felt: Felt, config: ValidationConfig) -> Found:
    """Bars that are 100 or 1000 times, or a 100th or 1000th of, most other bars of an instrument.

    A step of units is a move by such a factor, within `unit_tolerance`, that no action explains.
    The bars between two steps are of one unit. The unit of most of an instrument's bars counts, of
    the first ones where two have as many, and the other bars are held: the data alone can't tell
    which is right. A penny stock that moves by one or two steps of its grid switches nothing.
    """
    smallest = 2 * np.log(10) - 2 * _BACK
    with np.errstate(invalid="ignore"):
        here = np.flatnonzero(np.abs(panel.move) > smallest)
    if not len(here):
        return NOTHING
    move = felt.told(panel)
    step = _decades(move[here], config.unit_tolerance)
    lower = np.minimum(panel.close[here], panel.close[here - 1])
    grid = coarsest_grid(panel.close[here], panel.close[here - 1])
    step[(lower <= _FEW_STEPS * grid) & (lower < 0.01)] = 0
    if not step.any():
        return NOTHING
    found = [
        _of_one(panel, int(panel.start[mine[0]]), mine, step[panel.code[here] == code])
        for code in np.unique(panel.code[here[step != 0]])
        for mine in [here[panel.code[here] == code]]
    ]
    places = np.concatenate([one.places for one in found])
    return Found(places, np.concatenate([one.reasons for one in found]))


def _decades(move: Floats, tolerance: float) -> Codes:
    """±2 or ±3 where a move is by 100 or 1000 within the tolerance, else 0."""
    step = np.zeros(len(move), dtype=np.int64)
    for decades in _DECADES:
        near = np.abs(np.abs(move) - decades * np.log(10)) <= np.log1p(tolerance)
        step[near] = decades
    return np.where(move < 0, -step, step)


def _of_one(panel: Panel, start: int, here: Codes, step: Codes) -> Found:
    """The bars of one instrument that are in the rarer unit; `here`: its large moves."""
    stop = int(np.searchsorted(panel.code, panel.code[start], side="right"))
    level = np.zeros(stop - start, dtype=np.int64)
    now, last_right = 0, start
    for place, decades in zip(here.tolist(), step.tolist(), strict=True):
        if now == 0:
            last_right = place - 1
            now = decades
        elif abs(np.log(panel.close[place] / panel.close[last_right])) < _BACK:
            now = 0
        else:
            now += decades
        level[place - start :] = now
    units, first, count = np.unique(level, return_index=True, return_counts=True)
    if len(units) < 2:
        return NOTHING
    usual = units[np.lexsort((first, -count))[0]]
    places = np.flatnonzero(level != usual)
    times = _times(level[places] - usual)
    entered = np.searchsorted(np.flatnonzero(level == usual), places) - 1
    right = np.flatnonzero(level == usual)[np.maximum(entered, 0)]
    share = f"; so {len(places)} of its {len(level)} bars are in another unit than the others"
    reasons = words(
        "the close ",
        panel.close[start + places],
        " is about ",
        times,
        " times that of its other bars, ",
        panel.close[start + right],
        share,
    )
    return Found(start + places, reasons)


def _times(decades: Codes) -> np.ndarray[tuple[int, ...], np.dtype[np.object_]]:
    words_of = {d: f"1{'0' * d}" if d > 0 else f"1/1{'0' * -d}" for d in set(decades.tolist())}
    return np.array([words_of[d] for d in decades.tolist()], dtype=object)
