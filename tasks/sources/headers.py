"""Which column of a provider's table means what: known header names, and a stated mapping.

Owns the names. Never touches cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.sources.config import FieldName

KNOWN: Mapping[FieldName, tuple[str, ...]] = {
    "session": ("session", "date", "datetime", "timestamp"),
    "instrument": ("instrument", "symbol", "ticker", "name"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("volume", "vol"),
    "adjusted_close": ("adj close", "adjusted close", "adjclose"),
    "dividend": ("dividend", "dividends", "ex dividend"),
    "split": ("split", "splits", "stock split", "stock splits", "split ratio"),
}
"""Header names by meaning, the preferred first: lower case, with blanks for `_`, `-` and `.`."""


_NEEDED: tuple[FieldName, ...] = ("session", "close")


class HeaderError(Exception):
    """A table lacks what every table of bars has. The message says what."""


@dataclass(frozen=True)
class Recognised:
    """What a table's columns mean.

    Attributes:
        columns: meaning → the column's name in the header.
        notes: stated names that the table lacks, in words.
    """

    columns: Mapping[FieldName, str]
    notes: tuple[str, ...]


def recognise(header: Sequence[str], columns: Mapping[FieldName, str]) -> Recognised:
    """What the columns of `header` mean.

    Args:
        header: the columns' names.
        columns: stated names, which go first; an empty one says that there is no such column. A
            stated name that is not there is noted, and the known ones are tried: the files of one
            folder often differ.

    Raises:
        HeaderError: neither a session nor a close is there.
    """
    by_key: dict[str, str] = {}
    for name in header:
        by_key.setdefault(_key(name), name)
    taken = {by_key[_key(name)] for name in columns.values() if _key(name) in by_key}
    found: dict[FieldName, str] = {}
    notes: list[str] = []
    for meaning, known in KNOWN.items():
        stated = columns.get(meaning)
        if stated is not None and _key(stated) in by_key:
            found[meaning] = by_key[_key(stated)]
            continue
        if stated == "":
            continue
        free = [by_key[name] for name in known if name in by_key and by_key[name] not in taken]
        if free:
            found[meaning] = free[0]
        if stated is not None:
            instead = f"{free[0]!r} is taken instead" if free else "nothing is taken instead"
            notes.append(
                f"it has no column {stated!r}, which source.columns.{meaning} names; {instead}. "
                f"It has: {_listed(header)}"
            )
    for meaning in _NEEDED:
        if meaning not in found:
            raise HeaderError(
                f"it has no column for the {meaning}: expected "
                f"{' or '.join(repr(name) for name in KNOWN[meaning])} in its first line, "
                f"received: {_listed(header)}. If it goes by another name, state it: "
                f'source.columns = {{{meaning} = "..."}}'
            )
    return Recognised(found, tuple(notes))


def _key(name: str) -> str:
    for mark in "_-.":
        name = name.replace(mark, " ")
    return " ".join(name.lower().split())


def _listed(header: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in header[:12])
    return shown + (" …" if len(header) > 12 else "")
