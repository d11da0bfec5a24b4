"""A chart of live skill over time: what is published and the network, beside their backtest.

Owns where every mark lies. Never touches colours, the store or a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape

from tasks.report.fan import WIDTH, ticks
from tasks.report.typography import number, percent, short_date

HEIGHT = 220
_LEFT, _RIGHT, _TOP, _FLOOR = 48, 96, 22, 186
_LABEL_GAP = 20.0  # least distance between two names at the right
_SETTLED = 10
"""Sessions at the start of a long path that are not drawn: single outcomes would set the scale."""
_LONGEST = 252
"""Sessions that are drawn."""


@dataclass(frozen=True)
class SkillPath:
    """Skill of up to two methods over target sessions, all against one baseline.

    Args:
        name: What the chart shows, in words; read aloud as its title.
        sessions: (time,) target sessions, ascending.
        lines: Name of a method → (time,) its skill, a fraction; NaN where there is none.
        backtest: Skill that the first method had on its test segments; NaN where it is not known.
    """

    name: str
    sessions: tuple[date, ...]
    lines: dict[str, tuple[float, ...]]
    backtest: float

    def __post_init__(self) -> None:
        for method, values in self.lines.items():
            if len(values) != len(self.sessions):
                raise ValueError(
                    f"{method} of {self.name!r} has {len(values)} values, expected "
                    f"{len(self.sessions)}"
                )

    def describe(self) -> str:
        """The chart in one sentence, for people who hear the page."""
        last = "; ".join(
            f"{method} {percent(values[-1], 1, signed=True)}"
            for method, values in self.lines.items()
        )
        return f"Skill up to {self.sessions[-1].isoformat()}: {last}."

    def draw(self, *, hover: bool) -> str:
        """Every mark, as SVG elements whose classes a style sheet colours."""
        first = max(_SETTLED if len(self.sessions) > 2 * _SETTLED else 0, self._count - _LONGEST)
        shown = {method: values[first:] for method, values in self.lines.items()}
        sessions = self.sessions[first:]
        low, high = self._range([value for values in shown.values() for value in values])
        right = WIDTH - _RIGHT

        def x(place: int) -> float:
            return _LEFT + (right - _LEFT) * place / max(len(sessions) - 1, 1)

        def y(skill: float) -> float:
            return _TOP + (high - skill) / (high - low) * (_FLOOR - _TOP)

        parts = [f'<text class="note" x="0" y="{_TOP - 7}">skill, %</text>']
        for value in ticks(100 * low, 100 * high):
            decimals = 0 if value == round(value) else 1 if 10 * value == round(10 * value) else 2
            parts.append(
                f'<path class="{"cut" if value == 0 else "grid"}" '
                f'd="M{_LEFT} {y(value / 100):.1f}H{right}"/>'
                f'<text class="tick" x="{_LEFT - 8}" y="{y(value / 100) + 4:.1f}" '
                f'text-anchor="end">{number(value, decimals)}</text>'
            )
        names: list[tuple[float, str, str]] = []
        if math.isfinite(self.backtest):
            parts.append(f'<path class="even" d="M{_LEFT} {y(self.backtest):.1f}H{right}"/>')
            names.append((y(self.backtest), "note", "Backtest"))
        for method, style in reversed(list(zip(shown, ("mean", "past"), strict=False))):
            points = [(x(i), y(v)) for i, v in enumerate(shown[method]) if math.isfinite(v)]
            if points:
                parts.append(_line(points, style))
                names.append((points[-1][1], "value" if style == "mean" else "note", method))
        parts += _names(names, right + 8)
        ends = [(0, "start"), (len(sessions) - 1, "end")][: len(sessions)]
        for place, anchor in ends:
            parts.append(
                f'<text class="tick" x="{x(place):.1f}" y="{_FLOOR + 20}" '
                f'text-anchor="{anchor}">{escape(short_date(sessions[place]))}</text>'
            )
        if hover:
            parts += self._hover(sessions, shown, right)
        return "".join(parts)

    @property
    def _count(self) -> int:
        return len(self.sessions)

    def _range(self, values: Sequence[float]) -> tuple[float, float]:
        """The scale: everything that is drawn, zero among it, with some room."""
        drawn = [v for v in (*values, self.backtest, 0.0) if math.isfinite(v)]
        low, high = min(drawn), max(drawn)
        room = 0.08 * (high - low) or 0.01
        return low - room, high + room

    def _hover(
        self, sessions: Sequence[date], shown: dict[str, tuple[float, ...]], right: int
    ) -> Iterator[str]:
        width = (right - _LEFT) / len(sessions)
        for i, session in enumerate(sessions):
            told = ", ".join(
                f"{method} {percent(values[i], 1, signed=True)}" for method, values in shown.items()
            )
            yield (
                f'<rect class="hit" x="{_LEFT + i * width:.1f}" y="{_TOP}" width="{width:.1f}" '
                f'height="{_FLOOR - _TOP}">'
                f"<title>{escape(f'{session.isoformat()}: {told}')}</title></rect>"
            )


def _line(points: Sequence[tuple[float, float]], style: str) -> str:
    if len(points) == 1:
        (x, y), dot = points[0], "lead" if style == "mean" else "now"
        return f'<circle class="{dot}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
    joined = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path class="{style}" d="M{joined}"/>'


def _names(names: Sequence[tuple[float, str, str]], x: float) -> Iterator[str]:
    """Each at its line's end, or as far from the others as it must be to be read."""
    ordered = sorted(names)
    places: list[float] = []
    below, above = -math.inf, float(_FLOOR)
    for y, _, _ in ordered:
        below = max(y, below + _LABEL_GAP)
        places.append(below)
    for (_, style, text), place in reversed(list(zip(ordered, places, strict=True))):
        y = min(place, above)
        above = y - _LABEL_GAP
        yield f'<text class="{style}" x="{x:.1f}" y="{y + 4:.1f}">{escape(text)}</text>'
