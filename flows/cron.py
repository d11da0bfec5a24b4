"""Cron expressions: which minutes, hours, days, months and weekdays one names.

Owns their syntax. Never touches a clock or a schedule.
"""

from __future__ import annotations

from dataclasses import dataclass

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True)
class Cron:
    """What a cron expression names, field by field; weekdays count from Sunday, 0 to 6."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]


def parse_cron(text: str) -> Cron:
    """The values that a five-field cron expression names (lists, ranges, steps, English names).

    Raises:
        ValueError: `text` does not have five fields, or one names something impossible.
    """
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(
            "expected five fields (minute, hour, day of the month, month, day of the week), "
            f'such as "30 18 * * 1-5"; received {len(parts)}'
        )
    minutes, hours, days, months, weekdays = (
        _field(part, *field) for part, field in zip(parts, _FIELDS, strict=True)
    )
    return Cron(minutes, hours, days, months, frozenset(day % 7 for day in weekdays))


def _field(text: str, name: str, low: int, high: int, words: tuple[str, ...]) -> frozenset[int]:
    values: set[int] = set()
    for item in text.split(","):
        span, slash, step_text = item.partition("/")
        step = _whole(step_text, f"the step of the {name}", 1, high) if slash else 1
        first_text, dash, last_text = span.partition("-")
        if first_text == "*" and not dash:
            first, last = low, high
        else:
            first = _named(first_text, name, low, high, words)
            last = _named(last_text, name, low, high, words) if dash else first
            if slash and not dash:
                last = high
        if last < first:
            raise ValueError(f'{name} "{span}" runs backwards')
        values.update(range(first, last + 1, step))
    return frozenset(values)


def _named(text: str, name: str, low: int, high: int, words: tuple[str, ...]) -> int:
    if text.lower() in words:
        return words.index(text.lower()) + (low if name == "month" else 0)
    return _whole(text, f"the {name}", low, high)


def _whole(text: str, name: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise ValueError(f'{name} must be from {low} to {high}, received "{text}"')
    return int(text)
