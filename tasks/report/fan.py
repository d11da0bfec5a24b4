"""Geometry and marks of one fan chart: a recent history, then mean and interval per lead.

Owns where every mark lies. Never touches colours, or what a value means beyond its unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape

from tasks.report.typography import ABSENT, MINUS, THIN, day_and_month, month, number, short_date

WIDTH, HEIGHT = 560, 268
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 66, 22, 28
_ZONE = (
    0.36  # least share of the width that the leads get: five sessions after sixty would be a sliver
)
_DAY_WIDTH = 24.0  # least room for a day's number below its lead
_DOT_WIDTH = 9.0  # least room for a dot of its own on each lead
_LABEL_GAP = 17.0  # least distance between two values written at the last lead


@dataclass(frozen=True)
class Fan:
    """What one fan chart shows; every number is in the unit of its vertical axis.

    Args:
        name: What the chart shows, in words; read aloud as its title.
        sessions: (time,) sessions of the history, ascending; the last one is the cutoff.
        history: (time,) one value a session; NaN where there is none.
        daily: (time,) or empty: noisier single values, drawn as dots behind the history.
        targets: (lead,) target sessions.
        mean, lower, upper: (lead,) the forecast; a bound may be infinite or NaN.
        level: Nominal coverage of the interval, a fraction.
        decimals: Decimals of a written value.
        unit: Written after a value, for instance "%"; empty for a price.
        from_cutoff: Whether the fan starts at the last value of the history.
        floor: Lowest value that the axis must show, if any.
        axis: What the vertical axis counts; nothing where the page says it.
    """

    name: str
    sessions: tuple[date, ...]
    history: tuple[float, ...]
    targets: tuple[date, ...]
    mean: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    level: float
    daily: tuple[float, ...] = ()
    decimals: int = 2
    unit: str = ""
    from_cutoff: bool = True
    floor: float | None = None
    axis: str = ""

    def __post_init__(self) -> None:
        past, ahead = len(self.sessions), len(self.targets)
        if past == 0 or ahead == 0:
            raise ValueError(
                f"a fan needs one session of history and one lead at least; "
                f"{self.name!r} has {past} sessions and {ahead} leads"
            )
        lengths = {"history": past, "mean": ahead, "lower": ahead, "upper": ahead}
        if self.daily:
            lengths["daily"] = past
        for field, expected in lengths.items():
            received = len(getattr(self, field))
            if received != expected:
                raise ValueError(
                    f"{field} of {self.name!r} has {received} values, expected {expected}"
                )

    def write(self, value: float) -> str:
        """A value with the fan's decimals and unit."""
        text = number(value, self.decimals)
        return f"{text}{THIN}{self.unit}" if self.unit and text != ABSENT else text

    def describe(self) -> str:
        """The chart in one sentence, for people who hear the page."""
        return (
            f"Last value {self.write(self.history[-1])} on {self.sessions[-1].isoformat()}. "
            f"Forecast for {self.targets[-1].isoformat()}: {self.write(self.mean[-1])}, "
            f"{100 * self.level:.0f}{THIN}% interval {self.write(self.lower[-1])} to "
            f"{self.write(self.upper[-1])}."
        )


