"""yfinance on a real server that answers as Yahoo does: the chart, the cookie and the crumb."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

import pytest
import yfinance
from yfinance import base, cache
from yfinance._http import requests
from yfinance.data import YfData

from tasks.bars import validate
from tasks.sessions import CalendarConfig, Calendars
from tasks.sources import Fetched, SourceConfig, SourceError, open_source
from tests.tasks.sources.provider_server import Asked, ProviderServer, Reply

RECORDED = Path(__file__).parents[4] / "shared" / "data" / "payloads" / "yahoo_chart_v8"
NOT_FOUND = Reply(
    json.dumps(
        {"chart": {"result": None, "error": {"code": "Not Found", "description": "No data found"}}}
    ),
    status=404,
)
REFUSED = Reply("Edge: Too Many Requests", status=429)


def chart(
    zone: str,
    days: Sequence[date],
    closes: Sequence[float | None],
    *,
    hour: int = 9,
    currency: str = "USD",
    volumes: Sequence[int | None] | None = None,
    adjusted: Sequence[float | None] | None = None,
    dividends: Mapping[date, float] | None = None,
    splits: Mapping[date, tuple[int, int]] | None = None,
) -> Reply:
    """An answer with a bar a day, stamped with the start of the session in `zone`."""

    def stamp(day: date) -> int:
        start = time(hour, 30 * (hour > 0), tzinfo=ZoneInfo(zone))
        return int(datetime.combine(day, start).timestamp())

    paid = {
        str(stamp(day)): {"amount": cash, "date": stamp(day)}
        for day, cash in (dividends or {}).items()
    }
    split = {
        str(stamp(day)): {
            "date": stamp(day),
            "numerator": new,
            "denominator": old,
            "splitRatio": f"{new}:{old}",
        }
        for day, (new, old) in (splits or {}).items()
    }
    result = {
        "meta": {
            "currency": currency,
            "symbol": "X",
            "instrumentType": "EQUITY",
            "gmtoffset": 3600,  # of the day of the request: a trap for the days of summer
            "timezone": "CET",
            "exchangeTimezoneName": zone,
            "priceHint": 2,
            "dataGranularity": "1d",
            "range": "",
            "validRanges": ["1d", "max"],
        },
        "timestamp": [stamp(day) for day in days],
        "events": {"dividends": paid, "splits": split},
        "indicators": {
            "quote": [
                {
                    "open": closes,
                    "high": closes,
                    "low": closes,
                    "close": closes,
                    "volume": volumes or [1000] * len(days),
                }
            ],
            "adjclose": [{"adjclose": adjusted or closes}],
        },
    }
    return Reply(json.dumps({"chart": {"result": [result], "error": None}}))


class Yahoo:
    """Which symbol gets which answer; others are not found."""

    def __init__(self, server: ProviderServer) -> None:
        self.server = server
        self.charts: dict[str, Reply] = {}
        server.answer = self._answer

    def _answer(self, asked: Asked) -> Reply:
        if asked.path.endswith("/getcrumb"):
            return Reply("a-crumb")
        if "/v8/finance/chart/" in asked.path:
            return self.charts.get(unquote(asked.path.rpartition("/")[2]), NOT_FOUND)
        return Reply("", status=404)

    @property
    def asked_for(self) -> list[str]:
        """Symbols of the requests for bars, in their order; the zone's request has no start."""
        return [
            asked.path.rpartition("/")[2]
            for asked in self.server.asked
            if "/chart/" in asked.path and "period1" in asked.query
        ]


