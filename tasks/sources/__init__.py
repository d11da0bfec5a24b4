"""Sources of bars by name: the built-in ones, and plug-ins that installed packages register.

Owns the registry. Never touches rows.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib import import_module

from tasks.sources.config import SourceConfig
from tasks.sources.plug_ins import open_plug_in, plug_in_names
from tasks.sources.protocol import Fetched, Source, SourceError, SourceProblem

__all__ = [
    "Fetched",
    "Source",
    "SourceConfig",
    "SourceError",
    "SourceProblem",
    "check_source_name",
    "open_source",
]

_BUILT_IN = {
    "alphavantage": ("tasks.sources.alphavantage", "open_alphavantage"),
    "binance": ("tasks.sources.binance", "open_binance"),
    "bokeh": ("tasks.sources.bokeh", "open_bokeh"),
    "files": ("tasks.sources.files", "open_files"),
    "fred": ("tasks.sources.fred", "open_fred"),
    "sql": ("tasks.sources.sql", "open_sql"),
    "stooq": ("tasks.sources.stooq", "open_stooq"),
    "tiingo": ("tasks.sources.tiingo", "open_tiingo"),
    "yahoo": ("tasks.sources.yahoo", "open_yahoo"),
}


def open_source(config: SourceConfig) -> Source:
    """The source that `config` names, not read yet.

    Raises:
        SourceError: no such source is installed, or its plug-in is broken.
    """
    check_source_name(config.name)
    if config.name not in _BUILT_IN:
        return open_plug_in(config)
    module, function = _BUILT_IN[config.name]
    built_in: Callable[[SourceConfig], Source] = getattr(import_module(module), function)
    return built_in(config)


def check_source_name(name: str) -> None:
    """Refuses a name that neither a built-in source nor an installed package has.

    Raises:
        SourceError: it does; the message lists the names.
    """
    if name in _BUILT_IN or name in (brought := plug_in_names()):
        return
    known = sorted({*_BUILT_IN, *brought})
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise SourceError(f"There is no source {name!r}. Expected one of: {', '.join(known)}.{hint}")
