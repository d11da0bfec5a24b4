"""Which rule each fetched row and action breaks, what that does, and what a person let through.

Owns the account of what is held, and the table of it. Never knows a rule.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.identity import content_id
from tasks.rules.config import ValidationConfig
from tasks.rules.panel import Texts, words
from tasks.sources.protocol import BARS, PRICES, Fetched
from tasks.storage.rows import Codes, Mask, agree, as_mask, codes_of, match

Floats = npt.NDArray[np.float64]

NUMBERS = (*PRICES, "volume")

_CALENDAR = ("not_a_session", "not_closed_yet")
"""What these say is not about a row's numbers, for which a person vouched."""

QUARANTINE = pa.schema(
    [
        pa.field("instrument", pa.string()),
        pa.field("session", pa.date32()),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("row", pa.string(), nullable=False),
        *(pa.field(name, pa.float64()) for name in NUMBERS),
    ]
)
"""What is kept of a doubtful row: as the store's dataset, without its ids and stamps. An action has
no numbers, and its `row` is its JSON."""


def ids_of(quarantine: pa.Table, source: str) -> list[str]:
    """The ids of doubtful rows: of source, instrument, rule and row; equal rows are numbered."""
    seen: Counter[tuple[object, ...]] = Counter()
    ids = []
    columns = (quarantine[name].to_pylist() for name in ("instrument", "rule", "row"))
    for what in zip(*columns, strict=True):
        ids.append(content_id("quarantine", source, *what, seen[what]))
        seen[what] += 1
    return ids


def rows_as_json(rows: pa.Table) -> list[str]:
    """Each row as it came, without what is not there."""
    return [
        json.dumps({k: v for k, v in row.items() if v is not None}, default=str)
        for row in rows.to_pylist()
    ]


