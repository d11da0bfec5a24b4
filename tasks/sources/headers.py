"""Which column of a provider's table means what: known header names, and a stated mapping.

Owns the names. Never touches cells.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.sources.config import FieldName

_ENGLISH: Mapping[FieldName, tuple[str, ...]] = {
    "session": ("session", "date", "datetime", "timestamp", "day", "time"),
    "instrument": ("instrument", "symbol", "ticker", "name"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close", "close/last", "last", "price"),
    "volume": ("volume", "vol"),
    "adjusted_close": ("adj close", "adjusted close", "adjclose"),
    "dividend": ("dividend", "dividends", "ex dividend"),
    "split": ("split", "splits", "stock split", "stock splits", "split ratio"),
    "return": ("return", "returns", "ret"),
}
_OTHER_LANGUAGES: Mapping[FieldName, tuple[str, ...]] = {
    "session": ("data", "datum", "fecha"),
    "open": ("otwarcie", "abertura", "eroffnung", "eroffn", "ouverture", "ouv", "apertura"),
    "high": ("najwyzszy", "maxima", "hoch", "plus haut", "maximo"),
    "low": ("najnizszy", "minima", "tief", "plus bas", "minimo"),
    "close": (
        *("zamkniecie", "ultimo", "fechamento", "schluss", "schlusskurs", "zuletzt"),
        *("dernier", "cloture", "cierre"),
    ),
    "volume": ("wolumen", "volumen"),
}
"""Polish, Portuguese, German, French and Spanish, without accents."""

KNOWN: Mapping[FieldName, tuple[str, ...]] = {
    meaning: (*names, *_OTHER_LANGUAGES.get(meaning, ())) for meaning, names in _ENGLISH.items()
}
"""Header names by meaning, the preferred first: lower case, without accents, with blanks for `_`,
`-` and `.`."""


class HeaderError(Exception):
    """A table lacks what every table of bars has. The message says what."""


@dataclass(frozen=True)
class Recognised:
    """What a table's columns mean.

    Attributes:
        columns: meaning → the column's name in the header.
        notes: stated names that the table lacks, in words.
        foreign: whether a name is in a language that writes a decimal comma.
    """

    columns: Mapping[FieldName, str]
    notes: tuple[str, ...]
    foreign: bool = False


def recognise(
    header: Sequence[str],
    columns: Mapping[FieldName, str],
    needed: Sequence[FieldName] = ("session", "close"),
) -> Recognised:
    """What the columns of `header` mean.

    Args:
        header: the columns' names.
        columns: stated names, which go first; an empty one says that there is no such column. A
            stated name that is not there is noted, and the known ones are tried: the files of one
            folder often differ.
        needed: what must be there.

    Raises:
        HeaderError: something of `needed` is not there.
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
    for meaning in needed:
        if meaning not in found:
            raise HeaderError(
                f"it has no column for the {meaning}: expected "
                f"{' or '.join(repr(name) for name in _ENGLISH[meaning])} in its first line, "
                f"received: {_listed(header)}. If it goes by another name, state it: "
                f'source.columns = {{{meaning} = "..."}}' + _instead(meaning, found)
            )
    foreign = any(_key(name) in _OTHER_LANGUAGES.get(one, ()) for one, name in found.items())
    return Recognised(found, tuple(notes), foreign)


def _instead(meaning: FieldName, found: Mapping[FieldName, str]) -> str:
    if meaning == "close" and "return" in found:
        return f", or if {found['return']!r} is what there is, what it is: source.returns = ..."
    if meaning == "session":
        return (
            ". If the first line is a row, state source.header; if there are no dates, "
            "source.first_session"
        )
    return ""


def _key(name: str) -> str:
    for mark in "_-.":
        name = name.replace(mark, " ")
    apart = unicodedata.normalize("NFKD", name)
    plain = "".join(one for one in apart if not unicodedata.combining(one))
    return " ".join(plain.lower().split())


def _listed(header: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in header[:12])
    return shown + (" …" if len(header) > 12 else "")
