"""Binance: daily candles of the spot market, without a key.

Owns what Binance's answers mean, and the paging. Never touches a connection.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from tasks.sources.answers import Answer, RequestError, TryAgainError, as_json, excerpt
from tasks.sources.config import FieldName, SourceConfig
from tasks.sources.http import Client
from tasks.sources.merge import merge
from tasks.sources.protocol import Fetched
from tasks.sources.provider import ProviderSource, Wanted, open_provider
from tasks.sources.rate_limit import Clock, Rate
from tasks.sources.records import as_records, read_records

_LIMIT = 1000
_DAY = 86_400_000
_EPOCH = date(1970, 1, 1)
_NAMES = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "trades",
    "taker_base_volume",
    "taker_quote_volume",
    "unused",
)
_MEANING: dict[FieldName, str] = {
    "session": "session",
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "volume": "volume",
}


def open_binance(config: SourceConfig, clock: Clock | None = None) -> ProviderSource:
    """Binance's candles: a session is a day of UTC, the last one may still be open.

    Raises:
        SourceError: source.base_url is no address.
    """
    return open_provider(
        config,
        base_url="https://api.binance.com",
        rate=Rate.per_minute(1200),
        price_basis="raw",
        ask=ask,
        clock=clock,
    )


def ask(client: Client, wanted: Wanted) -> Fetched:
    """The candles of one symbol, such as BTCUSDT, a thousand at a time.

    Raises:
        RequestError: Binance has no such symbol, or its answer is none.
        ProviderError: it refuses this address.
    """
    rows: list[Any] = []
    start = _milliseconds(wanted.first)
    while True:
        parameters: dict[str, str | int] = {
            "symbol": wanted.symbol,
            "interval": "1d",
            "startTime": start,
            "limit": _LIMIT,
        }
        if wanted.last is not None:
            parameters["endTime"] = _milliseconds(wanted.last)
        page = client.get("api/v3/klines", parameters, read_page)
        rows += page
        opened = [row[0] for row in page if isinstance(row, list) and row and _is_time(row[0])]
        if len(page) < _LIMIT:
            return read_candles(rows, wanted)
        if not opened or max(opened) < start:
            raise RequestError(f"page after page holds no candle since {_day(start)}")
        start = max(opened) + _DAY


def read_page(answer: Answer) -> list[Any]:
    """The candles of an answer, as they came.

    Raises:
        TryAgainError: it is no JSON.
        RequestError: it is an error that came with HTTP 200.
    """
    told = as_json(answer)
    if isinstance(told, list):
        return told
    if isinstance(told, dict) and "msg" in told:
        raise RequestError(f"Binance says{excerpt(str(told['msg']))}")
    raise TryAgainError(f"expected a list of candles, received{excerpt(answer.body)}")


def read_candles(rows: list[Any], wanted: Wanted) -> Fetched:
    """The bars of candles. One that does not open at 00:00 UTC is no day."""
    if not rows:
        return merge([], [], "")
    named = [_named(row) for row in rows]
    return read_records(as_records(named), _MEANING, wanted.instrument)


def _named(row: object) -> object:
    if not isinstance(row, list) or not 6 <= len(row) <= len(_NAMES):
        return row if not isinstance(row, dict) else [row]
    cells = dict(zip(_NAMES, row, strict=False))
    opened = row[0]
    cells["session"] = _day(opened) if _is_time(opened) and opened % _DAY == 0 else opened
    return cells


def _is_time(value: object) -> bool:
    """Milliseconds within the years that have a date."""
    return type(value) is int and 0 <= value < 250 * 366 * _DAY


def _milliseconds(day: date) -> int:
    return max(0, (day - _EPOCH) // timedelta(days=1) * _DAY)


def _day(milliseconds: int) -> str:
    return (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat()