class Book:
    """What is wrong with what was fetched; axis (row) is the fetched rows'.

    Attributes:
        fetched: what came.
        code: whose row it is: the rank of its name in `names`; axis (row).
        names: every instrument, None first where a row has none.
        day: sessions in days since 1970-01-01; without meaning where there is none; axis (row).
        number: prices and volume; axis (row).
        unbroken: which rows are not held; axis (row).
    """

    def __init__(
        self,
        fetched: Fetched,
        config: ValidationConfig,
        released: Collection[str] = (),
        source: str = "",
        let_in: pa.Table | None = None,
    ) -> None:
        self.fetched, self.config = fetched, config
        self._released, self._source, self._let_in = frozenset(released), source, let_in
        bars = fetched.bars
        code = codes_of(bars, ("instrument",))
        used = np.flatnonzero(np.bincount(code)) if len(code) else code
        rank = np.zeros(int(code.max(initial=0)) + 1, dtype=np.int64)
        rank[used] = np.arange(len(used))
        self.code: Codes = rank[code]
        first = np.zeros(len(used), dtype=np.int64)
        first[self.code[::-1]] = np.arange(len(code))[::-1]
        self.names: list[str | None] = bars["instrument"].take(pa.array(first)).to_pylist()
        day = bars["session"].cast(pa.int32())
        filled = day.fill_null(0) if day.null_count else day
        self.day: Codes = filled.to_numpy().astype(np.int64)
        self.number: dict[str, Floats] = {name: bars[name].to_numpy() for name in NUMBERS}
        self.unbroken: Mask = np.ones(bars.num_rows, dtype=bool)
        self.exempt: Mask = np.zeros(bars.num_rows, dtype=bool)
        self.actions_kept: Mask = np.ones(fetched.actions.num_rows, dtype=bool)
        self._held: list[tuple[str, Codes, Texts]] = []
        self._flags: list[tuple[str, Codes, Texts]] = []
        self._held_actions: list[tuple[str, Codes, Texts]] = []
        self._flagged_actions: list[tuple[str, Codes, Texts]] = []

    def ask(self, rule: str, broken: Mask, *parts: str | npt.NDArray[Any]) -> None:
        """Judges those of the `broken` rows that broke nothing before.

        The reason is made of `parts`: texts, and arrays with a value for every row.
        """
        if not broken.any():
            return
        places = np.flatnonzero(broken & self.unbroken)
        if len(places):
            chosen = [part if isinstance(part, str) else part[places] for part in parts]
            reasons = words(*chosen)
            self.judge(rule, places, np.broadcast_to(reasons, len(places)))

    def judge(self, rule: str, places: Codes, reasons: Texts) -> Codes:
        """Does with rows what the rule's severity says; answers which `places` are held."""
        severity = self.config.does(rule)
        if severity == "flag":
            self._flags.append((rule, places, reasons))
        return self.hold(rule, places, reasons) if severity == "quarantine" else places[:0]

    def hold(
        self, rule: str, places: Codes, reasons: Texts, *, whoever_said: bool = False
    ) -> Codes:
        """Holds unbroken rows; answers which.

        Rows that a person let through are passed over, for this rule and all later ones, unless
        `whoever_said` or they can't be a bar at all.
        """
        free = self.unbroken[places] & (whoever_said | ~self.exempt[places])
        places, reasons = places[free], reasons[free]
        if self._released and len(places) and not whoever_said:
            let = self.is_released(rule, places)
            self.exempt[places[let]] = True
            places, reasons = places[~let], reasons[~let]
        if len(places):
            self._held.append((rule, places, reasons))
            self.unbroken[places] = False
        return places

    def is_released(self, rule: str, places: Codes) -> Mask:
        """Which rows, were they held for `rule`, a person has let through."""
        if not self._released:
            return np.zeros(len(places), dtype=bool)
        table = self._table(rule, places, np.full(len(places), "", dtype=object))
        named = as_mask(pc.is_valid(table["instrument"])) & as_mask(pc.is_valid(table["session"]))
        close = self.number["close"][places]
        let = self.let_through(table)
        if rule not in _CALENDAR:
            let |= self._vouched[places]
        return let & named & np.isfinite(close) & (close > 0)

    @cached_property
    def _vouched(self) -> Mask:
        """Rows with the numbers of one that a person let through, but for jitter; axis (row)."""
        bars = self.fetched.bars
        vouched: Mask = np.zeros(bars.num_rows, dtype=bool)
        if self._let_in is None:
            return vouched
        rows = self._let_in.filter(pc.is_valid(self._let_in["close"]))  # actions have none
        there = pa.table([rows[name] for name in BARS.names], schema=BARS)
        place = match(bars, there, ("instrument", "session"))
        both = np.flatnonzero(place >= 0)
        left, right = bars.take(pa.array(both)), there.take(pa.array(place[both]))
        vouched[both] = agree(left, right, NUMBERS, self.config.revision_tolerance)
        return vouched

    def judge_actions(self, rule: str, places: Codes, reasons: Texts) -> None:
        """The same with actions, by their positions among the fetched ones."""
        kept = self.actions_kept[places]
        places, reasons = places[kept], reasons[kept]
        severity = self.config.does(rule)
        if severity == "flag" and len(places):
            self._flagged_actions.append((rule, places, reasons))
        if severity != "quarantine" or not len(places):
            return
        if self._released:
            let = self.let_through(self._action_table(rule, places, reasons))
            places, reasons = places[~let], reasons[~let]
        self._held_actions.append((rule, places, reasons))
        self.actions_kept[places] = False

    def let_through(self, table: pa.Table) -> Mask:
        """Which rows of a table of doubts are released: all that are equal to one that is."""
        ids = ids_of(table, self._source)
        columns = (table[name].to_pylist() for name in ("instrument", "rule", "row"))
        whats = list(zip(*columns, strict=True))
        free = {what for what, one in zip(whats, ids, strict=True) if one in self._released}
        let: Mask = np.array([what in free for what in whats], dtype=bool)
        return let

    def held(self) -> tuple[Codes, pa.Table]:
        """The held rows, in the order in which they came, and the table of them and of actions."""
        places, table = self._tables(self._held, self._table, ordered=True)
        _, actions = self._tables(self._held_actions, self._action_table)
        return places, pa.concat_tables([table, actions])

    def flags(self) -> pa.Table:
        """What is doubtful, but kept: a row for every rule that a kept row or action breaks."""
        kept = []
        for rule, places, reasons in self._flags:
            there = self.unbroken[places]
            kept.append((rule, places[there], reasons[there]))
        _, table = self._tables(kept, self._table)
        stay = []
        for rule, places, reasons in self._flagged_actions:
            there = self.actions_kept[places]
            stay.append((rule, places[there], reasons[there]))
        _, actions = self._tables(stay, self._action_table)
        return pa.concat_tables([table, actions])

    def _tables(
        self,
        found: Sequence[tuple[str, Codes, Texts]],
        build: Callable[[Texts, Codes, Texts], pa.Table],
        *,
        ordered: bool = False,
    ) -> tuple[Codes, pa.Table]:
        if not found:
            return np.empty(0, dtype=np.int64), QUARANTINE.empty_table()
        places = np.concatenate([one[1] for one in found])
        reasons = np.concatenate([one[2] for one in found])
        rules = np.concatenate([np.full(len(one[1]), one[0], dtype=object) for one in found])
        if ordered:
            ranked = np.argsort(places, kind="stable")
            places, reasons, rules = places[ranked], reasons[ranked], rules[ranked]
        return places, build(rules, places, reasons)

    def _table(self, rule: str | Texts, places: Codes, reasons: Texts) -> pa.Table:
        bars = self.fetched.bars.take(pa.array(places))
        rows = rows_as_json(self.fetched.original.take(pa.array(places)))
        told = [bars[name] for name in NUMBERS]
        return _doubts(bars, rule, reasons, rows, told)

    def _action_table(self, rule: str | Texts, places: Codes, reasons: Texts) -> pa.Table:
        actions = self.fetched.actions.take(pa.array(places))
        rows = rows_as_json(actions)
        nothing = [pa.nulls(len(places), pa.float64())] * len(NUMBERS)
        return _doubts(actions, rule, reasons, rows, nothing)


def _doubts(
    about: pa.Table,
    rule: str | Texts,
    reasons: Texts,
    rows: Sequence[str],
    numbers: Sequence[pa.ChunkedArray | pa.Array],
) -> pa.Table:
    rules = np.full(about.num_rows, rule, dtype=object) if isinstance(rule, str) else rule
    texts = [pa.array(some, pa.string()) for some in (rules, reasons, rows)]
    return pa.table([about["instrument"], about["session"], *texts, *numbers], schema=QUARANTINE)
