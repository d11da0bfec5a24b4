"""FRED: a series of the Federal Reserve Bank of St. Louis as closes, without a key.

Owns what FRED's answers mean. Never touches a connection.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from tasks.sources.answers import RequestError, as_csv, excerpt
from tasks.sources.config import SourceConfig
from tasks.sources.delimited import LINE, DelimitedError, read_delimited
from tasks.sources.http import Client
from tasks.sources.protocol import Fetched
from tasks.sources.provider import ProviderSource, Wanted, open_provider
from tasks.sources.rate_limit import Clock, Rate
from tasks.sources.records import read_records

_DATES = ("date", "observation_date")
_NO_VALUE = pa.array(["", "."], pa.string())


def open_fred(config: SourceConfig, clock: Clock | None = None) -> ProviderSource:
    """FRED's series, as published: a value is a close.

    Raises:
        SourceError: source.base_url is no address.
    """
    return open_provider(
        config,
        base_url="https://fred.stlouisfed.org",
        rate=Rate.per_minute(60),
        price_basis="raw",
        ask=ask,
        clock=clock,
    )


def ask(client: Client, wanted: Wanted) -> Fetched:
    """The values of one series, such as DEXUSEU.

    Each series by itself: of several at once FRED answers none if it lacks one.

    Raises:
        RequestError: FRED has no such series, or its answer is none.
    """
    parameters = {"id": wanted.symbol, "cosd": f"{wanted.first}"}
    if wanted.last is not None:
        parameters["coed"] = f"{wanted.last}"
    return client.get(
        "graph/fredgraph.csv", parameters, lambda answer: read_fred(as_csv(answer), wanted)
    )


def read_fred(text: str, wanted: Wanted) -> Fetched:
    """One series of an answer, which may hold several. A day without a value is no row.

    Raises:
        RequestError: it is no CSV of that series.
    """
    try:
        found = read_delimited(text.encode("utf-8"), ",")
    except DelimitedError as error:
        raise RequestError(f"FRED's answer is no CSV, as {error}{excerpt(text)}") from None
    dates = [name for name in found.header if name.casefold() in _DATES]
    values = [name for name in found.header if name.casefold() == wanted.symbol.casefold()]
    if not dates or not values:
        raise RequestError(f"FRED's answer has no series {wanted.symbol!r}{excerpt(text)}")
    rows = found.rows.select([dates[0], values[0], LINE])
    empty = pc.is_in(pc.utf8_trim_whitespace(rows[values[0]]), value_set=_NO_VALUE)
    told = pc.invert(pc.fill_null(empty, False))
    kept, malformed = rows.filter(told), found.malformed[told.to_numpy()]
    if not malformed.any():
        kept = kept.drop_columns([LINE])
    return read_records(
        kept, {"session": dates[0], "close": values[0]}, wanted.instrument, malformed
    )
