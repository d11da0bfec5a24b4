"""Files of another shape: wide, without a header or dates, of returns, and damaged ones."""

from __future__ import annotations

import math
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.sources.delimited import LINE, DelimitedError, read_delimited
from tasks.sources.protocol import SourceError
from tasks.sources.returns import BASE, compound
from tests.tasks.test_source_files import defects_of, files, only_problem, rows_of, write

FIRST = date(2024, 1, 2)


def closes(rows: list[dict[str, object]]) -> list[tuple[object, object, object]]:
    return [(row["instrument"], row["session"], row["close"]) for row in rows]


# ---------------------------------------------------------------------------------------- wide


WIDE = "Date,AAPL,MSFT,\n2024-01-02,1,2,\n2024-01-03,,4,\n2024-01-04,x,NA,\n2024-01-05,1,2,3,4\n"


def test_a_wide_file_has_a_row_for_every_cell_that_says_something(tmp_path: Path) -> None:
    source = files(write(tmp_path, {"all.csv": WIDE}), layout="wide")
    fetched = source.fetch()
    assert source.instruments() == ("AAPL", "MSFT")
    assert source.batch_size is None
    assert closes(rows_of(fetched)) == [
        ("AAPL", FIRST, 1.0),
        ("AAPL", date(2024, 1, 4), None),
        ("MSFT", FIRST, 2.0),
        ("MSFT", date(2024, 1, 3), 4.0),
        (None, None, None),
    ]
    assert [rule for rule, _ in defects_of(fetched)] == ["not_a_number", "malformed_line"]
    assert fetched.original.to_pylist()[1] == {
        "Date": "2024-01-04",
        "instrument": "AAPL",
        "close": "x",
        LINE: None,
    }
    assert fetched.original.to_pylist()[-1][LINE] == "2024-01-05,1,2,3,4"
    assert [row["instrument"] for row in rows_of(source.fetch(["MSFT"]))] == ["MSFT", "MSFT", None]


def test_a_wide_parquet_file_reads_only_the_instruments_asked_for(tmp_path: Path) -> None:
    table = pa.table({"date": [FIRST], "A": [1.0], "B": pa.array([2], pa.int64())})
    pq.write_table(table, tmp_path / "all.parquet")
    source = files(tmp_path, layout="wide")
    assert closes(rows_of(source.fetch())) == [("A", FIRST, 1.0), ("B", FIRST, 2.0)]
    fetched = source.fetch(["B"])
    assert closes(rows_of(fetched)) == [("B", FIRST, 2.0)]


# ------------------------------------------------------------------- without a header, or dates


def test_a_file_without_a_header_or_dates_is_an_index(tmp_path: Path) -> None:
    write(tmp_path, {"fx.txt": "0.7855,1.611\n0.7818\n0.7867,1.6293\n"})
    source = files(
        tmp_path / "fx.txt", layout="wide", header=("AU", "GB"), first_session="2024-01-02"
    )
    assert closes(rows_of(source.fetch())) == [
        ("AU", FIRST, 0.7855),
        ("AU", date(2024, 1, 3), 0.7818),  # a short line stays where it was
        ("AU", date(2024, 1, 4), 0.7867),
        ("GB", FIRST, 1.611),
        ("GB", date(2024, 1, 4), 1.6293),
    ]


def test_sessions_are_counted_for_each_instrument_of_a_long_file(tmp_path: Path) -> None:
    write(tmp_path, {"all.csv": "name,close\nA,1\nB,2\nA,3\nB,4\n"})
    fetched = files(tmp_path, first_session="2024-01-02").fetch()
    assert [row["session"].day for row in rows_of(fetched)] == [2, 2, 3, 3]


def test_dates_that_are_there_go_before_counted_ones(tmp_path: Path) -> None:
    write(tmp_path, {"A.csv": "date,close\n2024-01-05,1\n"})
    fetched = files(tmp_path, first_session="2024-01-02").fetch()
    assert rows_of(fetched)[0]["session"] == date(2024, 1, 5)
    assert "first_session is not used" in only_problem(fetched)


def test_a_header_is_stated_for_rows_that_begin_at_once(tmp_path: Path) -> None:
    write(tmp_path, {"A.csv": "2024-01-02;1,5;x\n2024-01-03;2,5;y\n"})
    fetched = files(tmp_path, header=("date", "close", "note")).fetch()
    assert closes(rows_of(fetched)) == [("A", FIRST, 1.5), ("A", date(2024, 1, 3), 2.5)]


def test_a_line_that_names_the_separator_is_no_header(tmp_path: Path) -> None:
    write(tmp_path, {"A.csv": "sep=;\nDate;Close\n2024-01-02;1,5\n"})
    assert closes(rows_of(files(tmp_path).fetch())) == [("A", FIRST, 1.5)]


# ---------------------------------------------------------------- compounding of returns


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("log", str(math.log(1.1))),
        ("log_percent", str(100 * math.log(1.1))),
        ("simple", "0.1"),
        ("simple_percent", "10"),
        ("simple", "10%"),
        ("simple_percent", "10%"),
    ],
)
def test_returns_are_compounded_whatever_the_order(tmp_path: Path, kind: str, cell: str) -> None:
    rows = [f"2024-01-{day:02},{cell}" for day in (4, 2, 3)]
    write(tmp_path, {"A.csv": "\n".join(["date,return", *rows])})
    fetched = files(tmp_path, returns=kind).fetch()
    found = {row["session"].day: row["close"] for row in rows_of(fetched)}
    assert found == pytest.approx({2: 110.0, 3: 121.0, 4: 133.1})


