"""A chart puts every value where its axis says, whatever the values are."""

from __future__ import annotations

import base64
import itertools
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.report.charts import data_uri, forecast_picture, inline_chart, range_mark
from tasks.report.fan import HEIGHT, WIDTH, Fan, ticks

SVG = "{http://www.w3.org/2000/svg}"
START = date(2013, 1, 2)


def days(count: int, start: date = START) -> tuple[date, ...]:
    return tuple(start + timedelta(days=i) for i in range(count))


def fan(past: int = 60, ahead: int = 5, **changes: object) -> Fan:
    base = Fan(
        name="AAPL, closing price",
        sessions=days(past),
        history=tuple(100.0 + i for i in range(past)),
        targets=days(ahead, START + timedelta(days=past)),
        mean=tuple(100.0 + past + i for i in range(ahead)),
        lower=tuple(90.0 + past - i for i in range(ahead)),
        upper=tuple(110.0 + past + i for i in range(ahead)),
        level=0.8,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def parsed(chart: str) -> ET.Element:
    """The chart as XML, which it must be whatever its text holds."""
    return ET.fromstring(chart.replace("<svg ", f'<svg xmlns="{SVG[1:-1]}" ', 1))  # noqa: S314


def marks(chart: str, kind: str, style: str) -> list[ET.Element]:
    return [e for e in parsed(chart).iter(SVG + kind) if e.get("class") == style]


def points(path: ET.Element) -> list[tuple[float, float]]:
    found = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path.get("d", ""))
    return [(float(x), float(y)) for x, y in found]


def axis(chart: str) -> tuple[float, float]:
    """Slope and intercept of value over y, read off the written axis like a person would."""
    grid = [float(e.get("d", "").split()[1].split("H")[0]) for e in marks(chart, "path", "grid")]
    texts = [e for e in marks(chart, "text", "tick") if e.get("text-anchor") == "end"]
    values = [float((e.text or "").replace(",", "").replace("−", "-")) for e in texts]
    slope = (values[-1] - values[0]) / (grid[-1] - grid[0])
    return slope, values[0] - slope * grid[0]


def test_every_mark_lies_at_its_value_on_the_written_axis() -> None:
    shown = fan()
    chart = inline_chart(shown, "a")
    slope, intercept = axis(chart)

    def values(path: ET.Element) -> list[float]:
        return [intercept + slope * y for _, y in points(path)]

    (past,), (band,), (mean,) = (marks(chart, "path", c) for c in ("past", "band", "mean"))
    assert values(past) == pytest.approx(shown.history, abs=0.05)
    last = shown.history[-1]
    assert values(mean) == pytest.approx([last, *shown.mean], abs=0.05)
    outline = [last, *shown.upper, *reversed(shown.lower)]
    assert values(band) == pytest.approx(outline, abs=0.05)


def test_leads_follow_the_cutoff_evenly_and_have_room() -> None:
    chart = inline_chart(fan(past=60, ahead=5), "a")
    (mean,) = marks(chart, "path", "mean")
    xs = [x for x, _ in points(mean)]
    steps = [b - a for a, b in itertools.pairwise(xs)]
    assert steps == pytest.approx([steps[0]] * 5, abs=0.15)
    assert xs[-1] - xs[0] > 0.3 * (xs[-1] - points(marks(chart, "path", "past")[0])[0][0])


def test_a_missing_session_breaks_the_line_instead_of_bridging_it() -> None:
    history = (1.0, 2.0, math.nan, 4.0, 5.0)
    chart = inline_chart(fan(past=5, history=history), "a")
    (past,) = marks(chart, "path", "past")
    assert past.get("d", "").count("M") == 2
    assert len(points(past)) == 4


def test_an_unbounded_interval_is_left_out_and_said() -> None:
    shown = fan(ahead=2, lower=(1.0, -math.inf), upper=(9.0, math.inf))
    chart = inline_chart(shown, "a")
    assert "nan" not in chart
    assert "inf" not in chart.replace("infer", "")
    (band,) = marks(chart, "path", "band")
    assert len(points(band)) == 3  # the cutoff and lead 1's two bounds
    assert "∞" in "".join(parsed(chart).itertext())


