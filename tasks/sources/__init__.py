"""Sources of bars by name: the built-in ones, and plug-ins that installed packages register.

Owns the registry. Never touches rows.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from tasks.sources.config import SourceConfig
from tasks.sources.protocol import Fetched, Source, SourceError, SourceProblem

__all__ = ["Fetched", "Source", "SourceConfig", "SourceError", "SourceProblem", "open_source"]

GROUP = "fleetcast.sources"
"""The entry-point group that plug-ins register a function `SourceConfig -> Source` under."""

_BUILT_IN = {
    "bokeh": ("tasks.sources.bokeh", "open_bokeh"),
    "files": ("tasks.sources.files", "open_files"),
}


def open_source(config: SourceConfig) -> Source:
    """The source that `config` names, not read yet.

    Raises:
        SourceError: no such source is installed, or its plug-in is broken.
    """
    return _opener(config.name)(config)


def _opener(name: str) -> Callable[[SourceConfig], Source]:
    if name in _BUILT_IN:
        module, function = _BUILT_IN[name]
        built_in: Callable[[SourceConfig], Source] = getattr(import_module(module), function)
        return built_in
    plug_ins: dict[str, EntryPoint] = {point.name: point for point in entry_points(group=GROUP)}
    if name not in plug_ins:
        known = sorted({*_BUILT_IN, *plug_ins})
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise SourceError(
            f"There is no source {name!r}. Expected one of: {', '.join(known)}.{hint}"
        )
    try:
        plug_in: Callable[[SourceConfig], Source] = plug_ins[name].load()
    except (ImportError, AttributeError) as error:
        raise SourceError(
            f"The plug-in of source {name!r} ({plug_ins[name].value}) can't be loaded: {error}. "
            "Install it again, or choose another source."
        ) from error
    return plug_in
