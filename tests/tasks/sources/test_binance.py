from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.sources import SourceConfig
from tasks.sources.answers import Answer, RequestError, TryAgainError
from tasks.sources.binance import open_binance, read_candles, read_page
from tasks.sources.provider import ProviderSource, Wanted
from tasks.sources.rate_limit import Clock
from tests.tasks.sources.provider_server import Asked, FakeClock, ProviderServer, Reply
from tests.tasks.sources.test_tiingo import JSON

DAY = 86_400_000
WANTED = Wanted("BTC", "BTCUSDT", date(2020, 1, 1), None)
FIRST = date(2018, 1, 1)


def candle(day: date, close: str = "10.5") -> list[object]:
    opened = (day - date(1970, 1, 1)).days * DAY
    prices = ["10.10", "12.25", "9.75", close, "38253.46877000"]
    return [opened, *prices, opened + DAY - 1, "1950.5", 12, "18.1", "95.2", "0"]


CANDLES = [candle(FIRST + timedelta(days=number)) for number in range(2500)]


def exchange(asked: Asked) -> Reply:
    """Answers as Binance does: from the start on, at most so many."""
    start, end = int(asked.query["startTime"]), int(asked.query.get("endTime", 1 << 60))
    found = [row for row in CANDLES if start <= int(str(row[0])) <= end]
    return Reply(json.dumps(found[: int(asked.query["limit"])]))


def opened(server: ProviderServer, time: FakeClock) -> ProviderSource:
    config = SourceConfig(
        name="binance",
        base_url=server.url,
        attempts=2,
        timeout_seconds=2,
        symbols={"BTC": "BTCUSDT"},
        start=date(2010, 1, 1),
    )
    return open_binance(config, Clock(time.now, time.sleep))


def test_prices_are_texts_and_a_session_is_a_day_of_utc() -> None:
    fetched = read_candles([candle(date(2021, 12, 7))], WANTED)
    assert [tuple(bar.values()) for bar in fetched.bars.to_pylist()] == [
        ("BTC", date(2021, 12, 7), 10.1, 12.25, 9.75, 10.5, 38253.46877)
    ]
    assert fetched.original["close"].to_pylist() == ["10.5"]
    assert fetched.original["open_time"].to_pylist() == ["1638835200000"]


def test_a_long_history_comes_in_pages(server: ProviderServer, time: FakeClock) -> None:
    server.answer = exchange
    source = opened(server, time)
    fetched = source.fetch(["BTC"])
    sessions = fetched.bars["session"].to_pylist()
    assert sessions == [FIRST + timedelta(days=number) for number in range(2500)]
    assert [int(asked.query["startTime"]) for asked in server.asked] == [
        (day - date(1970, 1, 1)).days * DAY
        for day in (date(2010, 1, 1), FIRST + timedelta(1000), FIRST + timedelta(2000))
    ]
    assert dict(server.asked[0].query) == {
        "symbol": "BTCUSDT",
        "interval": "1d",
        "startTime": "1262304000000",
        "limit": "1000",
    }
    assert (source.price_basis, server.asked[0].path) == ("raw", "/api/v3/klines")


def test_a_part_is_asked_for_as_a_part(server: ProviderServer, time: FakeClock) -> None:
    server.answer = exchange
    last = FIRST + timedelta(days=999)
    fetched = opened(server, time).fetch(["BTC"], FIRST, last)
    assert fetched.bars["session"].to_pylist()[-1] == last
    assert fetched.bars.num_rows == 1000


def test_a_server_that_repeats_its_page_does_not_hold_us(
    server: ProviderServer, time: FakeClock
) -> None:
    server.replies(Reply(json.dumps(CANDLES[:1000])))
    fetched = opened(server, time).fetch(["BTC"], FIRST)
    assert fetched.bars.num_rows == 0
    assert "page after page holds no candle since 2020-09-27" in fetched.problems[0].message
    assert len(server.asked) == 2


@pytest.mark.parametrize("row", [None, [None] * 12, {"a": 1}, ["0"] * 12, [1.5] * 12])
def test_a_page_without_times_ends_the_asking(
    server: ProviderServer, time: FakeClock, row: object
) -> None:
    server.replies(Reply(json.dumps([row] * 1000)))
    fetched = opened(server, time).fetch(["BTC"], FIRST)
    assert "no candle since" in fetched.problems[0].message
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (candle(FIRST)[:4], "malformed_line"),
        ([*candle(FIRST), 1], "malformed_line"),
        ({"open": 1}, "malformed_line"),
        (7, "malformed_line"),
        (candle(FIRST, close="ten"), "not_a_number"),
        ([1518963300000, *candle(FIRST)[1:]], "not_a_date"),  # 14:15
        ([True, *candle(FIRST)[1:]], "not_a_date"),
        ([-1, *candle(FIRST)[1:]], "not_a_date"),
        ([10**30, *candle(FIRST)[1:]], "not_a_date"),
        (["2018-01-01x", *candle(FIRST)[1:]], "not_a_date"),
        (candle(FIRST)[:6], None),
    ],
)
def test_a_candle_that_can_t_be_read_is_marked_and_kept(row: object, rule: str | None) -> None:
    fetched = read_candles([candle(FIRST + timedelta(1)), row], WANTED)
    assert fetched.defects is not None
    assert fetched.defects["rule"].to_pylist() == [None, rule]


@given(st.lists(st.lists(JSON, min_size=6, max_size=12) | JSON, max_size=5))
def test_no_candles_break_the_reading(rows: Sequence[object]) -> None:
    assert read_candles(list(rows), WANTED).bars.num_rows == len(rows)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"code":-1121,"msg":"Invalid symbol."}', RequestError),
        ("{}", TryAgainError),
        ("<html>", TryAgainError),
        ("3", TryAgainError),
    ],
)
def test_what_is_no_page(text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        read_page(Answer(text.encode(), measured=True))


def test_a_symbol_that_binance_lacks(server: ProviderServer, time: FakeClock) -> None:
    no = Reply('{"code":-1121,"msg":"Invalid symbol."}', status=400)
    server.answer = lambda asked: exchange(asked) if asked.query["symbol"] != "NOPE" else no
    fetched = opened(server, time).fetch(["BTC", "NOPE"], FIRST)
    assert fetched.bars.num_rows == 2500
    assert [problem.instrument for problem in fetched.problems] == ["NOPE"]
    assert "Invalid symbol" in fetched.problems[0].message
