from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.members import (
    STAYS,
    Brought,
    MembershipError,
    bring_members,
    members_at,
    members_until,
    read_membership,
)
from tasks.store import Store

NOW = datetime(2024, 7, 1, 22, tzinfo=UTC)
LATER = NOW + timedelta(days=10)
LEHMAN = ("LEH", date(1994, 5, 31), date(2008, 9, 16))
APPLE = ("AAPL", date(1982, 11, 30), None)
DELL_ONCE = ("DELL", date(1996, 9, 6), date(2013, 10, 29))
DELL_AGAIN = ("DELL", date(2024, 9, 23), None)

Stay = tuple[str, date, date | None]


def stays(*rows: Stay) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, STAYS, strict=True)], STAYS)
    return table.sort_by([("instrument", "ascending"), ("first", "ascending")])


def bring(store: Store, *rows: Stay, now: datetime = NOW, archive: bool = False) -> Brought:
    return bring_members(store, stays(*rows), source="test", now=now, archive=archive)


def file(tmp_path: Path, *lines: str, header: str = "instrument,first,last") -> Path:
    path = tmp_path / "members.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_a_file_says_who_belongs_from_when_to_when(tmp_path: Path) -> None:
    expected = stays(APPLE, LEHMAN, DELL_ONCE, DELL_AGAIN)
    lines = (
        "LEH,1994-05-31,2008-09-16",
        "DELL,2024-09-23,",
        "DELL,1996-09-06,2013-10-29",
        "AAPL,1982-11-30",  # a line may lack its last cells
    )
    path = file(tmp_path, *lines)
    assert read_membership(path).equals(expected)
    (tmp_path / "members.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read_membership(tmp_path / "members.csv.gz").equals(expected)
    pq.write_table(expected, tmp_path / "members.parquet")
    assert read_membership(tmp_path / "members.parquet").equals(expected)
    still = expected.filter(expected["last"].is_null())
    untyped = still.set_column(2, "last", pa.nulls(still.num_rows))
    pq.write_table(untyped, tmp_path / "members.parquet")
    assert read_membership(tmp_path / "members.parquet").equals(still)


def test_headers_may_be_written_and_ordered_in_any_way(tmp_path: Path) -> None:
    path = file(tmp_path, ";1994-05-31;LEH;Lehman", header="Last;FIRST; Instrument ;name")
    assert read_membership(path).to_pylist() == [
        {"instrument": "LEH", "first": date(1994, 5, 31), "last": None}
    ]


def test_a_ticker_that_reads_like_nothing_is_a_ticker(tmp_path: Path) -> None:
    assert read_membership(file(tmp_path, "NA,2000-01-03,"))["instrument"].to_pylist() == ["NA"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "members.csv has no row"),
        (["A,2020-01-02,2019-12-31"], "A is to belong from 2020-01-02 to 2019-12-31, which is"),
        (["A,2020-01-02,", "A,2021-01-04,"], "A is to belong from 2020-01-02, and again from 2021"),
        (
            ["A,2020-01-02,2021-01-04", "B,2020-01-02,", "A,2021-01-04,"],
            "A is to belong from 2020-01-02 to 2021-01-04, and again from 2021-01-04",
        ),
        (["A,2020-01-02,", "A,2020-01-02,"], "can't overlap"),
        (["B,2020-01-02,", "A,soon,"], r"first of A is 'soon'. Expected a date such as 2024-12-31"),
        (["A,2020-01-02,2020-13-01"], r"last of A is '2020-13-01'"),
        (["B,2020-01-02,", "A,,2020-01-02"], "first of A is empty"),
        ([",2020-01-02,"], "instrument is empty in a row"),
        (["A,2020-01-02,,,,x"], "can't be told apart: 'A,2020-01-02,,,,x'"),
    ],
)
def test_what_a_file_can_not_say_is_refused(
    tmp_path: Path, lines: Sequence[str], message: str
) -> None:
    with pytest.raises(MembershipError, match=message):
        read_membership(file(tmp_path, *lines))


def test_stays_may_follow_each_other_at_once(tmp_path: Path) -> None:
    path = file(tmp_path, "A,2020-01-02,2020-12-31", "A,2021-01-01,")
    assert read_membership(path).num_rows == 2


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(MembershipError, match=r"no membership file .*gone\.csv.*universe\.member"):
        read_membership(tmp_path / "gone.csv")
    with pytest.raises(MembershipError, match=r"no column 'last'.*Received: instrument, first, to"):
        read_membership(file(tmp_path, "A,2020-01-02,", header="instrument,first,to"))
    with pytest.raises(MembershipError, match=r"ends in \.csv, \.csv\.gz or \.parquet"):
        read_membership(tmp_path / "members.xlsx")
    (tmp_path / "members.parquet").write_bytes(b"PAR1")
    with pytest.raises(MembershipError, match=r"members\.parquet can't be read"):
        read_membership(tmp_path / "members.parquet")


