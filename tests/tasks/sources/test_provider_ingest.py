"""From a provider over the network into a real store, night after night."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tasks.ingest import IngestReport, ingest
from tasks.sessions import CalendarConfig, Calendars
from tasks.sources import Source, SourceConfig
from tasks.sources.binance import open_binance
from tasks.sources.rate_limit import Clock
from tasks.sources.tiingo import open_tiingo
from tasks.store import Store
from tests.tasks.sources.provider_server import Asked, FakeClock, ProviderServer, Reply
from tests.tasks.sources.test_binance import candle

NIGHT = datetime(2024, 3, 6, 3, tzinfo=UTC)
START = date(2024, 1, 2)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def tiingo(server: ProviderServer, time: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setenv("TIINGO_API_KEY", "a-key-of-mine")
    config = SourceConfig(name="tiingo", base_url=server.url, attempts=2, start=START)
    return open_tiingo(config, Clock(time.now, time.sleep))


def take_in(store: Store, source: Source, names: list[str], now: datetime) -> IngestReport:
    calendars = Calendars.load()
    return ingest(store, source, instruments=names, calendars=calendars, now=now, start=START)


class Exchange:
    """What Tiingo knows on a day: bars of all sessions until then, a split, and a revision."""

    def __init__(self, today: date) -> None:
        self.today = today
        self.revised: dict[date, float] = {}
        self.unknown = {"NOPE"}

    def __call__(self, asked: Asked) -> Reply:
        name = asked.path.split("/")[3]
        if name in self.unknown:
            return Reply('{"detail": "Not found."}', status=404)
        first = date.fromisoformat(asked.query["startDate"])
        calendar = Calendars.load().of(name)
        days = [one.item() for one in calendar.sessions(max(first, START), self.today)]
        return Reply(json.dumps([self._row(day) for day in days]))

    def _row(self, day: date) -> dict[str, object]:
        moved = 1 + 0.001 * (day.toordinal() % 7)
        split = day >= date(2024, 2, 1)
        close = self.revised.get(day, round(100 * moved / (2 if split else 1), 4))
        prices = {"open": close, "high": close, "low": close, "close": close, "volume": 1000}
        adjusted = {"adjClose": close if split else close / 2}
        actions = {"divCash": 0.0, "splitFactor": 2.0 if day == date(2024, 2, 1) else 1.0}
        return {"date": f"{day}T00:00:00.000Z", **prices, **adjusted, **actions}


def test_a_first_night_and_a_second(
    store: Store, server: ProviderServer, time: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = Exchange(date(2024, 3, 5))
    server.answer = exchange
    source = tiingo(server, time, monkeypatch)
    report = take_in(store, source, ["A", "B", "NOPE"], NIGHT)
    sessions = Calendars.load().of("A").count(START, exchange.today)
    assert (report.new, report.fetched, report.quarantined) == (2 * sessions, 2 * sessions, 0)
    assert (report.actions.new, report.rules) == (2, {})
    told = [problem for problem in report.problems if problem.instrument == "NOPE"]
    assert "HTTP 404" in told[0].message
    assert report.unknown == {}

    exchange.today, exchange.unknown = date(2024, 3, 6), set()
    exchange.revised[date(2024, 3, 4)] = 50.01
    asked = len(server.asked)
    again = take_in(store, source, ["A", "B", "NOPE"], NIGHT + timedelta(days=1))
    first = {one.path.split("/")[3]: one.query["startDate"] for one in server.asked[asked:]}
    assert first["NOPE"] == "2024-01-02"
    assert first["A"] == first["B"] > "2024-02-01"
    assert (again.new, again.changed) == (2 + sessions + 1, 2)
    bars = store.read("bars", instruments=["A"], columns=["session", "close"])
    closes = {row["session"]: row["close"] for row in bars.to_pylist()}
    assert closes[date(2024, 3, 4)] == 50.01
    assert len(closes) == sessions + 1
    assert "a-key-of-mine" not in str(store.read("ingests").to_pylist())


def test_what_a_dead_provider_left_is_fetched_by_the_next_night(
    store: Store, server: ProviderServer, time: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"I{number:02}" for number in range(60)]  # a batch and a part of another
    server.answer = Exchange(date(2024, 3, 5))
    monkeypatch.setattr("tasks.sources.provider._BATCH", 25)
    server.dies_after = 30
    report = take_in(store, tiingo(server, time, monkeypatch), names, NIGHT)
    assert len(report.instruments) == 30
    assert "no connection to" in str(report.problems)
    assert report.unknown == {}
    with ProviderServer() as alive:
        alive.answer = Exchange(date(2024, 3, 5))
        again = take_in(store, tiingo(alive, time, monkeypatch), names, NIGHT)
    sessions = Calendars.load().of("A").count(START, date(2024, 3, 5))
    assert again.new == 30 * sessions
    assert store.read("bars").num_rows == 60 * sessions


def test_the_open_day_of_a_market_that_never_closes_is_no_session(
    store: Store, server: ProviderServer, time: FakeClock
) -> None:
    days = [START + timedelta(days=number) for number in range(65)]  # until 2024-03-06, 03:00
    server.replies(Reply(json.dumps([candle(day) for day in days])))
    config = SourceConfig(name="binance", base_url=server.url, start=START)
    report = ingest(
        store,
        open_binance(config, Clock(time.now, time.sleep)),
        instruments=["BTCUSDT"],
        calendars=Calendars.load(CalendarConfig(default="24/7")),
        now=NIGHT,
        start=START,
    )
    assert (report.fetched, report.new, report.rules) == (65, 64, {"not_closed_yet": 1})
    assert store.read("bars")["session"].to_pylist()[-1] == date(2024, 3, 5)
    assert store.read("bars")["volume"].to_pylist()[0] == 38253.46877
