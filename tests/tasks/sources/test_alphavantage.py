from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.sources import Fetched, SourceConfig, SourceError
from tasks.sources.alphavantage import open_alphavantage, read_alphavantage
from tasks.sources.answers import Answer, ProviderError, RequestError, TryAgainError
from tasks.sources.provider import ProviderSource, Wanted
from tasks.sources.rate_limit import Clock
from tests.tasks.sources.provider_server import FakeClock, ProviderServer, Reply
from tests.tasks.sources.test_tiingo import JSON

WANTED = Wanted("ACME", "ACME", date(1990, 1, 1), None)
DAILY = {
    "1. open": "11.0",
    "2. high": "12.0",
    "3. low": "9.0",
    "4. close": "10.0",
    "5. volume": "1000",
}
ADJUSTED = {
    "1. open": "11.0",
    "2. high": "12.0",
    "3. low": "9.0",
    "4. close": "10.0",
    "5. adjusted close": "5.0",
    "6. volume": "1000",
    "7. dividend amount": "0.2500",
    "8. split coefficient": "2.0",
}
MINUTE = "Our standard API call frequency is 5 calls per minute and 500 calls per day."
DAY = "Our standard API rate limit is 25 requests per day. Please subscribe to a premium plan."
PREMIUM = "Thank you for using Alpha Vantage! This is a premium endpoint."
NO_CALL = "Invalid API call. Please retry or visit the documentation."
NO_KEY = "the parameter apikey is invalid or missing."


def series(days: Mapping[str, object]) -> str:
    return json.dumps({"Meta Data": {"2. Symbol": "ACME"}, "Time Series (Daily)": days})


def read(text: str) -> Fetched:
    return read_alphavantage(Answer(text.encode(), measured=True), WANTED)


def opened(server: ProviderServer, time: FakeClock, **more: object) -> ProviderSource:
    fields = {"name": "alphavantage", "base_url": server.url, "attempts": 2, "timeout_seconds": 2.0}
    config = SourceConfig.model_validate(fields | more)
    return open_alphavantage(config, Clock(time.now, time.sleep))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHAVANTAGE_API_KEY", "A-KEY-OF-MINE")


@pytest.mark.parametrize("cells", [DAILY, ADJUSTED])
def test_numbers_are_texts_and_the_newest_comes_first(cells: Mapping[str, str]) -> None:
    fetched = read(series({"2024-01-03": cells, "2024-01-02": cells}))
    assert [tuple(bar.values()) for bar in fetched.bars.to_pylist()] == [
        ("ACME", date(2024, 1, day), 11.0, 12.0, 9.0, 10.0, 1000.0) for day in (3, 2)
    ]
    assert (fetched.adjusted_close is not None) is (cells is ADJUSTED)
    assert fetched.original.to_pylist()[0] == {"date": "2024-01-03", **cells}
    actions = [(row["action"], row["value"]) for row in fetched.actions.to_pylist()]
    assert actions == ([("dividend", 0.25)] * 2 + [("split", 2.0)] * 2) * (cells is ADJUSTED)


@pytest.mark.parametrize(
    ("days", "rule"),
    [
        ({"2024-02-30": DAILY}, "not_a_date"),
        ({"2024-01-02": {**DAILY, "4. close": "ten"}}, "not_a_number"),
    ],
)
def test_a_row_that_can_t_be_read_is_marked_and_kept(days: dict[str, object], rule: str) -> None:
    fetched = read(series({"2024-01-03": DAILY, **days}))
    assert fetched.defects is not None
    assert fetched.defects["rule"].to_pylist() == [None, rule]


@pytest.mark.parametrize("cells", [None, 7, [], "x", {}, {"close": "1"}])
def test_a_day_without_named_prices_has_no_close(cells: object) -> None:
    fetched = read(series({"2024-01-02": cells, "2024-01-03": DAILY}))
    assert fetched.bars["close"].to_pylist() == [None, 10.0]


