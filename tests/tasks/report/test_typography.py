"""Numbers and dates read the same on every machine, and never lie by their sign."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.report import typography
from tasks.report.typography import MINUS, THIN


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1234.5, "+1,234.50"),
        (-0.126, MINUS + "0.13"),
        (-0.004, "0.00"),
        (0.0, "0.00"),
        (None, "—"),
        (math.nan, "—"),
        (-math.inf, MINUS + "∞"),
    ],
)
def test_number_is_rounded_grouped_and_signed(value: float | None, written: str) -> None:
    assert typography.number(value, 2, signed=True) == written


def test_percent_keeps_its_sign_beside_it() -> None:
    assert typography.percent(0.0123, 1, signed=True) == f"+1.2{THIN}%"
    assert typography.percent(None) == "—"


def test_a_stored_sentence_breaks_within_no_figure() -> None:
    stored = "kept after 2009-01-05 (pooled t = -0.62, needed p ≤ 0.05); own skill -0.3 %"
    set_ = typography.prose(stored)
    assert set_.split() == [
        *("kept", "after", "2009-01-05", "(pooled", "t", "=", f"{MINUS}0.62,"),
        *("needed", "p", "≤", "0.05);", "own", "skill", f"{MINUS}0.3", "%"),
    ]
    assert [part for part in set_.split(" ") if "=" in part or "≤" in part or "%" in part] == [
        f"t\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{MINUS}0.62,",
        "p\N{NO-BREAK SPACE}≤\N{NO-BREAK SPACE}0.05);",
        f"{MINUS}0.3{THIN}%",
    ]


@given(st.lists(st.floats(1e-12, 1e12), min_size=1))
def test_exponent_brings_the_smallest_value_to_a_readable_size(values: list[float]) -> None:
    exponent = typography.exponent_for(values)
    smallest = min(values) / 10.0**exponent
    assert exponent <= 0
    assert smallest >= 0.1 if exponent == 0 else 0.999999 < smallest < 10.000001


def test_exponent_without_a_positive_value_is_none() -> None:
    assert typography.exponent_for([0.0, math.nan]) == 0
    assert typography.power_of_ten(0) == ""
    assert typography.power_of_ten(-4) == "×10⁻⁴"


def test_dates_and_instants() -> None:
    day = date(2013, 3, 1)
    assert typography.long_date(day) == "Friday 1 March 2013"
    assert typography.short_date(day) == "Fri 1\N{NO-BREAK SPACE}Mar"
    there = datetime(2013, 3, 1, 17, 0, tzinfo=timezone(timedelta(hours=-5)))
    assert typography.instant(there) == "2013-03-01 22:00 UTC"
    assert typography.instant(datetime(2013, 3, 1, 22, 0, 7, tzinfo=UTC)).endswith("22:00:07 UTC")


def test_a_price_has_as_many_decimals_as_its_size_deserves() -> None:
    written = [typography.price(v) for v in (0.0815, 430.47, 12345.6)]
    assert written == ["0.0815", "430.47", "12,346"]


def test_plural() -> None:
    assert typography.plural(1, "row") == "1 row"
    assert typography.plural(1200, "row") == "1,200 rows"
