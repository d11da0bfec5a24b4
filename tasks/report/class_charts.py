"""Charts of class probabilities: ten columns over their edges, one divided bar, a small mark.

Owns where every mark lies. Never touches colours, the store or a file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tasks.report.fan import WIDTH, ticks
from tasks.report.typography import THIN, number, percent

HEIGHT, BAR_HEIGHT = 286, 84
"""Of the ten columns, and of the divided bar; as wide as a fan."""
_LEFT, _RIGHT, _TOP, _FLOOR = 48, 66, 22, 240
_GAP = 4.0  # between two columns
_MARK_WIDTH, _MARK_HEIGHT = 120, 20


@dataclass(frozen=True)
class Columns:
    """Probabilities of ordered classes, side by side.

    Args:
        name: What the chart shows, in words; read aloud as its title.
        classes: (class,) what each holds, in words.
        edges: (class - 1,) what stands below the line between two classes.
        probabilities: (class,) fractions.
        axis: What the edges count, and in which unit.
    """

    name: str
    classes: tuple[str, ...]
    edges: tuple[str, ...]
    probabilities: tuple[float, ...]
    axis: str

    def __post_init__(self) -> None:
        classes = len(self.probabilities)
        for field, expected in {"classes": classes, "edges": classes - 1}.items():
            received = len(getattr(self, field))
            if received != expected:
                raise ValueError(
                    f"{field} of {self.name!r} has {received} texts, expected {expected}"
                )

    def describe(self) -> str:
        """Every class in words, for people who hear the page."""
        parts = (
            f"{name}: {percent(probability, 1)}"
            for name, probability in zip(self.classes, self.probabilities, strict=True)
        )
        return f"{'; '.join(parts)}."

    def draw(self, *, hover: bool) -> str:
        """Every mark, as SVG elements whose classes a style sheet colours.

        A line stands at the height that all columns would have if every class were as likely.
        """
        even = 1 / len(self.probabilities)
        high = 1.14 * max(*(p for p in self.probabilities if math.isfinite(p)), even)
        right = WIDTH - _RIGHT
        step = (right - _LEFT) / len(self.probabilities)

        def y(probability: float) -> float:
            return _FLOOR - probability / high * (_FLOOR - _TOP)

        parts = [f'<text class="note" x="0" y="{_TOP - 7}">probability, %</text>']
        for value in ticks(0, 100 * high):
            parts.append(
                f'<path class="grid" d="M{_LEFT} {y(value / 100):.1f}H{right}"/>'
                f'<text class="tick" x="{_LEFT - 8}" y="{y(value / 100) + 4:.1f}" '
                f'text-anchor="end">{number(value, 0 if value == round(value) else 1)}</text>'
            )
        values = []
        for i, probability in enumerate(self.probabilities):
            x = _LEFT + i * step
            parts.append(
                f'<rect class="column" x="{x + _GAP / 2:.1f}" y="{y(probability):.1f}" '
                f'width="{step - _GAP:.1f}" height="{_FLOOR - y(probability):.1f}"/>'
            )
            values.append(
                f'<text class="value minor" x="{x + step / 2:.1f}" y="{y(probability) - 6:.1f}" '
                f'text-anchor="middle">{number(100 * probability, 1)}</text>'
            )
        parts.append(
            f'<path class="even" d="M{_LEFT} {y(even):.1f}H{right}"/>'
            f'<text class="note" x="{right + 8}" y="{y(even) + 4:.1f}">{percent(even, 0)}</text>'
        )
        parts += values
        for i, text in enumerate(self.edges):  # a small screen has room for every second one
            parts.append(
                f'<text class="tick{" minor" if i % 2 else ""}" x="{_LEFT + (i + 1) * step:.1f}" '
                f'y="{_FLOOR + 18}" text-anchor="middle">{escape(text)}</text>'
            )
        parts.append(
            f'<text class="note" x="{(_LEFT + right) / 2:.1f}" y="{HEIGHT - 6}" '
            f'text-anchor="middle">{escape(self.axis)}</text>'
        )
        if hover:
            for i, (name, probability) in enumerate(
                zip(self.classes, self.probabilities, strict=True)
            ):
                parts.append(
                    f'<rect class="hit" x="{_LEFT + i * step:.1f}" y="{_TOP}" '
                    f'width="{step:.1f}" height="{_FLOOR - _TOP}">'
                    f"<title>{escape(name)}: {percent(probability, 1)}</title></rect>"
                )
        return "".join(parts)


@dataclass(frozen=True)
class Divided:
    """The probability of a rise as a share of one bar, and how often it rose before as a line.

    Args:
        name: What the chart shows, in words; read aloud as its title.
        rise: The probability, a fraction.
        usual: The share of past sessions that rose; NaN where it is not known.
    """

    name: str
    rise: float
    usual: float

    def describe(self) -> str:
        """The chart in one sentence, for people who hear the page."""
        before = "" if math.isnan(self.usual) else f" It rose in {percent(self.usual, 1)} before."
        return (
            f"Rise {percent(self.rise, 1)}, fall or no change {percent(1 - self.rise, 1)}.{before}"
        )

    def draw(self) -> str:
        """Every mark, as SVG elements whose classes a style sheet colours."""
        top, bottom, cut = 26, 54, WIDTH * self.rise
        parts = [
            f'<text class="value centre" x="0" y="16">Rise {percent(self.rise, 1)}</text>'
            f'<text class="note" x="{WIDTH}" y="16" text-anchor="end">'
            f"Fall, or no change {percent(1 - self.rise, 1)}</text>"
            f'<rect class="column" x="0" y="{top}" width="{cut:.1f}" height="{bottom - top}"/>'
            f'<rect class="band" x="{cut:.1f}" y="{top}" width="{WIDTH - cut:.1f}" '
            f'height="{bottom - top}"/>'
        ]
        for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end")):
            parts.append(
                f'<path class="cut" d="M{share * WIDTH:.1f} {bottom}V{bottom + 5}"/>'
                f'<text class="tick" x="{share * WIDTH:.1f}" y="{bottom + 20}" '
                f'text-anchor="{anchor}">{100 * share:.0f}{THIN}%</text>'
            )
        if math.isfinite(self.usual):
            parts.append(
                f'<path class="usual" d="M{WIDTH * self.usual:.1f} {top - 5}V{bottom + 5}"/>'
            )
        return "".join(parts)


def columns_mark(probabilities: Sequence[float], high: float) -> str:
    """All probabilities as small columns, on a scale from 0 to `high`.

    It is decoration beside written numbers, so it is hidden from screen readers.
    """
    step = _MARK_WIDTH / len(probabilities)
    even = _MARK_HEIGHT * (1 - 1 / len(probabilities) / high)
    bars = "".join(
        f'<rect class="column" x="{i * step + 1:.1f}" '
        f'y="{_MARK_HEIGHT * (1 - probability / high):.1f}" width="{step - 2:.1f}" '
        f'height="{_MARK_HEIGHT * probability / high:.1f}"/>'
        for i, probability in enumerate(probabilities)
    )
    return (
        f'<svg class="mark" viewBox="0 0 {_MARK_WIDTH} {_MARK_HEIGHT}" aria-hidden="true">{bars}'
        f'<path class="even" d="M0 {even:.1f}H{_MARK_WIDTH}"/></svg>'
    )