@pytest.fixture
def yahoo(server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> Yahoo:
    """Every request of yfinance goes to `server`, whatever host it names; nothing is cached."""

    class Here(requests.Session):  # type: ignore[misc]
        def request(self, method: Any, url: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401
            parts = urlsplit(url)
            return super().request(
                method, f"{server.url}/{parts.netloc}{parts.path}", *args, **options
            )

    data = YfData()
    for name, value in (
        ("_session", Here()),
        ("_crumb", None),
        ("_cookie", None),
        ("_cookie_strategy", "basic"),
    ):
        monkeypatch.setattr(data, name, value)
    YfData.cache_get.cache_clear()
    monkeypatch.setattr(cache._TzCacheManager, "_tz_cache", cache._TzCacheDummy())
    monkeypatch.setattr(cache._CookieCacheManager, "_Cookie_cache", cache._CookieCacheDummy())
    monkeypatch.setattr(base, "_tz_info_fetch_ctr", 2)
    return Yahoo(server)


def fetch(*names: str, **fields: Any) -> Fetched:  # noqa: ANN401
    config = SourceConfig(name="yahoo", **{"attempts": 1, "timeout_seconds": 2} | fields)
    return open_source(config).fetch(names)


DAYS = [date(2024, 3, 28), date(2024, 4, 2), date(2024, 4, 3)]  # the clocks change between


@pytest.mark.parametrize(
    ("zone", "hour"),
    [
        ("Asia/Tokyo", 9),  # midnight UTC
        ("Australia/Sydney", 10),  # the day before in UTC
        ("America/New_York", 9),
        ("Europe/Berlin", 9),
        ("Europe/London", 0),  # of currencies; in summer the day before in UTC
        ("UTC", 0),  # of crypto
    ],
)
def test_a_session_is_the_date_of_the_exchange(yahoo: Yahoo, zone: str, hour: int) -> None:
    yahoo.charts["X"] = chart(zone, DAYS, [1.0, 2.0, 3.0], hour=hour)
    fetched = fetch("X")
    assert fetched.bars["session"].to_pylist() == DAYS
    assert fetched.bars["close"].to_pylist() == [1.0, 2.0, 3.0]
    assert fetched.bars["instrument"].to_pylist() == ["X"] * 3
    assert fetched.problems == ()


def test_prices_are_split_adjusted_and_actions_are_stated(yahoo: Yahoo) -> None:
    yahoo.charts["X"] = chart(
        "America/New_York",
        DAYS,
        [10.0, 9.5, 9.0],
        adjusted=[9.5, 9.5, 9.0],
        dividends={DAYS[1]: 0.5},
        splits={DAYS[2]: (4, 1)},
    )
    fetched = fetch("X")
    assert open_source(SourceConfig(name="yahoo")).price_basis == "split_adjusted"
    assert fetched.bars["close"].to_pylist() == [10.0, 9.5, 9.0]
    assert fetched.adjusted_close is not None
    assert fetched.adjusted_close.to_pylist() == [9.5, 9.5, 9.0]
    assert fetched.actions.to_pylist() == [
        {"instrument": "X", "session": DAYS[1], "action": "dividend", "value": 0.5},
        {"instrument": "X", "session": DAYS[2], "action": "split", "value": 4.0},
    ]


def test_a_row_of_nulls_is_held_and_not_lost(yahoo: Yahoo) -> None:
    yahoo.charts["X"] = chart("America/New_York", DAYS, [1.0, None, 3.0], volumes=[5, None, None])
    fetched = fetch("X")
    assert fetched.bars["close"].to_pylist() == [1.0, None, 3.0]
    assert fetched.bars["volume"].to_pylist()[:2] == [5.0, None]
    judged = validate(
        fetched,
        Calendars.load(CalendarConfig()),
        now=datetime(2024, 6, 1, tzinfo=UTC),
        lag=SourceConfig().lag,
        config=None,
    )
    assert judged.quarantine["rule"].to_pylist() == ["missing_price"]
    assert judged.bars.num_rows == 2


def test_pence_stay_pence_and_are_told(yahoo: Yahoo) -> None:
    yahoo.charts["OCDO.L"] = chart("Europe/London", DAYS, [1259.5, 1, 2], currency="GBp")
    yahoo.charts["X"] = chart("America/New_York", DAYS, [1, 2, 3])
    fetched = fetch("OCDO.L", "X")
    assert fetched.bars["close"][0].as_py() == 1259.5
    assert fetched.provenance.endswith(" in GBp, USD")


def test_only_what_is_asked_for_is_asked(yahoo: Yahoo, server: ProviderServer) -> None:
    yahoo.charts["^GSPC"] = chart("America/New_York", DAYS, [1, 2, 3])
    config = SourceConfig(name="yahoo", symbols={"SPX": "^GSPC"}, attempts=1)
    source = open_source(config)
    assert (source.incremental, source.instruments()) == (True, ("SPX",))
    fetched = source.fetch(["SPX"], DAYS[1], DAYS[1])
    assert fetched.bars["session"].to_pylist() == [DAYS[1]]  # more came
    assert fetched.bars["instrument"].to_pylist() == ["SPX"]
    asked = next(asked.query for asked in server.asked if "period1" in asked.query)
    zone = ZoneInfo("America/New_York")
    assert datetime.fromtimestamp(int(asked["period1"]), zone) == datetime(2024, 4, 2, tzinfo=zone)
    assert datetime.fromtimestamp(int(asked["period2"]), zone) == datetime(2024, 4, 3, tzinfo=zone)
    assert asked["events"] == "div,splits,capitalGains"


def test_yahoo_has_no_list() -> None:
    with pytest.raises(SourceError, match="universe.instruments"):
        open_source(SourceConfig(name="yahoo")).instruments()


EMPTY = chart("America/New_York", [], [])
NO_STAMPS = json.loads(str(chart("America/New_York", DAYS, [1, 2, 3]).body))
del NO_STAMPS["chart"]["result"][0]["timestamp"]
NO_QUOTES = json.loads(json.dumps(NO_STAMPS))
NO_QUOTES["chart"]["result"][0]["indicators"] = {"quote": [{}], "adjclose": [{}]}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (NOT_FOUND, "has no bars of it from 1990-01-01 on"),
        (Reply(json.dumps(NO_QUOTES)), "no price data found"),
        (Reply(json.dumps(NO_STAMPS)), "gave an answer that can't be read"),
        (Reply("<html>Bad gateway</html>", status=502), "gave an answer that can't be read"),
        (Reply("Will be right back"), "CURRENTLY DOWN|can't be read"),
        (Reply('{"chart": {"result": [{"meta": {'), "gave an answer that can't be read"),
        (Reply("null"), "Yahoo"),
        (Reply("[]"), "Yahoo"),
        (Reply('{"chart": null}'), "Yahoo"),
        (Reply("{}", missing=100), "could not be reached"),
        (Reply(hangs_up=True), "could not be reached"),
    ],
)
def test_an_instrument_that_fails_is_told_and_the_others_are_done(
    yahoo: Yahoo, reply: Reply, said: str
) -> None:
    yahoo.charts |= {"BAD": reply, "X": chart("America/New_York", DAYS, [1, 2, 3])}
    fetched = fetch("BAD", "X")
    assert fetched.bars.num_rows == 3
    (problem,) = fetched.problems
    assert problem.instrument == "BAD"
    with pytest.raises(SourceError, match=said):
        fetch("BAD")


