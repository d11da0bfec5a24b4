"""The numbers of a path of means: first and last lead, the fan, everything by lead.

Owns their words and cells. Never touches HTML or the store.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Self

from tasks.report.charts import inline_chart, range_mark
from tasks.report.fan import Fan
from tasks.report.forecast_fans import annual_bound, annual_volatility, price_fan, volatility_fan
from tasks.report.prices import Prices
from tasks.report.run_view import Row
from tasks.report.score_tables import Cell, Group, Head, Leads, Line, Table, score_groups
from tasks.report.typography import ABSENT, percent, plural, price, short_date

_FANS = {"log_return": price_fan, "log_volatility": volatility_fan}


@dataclass(frozen=True)
class Span:
    """A mean and its interval, as the summary writes them."""

    mean: Cell
    lower: Cell
    upper: Cell
    mark: str = ""


@dataclass(frozen=True)
class PathFigures:
    """A forecast by lead, its scores, and the bars before it where any are known."""

    rows: tuple[Row, ...]
    scores: tuple[Row, ...]
    prices: Prices | None
    leads: tuple[tuple[int, date | None], ...]
    first: Span
    last: Span

    @classmethod
    def of(cls, rows: Sequence[Row], scores: Sequence[Row], prices: Prices | None) -> Self:
        """The figures of one instrument and target; rows by lead."""
        sessions: dict[int, date | None] = {row["lead"]: None for row in scores}
        sessions |= {row["lead"]: row["target_session"] for row in rows}
        return cls(
            rows=tuple(rows),
            scores=tuple(scores),
            prices=prices,
            leads=tuple(sorted(sessions.items())),
            first=Span(*_written(rows[0])),
            last=Span(*_written(rows[-1])),
        )

    @cached_property
    def fan(self) -> Fan | None:
        """The fan: made when it is first asked for, as most instruments of many are not drawn."""
        draw = _FANS.get(self.rows[0]["target"])
        if draw is None or self.prices is None:
            return None
        return draw(self.rows[0]["instrument"], self.prices, self.rows)

    @property
    def level(self) -> float:
        """Nominal coverage of the interval."""
        return float(self.rows[0]["level"])

    def drawing(self) -> Fan | None:
        """The fan, nothing where no bar is known."""
        return self.fan

    def chart(self, chart_id: str) -> str:
        """The fan as SVG, nothing where no bar is known."""
        return inline_chart(self.fan, chart_id) if self.fan else ""

    def caption(self) -> str:
        """Where the history ends."""
        if self.fan is None:
            return ""
        last = self.fan.write(self.fan.history[-1])
        on = short_date(self.fan.sessions[-1])
        if self.fan.unit:
            length = plural(len(self.fan.targets), "session")
            return f"Realised {last} over {length} to {on}; dots are single sessions"
        return f"Closed at {price(self.fan.history[-1])} on {on}"

    def tables(self) -> tuple[Table, ...]:
        """Forecast, errors, skill and coverage by lead."""
        groups = (_forecast_group(self.rows, self.leads), *score_groups(self.scores, self.leads))
        heads = tuple(Head(str(lead), session) for lead, session in self.leads)
        return (Table("Lead", heads, groups),)

    def notes(self) -> tuple[str, ...]:
        """Nothing that the tables do not say."""
        return ()


def with_marks(of: Sequence[PathFigures], zero: float | None) -> tuple[PathFigures, ...]:
    """The figures with an interval mark for the last lead, all on one scale."""
    ends = [c.value for p in of for c in (p.last.lower, p.last.upper) if c.value is not None]
    finite = [v for v in ends if math.isfinite(v)] + ([] if zero is None else [zero])
    if not finite:
        return tuple(of)
    scale = (min(finite), max(finite))

    def marked(span: Span) -> Span:
        mean, lower, upper = (c.value or 0.0 for c in (span.mean, span.lower, span.upper))
        return replace(span, mark=range_mark(mean, lower, upper, scale, zero))

    return tuple(replace(one, last=marked(one.last)) for one in of)


def _written(row: Row) -> tuple[Cell, Cell, Cell]:
    """Mean, lower and upper as people read them: returns in per cent, volatility a year."""
    if row["target"] == "log_return":
        values = (row["mean"], row["lower"], row["upper"])
        mean, lower, upper = (Cell(percent(v, signed=True), v) for v in values)
        return mean, lower, upper
    values = (annual_volatility(row), annual_bound(row["lower"]), annual_bound(row["upper"]))
    mean, lower, upper = (Cell(percent(v, 1), v) for v in values)
    return mean, lower, upper


def _forecast_group(rows: Sequence[Row], leads: Leads) -> Group:
    written: Mapping[int, tuple[Cell, Cell, Cell]] = {row["lead"]: _written(row) for row in rows}
    none = (Cell(ABSENT),) * 3

    def line(label: str, position: int) -> Line:
        return Line(label, tuple(written.get(lead, none)[position] for lead, _ in leads))

    unit = "log return" if rows[0]["target"] == "log_return" else "volatility a year"
    outer = [
        [_outer_line(rows, leads, one["level"], bound) for bound in ("upper", "lower")]
        for one in (rows[0].get("intervals") or [])[1:]
    ]
    return Group(
        f"Forecast, {unit}, with {percent(rows[0]['level'], 0)} interval",
        (
            *(upper for upper, _ in reversed(outer)),
            *(line("Upper", 2), line("Mean", 0), line("Lower", 1)),
            *(lower for _, lower in outer),
        ),
    )


def _outer_line(rows: Sequence[Row], leads: Leads, level: float, bound: str) -> Line:
    """One bound of the intervals at another level than the first."""
    cells = {}
    for row in rows:
        at = {one["level"]: one[bound] for one in row["intervals"] or []}
        if (value := at.get(level)) is not None:
            cells[row["lead"]] = _bound(row["target"], value)
    return Line(
        f"{bound.title()}, {percent(level, 0)}",
        tuple(cells.get(lead, Cell.absent()) for lead, _ in leads),
    )


def _bound(target: str, value: float) -> Cell:
    if target == "log_return":
        return Cell(percent(value, signed=True), value)
    return Cell(percent(annual_bound(value), 1), annual_bound(value))
