"""A provider as a source: whom it is asked for, what one failure costs, and when asking ends."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from tasks.sources import Source, SourceConfig, SourceError, open_source
from tasks.sources.provider import ProviderSource
from tasks.sources.rate_limit import Clock
from tasks.sources.stooq import open_stooq
from tests.tasks.sources.provider_server import Asked, FakeClock, ProviderServer, Reply

KEYLESS = ("stooq", "fred", "binance")
KEYED = {"tiingo": "TIINGO_API_KEY", "alphavantage": "ALPHAVANTAGE_API_KEY"}
HEADER = "Date,Open,High,Low,Close,Volume\n"
ROWS = HEADER + "2024-01-02,1,3,1,2,100\n2024-01-03,2,4,2,3,100\n2024-01-04,3,5,3,4,100\n"

Open = Callable[..., ProviderSource]


@pytest.fixture
def stooq(server: ProviderServer, time: FakeClock) -> Open:
    def opened(**more: object) -> ProviderSource:
        fields = {"name": "stooq", "base_url": server.url, "attempts": 2, "timeout_seconds": 2.0}
        return open_stooq(SourceConfig.model_validate(fields | more), Clock(time.now, time.sleep))

    return opened


def by_symbol(replies: dict[str, Reply]) -> Callable[[Asked], Reply]:
    return lambda asked: replies.get(asked.query["s"], Reply(ROWS))


@pytest.mark.parametrize("name", [*KEYLESS, *KEYED])
def test_every_provider_is_a_source(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in KEYED:
        monkeypatch.setenv(KEYED[name], "a-key")
    source = open_source(SourceConfig(name=name, lag_minutes=30))
    assert isinstance(source, Source)
    assert (source.name, source.lag) == (name, timedelta(minutes=30))
    assert (source.archive, source.incremental, source.batch_size) == (False, True, 50)
    with pytest.raises(SourceError, match=r"Name those that you want: universe.instruments"):
        source.instruments()
    with pytest.raises(SourceError, match=r"universe.instruments"):
        source.fetch()


def test_each_instrument_is_asked_for_once(stooq: Open, server: ProviderServer) -> None:
    server.replies(Reply(ROWS))
    fetched = stooq(symbols={"SPX": "^spx"}).fetch(["SPX", "B", "B"])
    assert [(one.query["s"], one.query["d1"]) for one in server.asked] == [
        ("b", "19900101"),
        ("^spx", "19900101"),
    ]
    assert fetched.bars["instrument"].to_pylist() == ["B"] * 3 + ["SPX"] * 3
    assert fetched.problems == ()
    assert fetched.provenance == f"{server.url} (2 of 2 instruments)"
    assert server.asked[0].query.keys() == {"s", "i", "d1"}


def test_nobody_is_asked_for_nothing(stooq: Open, server: ProviderServer) -> None:
    assert stooq().fetch([]).bars.num_rows == 0
    assert server.asked == []


@pytest.mark.parametrize(
    ("first", "asked"),
    [(None, "20240103"), (date(2024, 1, 2), "20240103"), (date(2024, 1, 4), "20240104")],
)
def test_nothing_before_the_start_is_asked_for(
    stooq: Open, server: ProviderServer, first: date | None, asked: str
) -> None:
    server.replies(Reply(ROWS))
    fetched = stooq(start=date(2024, 1, 3)).fetch(["A"], first, date(2024, 1, 4))
    assert (server.asked[0].query["d1"], server.asked[0].query["d2"]) == (asked, "20240104")
    days = [date(2024, 1, 3), date(2024, 1, 4)]
    assert (
        fetched.bars["session"].to_pylist()
        == days[days.index(fetched.bars["session"][0].as_py()) :]
    )
    assert len(fetched.original) == fetched.bars.num_rows


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (Reply("gone", status=404), "HTTP 404: 'gone'"),
        (Reply("No data"), "Stooq says: 'No data'"),
        (Reply(status=500), r"HTTP 500 \(2 tries\)"),
        (Reply(ROWS, missing=9), r"broke off or is damaged \(2 tries\)"),
        (Reply("<html><title>Busy"), r"received a page: .*Busy.* \(2 tries\)"),
        (Reply(""), "no CSV, as it is empty"),
        (Reply("a,b\n1,2\n"), "has no date and close"),
    ],
)
def test_one_that_fails_leaves_the_others_done(
    stooq: Open, server: ProviderServer, bad: Reply, told: str
) -> None:
    server.answer = by_symbol({"b": bad})
    fetched = stooq().fetch(["A", "B", "C"])
    assert set(fetched.bars["instrument"].to_pylist()) == {"A", "C"}
    assert [problem.instrument for problem in fetched.problems] == ["B"]
    assert re.search(rf"^B: .*{told}", fetched.problems[0].message)
    assert "(2 of 3 instruments)" in fetched.provenance


def test_one_that_never_answers_leaves_the_others_done(stooq: Open, server: ProviderServer) -> None:
    server.answer = by_symbol({"b": Reply(silent=True)})
    fetched = stooq(timeout_seconds=0.4).fetch(["A", "B", "C"])
    assert set(fetched.bars["instrument"].to_pylist()) == {"A", "C"}
    assert "no answer within 0.4 s (2 tries)" in fetched.problems[0].message


def test_one_without_rows_is_told(stooq: Open, server: ProviderServer) -> None:
    server.answer = by_symbol({"b": Reply(HEADER)})
    fetched = stooq().fetch(["A", "B"], date(2024, 1, 2))
    assert [(one.instrument, one.message) for one in fetched.problems] == [
        ("B", "B: stooq brought no row of it since 2024-01-02.")
    ]


@pytest.mark.parametrize(
    "stop",
    [
        Reply("Exceeded the daily hits limit"),
        Reply("Przekroczony dzienny limit wywolan"),
        Reply(status=403),
        Reply(status=429),
    ],
    ids=["limit", "limit in Polish", "refused", "too many"],
)
def test_when_the_provider_says_no_to_all_the_rest_is_not_asked_for(
    stooq: Open, server: ProviderServer, stop: Reply
) -> None:
    server.answer = by_symbol({"c": stop})
    source = stooq(attempts=1)
    fetched = source.fetch(["A", "B", "C", "D", "E"])
    assert set(fetched.bars["instrument"].to_pylist()) == {"A", "B"}
    assert [one.query["s"] for one in server.asked] == ["a", "b", "c"]
    assert [one.instrument for one in fetched.problems] == [None, "C", "D", "E"]
    assert "3 of its instruments are left" in fetched.problems[0].message
    with pytest.raises(SourceError, match="Nothing came from source 'stooq'"):
        source.fetch(["F"])  # the next batch
    assert len(server.asked) == 3


def test_a_server_that_dies_half_way_keeps_what_came(stooq: Open, server: ProviderServer) -> None:
    server.replies(Reply(ROWS))
    server.dies_after = 2
    fetched = stooq().fetch(["A", "B", "C", "D"])
    assert set(fetched.bars["instrument"].to_pylist()) == {"A", "B"}
    assert "no connection to" in fetched.problems[0].message
    assert [one.instrument for one in fetched.problems] == [None, "C", "D"]


def test_a_provider_that_is_down_is_an_error(stooq: Open, server: ProviderServer) -> None:
    server.die()
    with pytest.raises(SourceError, match="Nothing came from source 'stooq': no connection"):
        stooq().fetch(["A", "B"])


def test_a_provider_that_never_answers_is_an_error(stooq: Open, server: ProviderServer) -> None:
    server.replies(Reply(status=500))
    with pytest.raises(SourceError, match="Nothing came from source 'stooq': A: .*HTTP 500"):
        stooq().fetch(["A", "B"])


def test_a_provider_that_lacks_all_is_no_error(stooq: Open, server: ProviderServer) -> None:
    server.replies(Reply("Brak danych"))
    fetched = stooq().fetch(["A", "B"])
    assert fetched.bars.num_rows == 0
    assert [one.instrument for one in fetched.problems] == ["A", "B"]


def test_the_configured_rate_is_kept(stooq: Open, server: ProviderServer, time: FakeClock) -> None:
    server.replies(Reply(ROWS))
    stooq(requests_per_minute=6).fetch(["A", "B"])
    stooq(requests_per_minute=6).fetch(["C"])  # another source of the same process
    assert time.slept == [10, 10]


def test_every_try_counts_for_the_rate(
    stooq: Open, server: ProviderServer, time: FakeClock
) -> None:
    server.replies(Reply(status=500), Reply(ROWS))
    stooq(requests_per_minute=1).fetch(["A"])
    assert sum(time.slept) == pytest.approx(60)


@pytest.mark.parametrize("name", [*KEYLESS, *KEYED])
def test_what_the_documentation_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    line = next(line for line in text.split("\n") if line.startswith(f"| `{name}` |"))
    _, _, basis, key, rate, _ = (cell.strip(" `") for cell in line.strip("|").split("|"))
    assert key == KEYED.get(name, "none")
    if name in KEYED:
        monkeypatch.setenv(key, "a-key")
    source = open_source(SourceConfig(name=name))
    assert isinstance(source, ProviderSource)
    assert source.price_basis == basis
    allowed = source.client.rate
    number, unit = rate.replace(",", "").split(" a" if "hour" not in rate else " an")
    seconds = {"minute": 60, "hour": 3600}[unit.strip()]
    assert allowed.requests / allowed.seconds == pytest.approx(float(number) / seconds)