def test_a_row_without_a_return_has_no_close_and_the_chain_goes_on(tmp_path: Path) -> None:
    rows = ["A,2024-01-02,0.1", "A,2024-01-03,NA", "A,2024-01-04,0.1", "B,2024-01-02,0.2"]
    rows += ["A,2024-01-04,0.1", "A,2024-01-05,x", "A,,0.5", "A,2024-01-08,-1", "A,2024-01-09,0.1"]
    write(tmp_path, {"all.csv": "\n".join(["name,date,return", *rows])})
    fetched = files(tmp_path, returns="simple").fetch()
    assert [row["close"] for row in rows_of(fetched)] == [
        pytest.approx(close) if close is not None else None
        for close in (110, None, 121, 120, 121, None, None, 0.0, 133.1)
    ]
    assert defects_of(fetched) == [("not_a_number", "return is 'x', not a finite number")]


def test_returns_of_another_kind_than_stated_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"A.csv": "date,return\n2024-01-02,1.5\n2024-01-03,-0.8\n"})
    with pytest.raises(SourceError, match=r"half of its returns are above 25%.*source\.returns"):
        files(tmp_path, returns="log").fetch()
    with pytest.raises(SourceError, match=r"no column for the close.*source\.returns"):
        files(tmp_path).fetch()


@given(
    st.lists(
        st.tuples(st.sampled_from("AB"), st.integers(0, 30), st.floats(-0.2, 0.2)),
        unique_by=lambda row: row[:2],
        max_size=40,
    )
)
def test_compounding_agrees_with_a_loop(rows: list[tuple[str, int, float]]) -> None:
    names = pa.chunked_array([pa.array([name for name, _, _ in rows], pa.string())])
    days = [FIRST + timedelta(days=day) for _, day, _ in rows]
    found = compound(
        names,
        pa.chunked_array([pa.array(days, pa.date32())]),
        np.array([step for _, _, step in rows], dtype=float),
        "simple",
    )
    expected = {}
    level = {"A": BASE, "B": BASE}
    for name, day, step in sorted(rows):
        level[name] *= 1 + step
        expected[name, day] = level[name]
    assert found.tolist() == pytest.approx([expected[name, day] for name, day, _ in rows])


# ------------------------------------------------------------------------------------- damage


HEADER, ROW = "Date,Close", "2024-01-02,1"


def test_lines_stay_in_their_order_whatever_is_wrong_with_them() -> None:
    lines = ["a,1", "b", "", "c,3,,", 'd,"4', "e,5,6", "", "f,7", "g" * (1 << 21), "h,8"]
    found = read_delimited("\n".join(["name,value", *lines]).encode())
    cells = [row["name"] or row[LINE] for row in found.rows.to_pylist()]
    assert cells == ["a", "b", "c", 'd,"4', "e,5,6", "f", "g" * (1 << 21), "h"]
    assert found.malformed.tolist() == [False, False, False, True, True, False, True, False]


@given(st.lists(st.text(max_size=30), max_size=30), st.sampled_from([",", ";", "\t", "|"]))
def test_no_line_is_lost(lines: list[str], separator: str) -> None:
    text = "\n".join([f"a{separator}b", *lines])
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        found = read_delimited(text.encode(errors="replace"), separator)
    except DelimitedError as error:
        pytest.fail(str(error))
    assert found.rows.num_rows == sum(bool(line) for line in plain.split("\n")[1:])


@given(st.binary(max_size=200))
def test_any_bytes_are_rows_or_an_error(data: bytes) -> None:
    try:
        found = read_delimited(data)
    except DelimitedError:
        return
    assert len(found.malformed) == found.rows.num_rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + b"x" * 50, "it is a ZIP archive"),
        (f"{HEADER}\n{HEADER}\n".encode(), "holds no"),
        (b"\x1f\x8b\x08\x00", "cut off|damaged"),
    ],
)
def test_damage_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "A.csv").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        files(tmp_path).fetch()


def test_damage_within_a_file_is_held_row_by_row(tmp_path: Path) -> None:
    lines = [HEADER, ROW, HEADER, "2024-01-03,2\x00", "2024-01-04,3" + "\x00" * 9, "2024-01-05,4"]
    data = "\n".join(lines).encode() + b"\n2024-01-08,5\xe2\x82\n"  # half a character
    (tmp_path / "A.csv").write_bytes(data)
    fetched = files(tmp_path).fetch()
    assert [row["close"] for row in rows_of(fetched)] == [1.0, None, None, None, 4.0, None]
    assert len(defects_of(fetched)) == 4


def test_one_broken_character_does_not_change_the_others(tmp_path: Path) -> None:
    text = "Data;Último;Máxima\n2024-01-02;1,5;2,5\n2024-01-03;1,5;2,5\n"
    data = text.encode().replace(b"2,5\n2024-01-03", b"2,5\xff\n2024-01-03")
    (tmp_path / "A.csv").write_bytes(data)
    assert [row["high"] for row in rows_of(files(tmp_path).fetch())] == [None, 2.5]
    (tmp_path / "A.csv").write_bytes(text.encode("latin-1"))
    assert [row["high"] for row in rows_of(files(tmp_path).fetch())] == [2.5, 2.5]
