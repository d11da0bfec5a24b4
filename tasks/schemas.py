"""The store's datasets: one Arrow schema each, with what every column means and its unit.

Owns names, types, keys and the schema version. Never touches a file or a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

from tasks.storage.columns import INSTANT, column, count, date, instant, number, text, word

__all__ = ["DATASETS", "INSTANT", "SCHEMA_VERSION", "Dataset"]

SCHEMA_VERSION = 1
"""Raised when a dataset gains a nullable column; nothing is ever renamed or removed."""

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


_INSTRUMENT = text("instrument", "the thing that is forecast")
_SOURCE = text("source", "name of the source that said so")
_OP = word("op", "upsert: holds from known_at on; retract: no longer holds", "upsert", "retract")
_KNOWN_AT = instant("known_at", "when the row became known to this store")
_ASSUMED = column(
    "assumed",
    pa.bool_(),
    "known_at is assumed (session close plus publication lag): the history arrived in bulk",
)
_ROW_HASH = text("row_hash", "hash of the row without its stamps; breaks ties of known_at")
_TARGET = text("target", "log_return or log_volatility")
_KIND = text("kind", "kind of network: many_to_many")
_METHOD = text("method", "who forecast: lstm, combination, a baseline; in scores also published")
_AS_OF = instant("as_of", "whose knowledge: nothing known later had influence")
_CONFIG_HASH = text("config_hash", "hash of the settings that decide a forecast")
_CODE_VERSION = text("code_version", "version of the code that decides a forecast")
_RUN_ID = text("run_id", "the run that wrote the row")
_ORIGIN = word("origin", "made for its own night, or for a past one", "live", "backfill")
_MADE_AT = instant("made_at", "when the row was computed")
_EVALUATION_ID = text("evaluation_id", "one evaluation of one instrument and target")
_LEAD = count("lead", "how far ahead", "sessions")
_LEVEL = "nominal coverage of the interval"

_BARS = pa.schema(
    [
        _INSTRUMENT,
        date("session", "the exchange's calendar date"),
        number("open", "first price of the session", "price", nullable=True),
        number("high", "highest price of the session", "price", nullable=True),
        number("low", "lowest price of the session", "price", nullable=True),
        number("close", "last price of the session", "price"),
        number("volume", "traded in the session", "shares", nullable=True),
        word("price_basis", "what the prices are", "raw", "split_adjusted", "total_return"),
        _SOURCE,
        _OP,
        _KNOWN_AT,
        _ASSUMED,
        _ROW_HASH,
    ]
)

_ACTIONS = pa.schema(
    [
        _INSTRUMENT,
        date("session", "the ex-date"),
        word("action", "what happened", "split", "dividend"),
        number(
            "value",
            "split: new shares per old share; dividend: cash per share as of the ex-date",
            "ratio or price",
        ),
        _SOURCE,
        _OP,
        _KNOWN_AT,
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
        word("op", "hold: kept out of bars; release: a person let it in", "hold", "release"),
        _KNOWN_AT,
        _ROW_HASH,
    ]
)

_RUNS = pa.schema(
    [
        _RUN_ID,
        text("run_key", "hash of session, origin, settings and code: what makes runs the same"),
        date("session", "the last session that the run may know"),
        _AS_OF,
        _ORIGIN,
        word("status", "how far it got", "pinned", "finished", "failed"),
        _CONFIG_HASH,
        _CODE_VERSION,
        text("table_versions", "JSON: the version of every dataset that the run reads"),
        text("shards", "JSON: the shard plan"),
        text("message", "why it failed", nullable=True),
        _MADE_AT,
        _KNOWN_AT,
        _ROW_HASH,
    ]
)

_MODELS = pa.schema(
    [
        text("model_id", "hash of all that decides the model"),
        text("shard", "the fleet that it was trained in"),
        _INSTRUMENT,
        _TARGET,
        _KIND,
        date("refit_session", "the session after which the model was due"),
        date("cutoff", "the last session of its training data", nullable=True),
        _CONFIG_HASH,
        text("data_fingerprint", "hash of the training data"),
        _CODE_VERSION,
        word("status", "what came of it", "trained", "diverged", "not_trained"),
        text("reason", "why it diverged or was not trained", nullable=True),
        column(
            "best_update",
            pa.int32(),
            "update whose weights were kept; 0 is the frozen linear fit itself",
            unit="updates",
            nullable=True,
        ),
        number(
            "early_stop_mse",
            "mean squared error on the early-stop segment, mean over leads",
            "residual variance of the fit segment",
            nullable=True,
        ),
        number(
            "initial_early_stop_mse",
            "the same at update 0",
            "residual variance of the fit segment",
            nullable=True,
        ),
        text("checkpoint", "the fleet's file, relative to the store", nullable=True),
        _AS_OF,
        _ORIGIN,
        _RUN_ID,
        _MADE_AT,
        _KNOWN_AT,
    ]
)

_STATISTICS = pa.schema(
    [
        _EVALUATION_ID,
        _INSTRUMENT,
        _TARGET,
        _KIND,
        _METHOD,
        count("fold", "walk-forward fold; 0 is the model that forecasts tonight", "index"),
        word("segment", "part of the fold", "gate", "test"),
        date("cutoff", "the last session that the forecast could see"),
        number("loss", "squared error, mean over leads", "target units²"),
        _KNOWN_AT,
    ]
)

_SCORES = pa.schema(
    [
        text("score_id", "hash of all that decides the score"),
        _EVALUATION_ID,
        _INSTRUMENT,
        _TARGET,
        _KIND,
        _LEAD,
        _METHOD,
        count("fold", "walk-forward fold; 0 is the model that forecasts tonight", "index"),
        word("segment", "part of the fold, or the nights since", "gate", "test", "live"),
        date("first_cutoff", "first cutoff scored"),
        date("last_cutoff", "last cutoff scored"),
        count("count", "forecast and target pairs", "pairs", pa.int64()),
        number("mse", "mean squared error", "target units²"),
        text("baseline", "the baseline that skill is measured against"),
        number("skill", "1 - mse / mse of the baseline on the same pairs", "", nullable=True),
        number("qlike", "QLIKE loss of the implied daily variance", "", nullable=True),
        number("coverage", "share of targets inside the interval", "share", nullable=True),
        number("interval_score", "interval score at level", "target units", nullable=True),
        number("level", _LEVEL, "share", nullable=True),
        _AS_OF,
        _CONFIG_HASH,
        _RUN_ID,
        _ORIGIN,
        _MADE_AT,
        _KNOWN_AT,
    ]
)

_FORECASTS = pa.schema(
    [
        text("forecast_id", "hash of all that decides the forecast"),
        _INSTRUMENT,
        _AS_OF,
        date("cutoff", "the last session that the model saw"),
        _TARGET,
        _KIND,
        _LEAD,
        date("target_session", "the session that the forecast is for"),
        number("mean", "the forecast", "target units"),
        number("lower", "lower end of the interval", "target units"),
        number("upper", "upper end of the interval", "target units"),
        number("level", _LEVEL, "share"),
        number(
            "volatility",
            "daily volatility implied by a log_volatility forecast, corrected for the bias",
            "natural units",
            nullable=True,
        ),
        _METHOD,
        text("reason", "why this method was published"),
        text(
            "model_id", "the model that was judged, whether or not it was published", nullable=True
        ),
        _CONFIG_HASH,
        _RUN_ID,
        _ORIGIN,
        _MADE_AT,
        _KNOWN_AT,
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
        _MODELS,
        key="model_id",
        fact=False,
        order="instrument target kind refit_session model_id",
        prune="instrument model_id",
    ),
    _dataset(
        "statistics",
        "one loss of one method at one cutoff",
        _STATISTICS,
        key="evaluation_id fold segment method cutoff",
        fact=False,
        order="instrument target kind evaluation_id method fold segment cutoff",
        prune="instrument cutoff evaluation_id",
    ),
    _dataset(
        "scores",
        "one score of one method at one lead",
        _SCORES,
        key="score_id",
        fact=False,
        order="instrument target kind evaluation_id segment fold method lead score_id",
        prune="instrument score_id",
    ),
    _dataset(
        "forecasts",
        "one forecast of one instrument and target at one lead",
        _FORECASTS,
        key="forecast_id",
        fact=False,
        order="instrument target kind as_of lead forecast_id",
        prune="instrument forecast_id",
    ),
)

DATASETS: Mapping[str, Dataset] = MappingProxyType({dataset.name: dataset for dataset in _ALL})
