"""The store's datasets: one Arrow schema each, with what every column means and its unit.

Owns names, types, keys and the schema version. Never touches a file or a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

from tasks.derived_schemas import (
    AS_OF,
    CODE_VERSION,
    COMPARISONS,
    CONFIG_HASH,
    FORECASTS,
    INSTRUMENT,
    KNOWN_AT,
    MADE_AT,
    MODELS,
    ORIGIN,
    RUN_ID,
    SCORES,
    STATISTICS,
)
from tasks.storage.columns import INSTANT, column, count, date, number, text, word

__all__ = ["DATASETS", "INSTANT", "SCHEMA_VERSION", "Dataset"]

SCHEMA_VERSION = 4
"""Raised when there is a new dataset or nullable column; nothing is ever renamed or removed."""

_STAMPS = frozenset({"known_at", "assumed", "row_hash", "made_at"})


@dataclass(frozen=True)
class Dataset:
    """One dataset of the store.

    Attributes:
        name: the folder under the store that holds the Delta table.
        meaning: what one row is, in one line.
        schema: the Arrow schema; each field's metadata holds ``meaning`` and, if any, ``unit``.
        key: the columns that say which thing a row is about.
        fact: True: rows are facts with a `known_at`, the latest known per key is read. False: rows
            are derived, an id is written once and the earliest row is read.
        order: the columns that rows are sorted by, in files and in what is read.
        prune: columns that the key decides, so that a search for a key may skip files by them.
    """

    name: str
    meaning: str
    schema: pa.Schema
    key: tuple[str, ...]
    fact: bool
    order: tuple[str, ...]
    prune: tuple[str, ...]

    @property
    def compared(self) -> tuple[str, ...]:
        """The columns in which a fact may differ from the one before it and so be a revision.

        Neither the stamps nor the name of the source are: the same value from another source is
        no news.
        """
        without = _STAMPS | {"source"} | set(self.key)
        return tuple(name for name in self.schema.names if name not in without)

    @property
    def hashed(self) -> tuple[str, ...]:
        """The columns that `row_hash` covers: all but the stamps."""
        return tuple(name for name in self.schema.names if name not in _STAMPS)


_SOURCE = text("source", "name of the source that said so")
_OP = word("op", "upsert: holds from known_at on; retract: no longer holds", "upsert", "retract")
_ASSUMED = column(
    "assumed",
    pa.bool_(),
    "known_at is assumed (session close plus publication lag): the history arrived in bulk",
)
_ROW_HASH = text("row_hash", "hash of the row without its stamps; breaks ties of known_at")

_BARS = pa.schema(
    [
        INSTRUMENT,
        date("session", "the exchange's calendar date"),
        number("open", "first price of the session", "price", nullable=True),
        number("high", "highest price of the session", "price", nullable=True),
        number("low", "lowest price of the session", "price", nullable=True),
        number("close", "last price of the session", "price"),
        number("volume", "traded in the session", "shares", nullable=True),
        word("price_basis", "what the prices are", "raw", "split_adjusted", "total_return"),
        _SOURCE,
        _OP,
        KNOWN_AT,
        _ASSUMED,
        _ROW_HASH,
    ]
)

_ACTIONS = pa.schema(
    [
        INSTRUMENT,
        date("session", "the ex-date"),
        word("action", "what happened", "split", "dividend"),
        number(
            "value",
            "split: new shares per old share; dividend: cash per share as of the ex-date",
            "ratio or price",
        ),
        _SOURCE,
        _OP,
        KNOWN_AT,
        _ASSUMED,
        _ROW_HASH,
    ]
)

_QUARANTINE = pa.schema(
    [
        text("quarantine_id", "hash of source, row and rule"),
        _SOURCE,
        text("instrument", "whose row it is, where that can be told", nullable=True),
        date("session", "the row's session, where that can be told", nullable=True),
        text("rule", "the rule that the row breaks"),
        text("reason", "why, with the values that broke it"),
        text("row", "the row as it came, as JSON"),
        number("open", "as read; null where it could not be", "price", nullable=True),
        number("high", "as read", "price", nullable=True),
        number("low", "as read", "price", nullable=True),
        number("close", "as read", "price", nullable=True),
        number("volume", "as read", "shares", nullable=True),
        text("price_basis", "what the prices are", nullable=True),
        word(
            "op",
            "hold: kept out of bars; flag: in bars, but doubtful; release: a person let it in",
            "hold",
            "flag",
            "release",
        ),
        KNOWN_AT,
        _ROW_HASH,
    ]
)

_MEMBERS = pa.schema(
    [
        INSTRUMENT,
        date("first", "the first session on which it belongs to the universe"),
        date("last", "the last one; null while it still belongs", nullable=True),
        _SOURCE,
        _OP,
        KNOWN_AT,
        _ASSUMED,
        _ROW_HASH,
    ]
)

_ERASED = pa.schema(
    [
        word("subject", "what was erased", "instrument", "source"),
        text("name", "its name"),
        word(
            "op",
            "erase: gone, and refused when it comes again; allow: may come again",
            "erase",
            "allow",
        ),
        KNOWN_AT,
        _ROW_HASH,
    ]
)

_INGESTS = pa.schema(
    [
        text("ingest_id", "hash of source, instant and provenance"),
        _SOURCE,
        text("provenance", "where the rows came from"),
        MADE_AT,
        count("fetched", "rows that came: the next five add up to it", "rows", pa.int64()),
        count("new", "sessions that the store had no bar of", "rows", pa.int64()),
        count("changed", "sessions whose bar differs from the store's", "rows", pa.int64()),
        count("unchanged", "sessions that bring no news", "rows", pa.int64()),
        count("quarantined", "rows held", "rows", pa.int64()),
        count("agreed_duplicates", "rows that repeat another row", "rows", pa.int64()),
        count("flagged", "bars that are doubtful, but kept", "rows", pa.int64()),
        count("retracted", "stored bars that turned out to be bad ticks", "rows", pa.int64()),
        text("rules", "JSON: rule → rows that it holds or flags"),
        text("problems", "JSON: what a person should know, a text each"),
        KNOWN_AT,
    ]
)

_RUNS = pa.schema(
    [
        RUN_ID,
        text("run_key", "hash of session, origin, settings and code: what makes runs the same"),
        date("session", "the last session that the run may know"),
        AS_OF,
        ORIGIN,
        word("status", "how far it got", "pinned", "finished", "failed"),
        CONFIG_HASH,
        CODE_VERSION,
        text("table_versions", "JSON: the version of every dataset that the run reads"),
        text("shards", "JSON: the shard plan"),
        text("message", "why it failed", nullable=True),
        MADE_AT,
        KNOWN_AT,
        _ROW_HASH,
    ]
)

_DELIVERIES = pa.schema(
    [
        text("sink", "what forecasts are published to, and where, without secrets"),
        RUN_ID,
        AS_OF,
        text("edition", "hash of the night and of the forecasts that it came to"),
        word(
            "status",
            "due: still to be delivered; delivered; superseded: the sink has newer ones; refused: "
            "the receiver does not take them, and is not asked again",
            "due",
            "delivered",
            "superseded",
            "refused",
        ),
        KNOWN_AT,
        _ROW_HASH,
    ]
)


def _dataset(
    name: str, meaning: str, schema: pa.Schema, *, key: str, fact: bool, order: str, prune: str
) -> Dataset:
    return Dataset(
        name, meaning, schema, tuple(key.split()), fact, tuple(order.split()), tuple(prune.split())
    )


_ALL = (
    _dataset(
        "bars",
        "one daily price row of one instrument, as its provider gave it",
        _BARS,
        key="instrument session",
        fact=True,
        order="instrument session",
        prune="instrument session",
    ),
    _dataset(
        "actions",
        "one split or dividend",
        _ACTIONS,
        key="instrument session action",
        fact=True,
        order="instrument session action",
        prune="instrument session",
    ),
    _dataset(
        "quarantine",
        "one row that broke a rule, as it came",
        _QUARANTINE,
        key="quarantine_id",
        fact=True,
        order="instrument session rule quarantine_id",
        prune="quarantine_id",
    ),
    _dataset(
        "members",
        "one stay of one instrument in the universe",
        _MEMBERS,
        key="instrument first",
        fact=True,
        order="instrument first",
        prune="instrument",
    ),
    _dataset(
        "erased",
        "one instrument or source that was erased",
        _ERASED,
        key="subject name",
        fact=True,
        order="subject name",
        prune="name",
    ),
    _dataset(
        "ingests",
        "one ingest, and what came of its rows",
        _INGESTS,
        key="ingest_id",
        fact=False,
        order="made_at ingest_id",
        prune="ingest_id",
    ),
    _dataset(
        "runs",
        "one run and the world it read",
        _RUNS,
        key="run_id",
        fact=True,
        order="session as_of run_id",
        prune="run_id",
    ),
    _dataset(
        "models",
        "one trained model of one instrument and target",
        MODELS,
        key="model_id",
        fact=False,
        order="instrument target kind refit_session model_id",
        prune="instrument model_id",
    ),
    _dataset(
        "statistics",
        "one loss of one method at one cutoff",
        STATISTICS,
        key="evaluation_id fold segment method cutoff",
        fact=False,
        order="instrument target kind evaluation_id method fold segment cutoff",
        prune="instrument cutoff evaluation_id",
    ),
    _dataset(
        "scores",
        "one score of one method at one lead",
        SCORES,
        key="score_id",
        fact=False,
        order="instrument target kind evaluation_id segment fold method lead score_id",
        prune="instrument score_id",
    ),
    _dataset(
        "comparisons",
        "one method compared with one baseline on the test segments",
        COMPARISONS,
        key="comparison_id",
        fact=False,
        order="target kind instrument method baseline comparison_id",
        prune="comparison_id",
    ),
    _dataset(
        "forecasts",
        "one forecast of one instrument and target at one lead",
        FORECASTS,
        key="forecast_id",
        fact=False,
        order="instrument target kind as_of lead forecast_id",
        prune="instrument forecast_id",
    ),
    _dataset(
        "deliveries",
        "the forecasts of one run, and how far they got to one sink outside the store",
        _DELIVERIES,
        key="sink run_id",
        fact=True,
        order="sink as_of run_id",
        prune="run_id",
    ),
)

DATASETS: Mapping[str, Dataset] = MappingProxyType({dataset.name: dataset for dataset in _ALL})
