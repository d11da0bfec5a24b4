"""Numbers, dates and instants as people read them: one way of writing each, on every machine.

Owns the wording of values on the report. Never touches tables or the locale.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime

MINUS = "\N{MINUS SIGN}"
ABSENT = "\N{EM DASH}"
THIN = "\N{NARROW NO-BREAK SPACE}"
NO_BREAK = "\N{NO-BREAK SPACE}"

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """`value` with a fixed number of decimals, a true minus sign and comma groups.

    A value that rounds to zero has no sign; None and NaN are a dash, infinity is written ∞.
    """
    if value is None or math.isnan(value):
        return ABSENT
    digits = f"{abs(value):,.{decimals}f}" if math.isfinite(value) else "\N{INFINITY}"
    if digits.strip("0.,") == "":
        return digits
    if value < 0:
        return MINUS + digits
    return f"+{digits}" if signed else digits


def percent(fraction: float | None, decimals: int = 2, *, signed: bool = False) -> str:
    """A fraction in per cent: 0.0123 is "1.23 %", with a space that does not break."""
    text = number(None if fraction is None else 100 * fraction, decimals, signed=signed)
    return text if text == ABSENT else f"{text}{THIN}%"


def prose(text: str) -> str:
    """A stored sentence as it is set: true minus signs, and no line that breaks inside a figure."""
    text = re.sub(r"(?<= )-(?=\d)", MINUS, re.sub(r"(?<=\d) %", f"{THIN}%", text))
    return re.sub(r" ([=≤]) ", f"{NO_BREAK}\\1{NO_BREAK}", text)


def price(value: float | None) -> str:
    """A price with as many decimals as its size deserves: two from 10 to 10,000, four below."""
    return number(value, 2 if value is None else price_decimals(value))


def price_decimals(value: float) -> int:
    """Decimals that a price of this size is written with."""
    size = abs(value)
    return 0 if size >= 10_000 else 2 if size >= 10 else 4


def exponent_for(values: Iterable[float | None]) -> int:
    """The power of ten that brings the smallest positive value into [1, 10).

    Values from 0.1 on need none: the answer is then 0. So it is without any positive value.
    """
    sizes = [v for v in values if v is not None and math.isfinite(v) and v > 0]
    if not sizes or min(sizes) >= 0.1:
        return 0
    return math.floor(math.log10(min(sizes)))


def power_of_ten(exponent: int) -> str:
    """The factor in words: ×10⁻⁴ for -4, nothing for 0."""
    return "" if exponent == 0 else "×10" + str(exponent).translate(_SUPERSCRIPTS)


def count(value: int | None) -> str:
    """A count with comma groups."""
    return ABSENT if value is None else f"{value:,}"


def plural(value: int, one: str, many: str | None = None) -> str:
    """A counted noun: 1 row, 2 rows; the number is grouped."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def long_date(day: date) -> str:
    """A date in full: Friday 1 March 2013."""
    return f"{_DAYS[day.weekday()]} {day.day} {_MONTHS[day.month - 1]} {day.year}"


def short_date(day: date) -> str:
    """A date within a known year: Fri 1 Mar."""
    return f"{_DAYS[day.weekday()][:3]} {day_and_month(day)}"


def day_and_month(day: date) -> str:
    """A date in the least space: 1 Mar."""
    return f"{day.day}{NO_BREAK}{month(day)}"


def month(day: date) -> str:
    """The month's first three letters."""
    return _MONTHS[day.month - 1][:3]


def instant(moment: datetime | None) -> str:
    """An instant in UTC: 2013-03-01 22:00 UTC, with seconds only where there are any."""
    if moment is None:
        return ABSENT
    moment = moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC" if moment.second else "%Y-%m-%d %H:%M UTC")
