"""Cells as sessions: dates, instants and epochs, in whichever order a column writes them.

Owns how dates are written and in which zone an instant's date counts. Never touches calendars.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.sources.cells import Mask, as_text, distinct
from tasks.storage.rows import as_mask

Instants = npt.NDArray[np.datetime64]

_FIRST_DAY, _LAST_DAY = np.datetime64("1600-01-01"), np.datetime64("2200-01-01")
"""No exchange is older, and no bar is that new: a date outside is a cell that was misread."""
_PLAIN = r"^\d{4}-\d{2}-\d{2}$"
_CLOCK = r"(?:[T, ]\s*(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d*)?)?\s*([AaPp][Mm])?)?"
_ZONE = r"\s*([A-Za-z]{1,5}|[+-]\d{2}(?::?\d{2}){0,2})?"
_YEAR_FIRST = rf"^(\d{{4}})([-/.])(\d{{1,2}})\2(\d{{1,2}}){_CLOCK}{_ZONE}$"
_YEAR_LAST = rf"^(\d{{1,2}})([-/.])(\d{{1,2}})\2(\d{{4}}|\d{{2}}){_CLOCK}{_ZONE}$"
_BASIC = r"^(\d{4})(\d{2})(\d{2})$"
_EPOCH = r"^(-?\d{9,19})(?:\.\d*)?$"
_NAMED = ("%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%b %d %Y")
_SPARSE = 10
"""One date in so many may contradict the others: a typing error, which its row is held for."""


class AmbiguousDatesError(ValueError):
    """A column's dates can be read in two ways. The message gives an example and the remedy."""


@dataclass(frozen=True)
class Sessions:
    """A column of sessions as read.

    Attributes:
        values: date32; null where nothing or nothing readable stood.
        wrong: where something stood that can't be read; axis (row).
        seconds: of the day, for instants; None where every cell is a date, or midnight.
    """

    values: pa.ChunkedArray
    wrong: Mask
    seconds: npt.NDArray[np.int64] | None = None


def read_sessions(
    column: pa.ChunkedArray, date_format: str | None = None, timezone: str | None = None
) -> Sessions:
    """The sessions of a column.

    Args:
        column: dates; instants; numbers or texts of seconds, milli-, micro- or nanoseconds since
            1970 UTC; texts with the year first (2024-12-31, 2024/12/31, 20241231), with the year
            last, in the order that the whole column leaves possible (a point between is always day
            first), or with an English month; times and zones may follow.
        date_format: a format of `datetime.strptime`, for texts. Where no cell fits it, the year
            first holds: files of one folder often differ, and such dates can't be mistaken.
        timezone: the zone in which the date of an instant counts; None: the zone it is written in.

    Raises:
        pa.ArrowException: the column holds lists or other things that are no cells.
        AmbiguousDatesError: day and month can't be told apart.
        ValueError: `date_format` is no format.
    """
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        if timezone is not None:
            column = column.cast(pa.timestamp(kind.unit, tz=timezone))
        column = pc.local_timestamp(column)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        present = as_mask(pc.is_valid(column))
        instants = column.to_numpy().astype("datetime64[us]")
        return _sessions(instants, present)
    indices, words = distinct(column)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        texts = as_text(pa.chunked_array([words]))
    else:
        texts = pa.chunked_array([words.cast(pa.int64(), safe=False)]).cast(pa.string())
    told = pd.Series(texts.to_pylist(), dtype="object")
    found = np.append(_instants(told, date_format, timezone), np.datetime64("NaT", "us"))
    there = np.append(told.notna().to_numpy(), np.False_)
    place = pc.fill_null(indices, len(words)).to_numpy(zero_copy_only=False)
    return _sessions(found[place], there[place])