@given(st.dictionaries(st.text(), JSON, max_size=5) | JSON)
def test_no_days_break_the_reading(days: object) -> None:
    try:
        fetched = read(json.dumps({"Time Series (Daily)": days}))
    except TryAgainError:
        assert not isinstance(days, dict)
    else:
        assert isinstance(days, dict)
        assert fetched.bars.num_rows == len(days)


@given(JSON)
def test_no_answer_breaks_the_reading(told: object) -> None:
    with pytest.raises((RequestError, TryAgainError)):
        read(json.dumps(told))


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"Note": MINUTE}, TryAgainError),
        ({"Information": "Please consider 1 request per second."}, TryAgainError),
        ({"Information": DAY}, ProviderError),
        ({"Information": PREMIUM}, ProviderError),
        ({"Information": None, "Note": {"a": 1}}, ProviderError),
        ({"Error Message": NO_CALL}, RequestError),
        ({"Error Message": NO_KEY}, ProviderError),
        ({"Error Message": ["odd"]}, RequestError),
        ({}, TryAgainError),
        ([], TryAgainError),
        ({"Time Series (Daily)": [1]}, TryAgainError),
    ],
)
def test_errors_with_http_200(told: object, kind: type[Exception]) -> None:
    with pytest.raises(kind) as error:
        read(json.dumps(told))
    assert type(error.value) is kind


def test_asking_too_often_is_waited_for(server: ProviderServer, time: FakeClock) -> None:
    server.replies(Reply(json.dumps({"Note": MINUTE})), Reply(series({"2024-01-02": DAILY})))
    fetched = opened(server, time).fetch(["ACME"])
    assert fetched.bars.num_rows == 1
    assert time.slept[0] == 15


def test_the_day_s_limit_ends_the_asking(server: ProviderServer, time: FakeClock) -> None:
    server.replies(Reply(series({"2024-01-02": DAILY})), Reply(json.dumps({"Information": DAY})))
    fetched = opened(server, time).fetch(["A", "B", "C"])
    assert fetched.bars["instrument"].to_pylist() == ["A"]
    assert "25 requests per day" in fetched.problems[0].message
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (PREMIUM, 'source.adjusted_close = "ignore"'),
        ("The outputsize=full parameter value is a premium feature.", "A later source.start"),
    ],
)
def test_what_is_paid_for_is_told_with_the_remedy(
    server: ProviderServer, time: FakeClock, said: str, remedy: str
) -> None:
    server.replies(Reply(json.dumps({"Information": said})))
    with pytest.raises(SourceError, match=remedy):
        opened(server, time).fetch(["A"])


@pytest.mark.parametrize(
    ("use", "function"),
    [(None, "TIME_SERIES_DAILY_ADJUSTED"), ("ignore", "TIME_SERIES_DAILY")],
)
def test_what_alpha_vantage_is_asked(
    server: ProviderServer, time: FakeClock, use: str | None, function: str
) -> None:
    server.replies(Reply(series({"2024-01-02": ADJUSTED})))
    source = opened(server, time, symbols={"SAP": "SAP.DEX"}, adjusted_close=use)
    today = datetime.now(UTC).date()
    for first in (None, today - timedelta(days=30)):
        source.fetch(["SAP"], first)
    assert [asked.query for asked in server.asked] == [
        {
            "function": function,
            "symbol": "SAP.DEX",
            "outputsize": size,
            "datatype": "json",
            "apikey": "A-KEY-OF-MINE",
        }
        for size in ("full", "compact")
    ]
    assert server.asked[0].path == "/query"
    assert source.price_basis == "raw"


def test_only_what_was_asked_for_is_kept(server: ProviderServer, time: FakeClock) -> None:
    days = {f"2024-01-0{day}": DAILY for day in range(1, 6)}
    server.replies(Reply(series(days)))
    fetched = opened(server, time).fetch(["A"], date(2024, 1, 3), date(2024, 1, 4))
    assert fetched.bars["session"].to_pylist() == [date(2024, 1, 3), date(2024, 1, 4)]
