"""The configuration of a source: which one, where its data lies, and what its prices are.

Owns the values and what is allowed. Never opens a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Literal, Self

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
]
"""What a column of a provider's table can be."""


class SourceConfig(BaseModel):
    """Where bars come from, and what they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        default="bokeh",
        min_length=1,
        description="bokeh: real daily bars of 2000 to 2013 that come with an installed package. "
        "files: CSV or Parquet of your own. Or the name of an installed plug-in.",
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        description="For files: a folder, a pattern such as bars/*.csv, or one file.",
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
    date_format: str | None = Field(
        default=None,
        min_length=2,
        description="How dates are written, such as %d.%m.%Y. Unset: ISO, such as 2024-12-31.",
    )
    separator: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="What separates the columns of a CSV. Unset: found in its header.",
    )
    adjusted_close: Literal["check", "derive", "ignore"] | None = Field(
        default=None,
        description="An adjusted-close column checks the total returns, or derives the splits and "
        "dividends that it implies. Unset: files check, bokeh derives.",
    )

    @field_validator("date_format")
    @classmethod
    def _date_format_tells_a_date(cls, text: str | None) -> str | None:
        day = datetime(2024, 11, 23)  # noqa: DTZ001 - a date as it is written
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

    @model_validator(mode="after")
    def _fits_the_source(self) -> Self:
        if self.name == "files" and self.path is None:
            raise ValueError(
                'name = "files" needs path: a folder, a pattern such as bars/*.csv, or one file'
            )
        if self.name == "bokeh":
            given = [
                field
                for field in ("path", "columns", "date_format", "separator", "price_basis")
                if getattr(self, field)
            ]
            if given:
                raise ValueError(
                    f'name = "bokeh" takes no {given[0]}: its data is one known file. For files of '
                    'your own set name = "files"'
                )
        return self

    @property
    def lag(self) -> timedelta:
        """From the close of a session until its bar is published."""
        return timedelta(minutes=self.lag_minutes)
