"""Parquet in parts: only the row groups and columns that are needed, and nothing lost by it."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.sources import Source
from tests.tasks.test_source_files import CSV, defects_of, files, only_problem, rows_of, write

DAYS = [date(2024, 1, 1) + timedelta(days=day) for day in range(20)]


def long_table(names: list[str | None]) -> pa.Table:
    return pa.table(
        {
            "date": pa.array([day for _ in names for day in DAYS], pa.date32()),
            "symbol": pa.array([name for name in names for _ in DAYS], pa.string()),
            "close": pa.array([float(place) for place in range(len(names) * len(DAYS))]),
            "note": pa.array(["what nobody needs"] * (len(names) * len(DAYS))),
        }
    )


def groups_read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[str, ...]]]:
    """Row groups as they are read from now on, with the columns."""
    seen: list[tuple[int, tuple[str, ...]]] = []
    real = pq.ParquetFile.read_row_group

    def read_row_group(
        self: pq.ParquetFile, i: int, columns: list[str] | None = None, **more: object
    ) -> pa.Table:
        seen.append((i, tuple(columns or ())))
        return real(self, i, columns=columns, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", read_row_group)
    return seen


def names_of(source: Source, *asked: str) -> set[str | None]:
    return {row["instrument"] for row in rows_of(source.fetch(asked))}


def test_only_the_row_groups_and_columns_needed_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(long_table(list("ABCDE")), tmp_path / "all.parquet", row_group_size=len(DAYS))
    source = files(tmp_path)
    assert source.instruments() == tuple("ABCDE")
    assert source.batch_size == 250
    seen = groups_read(monkeypatch)
    fetched = source.fetch(["D", "B"])
    assert [row["close"] for row in rows_of(fetched)] == [*range(20, 40), *range(60, 80)]
    assert seen == [(1, ("date", "symbol", "close")), (3, ("date", "symbol", "close"))]
    assert fetched.original.column_names == ["date", "symbol", "close"]


def test_a_file_whose_groups_hold_every_instrument_is_read_in_larger_batches(
    tmp_path: Path,
) -> None:
    table = long_table([f"I{number:03d}" for number in range(501)]).sort_by("date")
    pq.write_table(table, tmp_path / "all.parquet", row_group_size=501)
    assert files(tmp_path).batch_size == 1000


def test_batches_suit_what_the_files_are(tmp_path: Path) -> None:
    write(tmp_path, {"A.csv": CSV, "B.csv": CSV})
    assert files(tmp_path).batch_size == 250
    write(tmp_path, {"all.csv": "symbol,date,close\nC,2024-01-02,1\n"})
    assert files(tmp_path).batch_size is None
    assert files(tmp_path / "nowhere").batch_size is None


def test_sessions_out_of_the_bounds_are_not_read_where_the_file_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = long_table(["A"]).drop_columns(["symbol"])
    pq.write_table(table, tmp_path / "A.parquet", row_group_size=5)
    asked: list[list[int]] = []
    real = pq.ParquetFile.read_row_groups

    def read_row_groups(self: pq.ParquetFile, groups: list[int], **more: object) -> pa.Table:
        asked.append(groups)
        return real(self, groups, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", read_row_groups)
    found = files(tmp_path).fetch(["A"], first=DAYS[7], last=DAYS[11])
    assert [row["session"] for row in rows_of(found)] == DAYS[7:12]
    assert asked == [[1, 2]]
    assert rows_of(files(tmp_path).fetch(["A"], first=date(2030, 1, 1))) == []


def test_names_with_blanks_and_rows_without_a_name_are_not_lost(tmp_path: Path) -> None:
    table = long_table(["A", " B ", None, "", "C"])
    pq.write_table(table, tmp_path / "all.parquet", row_group_size=len(DAYS))
    source = files(tmp_path)
    assert source.instruments() == ("A", "B", "C")
    assert names_of(source, "B") == {"B", None}
    assert len(rows_of(source.fetch(["B"]))) == 3 * len(DAYS)
    assert len(rows_of(source.fetch())) == 5 * len(DAYS)


@given(
    rows=st.lists(st.tuples(st.sampled_from(["A", "B", " B", "C", None, "NaN"]), st.booleans())),
    group=st.integers(1, 7),
    kind=st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]),
)
@settings(max_examples=40)
def test_a_part_is_what_the_whole_holds_of_it(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str | None, bool]],
    group: int,
    kind: pa.DataType,
) -> None:
    folder = tmp_path_factory.mktemp("long")
    names = pa.array([name for name, _ in rows], pa.string()).cast(kind)
    closes = pa.array([float(place) if there else None for place, (_, there) in enumerate(rows)])
    days = pa.array([DAYS[place % len(DAYS)] for place in range(len(rows))], pa.date32())
    table = pa.table({"ticker": names, "date": days, "close": closes})
    pq.write_table(table, folder / "all.parquet", row_group_size=group)
    # A row so that the file is never empty.
    pq.write_table(pa.table({"date": DAYS[:1], "close": [1.0]}), folder / "Z.parquet")
    whole = [str(row) for row in rows_of(files(folder).fetch()) if row["instrument"] != "Z"]
    for asked in (["A"], ["B", "C"], ["Q"]):
        part = [str(row) for row in rows_of(files(folder).fetch(asked))]
        told = [f"'instrument': {name!r}" for name in (*asked, None)]
        assert part == [row for row in whole if any(one in row for one in told)]


def test_types_that_differ_between_files_are_one_fetch(tmp_path: Path) -> None:
    pq.write_table(pa.table({"date": DAYS[:1], "close": pa.array([1.0])}), tmp_path / "A.parquet")
    pq.write_table(
        pa.table(
            {
                "date": pa.array([DAYS[0]]).cast(pa.timestamp("us")),
                "close": pa.array([2], pa.int32()),
            }
        ),
        tmp_path / "B.parquet",
    )
    fetched = files(tmp_path).fetch()
    assert [row["close"] for row in rows_of(fetched)] == [1.0, 2.0]
    assert fetched.original["close"].to_pylist() == [1.0, 2.0]  # numbers stay numbers
    assert len(fetched.original["date"].to_pylist()) == 2


def test_text_in_parquet_is_read_as_in_a_csv(tmp_path: Path) -> None:
    table = pa.table({"Date": ["31.12.2024", "x"], "Close": ["1.234,5", "7,25"]})
    pq.write_table(table, tmp_path / "A.parquet")
    fetched = files(tmp_path).fetch()
    assert [row["close"] for row in rows_of(fetched)] == [1234.5, 7.25]
    assert rows_of(fetched)[0]["session"] == date(2024, 12, 31)
    assert defects_of(fetched) == [("not_a_date", "Date is 'x', not a date")]


def test_two_columns_of_one_name_are_told(tmp_path: Path) -> None:
    columns = [pa.array(DAYS[:1]), pa.array([1.0]), pa.array([2.0])]
    table = pa.table(columns, names=["date", "close", "close"])
    pq.write_table(table, tmp_path / "A.parquet")
    write(tmp_path, {"B.csv": CSV})
    fetched = files(tmp_path).fetch()
    assert "names 'close' more than once" in only_problem(fetched)


def test_a_file_that_can_not_be_read_is_told_once_not_with_every_batch(tmp_path: Path) -> None:
    write(tmp_path, {"A.csv": CSV, "B.csv": CSV, "BAD.csv": ""})
    source = files(tmp_path)
    assert "BAD.csv was not read" in only_problem(source.fetch(["A"]))
    assert source.fetch(["B"]).problems == ()
    assert "BAD.csv was not read" in only_problem(source.fetch(["A", "BAD"]))
