"""Validation: which fetched rows are bars, which break a rule and are held, which are doubtful.

Owns the order in which the rules of `tasks.rules` are asked. Never touches the store; nothing is
lost: rows in = bars kept + rows held + duplicates that agree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.actions import PriceBasis
from tasks.rules.book import NUMBERS, QUARANTINE, Book, ids_of
from tasks.rules.config import ValidationConfig
from tasks.rules.dividends import Known, absurd_dividends, contradicted, impossible, payments
from tasks.rules.duplicates import ask_duplicates
from tasks.rules.jumps import absurd_jumps
from tasks.rules.panel import Felt, Floats, Found, Panel, days_of, feel
from tasks.rules.ranges import bad_ranges, wide_ranges
from tasks.rules.rows import ask_calendars, ask_defects, ask_prices
from tasks.rules.runs import absurd_volumes, stale_runs
from tasks.rules.splits import split_misadjusted, unfelt_splits
from tasks.rules.table import RULES, Rule, Severity
from tasks.rules.ticks import bad_ticks
from tasks.rules.units import unit_switches
from tasks.sessions import Calendars
from tasks.sources.protocol import ACTIONS, Fetched
from tasks.storage.rows import Codes, match, take

__all__ = [
    "QUARANTINE",
    "RULES",
    "Rule",
    "Severity",
    "Validated",
    "ValidationConfig",
    "validate",
    "with_ids",
]

_WITH_ACTIONS: dict[str, Callable[[Panel, Felt, ValidationConfig], Found]] = {
    "split_misadjusted": split_misadjusted,
    "unit_switch": unit_switches,
    "absurd_jump": absurd_jumps,
    "bad_tick": bad_ticks,
}
_ALONE: dict[str, Callable[[Panel, ValidationConfig], Found]] = {
    "bad_range": bad_ranges,
    "wide_range": wide_ranges,
    "stale_run": stale_runs,
    "absurd_volume": absurd_volumes,
}
"""Rules about neighbours, in the order in which they are asked: what one holds the next ones do not
see."""

_AGAIN = ("absurd_jump", "bad_tick", "bad_range")
_PASSES = 3
"""Of these rules a bad row beside another may only show once that one is gone."""


@dataclass(frozen=True)
class Validated:
    """Fetched rows and actions, judged.

    Attributes:
        bars: `sources.protocol.BARS`, sorted by instrument and session, one row each.
        kept: the fetched rows that `bars` are; axis (bar).
        quarantine: `QUARANTINE`: the held rows in the order in which they came, then held actions.
        held: the fetched rows that the first rows of `quarantine` hold; axis (held).
        agreed: the fetched rows that say again what a kept row says; axis (duplicate).
        flags: `QUARANTINE`: what is doubtful about kept bars and actions; a bar may be in several.
        actions: `sources.protocol.ACTIONS`: those that came and are not held.
    """

    bars: pa.Table
    kept: Codes
    quarantine: pa.Table
    held: Codes
    agreed: Codes
    flags: pa.Table
    actions: pa.Table

    @property
    def agreed_duplicates(self) -> int:
        """How many rows said again what another row says."""
        return len(self.agreed)

    @property
    def held_rows(self) -> pa.Table:
        """`quarantine` without held actions."""
        return self.quarantine.slice(0, len(self.held))


def with_ids(quarantine: pa.Table, source: str) -> pa.Table:
    """`quarantine` (or flags) with the columns quarantine_id and source.

    An id is of source, instrument, rule and row as it came; equal rows are numbered.
    """
    ids = pa.array(ids_of(quarantine, source), pa.string())
    named = quarantine.append_column("quarantine_id", ids)
    return named.append_column("source", pa.repeat(pa.scalar(source), quarantine.num_rows))


def validate(
    fetched: Fetched,
    calendars: Calendars,
    *,
    now: datetime,
    lag: timedelta,
    config: ValidationConfig | None = None,
    stored: pa.Table | None = None,
    released: Collection[str] | None = None,
    price_basis: PriceBasis = "raw",
    source: str = "",
    stored_actions: pa.Table | None = None,
    let_in: pa.Table | None = None,
) -> Validated:
    """Every fetched row as a bar, held with its reason, or a duplicate that agrees.

    The same rows end alike whether they come at once or night by night with the nights before as
    `stored` and some sessions again, but where only the future tells: whether the newest bar comes
    back, and which of two units most bars are in.

    Args:
        fetched: what the source brought, in any order.
        calendars: which sessions an instrument's exchange held.
        now: the instant of the ingest, aware.
        lag: from a session's close until its bar is published.
        config: thresholds, and what each rule does.
        stored: bars of the store around the fetched ones, with the columns instrument, session and
            open to volume, any others too: never judged, and passed over where a fetched row that
            can be a bar has the same session. `panel.PAST` sessions before the first fetched one
            are enough for all rules but `unit_switch`, which counts.
        released: ids, as `with_ids` gives them, of rows that a person let through: no rule holds
            them. Of rows that disagree a released one is the bar.
        price_basis: what the prices are.
        source: the source's name, which is part of the ids; needed with `released`.
        stored_actions: actions of the store, `sources.protocol.ACTIONS`: what the stored bars
            felt, and dividends to compare new ones with; never judged.
        let_in: the released rows themselves, with the columns of `sources.protocol.BARS` and any
            others, at most one with a close per instrument and session: a row whose numbers
            differ by less than `config.revision_tolerance` is released too, however it is
            written now.

    Raises:
        ValueError: the source marked a row with a rule that is not in `RULES`, or ids are released
            but `source` is not told.
    """
    if released and not source:
        raise ValueError("Released ids are of a source: expected its name as source, received ''.")
    config = config or ValidationConfig()
    book = Book(fetched, config, released or (), source, let_in)
    ask_defects(book)
    ask_prices(book, config.range_tolerance)
    ask_calendars(book, calendars, now, lag)
    order, agreed = ask_duplicates(book)
    _ask_neighbours(book, order, stored, stored_actions, price_basis)
    kept = order[book.unbroken[order]] if not book.unbroken[order].all() else order
    held, quarantine = book.held()
    actions = fetched.actions
    if not book.actions_kept.all():
        actions = actions.filter(pa.array(book.actions_kept))
    return Validated(
        bars=take(fetched.bars, kept),
        kept=kept,
        quarantine=quarantine,
        held=held,
        agreed=agreed,
        flags=book.flags(),
        actions=actions,
    )


def _ask_neighbours(
    book: Book,
    order: Codes,
    stored: pa.Table | None,
    stored_actions: pa.Table | None,
    price_basis: PriceBasis,
) -> None:
    """What bars beside each other, and the actions that they feel, say about each other."""
    panel = _panel(book, order, stored)
    came = book.fetched.actions.num_rows
    actions = _with_stored(book.fetched.actions, stored_actions)
    code = _codes(book, actions["instrument"])
    value = actions["value"].to_numpy()
    bad = impossible(value)
    places = np.flatnonzero(bad[:came])
    told = [f"the value is {one}" for one in value[places]]
    book.judge_actions("impossible_action", places, np.array(told, dtype=object))
    usable = ~bad & (code >= 0)
    felt = feel(panel, actions, code, usable, price_basis)
    for rule in (*_WITH_ACTIONS, *_ALONE):
        if book.config.does(rule) == "off":
            continue
        for _ in range(_PASSES if rule in _AGAIN else 1):
            if rule in _ALONE:
                found = _ALONE[rule](panel, book.config)
            else:
                found = _WITH_ACTIONS[rule](panel, felt, book.config)
            rows = panel.row[found.places]
            mine = rows >= 0
            held = book.judge(rule, rows[mine], found.reasons[mine])
            if not len(held):
                break
            panel = panel.without(found.places[mine][np.isin(rows[mine], held)])
            felt = feel(panel, actions, code, usable, price_basis)
    if not came:
        return
    unfelt = unfelt_splits(panel, felt.only(came), book.config)
    book.judge_actions("unfelt_split", unfelt.places, unfelt.reasons)
    usable[:came] &= book.actions_kept
    felt = feel(panel, actions, code, usable, price_basis)
    factor = _factor(book, panel)
    if price_basis != "total_return":
        cash = np.where(usable & (actions["action"].to_numpy() == "dividend"), value, np.nan)
        known = Known(code, days_of(actions["session"]), cash)
        paid = payments(panel, felt, known, factor).only(came)
        absurd = absurd_dividends(paid, book.config)
        book.judge_actions("absurd_dividend", absurd.places, absurd.reasons)
    usable[:came] &= book.actions_kept
    felt = feel(panel, actions, code, usable, price_basis)
    doubtful = contradicted(panel, felt.only(came), factor)
    book.judge_actions("contradicted_action", doubtful.places, doubtful.reasons)


def _codes(book: Book, instruments: pa.ChunkedArray) -> Codes:
    """Names as the book's codes; -1 for those that no fetched row is of."""
    names = pa.array(book.names, pa.string())
    found = pc.index_in(instruments, value_set=names)
    codes: Codes = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    return codes


