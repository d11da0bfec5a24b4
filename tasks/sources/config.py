"""The configuration of a source: which one, where its data lies, and what its prices are.

Owns the values and what is allowed. Never opens a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Literal, Self
from urllib.parse import unquote_plus, urlsplit
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.actions import PriceBasis

FieldName = Literal[
    "session",
    "instrument",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "adjusted_close",
    "dividend",
    "split",
    "return",
]
"""What a column of a provider's table can be."""


_ALL = frozenset({"name", "lag_minutes", "archive", "adjusted_close"})
_READ = frozenset({"columns", "date_format", "timezone", "price_basis"})
_NETWORK = frozenset(
    {
        "base_url",
        "symbols",
        "start",
        "overlap_sessions",
        "timeout_seconds",
        "attempts",
        "requests_per_minute",
        "key_block",
    }
)
_TAKES: Mapping[str, frozenset[str]] = {
    "bokeh": _ALL,
    "files": _ALL
    | _READ
    | {
        "path",
        "header",
        "layout",
        "first_session",
        "returns",
        "separator",
        "decimal",
        "thousands",
        "timeout_seconds",
        "attempts",
    },
    "sql": _ALL
    | _READ
    | {"url", "table", "query", "symbols", "start", "overlap_sessions", "key_block"},
    "yahoo": _ALL | _NETWORK - {"base_url", "key_block"},
    **dict.fromkeys(("stooq", "fred", "tiingo", "alphavantage", "binance"), _ALL | _NETWORK),
}
"""The fields that a built-in source takes."""

OPERATIONAL = frozenset(
    {
        "base_url",
        "overlap_sessions",
        "timeout_seconds",
        "attempts",
        "requests_per_minute",
        "key_block",
    }
)
"""Fields that change how data is fetched, and nothing about what it is."""


