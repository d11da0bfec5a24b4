from __future__ import annotations

import gzip
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from tasks.sources import Fetched, Source, SourceConfig, SourceError, open_source

HEADER = "Date,Open,High,Low,Close,Volume"
ROWS = ["2024-01-02,10,11,9,10.5,100", "2024-01-03,10.5,12,10,11.5,200"]
CSV = "\n".join([HEADER, *ROWS]) + "\n"
FIRST = {
    "session": date(2024, 1, 2),
    "open": 10.0,
    "high": 11.0,
    "low": 9.0,
    "close": 10.5,
    "volume": 100.0,
}


def files(path: Path | str, **options: object) -> Source:
    return open_source(SourceConfig.model_validate({"name": "files", "path": str(path), **options}))


def write(folder: Path, contents: Mapping[str, str | bytes]) -> Path:
    for name, content in contents.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


def only_problem(fetched: Fetched) -> str:
    assert len(fetched.problems) == 1
    return fetched.problems[0].message


def rows_of(fetched: Fetched) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = fetched.bars.to_pylist()
    return rows


def defects_of(fetched: Fetched) -> list[tuple[str, str]]:
    if fetched.defects is None:
        return []
    return [(row["rule"], row["reason"]) for row in fetched.defects.to_pylist() if row["rule"]]


# ------------------------------------------------------------------------------- what is found


def test_one_file_per_instrument_takes_its_name(tmp_path: Path) -> None:
    write(tmp_path, {"AAPL.csv": CSV, "BRK.B.csv.gz": CSV, "notes.txt": "x", ".hidden.csv": "x"})
    pq.write_table(pa.table({"Date": [date(2024, 1, 2)], "Close": [10.5]}), tmp_path / "C.parquet")
    source = files(tmp_path)
    assert isinstance(source, Source)
    assert source.instruments() == ("AAPL", "BRK.B", "C")
    fetched = source.fetch()
    assert [row["instrument"] for row in rows_of(fetched)] == ["AAPL"] * 2 + ["BRK.B"] * 2 + ["C"]
    assert rows_of(fetched)[0] == {"instrument": "AAPL", **FIRST}
    assert fetched.problems == ()


@pytest.mark.parametrize("column", ["symbol", "Ticker", "NAME", "Instrument"])
def test_a_long_file_names_its_instruments(tmp_path: Path, column: str) -> None:
    lines = [f"{column},{HEADER}", f"B,{ROWS[0]}", f"A,{ROWS[0]}", f"A,{ROWS[1]}"]
    write(tmp_path, {"all.csv": "\n".join(lines)})
    source = files(tmp_path / "all.csv")
    assert source.instruments() == ("A", "B")
    assert [row["instrument"] for row in rows_of(source.fetch())] == ["B", "A", "A"]
    assert len(rows_of(source.fetch(["B"]))) == 1


def test_rows_that_do_not_say_whose_or_when_are_always_brought(tmp_path: Path) -> None:
    lines = ["symbol,date,close", "A,2024-01-02,1", ",2024-01-02,1", "A,soon,1", "B,2024-01-02,1"]
    write(tmp_path, {"all.csv": "\n".join(lines)})
    fetched = files(tmp_path).fetch(["A"], first=date(2024, 1, 1), last=date(2024, 1, 31))
    assert [(row["instrument"], row["session"]) for row in rows_of(fetched)] == [
        ("A", date(2024, 1, 2)),
        (None, date(2024, 1, 2)),
        ("A", None),
    ]


def test_a_pattern_finds_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path, {"A.csv": CSV, "B.csv": CSV})
    write(tmp_path / "deep", {"C.csv": CSV})
    assert files(tmp_path / "A*.csv").instruments() == ("A",)
    assert files(tmp_path / "**" / "*.csv").instruments() == ("A", "B", "C")
    assert files(tmp_path).instruments() == ("A", "B")


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"A.csv": CSV, "B.csv": "Date,Close\nsoon,much\n"})
    fetched = files(tmp_path).fetch(["A"], first=date(2024, 1, 3))
    assert [(row["instrument"], row["session"]) for row in rows_of(fetched)] == [
        ("A", date(2024, 1, 3))
    ]
    assert fetched.problems == ()
    assert len(rows_of(files(tmp_path).fetch(["A"], last=date(2024, 1, 2)))) == 1
    assert rows_of(files(tmp_path).fetch(["NOPE"])) == []


