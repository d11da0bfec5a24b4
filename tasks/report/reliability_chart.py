"""The reliability diagram of class probabilities: what was given against what came.

Owns where every mark lies and its text. Never touches the store or how bins are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from lstm_models.calibration import Bin, merged, reliability
from tasks.report.fan import ticks
from tasks.report.typography import number, percent

WIDTH, HEIGHT = 320, 300
_LEFT, _RIGHT, _TOP, _FLOOR = 44, 8, 26, 254
SMALLEST = 20
"""Pairs that a bin needs for a mark."""
NARROWEST = 0.1
"""Of the scale: a point or two off the line, which may well be chance, must not look far."""


def pooled_bins(
    scores: Iterable[Sequence[Mapping[str, Any]]],
) -> tuple[str, tuple[Bin, ...]] | None:
    """Bins over all instruments, and whose: what is published, or else the LSTM's.

    Args:
        scores: pooled rows of `scores` by instrument, of one class kind.
    """
    rows = [row for of in scores for row in of if row.get("calibration")]
    for method in ("published", "lstm"):
        parts = [
            [Bin(one["count"], one["probability"], one["came"]) for one in row["calibration"]]
            for row in rows
            if row["method"] == method
        ]
        if parts:
            return method, merged(parts)
    return None


def describe(bins: Sequence[Bin]) -> str:
    """Every mark in words, and the reliability."""
    told = "; ".join(
        f"given {percent(one.probability, 1)}, came {percent(one.came, 1)} of {one.count:,.0f}"
        for one in _shown(bins)
    )
    found = reliability(bins)
    return f"{told}. Reliability {number(1e4 * (found or 0.0), 2)} × 10⁻⁴, zero at best."


def reliability_svg(bins: Sequence[Bin], chart_id: str, name: str) -> str:
    """The diagram as an `<svg>` element with its text; empty where no bin has enough pairs."""
    shown = _shown(bins)
    if not shown:
        return ""
    values = [value for one in shown for value in (one.probability, one.came) if value is not None]
    middle, span = (max(values) + min(values)) / 2, max(max(values) - min(values), NARROWEST)
    low, high = max(middle - 0.58 * span, 0.0), min(middle + 0.58 * span, 1.0)

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (WIDTH - _RIGHT - _LEFT)

    def y(value: float) -> float:
        return _FLOOR - (value - low) / (high - low) * (_FLOOR - _TOP)

    parts = [f'<text class="note" x="0" y="{_TOP - 12}">came, %</text>']
    for tick in ticks(100 * low, 100 * high):
        at, text = tick / 100, number(tick, 0 if tick == round(tick) else 1)
        parts.append(
            f'<path class="grid" d="M{_LEFT} {y(at):.1f}H{WIDTH - _RIGHT}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{y(at) + 4:.1f}" text-anchor="end">'
            f'{text}</text><text class="tick" x="{x(at):.1f}" y="{_FLOOR + 18}" '
            f'text-anchor="middle">{text}</text>'
        )
    parts.append(f'<path class="even" d="M{x(low):.1f} {y(low):.1f}L{x(high):.1f} {y(high):.1f}"/>')
    most = max(one.count for one in shown)
    for one in shown:
        if one.probability is not None and one.came is not None:
            radius = 2.5 + 4.5 * (one.count / most) ** 0.5
            parts.append(
                f'<circle class="lead" cx="{x(one.probability):.1f}" cy="{y(one.came):.1f}" '
                f'r="{radius:.1f}"><title>given {percent(one.probability, 1)}, came '
                f"{percent(one.came, 1)} of {one.count:,.0f}</title></circle>"
            )
    parts.append(
        f'<text class="note" x="{(_LEFT + WIDTH - _RIGHT) / 2:.0f}" y="{HEIGHT - 6}" '
        f'text-anchor="middle">given, %</text>'
    )
    return (
        f'<svg class="reliability" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="{chart_id}-title {chart_id}-text">'
        f'<title id="{chart_id}-title">{escape(name)}</title>'
        f'<desc id="{chart_id}-text">{escape(describe(bins))}</desc>{"".join(parts)}</svg>'
    )


def _shown(bins: Sequence[Bin]) -> list[Bin]:
    return [one for one in bins if one.count >= SMALLEST]
