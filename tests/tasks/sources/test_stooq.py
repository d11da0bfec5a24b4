from __future__ import annotations

from datetime import date

import pytest

from tasks.sources.answers import RequestError
from tasks.sources.provider import Wanted
from tasks.sources.stooq import read_stooq

WANTED = Wanted("ACME", "acme.us", date(1990, 1, 1), None)
POLISH = "Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie,Wolumen\r\n"
ACCENTED = "Data,Otwarcie,Najwyższy,Najniższy,Zamknięcie,Wolumen\r\n"
ENGLISH = "Date,Open,High,Low,Close,Volume\r\n"
BODY = "2024-01-02,10,12,9,11,100\r\n2024-01-03,11,13,10,12\r\n"


@pytest.mark.parametrize("header", [POLISH, ACCENTED, ENGLISH])
def test_headers_of_each_language_and_rows_without_volume(header: str) -> None:
    fetched = read_stooq(header + BODY, WANTED)
    rows = sorted(fetched.bars.to_pylist(), key=lambda row: row["session"])
    assert [tuple(row.values()) for row in rows] == [
        ("ACME", date(2024, 1, 2), 10.0, 12.0, 9.0, 11.0, 100.0),
        ("ACME", date(2024, 1, 3), 11.0, 13.0, 10.0, 12.0, None),
    ]
    assert fetched.defects is not None
    assert fetched.defects["rule"].null_count == 2
    assert fetched.original.column_names == header.strip().split(",")
    assert fetched.adjusted_close is None


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("2024-01-32,1,1,1,1,1", "not_a_date"),
        ("2023-02-29,1,1,1,1,1", "not_a_date"),
        ("02.01.2024,1,1,1,1,1", "not_a_date"),
        ("2024-01-02,1,1,1,n0,1", "not_a_number"),
        ("2024-01-02,1,1,1,1e999,1", "not_a_number"),
        ("2024-01-02,1,1,1,inf,1", "not_a_number"),
        ("2024-01-02,1,1,1,1,1,7", "malformed_line"),
        ('2024-01-02,1,"1,1,1,1', "malformed_line"),
    ],
)
def test_a_row_that_can_t_be_read_is_marked_and_kept(line: str, rule: str) -> None:
    fetched = read_stooq(f"{ENGLISH}{BODY}{line}\r\n", WANTED)
    assert fetched.bars.num_rows == 3
    assert fetched.defects is not None
    assert [told for told in fetched.defects["rule"].to_pylist() if told] == [rule]
    assert line.split(",", maxsplit=1)[0] in str(fetched.original.to_pylist())


@pytest.mark.parametrize("text", ["nonsense", "a" * 10_000, "Write to www@stooq.com\nif you need"])
def test_another_text_is_told_word_by_word(text: str) -> None:
    with pytest.raises(RequestError, match=text[:10]):
        read_stooq(text, WANTED)


def test_a_symbol_that_stooq_lacks_is_told_with_the_remedy() -> None:
    with pytest.raises(RequestError, match=r'of .acme.us.*source.symbols = \{ACME = "aapl.us"\}'):
        read_stooq("No data", WANTED)
