"""What was erased for good, and must not come back.

Owns the reading of the tombstones. Never writes one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow.compute as pc

from tasks.sources.merge import between
from tasks.sources.protocol import Fetched, SourceProblem
from tasks.store import Store


@dataclass(frozen=True)
class Erased:
    """Names of the instruments and the sources that were erased."""

    instruments: frozenset[str]
    sources: frozenset[str]


def erased(store: Store) -> Erased:
    """What the store was told to forget.

    Raises:
        StoreError: the store can't be read.
    """
    rows = store.read("erased", columns=["subject", "name", "op"])
    rows = rows.filter(pc.equal(rows["op"], "erase"))
    of = {
        subject: frozenset(rows["name"].filter(pc.equal(rows["subject"], subject)).to_pylist())
        for subject in ("instrument", "source")
    }
    return Erased(of["instrument"], of["source"])


def without(fetched: Fetched, names: Collection[str]) -> Fetched:
    """What was fetched, but for the rows and actions of `names`."""
    there = {
        name
        for table in (fetched.bars, fetched.actions)
        for name in pc.unique(table["instrument"]).drop_null().to_pylist()
    }
    return between(fetched, there - set(names), None, None) if there & set(names) else fetched


def refused(kind: str, name: str) -> SourceProblem:
    """That an erased instrument or source is left out, and how to have it again."""
    return SourceProblem(
        name if kind == "instrument" else None,
        f"the {kind} {name} was erased: it is neither asked for nor stored. Leave it out of the "
        f"configuration; or let it in again with fleetcast erase --allow --{kind} {name}.",
    )
