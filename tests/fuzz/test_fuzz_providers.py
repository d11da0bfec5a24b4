"""Answers of providers that were damaged on the way: rows, quarantine or a clear error.

`make fuzz` tries ten thousand; the ordinary run a hundred.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given

from tasks.bars import validate
from tasks.sessions import Calendars
from tasks.sources import SourceConfig, SourceError
from tasks.sources.alphavantage import open_alphavantage
from tasks.sources.binance import open_binance
from tasks.sources.fred import open_fred
from tasks.sources.protocol import Source
from tasks.sources.rate_limit import Clock
from tasks.sources.stooq import open_stooq
from tasks.sources.tiingo import open_tiingo
from tests.fuzz.mutations import mutations
from tests.fuzz.patience import patience
from tests.tasks.sources.provider_server import FakeClock, ProviderServer, Reply

NOW = datetime(2024, 6, 28, 23, tzinfo=UTC)
CALENDARS = Calendars.load()
PAYLOADS = Path(__file__).parents[3] / "shared" / "data" / "payloads"

OPENERS = {
    "alphavantage": open_alphavantage,
    "binance": open_binance,
    "fred": open_fred,
    "stooq": open_stooq,
    "tiingo": open_tiingo,
}


def tiingo(day: str, **more: object) -> dict[str, object]:
    cells = {"close": 10.0, "high": 12.0, "low": 9.0, "open": 11.0, "volume": 1000}
    adjusted = {"adjClose": 5.0, "adjHigh": 6.0, "adjLow": 4.5, "adjOpen": 5.5, "adjVolume": 2000}
    stamp = {"date": f"{day}T00:00:00.000Z"}
    return {**stamp, **cells, **adjusted, "divCash": 0.0, "splitFactor": 1.0, **more}


def candle(day: int) -> list[object]:
    start = 1_704_153_600_000 + day * 86_400_000
    told = [start, "42.1", "43.0", "41.5", "42.9", "1000.5", start + 86_399_999]
    return [*told, "42000.1", 12, "500.2", "21000.1", "0"]


def alphavantage() -> dict[str, Any]:
    names = ("1. open", "2. high", "3. low", "4. close", "5. adjusted close", "6. volume")
    more = {"7. dividend amount": "0.0000", "8. split coefficient": "1.0"}
    day = dict(zip(names, ("10.0", "11.0", "9.0", "10.5", "10.4", "100"), strict=True)) | more
    return {
        "Meta Data": {"2. Symbol": "ACME", "5. Time Zone": "US/Eastern"},
        "Time Series (Daily)": {"2024-01-03": day, "2024-01-02": day},
    }


def recorded() -> Iterator[tuple[str, bytes]]:
    """Real answers, where they are at hand."""
    for name in OPENERS:
        for path in sorted((PAYLOADS / name).glob("*")):
            data = path.read_bytes()
            if name == "tiingo":
                answer = json.loads(data)
                answer = answer[0] if isinstance(answer, list) else answer
                data = str(answer.get("body_text", "")).encode()
            yield name, data[:4000]


CORPUS = [
    ("tiingo", json.dumps([tiingo("2024-01-02", divCash=0.2), tiingo("2024-01-03")]).encode()),
    ("binance", json.dumps([candle(0), candle(1)]).encode()),
    ("alphavantage", json.dumps(alphavantage()).encode()),
    ("fred", b"observation_date,ACME\n2024-01-02,1.0956\n2024-01-03,\n2024-01-04,1.0948\n"),
    (
        "stooq",
        b"Date,Open,High,Low,Close,Volume\r\n2024-01-02,1,2,1,1.5,10\r\n2024-01-03,1,2,1,1.6\r\n",
    ),
    *recorded(),
]


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as running:
        yield running


def opened(name: str, server: ProviderServer) -> Source:
    time = FakeClock()
    config = {"name": name, "base_url": server.url, "attempts": 1, "timeout_seconds": 5.0}
    return OPENERS[name](SourceConfig.model_validate(config), Clock(time.now, time.sleep))


@given(case=mutations(CORPUS))
@example(case=("tiingo", b"[]"))
@example(case=("binance", b"[[]]"))
@example(case=("alphavantage", b'{"Time Series (Daily)": {"2024-01-02": null}}'))
@example(case=("fred", b"<html>"))
@example(case=("stooq", b""))
def test_a_damaged_answer_ends_in_rows_quarantine_or_an_error(
    server: ProviderServer, case: tuple[str, bytes]
) -> None:
    name, data = case
    server.answer = lambda _: Reply(data)
    with pytest.MonkeyPatch.context() as patch, patience():
        for variable in ("TIINGO_API_KEY", "ALPHAVANTAGE_API_KEY"):
            patch.setenv(variable, "a-key-of-mine")
        said = ""
        try:
            fetched = opened(name, server).fetch(("ACME",), date(2024, 1, 1), None)
        except SourceError as error:
            said = str(error)
            assert said.strip()
            assert "a-key-of-mine" not in said
            return
        told = [problem.message for problem in fetched.problems]
        assert fetched.bars.num_rows or fetched.original.num_rows == 0
        assert all(message.strip() and "a-key-of-mine" not in message for message in told)
        judged = validate(fetched, CALENDARS, now=NOW, lag=SourceConfig().lag)
        assert (
            fetched.bars.num_rows
            == judged.bars.num_rows + len(judged.held) + judged.agreed_duplicates
        )
