"""Releases: a quarantined row let in by a person, as a fact; and the way back.

Owns which rows can be released, and the order of commits. Never judges a row: a person does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.quarantined import (
    PAYLOAD,
    SHORTEST,
    TOLD,
    ReleaseError,
    Row,
    fact_of,
    find,
    key_of,
    quarantined_rows,
    why_not,
)
from tasks.schemas import DATASETS
from tasks.storage.rows import agree
from tasks.store import Store


@dataclass(frozen=True)
class Settled:
    """What became of one quarantined row.

    Attributes:
        quarantine_id: its id.
        instrument: whose row it is.
        session: its session.
        what: bar, split or dividend.
        value: the close, or the action's value, that holds now; None where nothing does.
        before: the one that held before; None where nothing did.
        already: it was so before, and nothing was written.
        instead_of: id of the row of the same session whose release this one ended; None: none.
    """

    quarantine_id: str
    instrument: str
    session: date
    what: str
    value: float | None
    before: float | None
    already: bool = False
    instead_of: str | None = None


def release(store: Store, ids: Sequence[str], *, now: datetime) -> tuple[Settled, ...]:
    """Writes quarantined rows as facts known from `now` on, and then that they are released.

    The next ingest that brings the same row lets it pass. Of rows of one session that disagree
    the last one released is the bar, and the others are held. Killed in between and run again, it
    ends with the same facts.

    Args:
        store: where they are.
        ids: of the rows, or beginnings that only one id has.
        now: the instant of the release, aware.

    Raises:
        ReleaseError: an id is not there or not unique, or a row can't be a fact. Nothing was
            written.
        StoreError: the store can't be read or written.
    """
    known = quarantined_rows(store)
    rows = [find(known, wanted, store) for wanted in dict.fromkeys(ids)]
    _check(rows)
    fresh = [row for row in rows if row["op"] == "hold"]
    ended = {
        row["quarantine_id"]: other
        for row in fresh
        for other in known.values()
        if other["op"] == "release" and key_of(other) == key_of(row)
    }
    before = [_holding(store, fact_of(row)) for row in rows]
    _commit(store, [fact_of(row) for row in fresh], now)
    _mark(
        store, [*((row, "release") for row in fresh), *((r, "hold") for r in ended.values())], now
    )
    return tuple(
        Settled(
            quarantine_id=row["quarantine_id"],
            instrument=row["instrument"],
            session=row["session"],
            what=fact_of(row)["what"],
            value=_value(fact_of(row)),
            before=None if was is None else _value(was),
            already=row["op"] == "release",
            instead_of=ended.get(row["quarantine_id"], {}).get("quarantine_id"),
        )
        for row, was in zip(rows, before, strict=True)
    )


def hold(store: Store, ids: Sequence[str], *, now: datetime) -> tuple[Settled, ...]:
    """Takes releases back: what held before them holds again, or nothing.

    A fact that has changed since its release stays as it is.

    Args:
        store: where they are.
        ids: of released rows, or beginnings that only one id has.
        now: the instant, aware.

    Raises:
        ReleaseError: an id is not there or not unique, or its row was never held. Nothing was
            written.
        StoreError: the store can't be read or written.
    """
    known = quarantined_rows(store)
    rows = [find(known, wanted, store) for wanted in dict.fromkeys(ids)]
    flagged = [row["quarantine_id"] for row in rows if row["op"] == "flag"]
    if flagged:
        raise ReleaseError(
            f"{flagged[0]} is flagged: its bar is in the store, and only doubtful. To hold such "
            "rows, set validation.severity to quarantine for its rule, and ingest again."
        )
    before = [_holding(store, fact_of(row)) for row in rows]
    undone = [_undone(store, fact_of(row)) for row in rows if row["op"] == "release"]
    _commit(store, [fact for fact in undone if fact is not None], now)
    _mark(store, [(row, "hold") for row in rows if row["op"] == "release"], now)
    after = [_holding(store, fact_of(row)) for row in rows]
    return tuple(
        Settled(
            quarantine_id=row["quarantine_id"],
            instrument=row["instrument"],
            session=row["session"],
            what=fact_of(row)["what"],
            value=None if holds is None else _value(holds),
            before=None if was is None else _value(was),
            already=row["op"] == "hold",
        )
        for row, was, holds in zip(rows, before, after, strict=True)
    )


def _check(rows: Sequence[Row]) -> None:
    """Refuses rows that can't be facts, and several that would be one."""
    refused = [(row, why) for row in rows if (why := why_not(row)) is not None]
    if refused:
        told = "; ".join(
            f"{row['quarantine_id'][:SHORTEST]} ({row['rule']}): {why}"
            for row, why in refused[:TOLD]
        )
        raise ReleaseError(f"Nothing was released. {told}")
    seen: dict[tuple[object, ...], str] = {}
    for row in rows:
        other = seen.setdefault(key_of(row), row["quarantine_id"])
        if other != row["quarantine_id"]:
            raise ReleaseError(
                f"Nothing was released. {other[:SHORTEST]} and {row['quarantine_id'][:SHORTEST]} "
                f"are of one session, {row['instrument']} {row['session']}: release the right one."
            )