class SourceConfig(BaseModel):
    """Where bars come from, and what they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        default="bokeh",
        min_length=1,
        description="bokeh: real daily bars of 2000 to 2013 that come with an installed package. "
        "files: CSV or Parquet of your own. sql: a database. yahoo, stooq, fred, tiingo, "
        "alphavantage, binance: over the network. Or the name of an installed plug-in.",
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        description="For files: a folder, a pattern such as bars/*.csv, one file, or a URL.",
    )
    url: str | None = Field(
        default=None,
        min_length=1,
        description="For sql: a SQLAlchemy URL without a password, which comes from the "
        "environment variable FLEETCAST_SQL_PASSWORD.",
    )
    table: str | None = Field(
        default=None, min_length=1, description="For sql: the table or view, as schema.name."
    )
    query: str | None = Field(
        default=None, min_length=1, description="For sql: a SELECT instead of a table."
    )
    base_url: str | None = Field(
        default=None,
        min_length=1,
        description="For sources over the network: another server that answers the same way.",
    )
    symbols: Mapping[str, str] = Field(
        default={}, description='Instrument = the provider\'s name for it: {SPX = "^spx"}.'
    )
    start: date = Field(
        default=date(1990, 1, 1),
        description="For sources over the network and sql: the first session ever asked for.",
    )
    overlap_sessions: int = Field(
        default=10,
        ge=1,
        le=10_000,
        description="Sessions before the newest stored one that are asked for again, to see "
        "revisions. Files are always read whole.",
    )
    timeout_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="How long an answer may be awaited."
    )
    attempts: int = Field(
        default=5, ge=1, le=20, description="How often a request is tried before it failed."
    )
    requests_per_minute: float | None = Field(
        default=None,
        gt=0,
        description="At most so many. Unset: what the provider is known to allow.",
    )
    key_block: str | None = Field(
        default=None,
        min_length=1,
        description="Name of a Prefect Secret block with the provider's key, or the database's "
        "password. Unset: it is in the environment variable of the provider, such as "
        "TIINGO_API_KEY.",
    )
    options: Mapping[str, str | int | float | bool] = Field(
        default={}, description="For plug-ins: whatever they take."
    )
    lag_minutes: int = Field(
        default=60,
        ge=0,
        le=7 * 24 * 60,
        description="Minutes from the close of a session until its bar is published.",
    )
    price_basis: PriceBasis | None = Field(
        default=None,
        description="What the prices are. Unset: what the source usually gives "
        "(files: split_adjusted).",
    )
    archive: bool | None = Field(
        default=None,
        description="The data is history that does not grow, so that a run is about its last "
        "session. Unset: what the source is (files: false).",
    )
    columns: Mapping[FieldName, str] = Field(
        default={},
        description='Meaning = header, where headers are unusual: {close = "Last"}. An empty '
        "header leaves that column out.",
    )
    header: tuple[str, ...] = Field(
        default=(), description="The columns' names, for files that have no header line."
    )
    layout: Literal["long", "wide"] = Field(
        default="long",
        description="wide: every column but the session is one instrument, its cells are closes.",
    )
    date_format: str | None = Field(
        default=None,
        min_length=2,
        description="How dates are written, such as %d.%m.%Y. Unset: found, ISO first.",
    )
    timezone: str | None = Field(
        default=None,
        description="IANA zone in which the date of an instant counts, such as Europe/London. "
        "Unset: the date as it is written.",
    )
    first_session: date | None = Field(
        default=None,
        description="For files without dates: the session of the first row; the others follow, "
        "session by session.",
    )
    returns: Literal["log", "log_percent", "simple", "simple_percent"] | None = Field(
        default=None,
        description="For files of returns instead of prices: what they are. Closes are compounded "
        "from 100.",
    )
    separator: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="What separates the columns of a CSV. Unset: found in its header.",
    )
    decimal: Literal[".", ","] | None = Field(
        default=None, description="The decimal mark. Unset: found."
    )
    thousands: Literal["", ",", ".", " ", "'"] | None = Field(
        default=None, description="What groups the digits of large numbers. Unset: found."
    )
    adjusted_close: Literal["check", "derive", "ignore"] | None = Field(
        default=None,
        description="An adjusted-close column checks the total returns, or derives the splits and "
        "dividends that it implies. Unset: files check, bokeh derives.",
    )

    @field_validator("url")
    @classmethod
    def _url_holds_no_password(cls, url: str | None) -> str | None:
        if url is not None and holds_password(url):
            raise ValueError(
                "holds a password; take it out, and put it into the environment variable "
                "FLEETCAST_SQL_PASSWORD"
            )
        return url

    @field_validator("path")
    @classmethod
    def _web_address_holds_no_secret(cls, url: str | None) -> str | None:
        if url is not None and url.startswith(("http://", "https://")):
            parts = urlsplit(url)
            if "@" in parts.netloc or _tells_a_secret(parts.query):
                raise ValueError(
                    "holds a password or key. Leave it out: a configuration is seen by many"
                )
        return url

    @field_validator("options")
    @classmethod
    def _options_hold_no_secret(
        cls, options: Mapping[str, str | int | float | bool]
    ) -> Mapping[str, str | int | float | bool]:
        for name in options:
            if _SECRET_NAME.search(name):
                raise ValueError(
                    f"{name} seems to be a secret. A plug-in's key comes from the environment, or "
                    "from source.key_block"
                )
        return options

    @field_validator("symbols")
    @classmethod
    def _symbols_are_told(cls, symbols: Mapping[str, str]) -> Mapping[str, str]:
        for name, symbol in symbols.items():
            if not name.strip() or not symbol.strip():
                raise ValueError(
                    f"{name!r} = {symbol!r} names nothing. Expected an instrument and the "
                    "provider's name for it; leave out a name that is the provider's own"
                )
        return symbols

    @field_validator("base_url")
    @classmethod
    def _base_url_has_no_query(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "")
        if parts.query or parts.fragment:
            raise ValueError(
                "has a query; leave only the server and a path, such as https://api.example.com, "
                "and put a key into the provider's environment variable, such as TIINGO_API_KEY, "
                "or into source.key_block"
            )
        if "@" in parts.netloc:
            raise ValueError("holds a user or password. Leave only the server and a path")
        return url

    @field_validator("date_format")
    @classmethod
    def _date_format_tells_a_date(cls, text: str | None) -> str | None:
        day = datetime(2024, 11, 23, tzinfo=UTC)
        if text is not None:
            told = None
            if "%Y" in text or "%y" in text:  # Python warns of a format without a year
                with suppress(ValueError):
                    told = datetime.strptime(day.strftime(text), text).date()  # noqa: DTZ007
            if told != day.date():
                raise ValueError(
                    f"{text!r} does not tell year, month and day. Expected something like "
                    "%d.%m.%Y or %m/%d/%y"
                )
        return text

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, name: str | None) -> str | None:
        if name is not None and name not in available_timezones():
            raise ValueError(
                f"{name!r} is no IANA name of a time zone. Expected one such as Europe/London"
            )
        return name

    @model_validator(mode="after")
    def _fits_the_source(self) -> Self:
        if self.name == "files" and self.path is None:
            raise ValueError(
                'name = "files" needs path: a folder, a pattern such as bars/*.csv, one file, or '
                "a URL"
            )
        if self.name == "sql" and (
            self.url is None or (self.table is None) == (self.query is None)
        ):
            raise ValueError('name = "sql" needs url, and either table or query')
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError(
                f"decimal and thousands are both {self.decimal!r}: one mark can't be both. "
                "Correct one of them, or leave both out"
            )
        takes = _TAKES.get(self.name)
        if takes is None:
            return self
        fields = type(self).model_fields
        given = [
            field
            for field in fields
            if field not in takes and getattr(self, field) != fields[field].get_default()
        ]
        if given:
            raise ValueError(
                f'name = "{self.name}" takes no {given[0]}. It takes: {", ".join(sorted(takes))}'
            )
        return self

    @property
    def lag(self) -> timedelta:
        """From the close of a session until its bar is published."""
        return timedelta(minutes=self.lag_minutes)


def holds_password(url: str) -> bool:
    """Whether a database's URL holds one: "user:secret@", or a query such as "?password=secret"."""
    address, _, query = url.partition("://")[2].partition("?")
    user, at, _ = address.rpartition("@")
    if at and ":" in user and not user.startswith("/"):
        return True
    return _tells_a_secret(query)


_SECRET_NAME = re.compile(r"passw|pwd|secret|token|api_?key|signature|^sig$", re.IGNORECASE)
"""What a secret is called, in an address or among options."""


def _tells_a_secret(query: str) -> bool:
    told = unquote_plus(query)  # also what an ODBC string within the query holds
    fields = (one.partition("=") for one in re.split("[&;]", told))
    return any(value and _SECRET_NAME.search(name.strip()) for name, _, value in fields)
