"""The reliability diagram: whose bins, where its marks lie, and what it says in words."""

from typing import Any
from xml.etree import ElementTree as ET

from lstm_models.calibration import Bin
from tasks.report.reliability_chart import describe, pooled_bins, reliability_svg
from tasks.report.typography import THIN

BINS = (Bin(0.0, None, None), Bin(400.0, 0.48, 0.44), Bin(100.0, 0.52, 0.52), Bin(3.0, 0.6, 1.0))


def row(method: str, came: float) -> dict[str, Any]:
    empty = {"count": 0.0, "probability": None, "came": None}
    bins = [empty, {"count": 50.0, "probability": 0.5, "came": came}]
    return {"method": method, "calibration": bins}


def test_bins_are_those_of_what_is_published_over_all_instruments() -> None:
    scores = [(row("published", 0.4), row("lstm", 0.9)), (row("published", 0.6),)]
    assert pooled_bins(scores) == (
        "published",
        (Bin(0.0, None, None), Bin(100.0, 0.5, 0.5)),
    )
    assert pooled_bins([(row("lstm", 0.9),)]) == (
        "lstm",
        (Bin(0.0, None, None), Bin(50.0, 0.5, 0.9)),
    )
    assert pooled_bins([({"method": "lstm", "calibration": None},)]) is None


def test_a_dot_on_the_line_is_what_came_as_often_as_given() -> None:
    svg = ET.fromstring(reliability_svg(BINS, "here", "Direction & more"))  # noqa: S314 - our own
    low, even = (dot.attrib for dot in svg.iter("circle"))
    (line,) = (path.attrib["d"] for path in svg.iter("path") if path.attrib["class"] == "even")
    (x0, y0), (x1, y1) = (map(float, end.split()) for end in line[1:].split("L"))

    def above(dot: dict[str, str]) -> float:
        share = (float(dot["cx"]) - x0) / (x1 - x0)
        return y0 + share * (y1 - y0) - float(dot["cy"])

    assert abs(above(even)) < 0.2
    assert above(low) < -5.0
    assert float(low["r"]) > float(even["r"])


def test_the_diagram_has_a_name_and_the_same_in_words() -> None:
    svg = ET.fromstring(reliability_svg(BINS, "here", "Direction & more"))  # noqa: S314 - our own
    assert [one.text for one in svg.findall("title")] == ["Direction & more"]
    assert [one.text for one in svg.findall("desc")] == [describe(BINS)]
    words = describe(BINS).replace(THIN, " ")
    assert words.startswith("given 48.0 %, came 44.0 % of 400; given 52.0 %, came 52.0 % of 100.")
    assert reliability_svg(BINS[:1], "here", "nothing") == ""
