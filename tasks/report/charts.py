"""Charts as SVG text: one for the page, many for a standalone picture, a small range mark.

Owns the elements around the marks and the picture's colours. Never touches the store or a file.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape

from tasks.report.class_charts import BAR_HEIGHT, Columns, Divided
from tasks.report.class_charts import HEIGHT as COLUMNS_HEIGHT
from tasks.report.fan import HEIGHT, WIDTH, Fan, draw
from tasks.report.live_chart import HEIGHT as SKILL_HEIGHT
from tasks.report.live_chart import SkillPath

# The picture for a place that strips styles: explicit colours on paper of its own, so that it is
# readable on a light page and on a dark one.
_PICTURE_STYLE = (
    "text{font:12px -apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;"
    "font-variant-numeric:tabular-nums;fill:#5b616a}"
    ".paper{fill:#fbfaf6}.grid{stroke:#e4e0d6;stroke-width:1}.cut{stroke:#a7a294;stroke-width:1}"
    ".zone{fill:#1d5f8a;fill-opacity:.05}.past{fill:none;stroke:#23272d;stroke-width:1.5;"
    "stroke-linejoin:round}.daily{fill:#8d9199;fill-opacity:.55}"
    ".band{fill:#1d5f8a;fill-opacity:.2}.mean{fill:none;stroke:#1d5f8a;stroke-width:2}"
    ".lead{fill:#1d5f8a}.now{fill:#23272d}"
    ".column{fill:#1d5f8a}.even{stroke:#23272d;stroke-width:1.2;stroke-dasharray:4 3}"
    ".usual{stroke:#23272d;stroke-width:2.5}"
    ".value{paint-order:stroke;stroke:#fbfaf6;stroke-width:4px;stroke-linejoin:round;fill:#1d5f8a}.centre{font-weight:700}.heading{font-size:17px;font-weight:600;"
    "fill:#23272d}.name{font-size:13px;font-weight:600;fill:#23272d}"
)


Drawing = Fan | Columns | Divided | SkillPath


def inline_chart(drawing: Drawing, chart_id: str) -> str:
    """One chart as an `<svg>` element that takes its colours from the page's CSS classes."""
    style = "fan" if isinstance(drawing, Fan | SkillPath) else "classes"
    return (
        f'<svg class="{style}" viewBox="0 0 {WIDTH} {_height(drawing)}" role="img" '
        f'aria-labelledby="{escape(chart_id)}-t {escape(chart_id)}-d">'
        f'<title id="{escape(chart_id)}-t">{escape(drawing.name)}</title>'
        f'<desc id="{escape(chart_id)}-d">{escape(drawing.describe())}</desc>'
        f"{_marks(drawing, hover=True)}</svg>"
    )


def _height(drawing: Drawing) -> int:
    if isinstance(drawing, Fan):
        return HEIGHT
    if isinstance(drawing, SkillPath):
        return SKILL_HEIGHT
    return COLUMNS_HEIGHT if isinstance(drawing, Columns) else BAR_HEIGHT


def _marks(drawing: Drawing, *, hover: bool) -> str:
    if isinstance(drawing, Fan):
        return draw(drawing, hover=hover)
    return drawing.draw() if isinstance(drawing, Divided) else drawing.draw(hover=hover)


def forecast_picture(rows: Sequence[Sequence[Drawing]], heading: str) -> bytes:
    """A standalone SVG of many charts, with its own paper and colours.

    Made for places that strip inline SVG but show an image: see `data_uri`. A row is as high as
    its highest chart.
    """
    columns = max((len(row) for row in rows), default=1)
    width, y = 24 + columns * (WIDTH + 24), 60
    cells = []
    for row in rows:
        for j, drawing in enumerate(row):
            cells.append(
                f'<g transform="translate({24 + j * (WIDTH + 24)} {y})">'
                f'<text class="name" x="0" y="14">{escape(drawing.name)}</text>'
                f'<g transform="translate(0 20)">{_marks(drawing, hover=False)}</g></g>'
            )
        y += max(map(_height, row)) + 34
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" '
        f'width="{width}" height="{y}"><style>{_PICTURE_STYLE}</style>'
        f'<rect class="paper" width="{width}" height="{y}" rx="8"/>'
        f'<text class="heading" x="24" y="36">{escape(heading)}</text>{"".join(cells)}</svg>'
    ).encode()


def data_uri(svg: bytes) -> str:
    """The picture as a `data:` URI, for `![](…)` in markdown."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def range_mark(
    mean: float, lower: float, upper: float, scale: tuple[float, float], zero: float | None = None
) -> str:
    """A mean and its interval as a small horizontal mark on a scale (low, high).

    It is decoration beside written numbers, so it is hidden from screen readers.
    """
    low, high = scale
    if not all(map(math.isfinite, (mean, lower, upper))) or high <= low:
        return ""
    width = 120.0

    def x(value: float) -> float:
        return 2 + (width - 4) * (value - low) / (high - low)

    line = "" if zero is None else f'<path class="cut" d="M{x(zero):.1f} 0V16"/>'
    return (
        f'<svg class="range" viewBox="0 0 {width:.0f} 16" aria-hidden="true">{line}'
        f'<rect class="band" x="{x(lower):.1f}" y="5" rx="1" '
        f'width="{max(x(upper) - x(lower), 1):.1f}" height="6"/>'
        f'<circle class="lead" cx="{x(mean):.1f}" cy="8" r="3"/></svg>'
    )
