"""A chart of probabilities puts every class where its axis says, and says it aloud."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.report.charts import Drawing, forecast_picture, inline_chart
from tasks.report.class_charts import Columns, Divided, columns_mark
from tasks.report.fan import WIDTH
from tests.tasks.report.test_charts import SVG, axis, marks, parsed

TEN = (0.16, 0.1, 0.09, 0.08, 0.07, 0.07, 0.08, 0.09, 0.1, 0.16)


def columns(probabilities: tuple[float, ...] = TEN, name: str = "AAPL") -> Columns:
    count = len(probabilities)
    return Columns(
        name=name,
        classes=tuple(f"class <{i}>" for i in range(count)),
        edges=tuple(f"{i - 4:+d}" for i in range(count - 1)),
        probabilities=probabilities,
        axis="change, %",
    )


def box(rect: ET.Element) -> tuple[float, float, float, float]:
    """Left, top, right and bottom."""
    x, y, width, height = (float(rect.get(name, "")) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def test_every_column_ends_at_its_probability_on_the_written_axis() -> None:
    chart = inline_chart(columns(), "a")
    slope, intercept = axis(chart)
    boxes = [box(rect) for rect in marks(chart, "rect", "column")]
    assert [intercept + slope * top for _, top, _, _ in boxes] == pytest.approx(
        [100 * p for p in TEN], abs=0.05
    )
    assert [intercept + slope * bottom for *_, bottom in boxes] == pytest.approx([0] * 10, abs=0.06)
    written = [e.text for e in marks(chart, "text", "value minor")]
    assert written == ["16.0", "10.0", "9.0", "8.0", "7.0", "7.0", "8.0", "9.0", "10.0", "16.0"]


def test_the_line_stands_where_all_classes_would_be_as_likely() -> None:
    for probabilities in (TEN, (0.5, 0.3, 0.15, 0.05)):
        chart = inline_chart(columns(probabilities), "a")
        slope, intercept = axis(chart)
        (line,) = marks(chart, "path", "even")
        y = float(re.findall(r"M\d+ ([\d.]+)H", line.get("d", ""))[0])
        assert intercept + slope * y == pytest.approx(100 / len(probabilities), abs=0.05)


def test_an_edge_is_written_between_the_two_classes_that_it_parts() -> None:
    chart = inline_chart(columns(), "a")
    boxes = [box(rect) for rect in marks(chart, "rect", "column")]
    shown = columns()
    places = {
        e.text: float(e.get("x", ""))
        for s in ("tick", "tick minor")
        for e in marks(chart, "text", s)
    }
    for i, text in enumerate(shown.edges):
        assert boxes[i][2] < places[text] < boxes[i + 1][0]
    assert len(marks(chart, "text", "tick minor")) == 4  # a small screen leaves out every second


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_any_probabilities_are_drawn_inside_the_frame(values: list[float]) -> None:
    chart = inline_chart(columns(tuple(values)), "a")
    boxes = [box(rect) for rect in marks(chart, "rect", "column")]
    assert len(boxes) == len(values)
    lowest = max(bottom for *_, bottom in boxes)
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= WIDTH
        assert 22 <= top <= bottom + 0.11
        assert bottom == pytest.approx(lowest, abs=0.11)


def test_people_who_do_not_see_it_are_told_every_class() -> None:
    root = parsed(inline_chart(columns(), "one"))
    assert root.get("role") == "img"
    ids = {e.get("id"): e.text for e in root}
    title, description = (ids[name] for name in root.get("aria-labelledby", "").split())
    assert title == "AAPL"
    assert description is not None
    for i, probability in enumerate(TEN):
        assert f"class <{i}>: {100 * probability:.1f}\N{NARROW NO-BREAK SPACE}%" in description
    hits = [e.findtext(SVG + "title") for e in marks(inline_chart(columns(), "a"), "rect", "hit")]
    assert hits[3] == "class <3>: 8.0\N{NARROW NO-BREAK SPACE}%"


def test_texts_that_do_not_fit_the_classes_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"edges of 'X' has 1 texts, expected 2"):
        Columns("X", ("a", "b", "c"), ("1",), (0.2, 0.3, 0.5), "")
    with pytest.raises(ValueError, match=r"classes of 'X' has 2 texts, expected 3"):
        Columns("X", ("a", "b"), ("1", "2"), (0.2, 0.3, 0.5), "")


def test_the_bar_is_divided_at_the_probability_and_marked_at_the_usual() -> None:
    chart = inline_chart(Divided("X", 0.53, 0.475), "a")
    (rise,), (fall,) = marks(chart, "rect", "column"), marks(chart, "rect", "band")
    left, _, cut, _ = box(rise)
    assert (left, cut) == pytest.approx((0, 0.53 * WIDTH), abs=0.05)
    assert (box(fall)[0], box(fall)[2]) == pytest.approx((cut, WIDTH), abs=0.11)
    (line,) = marks(chart, "path", "usual")
    assert float(line.get("d", "")[1:].split()[0]) == pytest.approx(0.475 * WIDTH, abs=0.05)
    text = "".join(parsed(chart).itertext()).replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert "Rise 53.0 %, fall or no change 47.0 %. It rose in 47.5 % before." in text


def test_without_a_known_share_there_is_no_line() -> None:
    chart = inline_chart(Divided("X", 0.53, math.nan), "a")
    assert marks(chart, "path", "usual") == []
    assert "nan" not in chart
    assert "before" not in chart


def test_small_columns_are_on_the_scale_that_they_are_given() -> None:
    svg = parsed(columns_mark((0.1, 0.4, 0.5), 0.5))
    heights = [float(e.get("height", "")) for e in svg.iter(SVG + "rect")]
    assert heights == pytest.approx([4, 16, 20])
    assert svg.get("aria-hidden") == "true"


def test_a_picture_holds_charts_of_every_height_without_overlap() -> None:
    bar = Divided("a", 0.5, 0.5)
    rows: list[list[Drawing]] = [[bar], [bar, columns()], [columns()]]
    root = ET.fromstring(forecast_picture(rows, "Night"))  # noqa: S314
    moves = [
        [float(v) for v in re.findall(r"[\d.]+", e.get("transform", ""))]
        for e in root
        if e.tag == SVG + "g"
    ]
    second, third = 60 + 84 + 34, 60 + 84 + 34 + 286 + 34
    assert [y for _, y in moves] == [60, second, second, third]
    assert moves[1][0] + WIDTH < moves[2][0]
    assert float(root.get("height", "")) == third + 286 + 34
    style = root.findtext(SVG + "style") or ""
    used = {word for e in root.iter() for word in (e.get("class") or "").split()}
    assert {c for c in used if f".{c}{{" not in style} <= {"tick", "note", "minor"}