def test_who_belongs_is_asked_by_session_and_both_ends_count(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    bring(store, APPLE, LEHMAN, DELL_ONCE, DELL_AGAIN)
    assert members_at(store, date(1994, 5, 30)) == ("AAPL",)
    assert members_at(store, date(1994, 5, 31)) == ("AAPL", "LEH")
    assert members_at(store, date(2008, 9, 16)) == ("AAPL", "DELL", "LEH")
    assert members_at(store, date(2008, 9, 17)) == ("AAPL", "DELL")
    assert members_at(store, date(2020, 1, 2)) == ("AAPL",)
    assert members_at(store, date(2024, 9, 23)) == ("AAPL", "DELL")
    assert members_until(store) == ("AAPL", "DELL", "LEH")
    assert members_until(store, date(1995, 1, 3)) == ("AAPL", "LEH")


def test_what_arrives_in_bulk_counts_as_known_when_it_began(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    done = bring(store, LEHMAN, DELL_AGAIN)
    assert done == Brought(new=2, changed=0, retracted=0, late=0)
    rows = {row["instrument"]: row for row in store.history("members").to_pylist()}
    assert rows["LEH"]["known_at"] == datetime(1994, 5, 31, tzinfo=UTC)
    assert rows["DELL"]["known_at"] == NOW, "nothing is known before it arrived from the future"
    assert {row["assumed"] for row in rows.values()} == {True}
    # Whoever trades first on a date, in Auckland, closes after midnight in UTC.
    assert members_at(store, LEHMAN[1], datetime(1994, 5, 31, 3, 45, tzinfo=UTC)) == ("LEH",)


def test_what_comes_later_is_known_from_then_on_only(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    bring(store, APPLE, ("LEH", LEHMAN[1], None))
    versions = store.versions()
    old, then = date(2010, 1, 4), datetime(2010, 1, 4, 22, tzinfo=UTC)
    assert members_at(store, old, then) == ("AAPL", "LEH")
    done = bring(store, APPLE, LEHMAN, DELL_ONCE, now=LATER)
    assert done == Brought(new=1, changed=1, retracted=0, late=1)
    assert members_at(store, old) == ("AAPL", "DELL")
    assert members_at(store, old, LATER) == ("AAPL", "DELL")
    assert members_at(store, old, LATER - timedelta(microseconds=1)) == ("AAPL", "LEH")
    assert members_at(store, old, then) == ("AAPL", "LEH")
    assert members_at(store, old, versions=versions) == ("AAPL", "LEH")
    assert members_until(store, old, then) == ("AAPL", "LEH")
    changes = [row for row in store.history("members").to_pylist() if not row["assumed"]]
    assert {row["known_at"] for row in changes} == {LATER}


def test_a_stay_that_vanished_from_the_file_is_retracted_and_may_return(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    bring(store, APPLE, LEHMAN)
    assert bring(store, APPLE, now=LATER) == Brought(new=0, changed=0, retracted=1, late=0)
    day = date(2000, 1, 3)
    assert members_at(store, day) == members_until(store) == ("AAPL",)
    assert members_at(store, day, NOW) == ("AAPL", "LEH")
    again = LATER + timedelta(days=1)
    assert bring(store, APPLE, LEHMAN, now=again) == Brought(1, 0, 0, late=1)
    assert members_at(store, day) == ("AAPL", "LEH")
    assert members_at(store, day, LATER) == ("AAPL",)


def test_a_corrected_beginning_is_another_stay(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    bring(store, LEHMAN)
    done = bring(store, ("LEH", date(1994, 6, 30), LEHMAN[2]), now=LATER)
    assert done == Brought(new=1, changed=0, retracted=1, late=1)
    assert members_at(store, date(1994, 6, 1)) == ()
    assert members_at(store, date(1994, 6, 1), NOW) == ("LEH",)


def test_news_of_today_are_not_late(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    bring(store, APPLE)
    done = bring(store, APPLE, ("NEW", LATER.date() - timedelta(days=1), None), now=LATER)
    assert done == Brought(new=1, changed=0, retracted=0, late=0)


def test_the_same_file_again_writes_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    bring(store, APPLE, LEHMAN)
    before = store.history("members")
    assert bring(store, LEHMAN, APPLE, now=LATER) == Brought(0, 0, 0, 0)
    assert store.history("members").equals(before)


def test_an_archive_never_tells_when_a_stay_became_known(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    bring(store, APPLE, archive=True)
    done = bring(store, APPLE, LEHMAN, now=LATER, archive=True)
    assert done == Brought(new=1, changed=0, retracted=0, late=0)
    assert members_at(store, date(2000, 1, 3), NOW) == ("AAPL", "LEH")


def test_an_erased_instrument_does_not_come_back(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    erased = pa.table({"subject": ["instrument", "source"], "name": ["LEH", "AAPL"]})
    store.commit_facts("erased", erased, now=NOW)
    bring(store, APPLE, LEHMAN)
    assert store.history("members")["instrument"].to_pylist() == ["AAPL"]


DAYS = st.integers(0, 40)


@st.composite
def histories(draw: st.DrawFn) -> list[list[Stay]]:
    """Files of a few nights: stays of three instruments that don't overlap."""
    files = []
    for _ in range(draw(st.integers(1, 4))):
        rows: list[Stay] = [("Z", date(2019, 1, 2), None)]
        for name in "ABC":
            cuts = sorted(draw(st.sets(DAYS, max_size=4)))
            for first, last in zip(cuts[::2], [*cuts[1::2], None], strict=False):
                start = date(2020, 1, 1) + timedelta(days=first)
                rows.append(
                    (name, start, None if last is None else date(2020, 1, 1) + timedelta(days=last))
                )
        files.append(rows)
    return files


@settings(max_examples=25, deadline=None)
@given(histories(), DAYS)
def test_an_as_of_read_is_the_file_of_that_night(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[Stay]], day: int
) -> None:
    store = Store.open(tmp_path_factory.mktemp("store"))
    session = date(2020, 1, 1) + timedelta(days=day)
    nights = [NOW + timedelta(days=number) for number in range(len(files))]
    for rows, now in zip(files, nights, strict=True):
        bring(store, *rows, now=now)
    for rows, now in zip(files, nights, strict=True):
        expected = {n for n, first, last in rows if first <= session <= (last or date.max)}
        assert members_at(store, session, now) == tuple(sorted(expected))
