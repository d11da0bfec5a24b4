"""What a row may be by itself, its session included.

Owns the rules that need no neighbour. Never touches what rows are together.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow.compute as pc

from tasks.rules.book import Book
from tasks.rules.table import RULES
from tasks.sessions import Calendars, ExchangeCalendar
from tasks.sources.protocol import PRICES
from tasks.storage.rows import Codes, Mask, as_mask

_RANGED = ("open", "high", "low")


def ask_defects(book: Book) -> None:
    """What the source could not read, and whose and when the row is.

    Raises:
        ValueError: the source marked a row with a rule that there is not.
    """
    defects = book.fetched.defects
    if defects is not None and defects["rule"].null_count < len(defects):
        marked = as_mask(pc.is_valid(defects["rule"]))
        places = np.flatnonzero(marked)
        rules = defects["rule"].to_numpy()[places]
        reasons = defects["reason"].to_numpy()[places]
        for rule in sorted(set(rules)):
            if rule not in RULES:
                raise ValueError(
                    f"A source marked rows with the rule {rule!r}. Expected one of: "
                    f"{', '.join(RULES)}."
                )
            book.hold(rule, places[rules == rule], reasons[rules == rule])
    bars = book.fetched.bars
    if bars["instrument"].null_count:
        absent = as_mask(pc.is_null(bars["instrument"]))
        book.ask("missing_instrument", absent, "no instrument is named")
    if bars["session"].null_count:
        book.ask("not_a_date", as_mask(pc.is_null(bars["session"])), "the session is missing")
    for name, value in book.number.items():
        book.ask("not_a_number", np.isinf(value), f"{name} is ", value)


def ask_prices(book: Book, tolerance: float) -> None:
    """What prices and volume may be."""
    number = book.number
    open_, high, low, close = (number[name] for name in PRICES)
    book.ask("missing_price", np.isnan(close), "the close is missing")
    absent = {name: np.isnan(number[name]) for name in _RANGED}
    if any(one.any() for one in absent.values()):
        some = ~np.all(list(absent.values()), axis=0)
        for name, missing in absent.items():
            supplied = np.bincount(book.code, weights=~missing)[book.code] > 0
            book.ask("missing_price", some & missing & supplied, f"the {name} is missing")
    for name in PRICES:
        book.ask("nonpositive_price", number[name] <= 0, f"the {name} is ", number[name])
    book.ask("high_below_low", high < low, "the high ", high, " is below the low ", low)
    slack = 1 + tolerance
    ceiling, floor = high * slack, low / slack
    for name, price in (("open", open_), ("close", close)):
        outside = (price > ceiling) | (price < floor)
        told = (f"the {name} ", price, " is outside of ", low, " to ", high)
        book.ask("outside_range", outside, *told)
    book.ask("negative_volume", number["volume"] < 0, "the volume is ", number["volume"])


def ask_calendars(book: Book, calendars: Calendars, now: datetime, lag: timedelta) -> None:
    """Whether each session was held and is published by `now`."""
    instant = np.datetime64(now.astimezone(UTC).replace(tzinfo=None), "us")
    there = as_mask(pc.is_valid(book.fetched.bars["session"]))
    groups = calendars.grouped(book.names)
    for calendar, codes in groups.items():
        mine = there
        if len(groups) > 1:
            chosen = np.zeros(len(book.names), dtype=bool)
            chosen[codes] = True
            mine = there & chosen[book.code]
        _ask_calendar(book, calendar, mine, instant, lag)


def _ask_calendar(
    book: Book, calendar: ExchangeCalendar, mine: Mask, instant: np.datetime64, lag: timedelta
) -> None:
    """Every day is looked up once, whatever the number of rows: a verdict per day, then rows."""
    if not mine.any():
        return
    days = book.day[mine]
    least, most = int(days.min()), int(days.max())
    known = calendar.all_sessions[[0, -1]].astype(np.int64)
    least, most = max(least, int(known[0])), min(most, int(known[1]))
    early, beyond = mine & (book.day < known[0]), mine & (book.day > known[1])
    session = book.day.view("datetime64[D]")
    start = f" lies before {calendar.first}, where the calendar {calendar.name} starts"
    book.ask("not_a_session", early, session, start)
    book.ask("not_a_session", beyond, session, f" lies beyond the calendar {calendar.name}")
    if least > most:
        return
    every = np.arange(least, most + 1).astype("datetime64[D]")
    held = calendar.is_session(every)
    published = np.full(len(every), np.datetime64("NaT", "us"))
    published[held] = calendar.closes(every[held]) + np.timedelta64(lag)
    at: Codes = np.clip(book.day - least, 0, len(every) - 1)
    inside = mine & ~early & ~beyond
    book.ask("not_a_session", inside & ~held[at], session, f" is no session of {calendar.name}")
    if not (published > instant).any():
        return
    late = inside & (published > instant)[at]
    told = published[at].astype("datetime64[m]")
    book.ask("not_closed_yet", late, "it is published at ", told, " UTC")