def test_an_answer_without_rows_brings_none(yahoo: Yahoo) -> None:
    yahoo.charts |= {"BAD": EMPTY, "X": chart("America/New_York", DAYS, [1, 2, 3])}
    assert fetch("BAD", "X").bars["instrument"].to_pylist() == ["X"] * 3


def test_a_limit_ends_the_questions_and_says_so(yahoo: Yahoo) -> None:
    yahoo.charts |= {
        "A": chart("America/New_York", DAYS, [1, 2, 3]),
        "B": REFUSED,
        "C": chart("America/New_York", DAYS, [1, 2, 3]),
    }
    fetched = fetch("A", "B", "C")
    assert fetched.bars.num_rows == 3
    assert [problem.instrument for problem in fetched.problems] == ["B", "C"]
    assert all("requests_per_minute" in problem.message for problem in fetched.problems)
    assert "C" not in yahoo.asked_for
    with pytest.raises(SourceError, match="too many requests"):
        fetch("B", "A")


def test_a_network_that_is_down_is_not_tried_for_everyone(
    yahoo: Yahoo, server: ProviderServer
) -> None:
    names = [f"N{place}" for place in range(9)]
    yahoo.charts |= dict.fromkeys(names, Reply(hangs_up=True))
    with pytest.raises(SourceError, match="and 8 more"):
        fetch(*names)
    assert len({asked.path for asked in server.asked if "/chart/" in asked.path}) == 3