def _panel(book: Book, order: Codes, stored: pa.Table | None) -> Panel:
    """The judged rows in `order`, and between them stored bars of sessions that did not come."""
    whole = len(order) == len(book.code) and bool((np.diff(order) == 1).all())
    columns: list[Any] = [book.code, book.day, *book.number.values()]
    fetched: list[Any] = [order, *(one if whole else one[order] for one in columns)]
    if stored is None or not stored.num_rows or not len(order):
        return Panel(*fetched)
    mine = stored.filter(pc.is_in(stored["instrument"], value_set=pa.array(book.names)))
    key = ("instrument", "session")
    bars = book.fetched.bars.select(key).take(pa.array(order))
    fields = bars.select(key).schema
    plain = pa.table(mine.select(key).columns, schema=fields)
    mine = mine.filter(pa.array(match(plain, bars, key) < 0))
    context: list[Any] = [
        np.full(mine.num_rows, -1, dtype=np.int64),
        _codes(book, mine["instrument"]),
        days_of(mine["session"]),
        *(mine[name].to_numpy().astype(np.float64) for name in NUMBERS),
    ]
    both = [np.concatenate([one, other]) for one, other in zip(fetched, context, strict=True)]
    ranked = np.lexsort((both[2], both[1]))
    return Panel(*(column[ranked] for column in both))


def _factor(book: Book, panel: Panel) -> Floats | None:
    """The provider's adjusted closes over the closes, axis (bar); NaN where it gives none."""
    adjusted = book.fetched.adjusted_close
    if adjusted is None:
        return None
    given = adjusted.to_numpy()
    factor = np.where(panel.row >= 0, given[np.maximum(panel.row, 0)], np.nan) / panel.close
    factor[~(factor > 0)] = np.nan
    return factor


def _with_stored(actions: pa.Table, stored: pa.Table | None) -> pa.Table:
    """The actions that came, and after them those of the store that did not come."""
    if stored is None or not stored.num_rows:
        return actions
    other = stored.select(ACTIONS.names).cast(ACTIONS)
    new = match(other, actions, ("instrument", "session", "action")) < 0
    return pa.concat_tables([actions, other.filter(pa.array(new))])