def test_what_ordinary_exports_are_is_the_default(tmp_path: Path) -> None:
    source = files(write(tmp_path, {"A.csv": CSV}))
    assert (source.name, source.price_basis, source.archive) == ("files", "split_adjusted", False)
    assert source.lag == timedelta(hours=1)
    source = files(tmp_path, price_basis="raw", archive=True, lag_minutes=5)
    assert (source.price_basis, source.archive, source.lag) == ("raw", True, timedelta(minutes=5))


# ------------------------------------------------------------------------------ how it is read


@pytest.mark.parametrize(
    "header",
    [
        "DATE,OPEN,HIGH,LOW,CLOSE,VOLUME",
        "session, open , high,low,close,volume",
        "Timestamp;Open;High;Low;Close;Volume",
        "date\topen\thigh\tlow\tclose\tvolume",
        "\ufeffDate,Open,High,Low,Close,Volume",
        '"Date","Open","High","Low","Close","Volume"',
    ],
)
def test_headers_and_separators_are_recognised(tmp_path: Path, header: str) -> None:
    separator = next(mark for mark in ";\t," if mark in header)
    lines = [header, *(row.replace(",", separator) for row in ROWS)]
    fetched = files(write(tmp_path, {"A.csv": "\r\n".join(lines) + "\r\n"})).fetch()
    assert rows_of(fetched)[0] == {"instrument": "A", **FIRST}
    assert len(rows_of(fetched)) == 2


def test_stated_headers_go_first(tmp_path: Path) -> None:
    text = "Data,Otwarcie,Zamkniecie,Close\n2024-01-02,1,2,9\n"
    columns = {"session": "Data", "open": "otwarcie", "close": "Zamkniecie"}
    row = rows_of(files(write(tmp_path, {"A.csv": text}), columns=columns).fetch())[0]
    assert (row["open"], row["high"], row["close"]) == (1.0, None, 2.0)


def test_an_empty_header_leaves_a_column_out(tmp_path: Path) -> None:
    text = "Date,Close,Volume,Name\n2024-01-02,2,n.a. today,Apple Inc.\n"
    source = files(write(tmp_path, {"A.csv": text}), columns={"volume": "", "instrument": ""})
    assert rows_of(source.fetch())[0] == {
        "instrument": "A",
        "session": date(2024, 1, 2),
        "open": None,
        "high": None,
        "low": None,
        "close": 2.0,
        "volume": None,
    }


def test_a_stated_header_that_a_file_lacks_is_told(tmp_path: Path) -> None:
    source = files(write(tmp_path, {"A.csv": CSV}), columns={"close": "Clsoe"})
    fetched = source.fetch()
    assert "no column 'Clsoe', which source.columns.close names; 'Close' is taken instead" in (
        only_problem(fetched)
    )
    assert rows_of(fetched)[0]["close"] == 10.5
    with pytest.raises(SourceError, match="no column for the close"):
        files(
            write(tmp_path, {"A.csv": "Date,Settle\n2024-01-02,1"}), columns={"close": "x"}
        ).fetch()


@pytest.mark.parametrize(
    ("written", "date_format"),
    [
        ("2024-01-02", None),
        ("20240102", None),
        ("2024-01-02 00:00:00+02:00", None),  # the local date, as Yahoo writes it
        ("2024-01-02T16:00:00Z", None),
        ("01/02/2024", "%m/%d/%Y"),
        ("02.01.2024", "%d.%m.%Y"),
        ("2024-01-02", "%d.%m.%Y"),  # ISO is never mistaken
    ],
)
def test_dates_are_read(tmp_path: Path, written: str, date_format: str | None) -> None:
    write(tmp_path, {"A.csv": f"Date,Close\n{written},1\n"})
    source = files(tmp_path, date_format=date_format)
    assert rows_of(source.fetch())[0]["session"] == date(2024, 1, 2)


@pytest.mark.parametrize("written", ["", "-", "NaN", "nan", "null", "N/A", "None", "#N/A", "  "])
def test_nothing_is_nothing(tmp_path: Path, written: str) -> None:
    write(tmp_path, {"A.csv": f"Date,Close,Volume\n2024-01-02,1,{written}\n2024-01-03,2,7\n"})
    fetched = files(tmp_path).fetch()
    assert [row["volume"] for row in rows_of(fetched)] == [None, 7.0]
    assert defects_of(fetched) == []


