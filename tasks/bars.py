"""Validation: which fetched rows are bars, and which break a rule and go to quarantine.

Owns the rules, their names and their thresholds. Never touches the store; nothing is lost: rows
in = bars kept + rows quarantined + duplicates that agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from tasks.jumps import absurd_jumps
from tasks.sessions import Calendars
from tasks.sources.protocol import PRICES, Fetched
from tasks.storage.rows import Codes, Mask, agree, as_mask, codes_of, starts_of

Floats = npt.NDArray[np.float64]

RULES: Mapping[str, str] = {
    "malformed_line": "the line's cells can't be told apart: too many of them, or an open quote",
    "not_a_date": "the session is missing or no date",
    "not_a_number": "a price or the volume is text or infinite",
    "missing_instrument": "the row does not say whose it is",
    "missing_price": "the close is missing, or one, but not all, of open, high and low",
    "nonpositive_price": "a price is zero or negative",
    "high_below_low": "the high is below the low",
    "outside_range": "the open or the close lies outside of low to high",
    "negative_volume": "the volume is negative",
    "not_a_session": "the exchange did not hold this session",
    "not_closed_yet": "the session is not closed, or the source's lag since then has not passed",
    "duplicate_session": "rows of one instrument and session disagree: all of them are held",
    "absurd_jump": "the close jumps for one row and comes back, and no action explains it",
}
"""Every rule by name. A row is held by the first that it breaks."""

QUARANTINE = pa.schema(
    [
        pa.field("instrument", pa.string()),
        pa.field("session", pa.date32()),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("row", pa.string(), nullable=False),
    ]
)
"""What is kept of a quarantined row: as the store's dataset, without its ids and stamps."""


Severity = Literal["quarantine", "flag", "off"]
"""What a rule does: hold the row, let it in with a note, or nothing."""


