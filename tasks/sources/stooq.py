"""Stooq: daily bars as CSV, without a key.

Owns what Stooq's answers mean. Never touches a connection.
"""

from __future__ import annotations

import unicodedata

from tasks.sources.answers import ProviderError, RequestError, as_csv, excerpt
from tasks.sources.config import FieldName, SourceConfig
from tasks.sources.delimited import LINE, DelimitedError, read_delimited
from tasks.sources.http import Client
from tasks.sources.protocol import Fetched
from tasks.sources.provider import ProviderSource, Wanted, open_provider
from tasks.sources.rate_limit import Clock, Rate
from tasks.sources.records import read_records

_HEADERS: dict[str, FieldName] = {
    "date": "session",
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "volume": "volume",
    "data": "session",
    "otwarcie": "open",
    "najwyzszy": "high",
    "najnizszy": "low",
    "zamkniecie": "close",
    "wolumen": "volume",
}
_NOTHING = ("no data", "brak danych")
_USED_UP = ("exceeded the daily hits limit", "przekroczony dzienny limit")


def open_stooq(config: SourceConfig, clock: Clock | None = None) -> ProviderSource:
    """Stooq's history, which is lowered by splits and by the dividends that it knows.

    Raises:
        SourceError: source.base_url is no address.
    """
    return open_provider(
        config,
        base_url="https://stooq.com",
        rate=Rate.per_minute(60),
        price_basis="total_return",
        ask=ask,
        clock=clock,
    )


def ask(client: Client, wanted: Wanted) -> Fetched:
    """The bars of one symbol, such as aapl.us.

    Raises:
        RequestError: Stooq has no such symbol, or its answer is none.
        ProviderError: its daily limit is used up.
    """
    parameters = {"s": wanted.symbol.lower(), "i": "d", "d1": f"{wanted.first:%Y%m%d}"}
    if wanted.last is not None:
        parameters["d2"] = f"{wanted.last:%Y%m%d}"
    return client.get("q/d/l/", parameters, lambda answer: read_stooq(as_csv(answer), wanted))


def read_stooq(text: str, wanted: Wanted) -> Fetched:
    """The bars in an answer; a row of an index has often no volume, not even an empty cell.

    Raises:
        RequestError: it says that there is no data, or something that is no CSV.
        ProviderError: it says that the daily limit is used up.
    """
    told = " ".join(text[:200].split()).casefold()
    if told.startswith(_USED_UP):
        raise ProviderError(f"it says{excerpt(text)}; Stooq allows so many answers a day")
    if told.startswith(_NOTHING):
        raise RequestError(
            f"Stooq says{excerpt(text)} of {wanted.symbol!r}. If it calls the instrument by "
            f'another name, state it: source.symbols = {{{wanted.instrument} = "aapl.us"}}'
        )
    try:
        found = read_delimited(text.encode("utf-8"), ",")
    except DelimitedError as error:
        raise RequestError(f"Stooq's answer is no CSV, as {error}{excerpt(text)}") from None
    meaning: dict[FieldName, str] = {}
    for column in found.header:
        name = _HEADERS.get(_plain(column))
        if name is not None:
            meaning.setdefault(name, column)
    if "session" not in meaning or "close" not in meaning:
        raise RequestError(f"Stooq's answer has no date and close{excerpt(text)}")
    rows = found.rows if found.malformed.any() else found.rows.drop_columns([LINE])
    return read_records(rows, meaning, wanted.instrument, found.malformed)


def _plain(header: str) -> str:
    """Lower case, without accents."""
    letters = unicodedata.normalize("NFKD", header.strip().casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))