def _sessions(instants: Instants, present: Mask) -> Sessions:
    days = instants.astype("datetime64[D]")
    with np.errstate(invalid="ignore"):
        plausible = (days >= _FIRST_DAY) & (days <= _LAST_DAY)
        seconds = (instants - days).astype("timedelta64[s]").astype(np.int64)
    values = pa.chunked_array([pa.array(np.where(plausible, days, np.datetime64("NaT", "D")))])
    seconds[~plausible] = 0
    return Sessions(values, present & ~plausible, seconds if seconds.any() else None)


def _instants(words: pd.Series[Any], date_format: str | None, timezone: str | None) -> Instants:
    """Each distinct text as an instant where its date counts, NaT where it is none."""
    found: Instants = np.full(len(words), np.datetime64("NaT", "us"))
    if date_format is not None:
        found = _by_format(words, date_format, timezone)
        if not np.isnat(found).all():
            return found
    _fill_plain(found, words)
    _fill(found, words, _YEAR_FIRST, (0, 2, 3), timezone)
    _fill(found, words, _BASIC, (0, 1, 2), timezone)
    _fill_epochs(found, words, timezone)
    if date_format is None and np.isnat(found).any():
        _fill(found, words, _YEAR_LAST, _order_of(words[np.isnat(found)]), timezone)
        for form in _NAMED:
            rest = np.isnat(found)
            if not rest.any():
                break
            found[rest] = _by_format(words[rest], form, timezone)
    return found


def _order_of(words: pd.Series[Any]) -> tuple[int, int, int]:
    """Where year, month and day stand in `_YEAR_LAST`."""
    cells = words.str.extract(_YEAR_LAST).dropna(subset=[0])
    cells = cells[(cells[0].astype(int) <= 12) | (cells[2].astype(int) <= 12)]
    if cells.empty:
        return (3, 2, 0)
    former, latter = cells[0].astype(int), cells[2].astype(int)
    day_first, month_first = int((former > 12).sum()), int((latter > 12).sum())
    example = words[cells.index[0]]
    mark = cells[1].iloc[0]
    state = (
        f'State source.date_format = "%d{mark}%m{mark}%Y" or "%m{mark}%d{mark}%Y" (%y for years '
        "of two digits)"
    )
    if min(day_first, month_first) * _SPARSE > max(day_first, month_first):
        raise AmbiguousDatesError(
            f"{day_first} of its dates can only have the day first and {month_first} only the "
            f"month. {state}"
        )
    if day_first == month_first and not (cells[1] == ".").all():
        raise AmbiguousDatesError(
            f"its dates, such as {example[:40]!r}, may have the day or the month first. {state}"
        )
    return (3, 0, 2) if month_first > day_first else (3, 2, 0)


def _fill_plain(found: Instants, words: pd.Series[Any]) -> None:
    """Fills in dates as most files write them, in a tenth of the time of the patterns."""
    texts = pa.array(words, pa.string(), from_pandas=True)
    here = np.isnat(found) & as_mask(pc.fill_null(pc.match_substring_regex(texts, _PLAIN), False))
    if here.any():
        found[here] = _by_format(words[here], "%Y-%m-%d", None)


def _fill(
    found: Instants,
    words: pd.Series[Any],
    pattern: str,
    order: tuple[int, int, int],
    timezone: str | None,
) -> None:
    """Fills in what `pattern` reads; `order` tells its groups of year, month and day."""
    here = np.isnat(found) & words.notna().to_numpy()
    if not here.any():
        return
    cells = words[here].str.extract(pattern).dropna(subset=[0])
    if cells.empty:
        return
    here = cells.index.to_numpy()
    year, month, day = (cells[group].astype(int) for group in order)
    short = cells[order[0]].str.len() == 2
    year = year.mask(short & (year < 69), year + 2000).mask(short & (year >= 69), year + 1900)
    parts = pd.DataFrame({"year": year, "month": month, "day": day})
    when = pd.to_datetime(parts, errors="coerce").to_numpy().astype("datetime64[us]")
    if len(cells.columns) > 4:
        when = when + _clock(cells)
        when = _in_zone(when, cells[8].fillna(""), timezone)
    found[here] = when


