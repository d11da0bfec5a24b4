"""Alpha Vantage: daily bars as traded, with dividends, splits and adjusted closes where paid for.

Owns what its answers mean; all its errors come with HTTP 200. Never touches a connection.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

from tasks.sources.answers import (
    Answer,
    ProviderError,
    RequestError,
    TryAgainError,
    as_json,
    excerpt,
)
from tasks.sources.config import FieldName, SourceConfig
from tasks.sources.http import Client, Key
from tasks.sources.keys import api_key
from tasks.sources.protocol import Fetched
from tasks.sources.provider import ProviderSource, Wanted, open_provider
from tasks.sources.rate_limit import Clock, Rate
from tasks.sources.records import as_records, read_records

_MEANING: dict[str, FieldName] = {
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "volume": "volume",
    "adjusted close": "adjusted_close",
    "dividend amount": "dividend",
    "split coefficient": "split",
}
_SERIES = "Time Series (Daily)"
_COMPACT_DAYS = 99
"""The compact answer has 100 sessions, at least so many days."""

_PAUSE = 15.0
"""Seconds after which a request that came too soon may be tried again."""


def open_alphavantage(config: SourceConfig, clock: Clock | None = None) -> ProviderSource:
    """Its raw prices; with actions, unless `source.adjusted_close` is "ignore".

    Raises:
        SourceError: there is no key, or source.base_url is no address.
    """
    key = api_key(config, "ALPHAVANTAGE_API_KEY")
    function = "TIME_SERIES_DAILY"
    if config.adjusted_close != "ignore":
        function += "_ADJUSTED"
    return open_provider(
        config,
        base_url="https://www.alphavantage.co",
        rate=Rate.per_minute(5),
        price_basis="raw",
        ask=partial(ask, function=function),
        key=Key(key, parameter="apikey"),
        clock=clock,
    )


def ask(client: Client, wanted: Wanted, *, function: str) -> Fetched:
    """The bars of one symbol: the newest 100, or all where these don't reach back enough.

    Raises:
        RequestError: there is no such symbol, or its answer is none.
        ProviderError: the key is refused, or the day's requests are used up.
    """
    days = (datetime.now(UTC).date() - wanted.first).days
    parameters = {
        "function": function,
        "symbol": wanted.symbol,
        "outputsize": "compact" if days <= _COMPACT_DAYS else "full",
        "datatype": "json",
    }
    return client.get("query", parameters, lambda answer: read_alphavantage(answer, wanted))


def read_alphavantage(answer: Answer, wanted: Wanted) -> Fetched:
    """The bars in an answer.

    Raises:
        TryAgainError: it is no JSON, another thing than rows by date, or says "later".
        RequestError: it says that the call is wrong, as it does of an unknown symbol.
        ProviderError: it says no to every call.
    """
    told = as_json(answer)
    days = told.get(_SERIES) if isinstance(told, dict) else None
    if not isinstance(days, dict):
        if isinstance(told, dict):
            _refuse(told, wanted)
        raise TryAgainError(f"expected {_SERIES!r}, received{excerpt(answer.body)}")
    # A name is a number and a word, and the volume's number depends on the call: "6. volume".
    named = {name: None for cells in days.values() if isinstance(cells, dict) for name in cells}
    meaning: dict[FieldName, str] = {"session": "date"}
    for name in named:
        field = _MEANING.get(name.partition(". ")[2].strip().casefold())
        if field is not None:
            meaning.setdefault(field, name)
    rows: list[Any] = [
        {"date": day, **{name: cell for name, cell in cells.items() if name != "date"}}
        if isinstance(cells, dict)
        else {"date": day, "cells": cells}
        for day, cells in days.items()
    ]
    return read_records(as_records(rows), meaning, wanted.instrument)


def _refuse(told: dict[str, Any], wanted: Wanted) -> None:
    """Raises what an error text means; returns where there is none."""
    wrong = told.get("Error Message")
    if wrong is not None:
        said = f"Alpha Vantage says{excerpt(str(wrong))}"
        if "apikey" in str(wrong).casefold().replace(" ", ""):
            raise ProviderError(said)
        raise RequestError(f"{said}. So it answers for a symbol that it lacks ({wanted.symbol!r})")
    text = told.get("Note", told.get("Information"))
    if text is None:
        return
    said, words = f"Alpha Vantage says{excerpt(str(text))}", str(text).casefold()
    if "per minute" in words or "per second" in words:
        raise TryAgainError(said, wait=_PAUSE, for_all=True)
    if "outputsize" in words:
        said += ". A later source.start, within 99 days, asks for the newest 100 sessions only"
    elif "endpoint" in words:
        said += (
            '. Prices without splits and dividends may be free: source.adjusted_close = "ignore"'
        )
    raise ProviderError(said)