@given(
    past=st.integers(1, 90),
    ahead=st.integers(1, 60),
    values=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=5),
    floor=st.sampled_from([None, 0.0]),
)
def test_any_values_are_drawn_inside_the_frame(
    past: int, ahead: int, values: list[float], floor: float | None
) -> None:
    def some(count: int) -> tuple[float, ...]:
        return tuple(values[i % len(values)] for i in range(count))

    shown = fan(
        past,
        ahead,
        history=some(past),
        mean=some(ahead),
        lower=some(ahead),
        upper=some(ahead),
        floor=floor,
    )
    chart = inline_chart(shown, "a")
    drawn = [
        p for c in ("past", "band", "mean") for e in marks(chart, "path", c) for p in points(e)
    ]
    assert len(drawn) == past + 3 * (ahead + 1) - 1
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in drawn)


def test_every_session_and_lead_says_its_values_under_the_pointer() -> None:
    chart = inline_chart(fan(past=60, ahead=5), "a")
    titles = [e.findtext(SVG + "title") or "" for e in marks(chart, "rect", "hit")]
    assert len(titles) == 65
    assert titles[0] == "Wed 2\N{NO-BREAK SPACE}Jan: 100.00"
    assert "lead 5: 164.00" in titles[-1]
    assert "146.00 to 174.00" in titles[-1]


def test_names_are_text_and_never_markup() -> None:
    chart = inline_chart(fan(name='<script>alert("1")</script> & co', unit="<i>"), "a")
    assert "<script" not in chart
    assert "<i>" not in chart
    assert parsed(chart).findtext(SVG + "title") == '<script>alert("1")</script> & co'
    picture = forecast_picture([[fan(name="<b>x</b>")]], "<i>y</i>")
    texts = [e.text for e in ET.fromstring(picture).iter(SVG + "text")]  # noqa: S314
    assert "<b>x</b>" in texts
    assert "<i>y</i>" in texts


def test_a_chart_tells_people_who_do_not_see_it() -> None:
    root = parsed(inline_chart(fan(), "one"))
    assert root.get("role") == "img"
    ids = {e.get("id"): e.text for e in root}
    title, description = (ids[name] for name in root.get("aria-labelledby", "").split())
    assert title == "AAPL, closing price"
    assert description is not None
    assert "80" in description
    assert "146.00 to 174.00" in description


def test_the_picture_stands_alone_and_travels_as_a_uri() -> None:
    picture = forecast_picture([[fan(), fan()], [fan()]], "After the close")
    root = ET.fromstring(picture)  # noqa: S314
    assert sum(e.get("class") == "band" for e in root.iter()) == 3
    paper = next(e for e in root.iter() if e.get("class") == "paper")
    assert (paper.get("width"), paper.get("height")) == (root.get("width"), root.get("height"))
    style = root.findtext(SVG + "style") or ""
    used = {word for e in root.iter() for word in (e.get("class") or "").split()}
    assert {c for c in used if f".{c}{{" not in style} <= {"tick", "note", "minor", "centre"}
    assert b"var(" not in picture
    assert b"http" not in picture.replace(b"http://www.w3.org/2000/svg", b"")
    uri = data_uri(picture)
    assert base64.b64decode(uri.removeprefix("data:image/svg+xml;base64,")) == picture


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_even_and_inside(low: float, span: float) -> None:
    high = low + span
    found = ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high), span)
    assert 1 <= len(found) <= 7
    assert all(low - slack <= tick <= high + slack for tick in found)
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert steps == pytest.approx([steps[0]] * len(steps) if steps else [], rel=1e-3)


def test_a_range_mark_places_mean_and_bounds_on_the_scale() -> None:
    mark = parsed(range_mark(0.0, -1.0, 2.0, (-2.0, 2.0), 0.0))
    band = next(e for e in mark.iter(SVG + "rect"))
    dot = next(e for e in mark.iter(SVG + "circle"))
    left, width = float(band.get("x", "")), float(band.get("width", ""))
    assert float(dot.get("cx", "")) == pytest.approx(60.0)
    assert left == pytest.approx(31.0)
    assert left + width == pytest.approx(118.0)
    assert range_mark(0.0, -math.inf, 1.0, (-1.0, 1.0)) == ""


def test_lengths_that_do_not_fit_are_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match=r"lower of 'AAPL, closing price' has 1 values, expected 5"
    ):
        fan(lower=(1.0,))
    with pytest.raises(ValueError, match="has 0 sessions and 5 leads"):
        fan(past=0)