def test_an_answer_is_not_awaited_for_ever(yahoo: Yahoo, server: ProviderServer) -> None:
    yahoo.charts["X"] = chart("America/New_York", DAYS, [1, 2, 3])
    usual = server.answer
    server.answer = lambda asked: Reply(silent=True) if "period1" in asked.query else usual(asked)
    with pytest.raises(SourceError, match="could not be reached"):
        fetch("X", timeout_seconds=0.2)


def test_yfinance_says_nothing_and_is_left_as_it_was(
    yahoo: Yahoo, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    del yahoo
    logger = logging.getLogger("yfinance")
    before = (yfinance.config.debug.hide_exceptions, yfinance.config.network.retries, logger.level)
    with pytest.raises(SourceError):
        fetch("NONE", "MORE")
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
    debug, network = yfinance.config.debug, yfinance.config.network
    assert (debug.hide_exceptions, network.retries, logger.level) == before


def test_a_missing_package_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yfinance", None)
    with pytest.raises(SourceError, match=r"pip install 'fleetcast\[yahoo\]'"):
        open_source(SourceConfig(name="yahoo"))


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the shared data is not here")
@pytest.mark.parametrize(
    ("file", "sessions", "actions"),
    [
        ("chart-AAPL-2020-08-31-to-2020-11-07.json", (49, "2020-08-31"), {"split", "dividend"}),
        ("chart-MSFT-dividends-2021-02-01-to-2022-01-31.json", (252, "2021-02-01"), {"dividend"}),
        (
            "chart-NVDA-split-2021-02-01-to-2022-01-31.json",
            (252, "2021-02-01"),
            {"split"},
        ),
        ("chart-BTC-USD-2020-01-01-to-2020-01-03.json", (3, "2020-01-01"), set()),
        ("chart-EURUSD_X-2020-01-01-to-2020-01-03.json", (3, "2020-01-01"), set()),
        ("chart-OCDO.L-2020-01-01-to-2020-01-03.json", (1, "2020-01-02"), set()),
        ("chart-WSU.DE-2023-08-04-to-2023-08-09.json", (3, "2023-08-04"), set()),
        ("chart-notimestamp-weird-quote.fake.json", None, set()),
        ("chart-notimestamp-quotes-length.fake.json", None, set()),
    ],
)
def test_recorded_answers(
    yahoo: Yahoo, file: str, sessions: tuple[int, str] | None, actions: set[str]
) -> None:
    body = json.loads((RECORDED / file).read_text())["body"]
    yahoo.charts |= {"X": Reply(json.dumps(body)), "Y": chart("UTC", [date(1990, 1, 2)], [1.0])}
    fetched = fetch("X", "Y")
    of_x = [row for row in fetched.bars.to_pylist() if row["instrument"] == "X"]
    assert (len(of_x), f"{of_x[0]['session']}") == sessions if sessions else not of_x
    assert bool(fetched.problems) is (sessions is None)
    assert set(fetched.actions["action"].to_pylist()) == actions


def test_a_process_with_tensorflow_in_it_is_refused_before_its_curl_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    open_source(SourceConfig(name="yahoo"))  # curl_cffi came first
    monkeypatch.delitem(sys.modules, "curl_cffi")
    with pytest.raises(SourceError, match="process that has loaded TensorFlow"):
        open_source(SourceConfig(name="yahoo"))
