"""`fleetcast quarantine`: what is held, what a person may do about it, and what came of that.

Owns their wording. Never writes: `tasks.release` does.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pyarrow as pa

from flows import console
from flows.failures import Refused
from tasks.quarantined import SHORTEST, ReleaseError, short_ids
from tasks.release import Settled, hold, release
from tasks.store import Store

Decision = Literal["release", "hold"]
_DECISIONS: dict[Decision, Callable[..., tuple[Settled, ...]]] = {"release": release, "hold": hold}


def run(store: Store, decision: Decision, ids: Sequence[str], *, as_json: bool = False) -> None:
    """Releases or holds rows, and says of each what holds now.

    Raises:
        Refused: an id is not there, or a row can't be released; nothing was changed.
        StoreError: the store can't be read or written.
    """
    try:
        done = _DECISIONS[decision](store, ids, now=datetime.now(UTC))
    except ReleaseError as error:
        raise Refused(str(error)) from None
    out = console.answers()
    if as_json:
        answer = [dataclasses.asdict(one) for one in done]
        out.print(json.dumps(answer, default=str, indent=2), markup=False, soft_wrap=True)
        return
    tell = _released if decision == "release" else _held
    for one in done:
        out.print(tell(one), markup=False, soft_wrap=True)


def with_short_ids(rows: pa.Table) -> pa.Table:
    """The held rows first, each with as much of its id as tells it from the others."""
    rank = {"hold": 0, "flag": 1, "release": 2}
    order = [rank[op] for op in rows["op"].to_pylist()]
    rows = rows.take(pa.array(np.argsort(np.array(order, dtype=int), kind="stable")))
    ids = rows["quarantine_id"].to_pylist()
    short = short_ids(ids)
    return rows.append_column("id", pa.array([short[one] for one in ids], pa.string()))


def advise(rows: pa.Table) -> None:
    """Says, beside the answer, what a person may do about quarantined rows."""
    there = set(rows["op"].to_pylist())
    words = {
        "hold": "Let a held row in: fleetcast quarantine release ID.",
        "flag": "Flagged rows are bars: nothing has to be done.",
        "release": "Take a release back: fleetcast quarantine hold ID.",
    }
    told = " ".join(text for op, text in words.items() if op in there)
    if told:
        console.messages().print(told, style="dim", markup=False, soft_wrap=True)


def _released(one: Settled) -> str:
    short, what = one.quarantine_id[:SHORTEST], _what(one)
    if one.already:
        return f"{short} was released already: {what}."
    told = f"Released {short}: {what} is a fact from now on"
    if one.before is not None and one.before != one.value:
        told += f", instead of {one.before:g}"
    if one.instead_of is not None:
        told += f"; {one.instead_of[:SHORTEST]}, released before, is held again"
    return f"{told}. Take it back: fleetcast quarantine hold {short}"


def _held(one: Settled) -> str:
    short = one.quarantine_id[:SHORTEST]
    if one.already:
        return f"{short} is held already."
    where = f"{one.instrument} {one.session}"
    if one.value is None:
        return f"Held {short} again: {where} has no {one.what} any more."
    if one.value == one.before:
        return (
            f"Held {short} again; the {one.what} of {where}, {one.value:g}, has changed since its "
            "release, and stays."
        )
    return f"Held {short} again: the {one.what} of {where} is {one.value:g}, as before."


def _what(one: Settled) -> str:
    value = "" if one.value is None else f" {one.value:g}"
    return f"the {one.what} of {one.instrument} {one.session},{value or ' nothing'}"