def ticks(low: float, high: float, about: int = 4) -> tuple[float, ...]:
    """Round values inside [low, high]: steps of 1, 2, 2.5 or 5 times a power of ten."""
    if not high > low:
        return (low,)
    raw = (high - low) / about
    scale = 10.0 ** math.floor(math.log10(raw))
    step = next(s * scale for s in (1, 2, 2.5, 5, 10) if s * scale >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(i * step for i in range(first, last + 1))


@dataclass(frozen=True)
class _Frame:
    """Where sessions, leads and values lie on the drawing."""

    past: int
    ahead: int
    low: float
    high: float

    @property
    def cut(self) -> float:
        """Horizontal place of the cutoff."""
        if self.past == 1:
            return float(_LEFT)
        share = max(_ZONE, self.ahead / (self.past + self.ahead))
        return _LEFT + (1 - share) * (WIDTH - _LEFT - _RIGHT)

    @property
    def step(self) -> float:
        """Width of one session of the history."""
        return (self.cut - _LEFT) / max(self.past - 1, 1)

    @property
    def lead_step(self) -> float:
        """Width of one lead."""
        return (WIDTH - _RIGHT - self.cut) / self.ahead

    def x(self, i: int) -> float:
        """Horizontal place of session i of the history, or of lead i - past + 1 after it."""
        if i < self.past:
            return self.cut - (self.past - 1 - i) * self.step
        return self.cut + (i - self.past + 1) * self.lead_step

    def y(self, value: float) -> float:
        return _TOP + (self.high - value) / (self.high - self.low) * (HEIGHT - _TOP - _BOTTOM)


def _frame(fan: Fan) -> _Frame:
    shown = (*fan.history, *fan.daily, *fan.mean, *fan.lower, *fan.upper)
    values = [v for v in shown if math.isfinite(v)] or [0.0]
    low, high = min(values), max(values)
    if fan.floor is not None:
        low = min(low, fan.floor)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    bottom = low if fan.floor is not None and low >= fan.floor else low - pad
    return _Frame(len(fan.sessions), len(fan.targets), bottom, high + pad)


def draw(fan: Fan, *, hover: bool) -> str:
    """Every mark of the fan, as SVG elements whose classes a style sheet colours.

    Args:
        fan: What to show.
        hover: Whether a pointer on a session reads its values; a picture can't.
    """
    frame = _frame(fan)
    parts = [_ground(fan, frame), _marks(fan, frame), _values_at_last_lead(fan, frame)]
    return "".join([*parts, _hover(fan, frame)] if hover else parts)


def _ground(fan: Fan, frame: _Frame) -> str:
    """The shaded panel of the leads, horizontal grid with values, dates below."""
    floor, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    ahead = len(fan.targets)
    # Pixels per session differ on the two sides of the cutoff: the panel says where.
    parts = [
        f'<rect class="zone" x="{frame.cut:.1f}" y="{_TOP}" width="{right - frame.cut:.1f}" '
        f'height="{floor - _TOP}"/>',
        f'<text class="note" x="{right}" y="{_TOP - 7}" text-anchor="end">next {ahead} '
        f"session{'s' if ahead > 1 else ''}</text>",
    ]
    marks = ticks(frame.low, frame.high)
    step = marks[1] - marks[0] if len(marks) > 1 else abs(marks[0]) or 1.0
    decimals = next((d for d in range(6) if abs(round(step, d) - step) < step * 1e-6), 6)
    for value in marks:
        y = frame.y(value)
        parts.append(
            f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{number(value, decimals).replace(MINUS + '0', '0')}</text>"
        )
    parts.append(f'<path class="cut" d="M{frame.cut:.1f} {_TOP}V{floor}"/>')
    parts.extend(
        f'<text class="{style}" x="{x:.1f}" y="{floor + 18}" text-anchor="middle">{text}</text>'
        for x, text, style in (*_months(fan, frame), *_leads(fan, frame))
    )
    if fan.axis:
        parts.append(f'<text class="note" x="0" y="{_TOP - 7}">{escape(fan.axis)}</text>')
    return "".join(parts)


def _months(fan: Fan, frame: _Frame) -> list[tuple[float, str, str]]:
    """A label where a month begins, thinned to a few and kept clear of the cutoff.

    The first one and each January say the year.
    """
    begins = [
        i
        for i in range(1, frame.past)
        if fan.sessions[i].month != fan.sessions[i - 1].month
        and _LEFT + 12 <= frame.x(i) <= frame.cut - 34
    ]
    shown = begins[:: max(1, math.ceil(len(begins) / 4))]
    labels, year = [], 0
    for i in shown:
        day = fan.sessions[i]
        text = month(day) if day.year == year else f"{month(day)} {day.year}"
        year = day.year
        labels.append((frame.x(i), text, "tick"))
    return labels


def _leads(fan: Fan, frame: _Frame) -> list[tuple[float, str, str]]:
    """Dates below the leads: each day's number when there is room, otherwise a date here and there.

    One that is close to the last is `minor`: a small screen, where words are larger, leaves it out.
    """
    past, ahead = frame.past, frame.ahead
    last = frame.x(past + ahead - 1)
    each = frame.lead_step >= _DAY_WIDTH
    every = 1 if each else math.ceil(2.5 * _DAY_WIDTH / frame.lead_step)
    labels = []
    for i in range(0, ahead - 1, every):
        x, day = frame.x(past + i), fan.targets[i]
        if x <= last - (28 if each else 50):
            near = "tick minor" if x > last - 50 else "tick"
            labels.append((x, str(day.day) if each else day_and_month(day), near))
    return [*labels, (last, day_and_month(fan.targets[-1]), "tick")]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _runs(values: Sequence[float], place: Callable[[int], tuple[float, float]]) -> str:
    """A line through the finite values, broken where one is missing."""
    pieces: list[str] = []
    piece: list[tuple[float, float]] = []
    for i, value in enumerate((*values, math.nan)):
        if math.isfinite(value):
            piece.append(place(i))
        elif piece:
            pieces.append(_path(piece))
            piece = []
    return "".join(pieces)


def _marks(fan: Fan, frame: _Frame) -> str:
    """History, band, mean and one dot per lead."""
    past = frame.past
    parts = [
        f'<circle class="daily" cx="{frame.x(i):.1f}" cy="{frame.y(v):.1f}" r="1.9"/>'
        for i, v in enumerate(fan.daily)
        if math.isfinite(v)
    ]
    line = _runs(fan.history, lambda i: (frame.x(i), frame.y(fan.history[i])))
    parts.append(f'<path class="past" d="{line}"/>' if line else "")
    start = [(frame.cut, frame.y(fan.history[-1]))]
    if not fan.from_cutoff or not math.isfinite(fan.history[-1]):
        start = []
    bounded = [
        i for i in range(frame.ahead) if math.isfinite(fan.lower[i]) and math.isfinite(fan.upper[i])
    ]
    if bounded:
        top = [(frame.x(past + i), frame.y(fan.upper[i])) for i in bounded]
        base = [(frame.x(past + i), frame.y(fan.lower[i])) for i in reversed(bounded)]
        outline = [*start, *top, *base]
        if len(outline) == 2:  # one lead alone has no width: it gets a bar
            (x, y), (_, end) = outline
            outline = [(x - 5, y), (x + 5, y), (x + 5, end), (x - 5, end)]
        parts.append(f'<path class="band" d="{_path(outline)}Z"/>')
    mean = [(frame.x(past + i), frame.y(v)) for i, v in enumerate(fan.mean) if math.isfinite(v)]
    if mean:
        parts.append(f'<path class="mean" d="{_path([*start, *mean])}"/>')
    dotted = mean if frame.lead_step >= _DOT_WIDTH else mean[-1:]
    parts.extend(f'<circle class="lead" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in dotted)
    if math.isfinite(fan.history[-1]):
        parts.append(
            f'<circle class="now" cx="{frame.cut:.1f}" cy="{frame.y(fan.history[-1]):.1f}" r="3"/>'
        )
    return "".join(parts)


def _values_at_last_lead(fan: Fan, frame: _Frame) -> str:
    """Upper bound, mean and lower bound, written at the right, pushed apart where they crowd."""
    labels = [
        (fan.upper[-1], "value"),
        (fan.mean[-1], "value centre"),
        (fan.lower[-1], "value"),
    ]
    shown = [(frame.y(v) + 4, fan.write(v), style) for v, style in labels if math.isfinite(v)]
    if len(shown) == 3:
        middle = shown[1][0]
        shown[0] = (min(shown[0][0], middle - _LABEL_GAP), *shown[0][1:])
        shown[2] = (max(shown[2][0], middle + _LABEL_GAP), *shown[2][1:])
    return "".join(
        f'<text class="{style}" x="{WIDTH - _RIGHT + 8}" y="{y:.1f}">{escape(text)}</text>'
        for y, text, style in shown
    )


def _hover(fan: Fan, frame: _Frame) -> str:
    """One invisible column per session whose title gives the date and the values."""
    parts = []
    for i in range(frame.past + frame.ahead):
        if i < frame.past:
            left, width = frame.x(i) - frame.step / 2, frame.step
            text = f"{short_date(fan.sessions[i])}: {fan.write(fan.history[i])}"
            if fan.daily:
                text += f" (that day {fan.write(fan.daily[i])})"
        else:
            lead = i - frame.past
            left, width = frame.x(i) - frame.lead_step / 2, frame.lead_step
            text = (
                f"{short_date(fan.targets[lead])}, lead {lead + 1}: {fan.write(fan.mean[lead])}, "
                f"{100 * fan.level:.0f}{THIN}% interval {fan.write(fan.lower[lead])} to "
                f"{fan.write(fan.upper[lead])}"
            )
        parts.append(
            f'<rect class="hit" x="{left:.1f}" y="{_TOP}" width="{width:.1f}" '
            f'height="{HEIGHT - _TOP - _BOTTOM}"><title>{escape(text)}</title></rect>'
        )
    return "".join(parts)