@pytest.mark.parametrize(
    ("written", "value"), [("1e2", 100.0), (".5", 0.5), ("+3.", 3.0), ("-2", -2.0), (" 7 ", 7.0)]
)
def test_numbers_are_read(tmp_path: Path, written: str, value: float) -> None:
    write(tmp_path, {"A.csv": f"Date,Close\n2024-01-02,{written}\n"})
    assert rows_of(files(tmp_path).fetch())[0]["close"] == value


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    rome = timezone(timedelta(hours=2))
    when = [datetime(2024, 1, 2, tzinfo=rome), datetime(2024, 1, 3, tzinfo=rome)]
    table = pa.table(
        {
            "timestamp": pa.array(when, pa.timestamp("ns", tz="+02:00")),
            "close": pa.array([1, 2], pa.int64()),
            "volume": pa.array([float("nan"), 5.0]),
            "symbol": pa.array(["A", "B"]).dictionary_encode(),
            "tags": pa.array([["x"], ["y"]]),
        }
    )
    pq.write_table(table, tmp_path / "all.parquet")
    fetched = files(tmp_path).fetch()
    found = [(row["instrument"], row["session"], row["close"]) for row in rows_of(fetched)]
    assert found == [("A", date(2024, 1, 2), 1.0), ("B", date(2024, 1, 3), 2.0)]
    assert rows_of(fetched)[0]["volume"] is None


def test_files_of_different_columns_and_types_are_one_fetch(tmp_path: Path) -> None:
    write(tmp_path, {"A.csv": CSV, "B.csv": "Date,Close,Note\n2024-01-02,1,hm\n"})
    pq.write_table(pa.table({"Date": [date(2024, 1, 2)], "Close": [10.5]}), tmp_path / "C.parquet")
    fetched = files(tmp_path).fetch()
    originals = [
        {name: cell for name, cell in row.items() if cell is not None}
        for row in fetched.original.to_pylist()
    ]
    assert originals[0]["Open"] == "10"
    assert originals[2] == {"Date": "2024-01-02", "Close": "1", "Note": "hm"}
    assert originals[3] == {"Date": "2024-01-02", "Close": "10.5"}


# ------------------------------------------------------------------- actions and adjusted closes


ACTIONS_CSV = """Date,Close,Adj Close,Dividends,Stock Splits
2024-01-02,100,49,0,0
2024-01-03,100,49.5,1,0.0
2024-01-04,50,49.5,,2
2024-01-05,50,49.5,0,1
"""


def test_dividend_and_split_columns_are_actions(tmp_path: Path) -> None:
    fetched = files(write(tmp_path, {"A.csv": ACTIONS_CSV})).fetch()
    found = [(row["session"], row["action"], row["value"]) for row in fetched.actions.to_pylist()]
    assert found == [(date(2024, 1, 3), "dividend", 1.0), (date(2024, 1, 4), "split", 2.0)]
    assert fetched.adjusted_close is not None
    assert fetched.adjusted_close.to_pylist() == [49.0, 49.5, 49.5, 49.5]


def test_adjusted_closes_derive_actions_when_asked(tmp_path: Path) -> None:
    text = "Date,Close,Adj Close\n2024-01-02,100,25\n2024-01-03,50,25\n2024-01-04,50,25.5\n"
    source = files(write(tmp_path, {"A.csv": text}), adjusted_close="derive", price_basis="raw")
    found = [(row["session"], row["action"]) for row in source.fetch().actions.to_pylist()]
    assert found == [(date(2024, 1, 3), "split"), (date(2024, 1, 4), "dividend")]
    assert files(tmp_path).fetch().actions.num_rows == 0
    assert files(tmp_path, adjusted_close="ignore").fetch().adjusted_close is None


def test_deriving_leaves_stated_actions_of_files_without_adjusted_closes(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "A.csv": "Date,Close,Adj Close\n2024-01-02,100,50\n2024-01-03,100,51\n",
            "B.csv": "Date,Close,Dividends\n2024-01-02,100,0\n2024-01-03,100,2\n",
        },
    )
    actions = files(tmp_path, adjusted_close="derive").fetch().actions.to_pylist()
    assert [(row["instrument"], row["value"]) for row in actions] == [
        ("A", pytest.approx(2.0)),
        ("B", 2.0),
    ]


def test_bad_cells_of_action_columns_say_nothing_and_are_told(tmp_path: Path) -> None:
    text = "Date,Close,Dividends\n2024-01-02,1,x\n2024-01-03,1,-1\n2024-01-04,1,0.5\n"
    fetched = files(write(tmp_path, {"A.csv": text})).fetch()
    assert [row["value"] for row in fetched.actions.to_pylist()] == [0.5]
    assert "2 cells of its dividend column" in only_problem(fetched)
    assert len(rows_of(fetched)) == 3


