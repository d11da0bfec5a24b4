"""How a column of a dataset is declared: its type, and what it means in the field's metadata.

Owns the kinds of column that datasets are made of. Never touches which dataset has which.
"""

from __future__ import annotations

import pyarrow as pa

INSTANT = pa.timestamp("us", tz="UTC")


def column(
    name: str, kind: pa.DataType, meaning: str, *, unit: str = "", nullable: bool = False
) -> pa.Field:
    """A column with its ``meaning`` and, if any, its ``unit`` in the field's metadata."""
    metadata = {"meaning": meaning} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


def text(name: str, meaning: str, *, nullable: bool = False) -> pa.Field:
    """A column of texts."""
    return column(name, pa.string(), meaning, nullable=nullable)


def word(name: str, meaning: str, *words: str) -> pa.Field:
    """A column of texts that are one of `words`; these are in the metadata as ``one_of``."""
    plain = text(name, meaning)
    return plain.with_metadata({**plain.metadata, b"one_of": ", ".join(words).encode()})


def words_of(field: pa.Field) -> tuple[str, ...]:
    """The words that a column may hold; empty where it may hold any text."""
    joined = (field.metadata or {}).get(b"one_of", b"").decode()
    return tuple(joined.split(", ")) if joined else ()


def date(name: str, meaning: str, *, nullable: bool = False) -> pa.Field:
    """A column of sessions: calendar dates of the exchange, without a time zone."""
    return column(name, pa.date32(), meaning, unit="exchange session", nullable=nullable)


def instant(name: str, meaning: str) -> pa.Field:
    """A column of instants in UTC, to the microsecond."""
    return column(name, INSTANT, meaning, unit="UTC")


def number(name: str, meaning: str, unit: str, *, nullable: bool = False) -> pa.Field:
    """A column of 64-bit floats."""
    return column(name, pa.float64(), meaning, unit=unit, nullable=nullable)


def numbers(name: str, meaning: str, unit: str) -> pa.Field:
    """A column of lists of 64-bit floats, or null."""
    return column(name, pa.list_(pa.float64()), meaning, unit=unit, nullable=True)


def records(name: str, meaning: str, fields: tuple[str, ...]) -> pa.Field:
    """A column of lists of records of 64-bit floats, or null."""
    record = pa.struct([pa.field(field, pa.float64()) for field in fields])
    return column(name, pa.list_(record), meaning, nullable=True)


def count(name: str, meaning: str, unit: str, kind: pa.DataType | None = None) -> pa.Field:
    """A column of integers, by default of 32 bits."""
    return column(name, kind or pa.int32(), meaning, unit=unit)
