"""What was not forecast stays readable, however much of it there is."""

from __future__ import annotations

from tasks.report.missing import NotForecast, by_instrument, by_reason
from tasks.report.run_view import Missing


def lacks(name: str, reason: str, *topics: tuple[str, str]) -> list[Missing]:
    return [Missing(name, target, kind, reason) for target, kind in topics]


DIRECTION = ("log_return", "direction")
RETURN = ("log_return", "many_to_many")
VOLATILITY = ("log_volatility", "many_to_many")


def test_an_instrument_is_one_line_per_reason_in_the_order_of_the_page() -> None:
    rows = [
        *lacks("B", "too short", DIRECTION, VOLATILITY, RETURN),
        *lacks("A", "too short", RETURN),
        *lacks("A", "only falls", DIRECTION),
    ]
    assert by_instrument(rows) == (
        NotForecast(("A",), ("Return",), "too short"),
        NotForecast(("A",), ("Direction",), "only falls"),
        NotForecast(("B",), ("Return", "Volatility", "Direction"), "too short"),
    )


def test_instruments_of_one_reason_share_a_line_and_the_most_come_first() -> None:
    rows = [
        *lacks("A", "stale", RETURN),
        *(one for name in "XYZ" for one in lacks(name, "too short", RETURN, DIRECTION)),
        *lacks("V", "too short", RETURN),  # for less than the others
    ]
    assert by_reason(rows) == (
        NotForecast(("X", "Y", "Z"), ("Return", "Direction"), "too short"),
        NotForecast(("A",), ("Return",), "stale"),
        NotForecast(("V",), ("Return",), "too short"),
    )


def test_an_unknown_target_goes_by_its_name() -> None:
    (entry,) = by_instrument(lacks("A", "why", ("price", "many_to_many"), RETURN))
    assert entry.topics == ("Return", "price")