def test_an_action_stated_twice_is_taken_once_or_not_at_all(tmp_path: Path) -> None:
    rows = ["2024-01-02,1,0.5", "2024-01-02,1,0.5", "2024-01-03,1,0.5", "2024-01-03,1,0.6"]
    write(tmp_path, {"A.csv": "\n".join(["Date,Close,Dividends", *rows])})
    fetched = files(tmp_path).fetch()
    assert [row["session"] for row in fetched.actions.to_pylist()] == [date(2024, 1, 2)]
    assert "dividend of A on 2024-01-03 is stated more than once" in only_problem(fetched)


# ------------------------------------------------------------------------------------ bad rows


def test_cells_that_can_not_be_read_are_marked_in_their_row(tmp_path: Path) -> None:
    rows = [
        "2024-01-02,10,11,9,10,100",
        "2024-01-03,ten,11,9,10,100",
        "2024-01-04,10,11,9,inf,100",
        "2024-01-05,10,11,9,10,25Q",
        "soon,10,11,9,10,100",
        ",10,11,9,10,100",
    ]
    fetched = files(write(tmp_path, {"A.csv": "\n".join([HEADER, *rows])})).fetch()
    assert len(rows_of(fetched)) == 6
    assert fetched.problems == ()
    assert defects_of(fetched) == [
        ("not_a_number", "Open is 'ten', not a finite number"),
        ("not_a_number", "Close is 'inf', not a finite number"),
        ("not_a_number", "Volume is '25Q', not a finite number"),
        ("not_a_date", "Date is 'soon', not a date"),
    ]
    assert fetched.original.to_pylist()[1]["Open"] == "ten"


def test_lines_with_other_than_the_header_s_cells_are_not_lost(tmp_path: Path) -> None:
    rows = [
        "2024-01-02,10,11,9,10,100",
        "2024-01-03,10,11,9,10",  # the volume is missing: fine
        "2024-01-04,10,11,9,10,100,,",  # empty cells at the end: fine
        "2024-01-05,10,11,9,10,100,7",  # which is the volume?
        '2024-01-08,"10,11,9,10,100',  # where does the cell end?
        "",
    ]
    fetched = files(write(tmp_path, {"A.csv": "\n".join([HEADER, *rows])})).fetch()
    found = {row["session"]: row["volume"] for row in rows_of(fetched)}
    assert found[date(2024, 1, 3)] is None
    assert found[date(2024, 1, 4)] == 100.0
    assert [rule for rule, _ in defects_of(fetched)] == ["malformed_line"] * 2
    lines = [row["line"] for row in fetched.original.to_pylist() if row["line"]]
    assert lines == [rows[3], rows[4]]


def test_a_quote_left_open_swallows_no_other_line(tmp_path: Path) -> None:
    rows = [f'2024-01-{day:02},1,1,1,1,"{day}"' for day in range(1, 31)]
    rows[3] = rows[3].rstrip('"')
    fetched = files(write(tmp_path, {"A.csv": "\n".join([HEADER, *rows])})).fetch()
    assert len(rows_of(fetched)) == 30
    assert len(defects_of(fetched)) == 1


# ----------------------------------------------------------------------------------- bad files


TRUNCATED_GZ = gzip.compress(CSV.encode() * 50)[:-20]


