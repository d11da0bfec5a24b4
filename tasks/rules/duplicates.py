"""Rows of one instrument and session: one bar, rows that repeat it, or rows that disagree.

Owns which of them is the bar. Never touches other rules.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tasks.rules.book import NUMBERS, Book
from tasks.rules.panel import Texts
from tasks.storage.rows import Codes, Mask, agree, starts_of


def ask_duplicates(book: Book) -> tuple[Codes, Codes]:
    """The unbroken rows by instrument and session, one each; and those that only repeat one.

    Where rows disagree all are held, unless a person let one through: then that one is the bar, and
    those that disagree with it are held.
    """
    rows = np.flatnonzero(book.unbroken)
    if not len(rows):
        return rows, rows
    whole = len(rows) == len(book.unbroken)
    code, day = (book.code, book.day) if whole else (book.code[rows], book.day[rows])
    key = code * (int(day.max()) - int(day.min()) + 1) + (day - int(day.min()))
    step = np.diff(key)
    if (step > 0).all():
        return rows, rows[:0]
    ranked = np.argsort(key, kind="stable")
    rows, key = rows[ranked], key[ranked]
    starts = starts_of(key)
    if starts.all():
        return rows, rows[:0]
    group = np.cumsum(starts) - 1
    leads = np.flatnonzero(starts)
    again = np.flatnonzero(~starts)
    same = _agree(book, rows[again], rows[leads[group[again]]])
    disputed = np.zeros(len(leads), dtype=bool)
    disputed[group[again[~same]]] = True
    size = np.bincount(group)
    chosen, repeats = starts & ~disputed[group], ~starts & ~disputed[group]
    if disputed.any():
        members = np.flatnonzero(disputed[group])
        let = np.zeros(len(rows), dtype=bool)
        let[members] = book.is_released("duplicate_session", rows[members])
        let[members] |= book.exempt[rows[members]]
        bars, agreed = _settled(book, rows, group, leads, let)
        chosen |= bars
        repeats |= agreed
        lost = members[~(chosen | repeats)[members]]
        book.exempt[rows[bars]] = True
        reasons = _told(size[group[lost]])
        book.hold("duplicate_session", rows[lost], reasons, whoever_said=True)
    return rows[chosen], rows[repeats]


def _settled(book: Book, rows: Codes, group: Codes, leads: Codes, let: Mask) -> tuple[Mask, Mask]:
    """Of sessions with a released row: that row, and those that agree with it."""
    winner = np.full(len(leads), -1, dtype=np.int64)
    places = np.flatnonzero(let)[::-1]
    winner[group[places]] = places
    bars, agreed = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
    bars[winner[winner >= 0]] = True
    others = np.flatnonzero((winner[group] >= 0) & ~bars)
    agreed[others] = _agree(book, rows[others], rows[winner[group[others]]])
    return bars, agreed


def _agree(book: Book, left: Codes, right: Codes) -> Mask:
    bars = book.fetched.bars.select(NUMBERS)
    return agree(bars.take(pa.array(left)), bars.take(pa.array(right)), NUMBERS)


def _told(sizes: Codes) -> Texts:
    texts = {size: f"{size} rows of this session disagree" for size in set(sizes.tolist())}
    return np.array([texts[size] for size in sizes.tolist()], dtype=object)
