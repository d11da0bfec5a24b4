"""Bars as columns of numbers, one instrument after the other, with the actions that they feel.

Owns the layout that rules about neighbours share. Never judges.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.actions import PriceBasis
from tasks.storage.rows import Codes, Mask, starts_of

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[Any]

PAST = 60
"""How many sessions before a row tell what is usual for it."""

FEWEST = 20
"""With fewer sessions before it nothing is known to be usual."""

FEWEST_MOVES = 5


@dataclass(frozen=True)
class Panel:
    """Bars sorted by instrument and session, one each; axis (bar).

    Attributes:
        row: which fetched row it is; -1: a bar of the store, never judged.
        code: whose it is.
        day: its session, in days since 1970-01-01.
        open, high, low, close, volume: NaN where nothing is told; closes are positive.
    """

    row: Codes
    code: Codes
    day: Codes
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def __len__(self) -> int:
        return len(self.row)

    def without(self, places: Codes) -> Panel:
        """The same without the bars at `places`."""
        if not len(places):
            return self
        keep = np.ones(len(self), dtype=bool)
        keep[places] = False
        columns = ("row", "code", "day", "open", "high", "low", "close", "volume")
        return Panel(*(getattr(self, name)[keep] for name in columns))

    @cached_property
    def first(self) -> Mask:
        """Which bars are the first of their instrument."""
        return starts_of(self.code)

    @cached_property
    def start(self) -> Codes:
        """For each bar the position of its instrument's first."""
        position = np.arange(len(self))
        begin: Codes = np.maximum.accumulate(np.where(self.first, position, 0))
        return begin

    @cached_property
    def key(self) -> Codes:
        """Instrument and session as one ascending integer."""
        return _packed(self.code, self.day)

    @cached_property
    def move(self) -> Floats:
        """The log of each close over the one before; NaN at first bars."""
        move = np.full(len(self), np.nan)
        if len(self):
            move[1:] = np.diff(np.log(self.close))
            move[self.first] = np.nan
        return move

    def past(self, values: Floats, places: Codes, count: int) -> Floats:
        """The `count` values before each of `places`, latest first, NaN beyond the instrument.

        Returns:
            Axes (place, lag).
        """
        where = places[:, None] - 1 - np.arange(count)
        inside = where >= self.start[places][:, None]
        found: Floats = np.where(inside, values[np.maximum(where, 0)], np.nan)
        return found


def usual_size(values: Floats) -> Floats:
    """The mean size over the last axis of what is known and not 0.

    NaN where fewer than FEWEST are known, or fewer than FEWEST_MOVES of them not 0: of a price that
    hardly ever moves nothing is known to be usual.
    """
    size = np.abs(np.nan_to_num(values))
    count = (size > 0).sum(axis=-1)
    enough = (np.isfinite(values).sum(axis=-1) >= FEWEST) & (count >= FEWEST_MOVES)
    mean: Floats = np.where(enough, size.sum(axis=-1) / np.maximum(count, 1), np.nan)
    return mean


@dataclass(frozen=True)
class Felt:
    """Actions at the bars of a panel where prices feel them; axis (felt).

    Attributes:
        action: the position among the actions given.
        place: the bar: that of the ex-date, or the next one.
        split: whether it is a split; else a dividend.
        value: new shares per old one, or cash per share.
        basis: what the panel's prices are.
    """

    action: Codes
    place: Codes
    split: Mask
    value: Floats
    basis: PriceBasis

    def only(self, count: int) -> Felt:
        """Those among the first `count` actions."""
        mine = self.action < count
        columns = (self.action[mine], self.place[mine], self.split[mine], self.value[mine])
        return Felt(*columns, self.basis)

    def told(self, panel: Panel) -> Floats:
        """Moves less what actions explain, where that makes them smaller; axis (bar)."""
        if not len(self.place) or self.basis == "total_return":
            return panel.move
        places, which = np.unique(self.place, return_inverse=True)
        added = np.zeros(len(places))
        paid = ~self.split
        worth = np.log1p(self.value[paid] / panel.close[self.place[paid]])
        np.add.at(added, which[paid], worth)
        if self.basis == "raw":
            np.add.at(added, which[self.split], np.log(self.value[self.split]))
        told = panel.move.copy()
        total = told[places] + added
        told[places] = np.where(np.abs(total) < np.abs(told[places]), total, told[places])
        return told


def feel(panel: Panel, actions: pa.Table, code: Codes, usable: Mask, basis: PriceBasis) -> Felt:
    """Which bars feel which of `actions`.

    Args:
        panel: the bars.
        actions: `sources.protocol.ACTIONS`.
        code: whose action it is, in the panel's codes; axis (action).
        usable: which to look at; axis (action).
        basis: what the prices are.
    """
    which = np.flatnonzero(usable)
    if not len(which):
        return Felt(which, which, which < 0, np.empty(0), basis)
    day = days_of(actions["session"])[which]
    place = np.searchsorted(panel.key, _packed(code[which], day))
    inside = np.minimum(place, max(len(panel) - 1, 0))
    felt = (place < len(panel)) & (panel.code[inside] == code[which]) if len(panel) else place < 0
    which, place = which[felt], place[felt].astype(np.int64)
    split = actions["action"].to_numpy()[which] == "split"
    return Felt(which, place, split, actions["value"].to_numpy()[which], basis)


def days_of(column: pa.ChunkedArray) -> Codes:
    """Sessions without nulls as days since 1970-01-01."""
    days: Codes = column.cast(pa.int32()).to_numpy().astype(np.int64)
    return days


def _packed(code: Codes, day: Codes) -> Codes:
    return code * (1 << 32) + day


@dataclass(frozen=True)
class Found:
    """Bars of a panel that break a rule; axis (found).

    Attributes:
        places: their positions, ascending.
        reasons: why, with the values that broke it.
    """

    places: Codes
    reasons: Texts


NOTHING = Found(np.empty(0, dtype=np.int64), np.empty(0, dtype=object))


def words(*parts: str | npt.NDArray[Any]) -> Texts:
    """Texts joined with arrays of values, element by element."""
    told: Any = ""
    for part in parts:
        told = told + (part if isinstance(part, str) else part.astype(str).astype(object))
    return np.asarray(told, dtype=object)