class ValidationConfig(BaseModel):
    """When a row is too strange to be a bar."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    severity: Mapping[str, Severity] = Field(
        default={},
        description="Rule = quarantine, flag or off, where it is not to do what it usually does: "
        '{stale_run = "off"}.',
    )
    revision_tolerance: float = Field(
        default=1e-6,
        ge=0,
        le=0.01,
        description="Prices and volumes that differ by less, relatively, are no revision: "
        "providers recompute theirs in single precision.",
    )
    range_tolerance: float = Field(
        default=1e-4,
        ge=0,
        le=0.1,
        description="How far, relatively, open and close may lie outside of low to high.",
    )
    jump_ratio: float = Field(
        default=1.5,
        gt=1,
        description="A close that is this many times the one before, or the one before this many "
        "times it, is a jump.",
    )
    jump_ratio_in_range: float = Field(
        default=5.0,
        gt=1,
        description="The same where the row's own high and low reach back to the close before or "
        "span half the jump: wild days do that, bad ticks seldom do.",
    )
    jump_reverts: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="How near, relatively, the close after a jump must be to the one before it.",
    )


@dataclass(frozen=True)
class Validated:
    """Fetched rows, judged.

    Attributes:
        bars: `sources.protocol.BARS`, sorted by instrument and session, one row each.
        kept: the fetched rows that `bars` are; axis (bar).
        quarantine: `QUARANTINE`, in the order in which the rows came.
        held: the fetched rows that `quarantine` holds; axis (held).
        agreed: the fetched rows that say again what a kept row says; axis (duplicate).
    """

    bars: pa.Table
    kept: Codes
    quarantine: pa.Table
    held: Codes
    agreed: Codes

    @property
    def agreed_duplicates(self) -> int:
        """How many rows said again what another row says."""
        return len(self.agreed)


def validate(
    fetched: Fetched,
    calendars: Calendars,
    *,
    now: datetime,
    lag: timedelta,
    config: ValidationConfig | None = None,
) -> Validated:
    """Every fetched row as a bar, in quarantine with its reason, or a duplicate that agrees.

    Args:
        fetched: what the source brought, in any order.
        calendars: which sessions an instrument's exchange held.
        now: the instant of the ingest, aware.
        lag: from a session's close until its bar is published.
        config: thresholds.

    Raises:
        ValueError: the source marked a row with a rule that is not in `RULES`.
    """
    config = config or ValidationConfig()
    book = _Book(fetched)
    book.ask_defects()
    book.ask_prices(config.range_tolerance)
    book.ask_calendars(calendars, now, lag)
    order, agreed = book.ask_duplicates()
    jumps = absurd_jumps(
        fetched.bars.take(pa.array(order)),
        fetched.actions,
        ratio=config.jump_ratio,
        ratio_in_range=config.jump_ratio_in_range,
        reverts=config.jump_reverts,
    )
    book.hold("absurd_jump", order[jumps.rows], jumps.reasons)
    kept = np.delete(order, jumps.rows)
    held = np.flatnonzero(~book.unbroken)
    bars = fetched.bars.take(pa.array(kept))
    return Validated(bars, kept, book.quarantine(held), held, agreed)


class _Book:
    """Which rule each row has broken; the first one counts."""

    def __init__(self, fetched: Fetched) -> None:
        self.fetched = fetched
        self.bars = fetched.bars
        self.rule: npt.NDArray[Any] = np.full(self.bars.num_rows, None, dtype=object)
        self.reason = self.rule.copy()
        self.unbroken: Mask = np.ones(self.bars.num_rows, dtype=bool)
        names = (*PRICES, "volume")
        self.number: dict[str, Floats] = {name: self.bars[name].to_numpy() for name in names}

    def hold(self, rule: str, where: Mask | Codes, reason: str | npt.NDArray[Any]) -> None:
        """Holds rows; `where` may have `reason` beside it, one text for each of its positions."""
        self.rule[where], self.reason[where] = rule, reason
        self.unbroken[where] = False

    def ask(self, rule: str, broken: Mask, *words: str | npt.NDArray[Any]) -> None:
        """Holds those of the `broken` rows that broke nothing before.

        The reason is made of `words`: texts, and arrays with a value for every row.
        """
        places = np.flatnonzero(broken & self.unbroken)
        if len(places):
            reason = np.full(len(places), "", dtype=object)
            for word in words:
                told = word if isinstance(word, str) else word[places].astype(str).astype(object)
                reason = reason + told
            self.hold(rule, places, reason)

    def ask_defects(self) -> None:
        """What the source could not read, and whose and when the row is."""
        defects = self.fetched.defects
        if defects is not None:
            marked = as_mask(pc.is_valid(defects["rule"]))
            rules = defects["rule"].to_numpy()
            unknown = set(rules[marked]) - set(RULES)
            if unknown:
                raise ValueError(
                    f"A source marked rows with the rule {sorted(unknown)[0]!r}. Expected one of: "
                    f"{', '.join(RULES)}."
                )
            self.rule[marked], self.reason[marked] = (
                rules[marked],
                defects["reason"].to_numpy()[marked],
            )
            self.unbroken &= ~marked
        instrument, session = self.bars["instrument"], self.bars["session"]
        self.ask("missing_instrument", as_mask(pc.is_null(instrument)), "no instrument is named")
        self.ask("not_a_date", as_mask(pc.is_null(session)), "the session is missing")
        for name, value in self.number.items():
            self.ask("not_a_number", np.isinf(value), f"{name} is ", value)

    def ask_prices(self, tolerance: float) -> None:
        """What prices and volume may be, row by row."""
        number = self.number
        open_, high, low, close = (number[name] for name in PRICES)
        self.ask("missing_price", np.isnan(close), "the close is missing")
        ranged = ("open", "high", "low")
        some = np.any([~np.isnan(number[name]) for name in ranged], axis=0)
        code = codes_of(self.bars, ("instrument",))
        for name in ranged:
            absent = np.isnan(number[name])
            supplied = np.bincount(code, weights=~absent)[code] > 0 if len(code) else absent
            self.ask("missing_price", some & absent & supplied, f"the {name} is missing")
        for name in PRICES:
            self.ask("nonpositive_price", number[name] <= 0, f"the {name} is ", number[name])
        self.ask("high_below_low", high < low, "the high ", high, " is below the low ", low)
        slack = 1 + tolerance
        for name, price in (("open", open_), ("close", close)):
            outside = (price > high * slack) | (price < low / slack)
            told = (f"the {name} ", price, " is outside of ", low, " to ", high)
            self.ask("outside_range", outside, *told)
        volume = number["volume"]
        self.ask("negative_volume", volume < 0, "the volume is ", volume)

    def ask_calendars(self, calendars: Calendars, now: datetime, lag: timedelta) -> None:
        """Whether each session was held and is published by `now`."""
        instant = np.datetime64(now.astimezone(UTC).replace(tzinfo=None), "us")
        code = codes_of(self.bars, ("instrument",))
        _, first = np.unique(code, return_index=True)
        names = self.bars["instrument"].take(pa.array(first)).to_pylist()
        session = self.bars["session"].to_numpy().astype("datetime64[D]")
        for calendar, places in calendars.grouped(names).items():
            mine = np.isin(code, code[first[places]]) & ~np.isnat(session)
            held = calendar.is_session(session)
            rule, early = "not_a_session", session < calendar.all_sessions[0]
            beyond = session > calendar.all_sessions[-1]
            start = f" lies before {calendar.first}, where the calendar {calendar.name} starts"
            self.ask(rule, mine & early, session, start)
            self.ask(rule, mine & beyond, session, f" lies beyond the calendar {calendar.name}")
            self.ask(rule, mine & ~held, session, f" is no session of {calendar.name}")
            mine &= held
            published = np.full(len(mine), np.datetime64("NaT", "us"))
            published[mine] = calendar.closes(session[mine]) + np.timedelta64(lag)
            told = published.astype("datetime64[m]")
            self.ask("not_closed_yet", published > instant, "it is published at ", told, " UTC")

    def ask_duplicates(self) -> tuple[Codes, Codes]:
        """The unbroken rows by instrument and session, one each; and those that only repeat one."""
        rows = np.flatnonzero(self.unbroken)
        table = self.bars.take(pa.array(rows))
        code = codes_of(table, ("instrument", "session"))
        ranked = np.argsort(code, kind="stable")
        rows, code = rows[ranked], code[ranked]
        starts = starts_of(code)
        if starts.all():
            return rows, rows[:0]
        group = np.cumsum(starts) - 1
        leader = rows[np.flatnonzero(starts)[group]]
        again = np.flatnonzero(~starts)
        same = agree(
            self.bars.take(pa.array(rows[again])),
            self.bars.take(pa.array(leader[again])),
            (*PRICES, "volume"),
        )
        disputed = np.zeros(group[-1] + 1, dtype=bool)
        disputed[group[again[~same]]] = True
        size = np.bincount(group)
        for count in np.unique(size[disputed]):
            mine = (disputed & (size == count))[group]
            reason = f"{count} rows of this session disagree"
            self.hold("duplicate_session", rows[mine], reason)
        undisputed = ~disputed[group]
        return rows[starts & undisputed], rows[~starts & undisputed]

    def quarantine(self, held: Codes) -> pa.Table:
        """The held rows, as they came."""
        bars = self.bars.take(pa.array(held))
        original = self.fetched.original.take(pa.array(held)).to_pylist()
        rows = [
            json.dumps({k: v for k, v in row.items() if v is not None}, default=str)
            for row in original
        ]
        columns = [bars["instrument"], bars["session"], self.rule[held], self.reason[held], rows]
        return pa.table(
            [
                pa.array(c, f.type) if isinstance(c, (list, np.ndarray)) else c
                for c, f in zip(columns, QUARANTINE, strict=True)
            ],
            schema=QUARANTINE,
        )
