"""Skill over time as a picture of text: a line of blocks per method, the higher the better.

Owns which cell shows what. Never touches a terminal: colour is there for those that show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from rich.text import Text

from tasks.live_skill import LiveSkill
from tasks.report.score_tables import method_name
from tasks.report.typography import percent

BLOCKS = "▁▂▃▄▅▆▇█"
ABSENT = "·"
_LEAST = 10
_SETTLED = 5
"""Sessions at the start that set no scale: the mean of so few outcomes says nothing."""


def picture(of: Sequence[LiveSkill], columns: int) -> list[Text]:
    """The lines of the methods of one topic, on one scale that holds zero, then the dates.

    Args:
        of: with one baseline.
        columns: how wide a line may be; below 60 it is taken as 60.
    """
    names = {one.method: method_name(one.method) for one in of}
    margin = max(map(len, names.values())) + 1
    cells = max(columns, 60) - margin - 26
    ends: tuple[date, date] = (min(o.first for o in of), max(o.last for o in of))
    drawn = {one.method: _cells(one, cells) for one in of}
    finite = [value for one in drawn.values() for value in one if value is not None]
    low, high = min((*finite, 0.0)), max((*finite, 0.0))
    lines = []
    for one in of:
        line = Text(names[one.method].ljust(margin))
        for value in drawn[one.method]:
            line.append(_block(value, low, high), _style(value))
        least, most = _ends(drawn[one.method])
        lines.append(line.append(f"  {least} to {most}", "dim"))
    width = max(map(len, drawn.values()), default=0)
    dates = str(ends[0]) + str(ends[1]).rjust(max(width - 10, 12))
    return [*lines, Text(" " * margin + dates, "dim")]


def _cells(one: LiveSkill, cells: int) -> list[float | None]:
    """The skill of the path at each cell: its last value there."""
    values = [value for _, value in one.path]
    if len(values) > 2 * _SETTLED:
        values[:_SETTLED] = [None] * _SETTLED
    width = max(min(cells, len(values)), min(_LEAST, len(values)))
    return [values[(cell + 1) * len(values) // width - 1] for cell in range(width)]


def _block(value: float | None, low: float, high: float) -> str:
    if value is None:
        return ABSENT
    share = (value - low) / (high - low) if high > low else 0.0
    return BLOCKS[min(int(share * len(BLOCKS)), len(BLOCKS) - 1)]


def _style(value: float | None) -> str:
    if not value:
        return "dim"
    return "green" if value > 0 else "red"


def _ends(values: Sequence[float | None]) -> tuple[str, str]:
    known = [value for value in values if value is not None]
    if not known:
        return ABSENT, ABSENT
    return percent(min(known), 1, signed=True), percent(max(known), 1, signed=True)