def _clock(cells: pd.DataFrame) -> npt.NDArray[np.timedelta64]:
    hour, minute, second = (cells[group].fillna(0).astype(int) for group in (4, 5, 6))
    half = cells[7].fillna("").str.lower()
    hour = hour.mask((half == "pm") & (hour < 12), hour + 12).mask((half == "am") & (hour == 12), 0)
    wrong = (hour > 24) | (minute > 59) | (second > 60)
    clock = (hour * 3600 + minute * 60 + second).to_numpy().astype("timedelta64[s]")
    clock = clock.astype("timedelta64[us]")
    clock[wrong.to_numpy()] = np.timedelta64("NaT", "us")
    return clock


def _in_zone(when: Instants, zone: pd.Series[Any], timezone: str | None) -> Instants:
    """Instants as a clock in `timezone` shows them; those without a zone stay as written."""
    zoned = (zone != "").to_numpy()
    if timezone is None or not zoned.any():
        return when
    parts = zone.str.extract(r"^([+-])(\d{2}):?(\d{2})?")
    minutes = parts[1].fillna(0).astype(int) * 60 + parts[2].fillna(0).astype(int)
    minutes = minutes.where(parts[0] != "-", -minutes)
    known = parts[0].notna() | zone.str.upper().isin(["Z", "UTC", "GMT"])
    utc = when - minutes.to_numpy().astype("timedelta64[m]")
    utc[~known.to_numpy()] = np.datetime64("NaT", "us")  # which clock an abbreviation means is open
    return np.where(zoned, _local(utc, timezone), when)


def _local(utc: Instants, timezone: str | None) -> Instants:
    if timezone is None:
        return utc
    stamps = pd.Series(utc).dt.tz_localize("UTC").dt.tz_convert(timezone).dt.tz_localize(None)
    local: Instants = stamps.to_numpy().astype("datetime64[us]")
    return local


def _fill_epochs(found: Instants, words: pd.Series[Any], timezone: str | None) -> None:
    rest = np.isnat(found) & words.notna().to_numpy()
    if not rest.any():
        return
    cells = words[rest].str.extract(_EPOCH)[0].dropna()
    if cells.empty:
        return
    here = cells.index.to_numpy()
    number = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)
    size = np.median(np.abs(number))
    unit = next((u for limit, u in ((1e11, 1), (1e14, 1e3), (1e17, 1e6)) if size < limit), 1e9)
    seconds = np.floor(number / unit)
    seconds[np.abs(seconds) > 1e11] = np.nan
    known = ~np.isnan(seconds)
    when = np.full(len(number), np.datetime64("NaT", "us"))
    when[known] = seconds[known].astype(np.int64).astype("datetime64[s]").astype("datetime64[us]")
    found[here] = _local(when, timezone)


def _by_format(words: pd.Series[Any], date_format: str, timezone: str | None) -> Instants:
    if "%z" not in date_format and "%Z" not in date_format:
        found = pd.to_datetime(words, format=date_format, errors="coerce", exact=True)
        return found.to_numpy().astype("datetime64[us]")
    told = [_strptime(word, date_format, timezone) for word in words]
    return np.array(told, dtype="datetime64[us]")


def _strptime(word: str | None, date_format: str, timezone: str | None) -> datetime | None:
    try:
        when = datetime.strptime(word or "", date_format)  # noqa: DTZ007 - %z is in it, or nothing
    except ValueError:
        return None
    if when.tzinfo is not None and timezone is not None:
        when = when.astimezone(UTC).astimezone(ZoneInfo(timezone))
    return when.replace(tzinfo=None)


def days_from(first: date, counts: npt.NDArray[np.int64]) -> pa.Array:
    """The calendar days `first` + `counts`, null where they are beyond all sense; axis (row)."""
    days = np.datetime64(first, "D") + counts
    return pa.array(np.where(days <= _LAST_DAY, days, np.datetime64("NaT", "D")))
