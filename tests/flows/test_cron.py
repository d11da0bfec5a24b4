from __future__ import annotations

import pytest

from flows.cron import parse_cron

EVERY_DAY = frozenset(range(7))


def test_lists_ranges_steps_and_names() -> None:
    cron = parse_cron("0,30 18-20 */10 jan,12 mon-fri")
    assert cron.minutes == {0, 30}
    assert cron.hours == {18, 19, 20}
    assert cron.days == {1, 11, 21, 31}
    assert cron.months == {1, 12}
    assert cron.weekdays == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("text", "weekdays"),
    [
        ("* * * * *", EVERY_DAY),
        ("* * * * 7", {0}),
        ("* * * * 0-6", EVERY_DAY),
        ("* * * * 5-7", {5, 6, 0}),
        ("* * * * 3/2", {3, 5, 0}),
        ("* * * * SAT", {6}),
    ],
)
def test_sunday_is_0_and_7(text: str, weekdays: set[int]) -> None:
    assert parse_cron(text).weekdays == weekdays


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0 18 * *", "received 4"),
        ("60 18 * * *", 'the minute must be from 0 to 59, received "60"'),
        ("0 24 * * *", 'the hour must be from 0 to 23, received "24"'),
        ("0 18 0 * *", "the day of the month"),
        ("0 18 * foo *", 'the month must be from 1 to 12, received "foo"'),
        ("0 20-18 * * *", "runs backwards"),
        ("*/0 18 * * *", "the step of the minute"),
        ("0 -1 * * *", "the hour"),
        ("0 ² * * *", "the hour"),
        ("0 1,,2 * * *", "the hour"),
    ],
)
def test_what_is_impossible_is_named(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace("(", r"\(")):
        parse_cron(text)
