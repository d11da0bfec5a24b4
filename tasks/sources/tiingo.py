"""Tiingo: end-of-day bars as traded, with dividends, splits and adjusted closes.

Owns what Tiingo's answers mean. Never touches a connection.
"""

from __future__ import annotations

from urllib.parse import quote

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

_MEANING: dict[FieldName, str] = {
    "session": "date",
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "volume": "volume",
    "adjusted_close": "adjClose",
    "dividend": "divCash",
    "split": "splitFactor",
}
_USED_UP = ("allocation", "rate limit", "request limit")


def open_tiingo(config: SourceConfig, clock: Clock | None = None) -> ProviderSource:
    """Tiingo's raw prices and the actions of each ex-date.

    Raises:
        SourceError: there is no key, or source.base_url is no address.
    """
    key = api_key(config, "TIINGO_API_KEY")
    return open_provider(
        config,
        base_url="https://api.tiingo.com",
        rate=Rate(50, 3600.0),
        price_basis="raw",
        ask=ask,
        key=Key(key, header="Authorization", prefix="Token "),
        clock=clock,
    )


def ask(client: Client, wanted: Wanted) -> Fetched:
    """The bars of one ticker.

    Raises:
        RequestError: Tiingo has no such ticker, or its answer is none.
        ProviderError: the hour's or the day's requests are used up.
    """
    parameters = {"startDate": f"{wanted.first}", "resampleFreq": "daily", "format": "json"}
    if wanted.last is not None:
        parameters["endDate"] = f"{wanted.last}"
    path = f"tiingo/daily/{quote(wanted.symbol, safe='')}/prices"
    return client.get(path, parameters, lambda answer: read_tiingo(answer, wanted))


def read_tiingo(answer: Answer, wanted: Wanted) -> Fetched:
    """The bars in an answer.

    Raises:
        TryAgainError: it is no JSON, or another thing than rows.
        RequestError: it is an error that came with HTTP 200.
        ProviderError: it says that the requests are used up.
    """
    if answer.text.lstrip().casefold().startswith("error"):
        _refuse(answer.text)
    told = as_json(answer)
    if isinstance(told, dict) and "detail" in told:
        _refuse(str(told["detail"]))
    if not isinstance(told, list):
        raise TryAgainError(f"expected a list of rows, received{excerpt(answer.body)}")
    return read_records(as_records(told), _MEANING, wanted.instrument)


def _refuse(text: str) -> None:
    if any(words in text.casefold() for words in _USED_UP):
        raise ProviderError(f"Tiingo says{excerpt(text)}")
    raise RequestError(f"Tiingo says{excerpt(text)}")
