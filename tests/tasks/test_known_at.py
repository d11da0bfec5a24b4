"""When a row became known: history in bulk, the next night, and archives."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from tasks.known_at import propose
from tasks.sessions import Calendars

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
LAG = timedelta(hours=1)
CALENDARS = Calendars.load()


def rows(*days: date) -> pa.Table:
    schema = pa.schema([("instrument", pa.string()), ("session", pa.date32())])
    return pa.table([["A"] * len(days), list(days)], schema=schema)


def proposed(new: pa.Table, stored: pa.Table, *, archive: bool) -> list[tuple[datetime, bool]]:
    table = propose(new, stored, CALENDARS, now=NOW, lag=LAG, archive=archive)
    return list(zip(table["known_at"].to_pylist(), table["assumed"].to_pylist(), strict=True))


@pytest.mark.parametrize("archive", [False, True])
def test_the_first_history_is_assumed_known_after_each_close(archive: bool) -> None:
    first, second = date(2024, 1, 2), date(2024, 1, 3)
    assert proposed(rows(first, second), rows(), archive=archive) == [
        (CALENDARS.default.close(day) + LAG, True) for day in (first, second)
    ]


def test_a_row_after_the_stored_ones_became_known_now() -> None:
    stored = rows(date(2024, 1, 2))
    assert proposed(rows(date(2024, 1, 3)), stored, archive=False) == [(NOW, False)]


def test_a_row_that_an_archive_gained_is_assumed_like_its_first_ones() -> None:
    day = date(2024, 1, 3)
    known = CALENDARS.default.close(day) + LAG
    assert proposed(rows(day), rows(date(2024, 1, 2)), archive=True) == [(known, True)]