def _past(store: Store, fact: Row) -> list[dict[str, Any]]:
    """The facts of one's key, oldest first."""
    rows = store.history(fact["dataset"], instruments=[fact["instrument"]])
    rows = rows.filter(pc.equal(rows["session"], pa.scalar(fact["session"], pa.date32())))
    if fact["dataset"] == "actions":
        rows = rows.filter(pc.equal(rows["action"], fact["action"]))
    return [{"dataset": fact["dataset"], **row} for row in rows.to_pylist()]


def _holding(store: Store, fact: Row) -> Row | None:
    """What holds for a fact's key; None where nothing does."""
    past = _past(store, fact) if fact["instrument"] and fact["session"] else []
    return past[-1] if past and past[-1]["op"] == "upsert" else None


def _undone(store: Store, fact: Row) -> dict[str, Any] | None:
    """What is to be written to end a released fact; None where it does not hold any more."""
    past = _past(store, fact)
    last = past[-1] if past else None
    if last is None or not _same(last, fact):
        return None
    while past and _same(past[-1], fact):
        past.pop()
    return past[-1] if past and past[-1]["op"] == "upsert" else last | {"op": "retract"}


def _same(one: Row, other: Row) -> bool:
    names = (*PAYLOAD[other["dataset"]], "op")
    left, right = (_table(other["dataset"], [row], names) for row in (one, other))
    return bool(agree(left, right, names)[0])


def _commit(store: Store, rows: Sequence[Row], now: datetime) -> None:
    for dataset in PAYLOAD:
        mine = [row for row in rows if row["dataset"] == dataset]
        if mine:
            stamps = ("known_at", "assumed", "row_hash")
            names = [name for name in DATASETS[dataset].schema.names if name not in stamps]
            store.commit_facts(dataset, _table(dataset, mine, names), now=now)


def _mark(store: Store, rows: Sequence[tuple[Row, str]], now: datetime) -> None:
    """Writes rows of the quarantine with another op."""
    marked = [{**row, "op": op} for row, op in rows]
    stamps = ("known_at", "row_hash")
    names = [name for name in DATASETS["quarantine"].schema.names if name not in stamps]
    if marked:
        store.commit_facts("quarantine", _table("quarantine", marked, names), now=now)


def _table(dataset: str, rows: Sequence[Row], names: Sequence[str]) -> pa.Table:
    schema = pa.schema([DATASETS[dataset].schema.field(name) for name in names])
    return pa.Table.from_pylist([{name: row[name] for name in names} for row in rows], schema)


def _value(fact: Row) -> float:
    return float(fact["value" if "value" in fact else "close"])
