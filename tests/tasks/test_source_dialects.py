"""How numbers and dates are written: found in the file as a whole, stated, or refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.sources.cells import as_text
from tasks.sources.dates import AmbiguousDatesError, read_sessions
from tasks.sources.numbers import AmbiguousNumbersError, find_marks, read_numbers
from tasks.sources.protocol import SourceError
from tests.tasks.test_source_files import defects_of, files, rows_of, write


def texts(cells: Sequence[str | None]) -> pa.ChunkedArray:
    return as_text(pa.chunked_array([pa.array(cells, pa.string())]))


def numbers(*cells: str, others: Sequence[str] = (), **stated: str | bool) -> list[float | None]:
    column = texts(cells)
    marks = find_marks({"Close": column}, [texts(others)] if others else [], **stated)  # type: ignore[arg-type]
    found: list[float | None] = read_numbers(column, marks, suffixes=True).values.to_pylist()
    return found


# ------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1.5", "2.25"], [1.5, 2.25]),
        (["1,5", "2,25"], [1.5, 2.25]),
        (["1.234,5", "999,25"], [1234.5, 999.25]),
        (["1,234.5", "999.25"], [1234.5, 999.25]),
        (["1.234.567", "2"], [1234567.0, 2.0]),
        (["0.125", "112.253"], [0.125, 112.253]),  # nothing groups digits after a zero
        (["0,125", "112,253"], [0.125, 112.253]),
        (["1234.567", "112.253"], [1234.567, 112.253]),  # four digits are not grouped
        (["25,04M", "112.253", "3B"], [25_040_000.0, 112_253.0, 3e9]),
        (["1 234,5", "1\u00a0234,25", "1\u202f234.567,5"], [1234.5, 1234.25, None]),
        (["1'234.5", "1\u2019234.25"], [1234.5, 1234.25]),
        (["$1,234.50", "€2.5", "-$3.25"], [1234.5, 2.5, -3.25]),
        (["1.5e3", "2.5E-1"], [1500.0, 0.25]),
        (["12345.5", "12,345"], [12345.5, None]),  # most are not grouped: a typing error
        (["7", "8"], [7.0, 8.0]),
    ],
)
def test_a_file_tells_its_decimal_mark(cells: list[str], values: list[float | None]) -> None:
    assert numbers(*cells) == values


@pytest.mark.parametrize("cells", [["112.253", "99.773"], ["1,234", "5,678"]])
def test_numbers_that_can_be_read_in_two_ways_are_refused(cells: list[str]) -> None:
    with pytest.raises(AmbiguousNumbersError, match=r"'Close'.*State source\.decimal"):
        numbers(*cells)


def test_other_columns_of_the_file_tell_the_mark() -> None:
    assert numbers("112.253", "99.773", others=["2,26%", "-3,35%"]) == [112_253.0, 99_773.0]
    assert numbers("112.253", "99.773", others=["0.5", "1.25"]) == [112.253, 99.773]


def test_digits_that_are_not_grouped_tell_a_decimal_point_but_not_in_a_foreign_file() -> None:
    columns = {"Close": texts(["112.253"]), "Volume": texts(["25040000"])}
    assert find_marks(columns).decimal == "."
    with pytest.raises(AmbiguousNumbersError):
        find_marks(columns, foreign=True)


def test_stated_marks_are_not_looked_for() -> None:
    assert numbers("112.253", decimal=",") == [112_253.0]
    assert numbers("112.253", decimal=".") == [112.253]
    assert numbers("112.253", thousands=".") == [112_253.0]
    assert numbers("1,234", decimal=".", thousands="") == [None]


def test_two_decimal_marks_in_one_file_are_refused() -> None:
    with pytest.raises(
        AmbiguousNumbersError, match="2 of its numbers.*point and 2 a decimal comma"
    ):
        numbers("1.5", "2.5", "1,5", "2,5")
    assert numbers(*["1.5"] * 20, "1,5")[-1] is None  # one of many is a typing error


@given(
    values=st.lists(
        st.decimals(min_value=0, max_value=10_000_000, places=2), min_size=1, max_size=20
    ),
    decimal=st.sampled_from(".,"),
    grouping=st.sampled_from(["", " ", "'", "other"]),
)
def test_what_is_written_in_a_dialect_is_read_back(
    values: list[object], decimal: str, grouping: str
) -> None:
    group = {".": ",", ",": "."}[decimal] if grouping == "other" else grouping
    cells = [
        f"{value:,.2f}".replace(",", "\0").replace(".", decimal).replace("\0", group)
        for value in values
    ]
    assert numbers(*cells) == [float(str(value)) for value in values]


@given(
    st.lists(st.integers(1, 10_000_000), min_size=1, max_size=20),
    st.sampled_from([",", "."]),
)
def test_grouped_whole_numbers_are_read_or_refused_but_never_a_thousandth(
    values: list[int], mark: str
) -> None:
    cells = [f"{value:,}".replace(",", mark) for value in values]
    try:
        found = numbers(*cells)
    except AmbiguousNumbersError:
        return
    assert found == [float(value) for value in values]


@given(st.lists(st.text(max_size=12), max_size=30))
def test_any_text_is_a_number_nothing_or_wrong(cells: list[str]) -> None:
    column = pa.chunked_array([pa.array(cells, pa.string())])
    try:
        marks = find_marks({"Close": as_text(column)})
    except AmbiguousNumbersError:
        return
    read = read_numbers(column, marks, suffixes=True)
    assert len(read.values) == len(read.wrong) == len(cells)
    present = as_text(column).is_valid().to_numpy()
    assert (present == (read.values.is_valid().to_numpy() | read.wrong)).all()


def test_an_export_in_portuguese_is_read(tmp_path: Path) -> None:
    lines = [
        '\ufeff"Data","Último","Abertura","Máxima","Mínima","Vol.","Var%"',
        '"11.11.2022","112.253","109.775","113.010","109.408","25,04M","2,26%"',
        '"10.11.2022","99.775","100.579","101.579","98.516","26,03M","-3,35%"',
    ]
    fetched = files(write(tmp_path, {"IBOV.csv": "\r\n".join(lines)})).fetch()
    assert [list(row.values())[1:] for row in rows_of(fetched)] == [
        [date(2022, 11, 11), 109_775.0, 113_010.0, 109_408.0, 112_253.0, 25_040_000.0],
        [date(2022, 11, 10), 100_579.0, 101_579.0, 98_516.0, 99_775.0, 26_030_000.0],
    ]


def test_a_file_that_leaves_its_numbers_open_is_told(tmp_path: Path) -> None:
    text = "Data;Zamknięcie\n2024-01-02;112.253\n2024-01-03;99.773\n"
    write(tmp_path, {"A.csv": text})
    with pytest.raises(SourceError, match=r"A\.csv was not read.*'112\.253'.*source\.decimal"):
        files(tmp_path).fetch()
    assert rows_of(files(tmp_path, decimal=",").fetch())[0]["close"] == 112_253.0


# --------------------------------------------------------------------------------------- dates


def sessions(*cells: str | None, **stated: str) -> list[date | None]:
    column = pa.chunked_array([pa.array(cells, pa.string())])
    found: list[date | None] = read_sessions(column, **stated).values.to_pylist()
    return found


JANUARY = date(2024, 1, 2)


@pytest.mark.parametrize(
    "cells",
    [
        ["2024-01-02"],
        ["2024/01/02", "2024.1.2"],
        ["20240102"],
        ["1/2/2024", "1/31/2024"],
        ["2/1/2024", "31/1/2024"],
        ["02-01-24", "31-01-24"],
        ["02.01.2024"],
        ["02 Jan 2024"],
        ["2-Jan-24"],
        ["Jan 2, 2024"],
        ["January 2, 2024"],
        ["2024-01-02T23:59:59.999Z"],
        ["1/2/2024 4:00 PM", "1/31/2024 4:00 PM"],
        ["1704153600", "1704240000"],
        ["1704153600000"],
        ["1704153600000000"],
        ["1704153600000000000"],
        ["1704153600.0"],
    ],
)
def test_a_column_tells_how_it_writes_dates(cells: list[str]) -> None:
    assert sessions(*cells)[0] == JANUARY


@pytest.mark.parametrize("cells", [["01/02/2024", "01/03/2024"], ["1-2-24"]])
def test_dates_that_can_be_read_in_two_ways_are_refused(cells: list[str]) -> None:
    with pytest.raises(AmbiguousDatesError, match=r"source\.date_format"):
        sessions(*cells)


def test_dates_of_both_orders_are_refused_but_one_of_many_is_held() -> None:
    with pytest.raises(AmbiguousDatesError, match="1 of its dates can only have the day first"):
        sessions("31/01/2024", "01/31/2024")
    found = sessions(*[f"{day}/01/2024" for day in range(1, 32)], "01/31/2024")
    assert found[:31] == [date(2024, 1, day) for day in range(1, 32)]
    assert found[31] is None


def test_an_ambiguous_file_names_the_field(tmp_path: Path) -> None:
    write(tmp_path, {"A.csv": "Date,Close\n01/02/2024,1\n01/03/2024,2\n"})
    with pytest.raises(SourceError, match=r"'Date'.*'01/02/2024'.*source\.date_format"):
        files(tmp_path).fetch()
    assert rows_of(files(tmp_path, date_format="%m/%d/%Y").fetch())[0]["session"] == JANUARY


@pytest.mark.parametrize("written", ["2024-02-30", "32/13/2024", "0001-01-01", "9999-12-31", "x"])
def test_impossible_dates_are_wrong(written: str) -> None:
    read = read_sessions(pa.chunked_array([pa.array([written, "2024-01-02", None])]))
    assert read.values.to_pylist() == [None, JANUARY, None]
    assert read.wrong.tolist() == [True, False, False]


@given(
    st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 40), st.integers(0, 40)), min_size=1)
)
def test_the_usual_way_to_write_a_date_means_what_the_others_do(
    parts: list[tuple[int, ...]],
) -> None:
    plain, slashed = (
        read_sessions(
            texts([f"{year:04}{mark}{month:02}{mark}{day:02}" for year, month, day in parts])
        )
        for mark in "-/"
    )
    assert plain.values == slashed.values
    assert plain.wrong.tolist() == slashed.wrong.tolist()


@pytest.mark.parametrize(
    ("written", "zone", "expected"),
    [
        ("2024-01-02T02:00:00Z", None, JANUARY),
        ("2024-01-02T02:00:00Z", "America/New_York", date(2024, 1, 1)),
        ("2024-01-02 00:00:00+09:00", "Asia/Tokyo", JANUARY),
        ("2024-01-01 23:30:00-0500", "Europe/London", JANUARY),
        ("2024-01-02 02:00:00", "America/New_York", JANUARY),  # no zone: as it is written
        ("1704160800", "America/New_York", date(2024, 1, 1)),
        ("1704160800", None, JANUARY),
        ("2024-03-10T06:30:00Z", "America/New_York", date(2024, 3, 10)),
        ("2024-03-11T03:30:00Z", "America/New_York", date(2024, 3, 10)),  # after the clocks went on
    ],
)
def test_the_date_of_an_instant_counts_in_the_stated_zone(
    written: str, zone: str | None, expected: date
) -> None:
    stated = {} if zone is None else {"timezone": zone}
    assert sessions(written, **stated) == [expected]


@given(
    st.lists(st.integers(631_152_000, 4_102_444_800), min_size=1, max_size=20),
    st.sampled_from(["America/New_York", "Asia/Tokyo", "Europe/London", "Australia/Sydney"]),
    st.sampled_from(["text", "epoch", "timestamp"]),
)
def test_a_zone_agrees_with_the_standard_library(epochs: list[int], zone: str, kind: str) -> None:
    instants = [datetime.fromtimestamp(epoch, UTC) for epoch in epochs]
    array = {
        "text": pa.array([when.isoformat() for when in instants]),
        "epoch": pa.array(epochs),
        "timestamp": pa.array(instants, pa.timestamp("ms", tz="UTC")),
    }[kind]
    expected = [when.astimezone(ZoneInfo(zone)).date() for when in instants]
    assert read_sessions(pa.chunked_array([array]), timezone=zone).values.to_pylist() == expected


def test_zones_that_change_within_a_file_keep_their_own_date(tmp_path: Path) -> None:
    lines = ["Date,Close", "2024-03-08 00:00:00-05:00,1", "2024-03-11 00:00:00-04:00,2"]
    write(tmp_path, {"A.csv": "\n".join(lines)})
    for options in ({}, {"date_format": "%Y-%m-%d %H:%M:%S%z"}):
        fetched = files(tmp_path, **options).fetch()
        found = [row["session"] for row in rows_of(fetched)]
        assert found == [date(2024, 3, 8), date(2024, 3, 11)]
        assert fetched.problems == ()


def test_integers_of_a_parquet_file_are_dates_or_epochs() -> None:
    column = pa.chunked_array([pa.array([20240102, None], pa.int32())])
    assert read_sessions(column).values.to_pylist() == [JANUARY, None]
    column = pa.chunked_array([pa.array([1704153600.0, 1704240000.0])])
    assert read_sessions(column).values.to_pylist() == [JANUARY, date(2024, 1, 3)]


@given(st.lists(st.none() | st.text(max_size=20), max_size=30))
def test_any_text_is_a_date_nothing_or_wrong(cells: list[str | None]) -> None:
    column = pa.chunked_array([pa.array(cells, pa.string())])
    try:
        read = read_sessions(column)
    except AmbiguousDatesError:
        return
    present = as_text(column).is_valid().to_numpy()
    assert (present == (read.values.is_valid().to_numpy() | read.wrong)).all()


# ------------------------------------------------------------------------------------ intraday


def test_rows_of_times_within_a_session_are_held_and_told(tmp_path: Path) -> None:
    minutes = ["2024-01-02 15:58:00", "2024-01-02 15:59:00"]
    minutes += [f"2024-01-03 09:3{minute}:00" for minute in range(5)]
    minutes += ["2024-01-04 09:30:00"]  # alone in its session, and no bar either
    lines = ["Date,Close", *(f"{when},{place}" for place, when in enumerate(minutes))]
    write(tmp_path, {"A.csv": "\n".join(lines)})
    fetched = files(tmp_path).fetch()
    assert [rule for rule, _ in defects_of(fetched)] == ["duplicate_session"] * 8
    assert "A.csv: 8 of its rows are of times within a session" in fetched.problems[0].message


def test_daily_rows_at_a_time_of_day_are_bars(tmp_path: Path) -> None:
    days = [f"2024-01-{day:02} 16:00:00,1" for day in range(1, 10)]
    write(tmp_path, {"A.csv": "\n".join(["Date,Close", *days, "2024-01-09 16:01:00,2"])})
    fetched = files(tmp_path).fetch()
    assert defects_of(fetched) == []
    assert fetched.problems == ()
