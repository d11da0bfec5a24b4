"""Prices beside a stated split that are not in the shares that the price basis promises.

Owns the search for the step that a split leaves, or should leave, in prices. Never touches
dividends or other rules.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tasks.rules.config import ValidationConfig
from tasks.rules.panel import NOTHING, PAST, Felt, Floats, Found, Panel, usual_size

_NEAR = 0.25
"""A step is a split's if its log is that of the split's ratio but for this share of it."""

_SURE = np.log(1.9)
_REACH = 20
_SHORT_REACH = 2
"""How many sessions before and after its ex-date the step of a split is looked for: far off where
no day's move is as large, next to it else."""

_UNUSUAL = 5.0


def split_misadjusted(panel: Panel, felt: Felt, config: ValidationConfig) -> Found:
    """Bars on the wrong side of the step that a split leaves.

    Split-adjusted prices have no step. Where there is one near the ex-date, the bars before it are
    not adjusted, back to a step the other way or to the first bar: these are wrong, as the newest
    prices are in today's shares. Raw prices have the step at the ex-date. Where it is earlier or
    later, the bars between are wrong.
    """
    found = dict[int, str]()
    for where, ratio, steps in _splits(panel, felt, config):
        if felt.basis == "split_adjusted":
            for step in steps:
                start = _back_to(panel, step, np.log(ratio))
                told = f"the split into {ratio:g} shares is not in this price, though the basis "
                told += (
                    f"is split_adjusted: the close of {_day(panel, step)} is {_times(panel, step)}"
                )
                told += " times the one before"
                found.update(dict.fromkeys(range(start, step), told))
        elif not _shows(panel, where, ratio):
            for step in steps:
                first, last = min(step, where), max(step, where)
                whole = np.log(panel.close[last] / panel.close[first - 1])
                if abs(whole + np.log(ratio)) <= 2 * _NEAR * abs(np.log(ratio)):
                    side = "already" if step < where else "not yet"
                    told = f"the split into {ratio:g} shares is {side} in this raw price"
                    found.update(dict.fromkeys(range(first, last), told))
    if not found:
        return NOTHING
    places = sorted(found)
    return Found(np.array(places), np.array([found[place] for place in places], dtype=object))


def unfelt_splits(panel: Panel, felt: Felt, config: ValidationConfig) -> Found:
    """Splits, as positions among the actions, that raw prices do not show.

    To count them would add a return that nobody had. Looked at after `split_misadjusted`, whose
    bars are gone: a split whose step is merely elsewhere is then felt where it belongs.
    """
    if felt.basis != "raw" or not felt.split.any():
        return NOTHING
    mine = felt.split & ~panel.first[felt.place]
    unfelt = [
        (action, f"the raw close goes from {panel.close[where - 1]} to {panel.close[where]}")
        for action, where, ratio in zip(
            felt.action[mine].tolist(),
            felt.place[mine].tolist(),
            felt.value[mine].tolist(),
            strict=True,
        )
        if abs(np.log(ratio)) >= np.log(config.split_smallest) and not _shows(panel, where, ratio)
    ]
    places = np.array([action for action, _ in unfelt], dtype=np.int64)
    return Found(places, np.array([told for _, told in unfelt], dtype=object))


def _splits(
    panel: Panel, felt: Felt, config: ValidationConfig
) -> Iterator[tuple[int, float, list[int]]]:
    """Each split: where it is felt, its ratio, and the bars near it that move as by the split."""
    if felt.basis == "total_return":
        return
    for where, ratio in zip(felt.place[felt.split], felt.value[felt.split], strict=True):
        size = abs(np.log(ratio))
        if size < np.log(config.split_smallest):
            continue
        reach = _REACH if size >= _SURE else _SHORT_REACH
        near = np.arange(max(where - reach, 0), min(where + reach + 1, len(panel)))
        near = near[(panel.code[near] == panel.code[where]) & ~panel.first[near]]
        usual = np.nan_to_num(usual_size(panel.past(panel.move, near, PAST)))
        move = panel.move[near]
        step = (np.abs(move + np.log(ratio)) <= _NEAR * size) & (np.abs(move) > _UNUSUAL * usual)
        yield int(where), float(ratio), near[step].tolist()


def _shows(panel: Panel, where: int, ratio: float) -> bool:
    """Whether the price moves at `where` rather as by the split than not at all."""
    if panel.first[where]:
        return True
    share = -panel.move[where] / np.log(ratio)
    return bool(share > 0.4)


def _back_to(panel: Panel, step: int, other_way: float) -> int:
    """The first of the bars before `step` that are in its unit: after a step the other way."""
    start = int(panel.start[step])
    inside: Floats = panel.move[start + 1 : step]
    opposite = np.flatnonzero(np.abs(inside - other_way) <= _NEAR * abs(other_way))
    return start + 1 + int(opposite[-1]) if len(opposite) else start


def _day(panel: Panel, place: int) -> np.datetime64:
    return np.datetime64(int(panel.day[place]), "D")


def _times(panel: Panel, place: int) -> str:
    return f"{np.exp(panel.move[place]):.4g}"