def _truncated_parquet(folder: Path) -> bytes:
    path = folder / "whole"
    pq.write_table(pa.table({"Date": ["2024-01-02"] * 500, "Close": [1.0] * 500}), path)
    return path.read_bytes()[:-100]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it is empty"),
        ("\n\n", "it is empty"),
        (HEADER + "\n", "it has a header but no rows"),
        ("Date,Open\n2024-01-02,1\n", "no column for the close.*received: 'Date', 'Open'"),
        ("Open,Close\n1,2\n", "no column for the session"),
        ("2024-01-02,1\n2024-01-03,2\n", "no column for the session"),
        ("Date,Close\n2024-01-02,ten\n2024-01-03,x\n", "'Close' holds no number.*'ten'"),
        ("Date,Close,Open\n2024-01-02,1,x\n", r"'Open' holds no number.*an empty name"),
        (
            "Date,Close\n31/31/2024,1\n",
            r"holds no date.*such as 2024-12-31, .*'31/31/2024'.*date_format",
        ),
        ("Date,Close,Close\n2024-01-02,1,2\n", "names 'Close' more than once"),
        (b"\x00\x01\x02PNG\xff" * 10, "no text: its first line has the byte 0x00.*called .parquet"),
        (b"\x7fELF\x02Date,Close\n1,2\n", "no text: its first line has the byte 0x02"),
    ],
)
def test_a_bad_file_is_told_and_the_others_are_read(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    write(tmp_path, {"BAD.csv": content, "GOOD.csv": CSV})
    source = files(tmp_path)
    assert source.instruments() == ("BAD", "GOOD")
    fetched = source.fetch()
    assert [row["instrument"] for row in rows_of(fetched)] == ["GOOD", "GOOD"]
    assert fetched.problems[0].instrument == "BAD"
    assert only_problem(fetched).startswith("BAD.csv was not read: ")
    with pytest.raises(SourceError, match=message):
        source.fetch(["BAD"])


@pytest.mark.parametrize("name", ["BAD.csv.gz", "BAD.parquet"])
def test_a_file_cut_off_is_told_and_the_others_are_read(tmp_path: Path, name: str) -> None:
    data = TRUNCATED_GZ if name.endswith(".gz") else _truncated_parquet(tmp_path)
    (tmp_path / name).write_bytes(data)
    write(tmp_path, {"GOOD.csv": CSV})
    fetched = files(tmp_path).fetch()
    assert len(rows_of(fetched)) == 2
    assert only_problem(fetched).startswith(f"{name} was not read: ")
    assert fetched.problems[0].instrument == "BAD"
    if name.endswith(".gz"):
        assert "cut off before its end" in only_problem(fetched)


def test_a_damaged_gzip_file_is_told(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(CSV.encode() * 50))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "BAD.csv.gz").write_bytes(bytes(data))
    (tmp_path / "PLAIN.csv.gz").write_text(CSV)
    write(tmp_path, {"GOOD.csv": CSV})
    problems = files(tmp_path).fetch().problems
    assert [problem.instrument for problem in problems] == ["BAD", "PLAIN"]
    assert all("gzip file is damaged" in problem.message for problem in problems)


def test_nothing_readable_at_all_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, {"A.csv": "", "B.csv": ""})
    with pytest.raises(SourceError, match=r"No file of source 'files'.*A\.csv.*\(and 1 more\)"):
        files(tmp_path).fetch()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", r"nowhere.*does not exist"),
        ("*.csv", "holds no file that ends in .csv"),
        (".", r"holds no file that ends in .csv.*subfolders"),
        ("notes.md", r"notes\.md.*Expected a file that ends in .csv"),
    ],
)
def test_a_path_without_files_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    (tmp_path / "notes.md").write_text("x")
    monkeypatch.chdir(tmp_path)
    source = files(path)
    with pytest.raises(SourceError, match=message):
        source.fetch()
    with pytest.raises(SourceError, match=message):
        source.instruments()


# ------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "files"}, 'name = "files" needs path'),
        ({"name": "bokeh", "path": "bars"}, 'name = "bokeh" takes no path'),
        ({"name": "bokeh", "price_basis": "raw"}, 'name = "bokeh" takes no price_basis'),
        ({"lag_minutes": -1}, "greater than or equal to 0"),
        ({"name": "files", "path": "x", "columns": {"closing": "x"}}, "columns"),
        ({"name": "files", "path": "x", "date_format": "%d.%m"}, "does not tell year, month and"),
        ({"name": "files", "path": "x", "date_format": "%Q"}, "does not tell year, month and day"),
        ({"name": "files", "path": "x", "separator": ", "}, "at most 1 character"),
        ({"pth": "x"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_configuration_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SourceConfig(**given)


def test_an_unknown_source_is_refused_with_close_names() -> None:
    with pytest.raises(SourceError, match=r"no source 'flies'.*bokeh, files.*mean 'files'"):
        open_source(SourceConfig(name="flies"))


def test_a_fetch_whose_tables_do_not_belong_together_is_refused() -> None:
    good = Fetched(bars=_bars(2), original=pa.table({"x": ["a", "b"]}))
    assert good.actions.num_rows == 0
    with pytest.raises(ValueError, match="original must have a row for each of the 2 bars"):
        Fetched(bars=_bars(2), original=pa.table({"x": ["a"]}))
    with pytest.raises(ValueError, match="bars must have the columns"):
        Fetched(bars=pa.table({"x": [1]}), original=pa.table({"x": ["a"]}))


def _bars(count: int) -> pa.Table:
    from tasks.sources.protocol import BARS

    return pa.table([pa.nulls(count, field.type) for field in BARS], schema=BARS)


def test_the_time_zone_of_the_machine_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    when = pa.array([datetime(2024, 1, 2, 23, tzinfo=UTC)], pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table({"date": when, "close": [1.0]}), tmp_path / "A.parquet")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert rows_of(files(tmp_path).fetch())[0]["session"] == date(2024, 1, 2)
