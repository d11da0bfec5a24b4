"""Revisions: what the facts of one instrument said before, what they say since, and from when on.

Owns the comparison of each fact with the one before it. Never changes the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.restatements import PRICES, Restated, restatements
from tasks.storage.rows import as_mask, ordered, starts_of
from tasks.store import Store

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

TOLERANCE = 1e-6
"""Numbers that differ by less, relatively, were only computed again: no revision is shown."""

REVISIONS = pa.schema(
    [
        pa.field("instrument", pa.string()),
        pa.field("dataset", pa.string()),
        pa.field("change", pa.string()),
        pa.field("session", pa.date32()),
        pa.field("last_session", pa.date32()),
        pa.field("count", pa.int64()),
        pa.field("field", pa.string()),
        pa.field("old", pa.float64()),
        pa.field("new", pa.float64()),
        pa.field("relative_change", pa.float64()),
        pa.field("note", pa.string()),
        pa.field("source", pa.string()),
        pa.field("known_at", pa.timestamp("us", tz="UTC")),
    ]
)
"""One change of one number, or one restatement.

`change` is revised, retracted, returned (after a retraction), released (a person let it in, see
`tasks.release`), late (an action that came after bars that feel it) or restated: `count` bars
from `session` to `last_session` times `new`. `relative_change` is new / old - 1.
"""

_KINDS = ("revised", "restated", "retracted", "returned", "released", "late")


@dataclass(frozen=True)
class Revisions:
    """What changed of one instrument.

    Attributes:
        instrument: its name.
        rows: `REVISIONS`, in the order in which they became known.
        facts: facts that the store has of it, known by then: bars and actions, each as often as
            it was said.
        sessions: sessions with a bar among them.
        recomputed: facts that say the same within the tolerance.
    """

    instrument: str
    rows: pa.Table
    facts: int
    sessions: int
    recomputed: int

    @property
    def counts(self) -> dict[str, int]:
        """Change → bars and actions that it happened to; without what did not happen."""
        found = dict.fromkeys(_KINDS, 0)
        keys = ("change", "dataset", "session", "known_at", "count", "field")
        seen = set()
        for change, dataset, session, known_at, count, field in zip(
            *(self.rows[name].to_pylist() for name in keys), strict=True
        ):
            action = field if dataset == "actions" else None
            if (change, dataset, session, known_at, action) not in seen or change == "restated":
                found[change] += count
            seen.add((change, dataset, session, known_at, action))
        return {name: count for name, count in found.items() if count}


def revisions(
    store: Store,
    instrument: str,
    *,
    as_of: datetime | None = None,
    every_bar: bool = False,
    tolerance: float = TOLERANCE,
) -> Revisions:
    """Every fact of an instrument that was not the first of its key.

    Also a bar that a person released, and an action that became known after a bar that feels it
    had: past returns changed by it.

    Args:
        store: where the facts are.
        instrument: whose.
        as_of: without what became known later; None: all that is known.
        every_bar: False: bars that one commit multiplied by one factor are one row.
        tolerance: relative; numbers that differ by less are the same.

    Raises:
        StoreError: the store can't be read.
    """
    bars = _known(store, "bars", instrument, as_of)
    actions = _known(store, "actions", instrument, as_of)
    released = _released(store, instrument, as_of)
    steps = _Steps(bars, ("session",))
    found, silent = _of_bars(steps, released, every_bar=every_bar, tolerance=tolerance)
    of_actions, silent_actions = _of_actions(
        _Steps(actions, ("session", "action")), bars, tolerance=tolerance
    )
    rows = [{"instrument": instrument, **row} for row in (*found, *of_actions)]
    table = ordered(
        pa.Table.from_pylist(rows, schema=REVISIONS), ("known_at", "dataset", "session")
    )
    return Revisions(
        instrument=instrument,
        rows=table,
        facts=bars.num_rows + actions.num_rows,
        sessions=len(pc.unique(bars["session"])),
        recomputed=silent + silent_actions,
    )


def _known(store: Store, dataset: str, instrument: str, as_of: datetime | None) -> pa.Table:
    rows = store.history(dataset, instruments=[instrument])
    if as_of is not None:
        rows = rows.filter(pc.less_equal(rows["known_at"], pa.scalar(as_of.astimezone(UTC))))
    return rows


class _Steps:
    """Facts beside the ones before them; axis (fact) in the order of the store's history."""

    def __init__(self, facts: pa.Table, key: tuple[str, ...]) -> None:
        self.facts = facts
        self.first: Mask = np.ones(facts.num_rows, dtype=bool)
        for place, name in enumerate(key):
            text = pc.dictionary_encode(facts[name].combine_chunks()).indices.to_numpy()
            self.first = starts_of(text) if place == 0 else self.first | starts_of(text)
        upsert = as_mask(pc.equal(facts["op"], "upsert"))
        before = np.concatenate([[False], upsert[:-1]])[: len(upsert)]
        self.revised = ~self.first & upsert & before
        self.retracted = ~self.first & ~upsert & before
        self.returned = ~self.first & upsert & ~before

    def pair(self, name: str) -> tuple[Floats, Floats]:
        """The numbers of a column in the facts before, and in the facts; NaN: none."""
        new = self.facts[name].to_numpy().astype(np.float64)
        return np.concatenate([[np.nan], new[:-1]])[: len(new)], new

    def row(self, place: int, dataset: str, change: str, field: str, **said: Any) -> dict[str, Any]:  # noqa: ANN401 - values of a row
        """A row of `REVISIONS` about one fact; its field's numbers unless `said` otherwise."""
        fact = {name: self.facts[name][place].as_py() for name in ("session", "source", "known_at")}
        return {
            "dataset": dataset,
            "change": change,
            "last_session": fact["session"],
            "count": 1,
            "field": field,
            **fact,
            **said,
        }


def _of_bars(
    steps: _Steps, released: Sequence[Mapping[str, Any]], *, every_bar: bool, tolerance: float
) -> tuple[list[dict[str, Any]], int]:
    """The changes of bars, and how many facts only repeat."""
    pairs = {name: steps.pair(name) for name in (*PRICES, "volume")}
    moved = {name: steps.revised & _apart(*pair, tolerance) for name, pair in pairs.items()}
    basis = steps.facts["price_basis"].to_numpy(zero_copy_only=False)
    rebased = steps.revised.copy()
    rebased[1:] &= basis[1:] != basis[:-1]
    let_in = _places_of(steps.facts, released, tolerance)
    rows: list[dict[str, Any]] = []
    told = np.any([*moved.values(), rebased], axis=0)
    if not every_bar:
        known = steps.facts["known_at"].cast(pa.int64()).to_numpy()
        sessions = steps.facts["session"].to_numpy()
        found = restatements(pairs, told & ~let_in, known)
        for one in found:
            rows.append(_restated(steps, one, sessions))
            for name in PRICES:
                moved[name][one.places] = False
            moved["volume"][one.places] &= ~one.volume_fits
    for name, (old, new) in pairs.items():
        for place in np.flatnonzero(moved[name]):
            change = "released" if let_in[place] else "revised"
            numbers = _numbers(old[place], new[place])
            rows.append(steps.row(int(place), "bars", change, name, **numbers))
    for place in np.flatnonzero(rebased):
        note = f"{basis[place - 1]} → {basis[place]}"
        rows.append(steps.row(int(place), "bars", "revised", "price_basis", note=note))
    old, new = pairs["close"]
    for place in np.flatnonzero(steps.retracted):
        rows.append(steps.row(int(place), "bars", "retracted", "close", **_numbers(old[place])))
    for place in np.flatnonzero(steps.returned | (let_in & steps.first)):
        change = "released" if let_in[place] else "returned"
        rows.append(steps.row(int(place), "bars", change, "close", new=float(new[place])))
    return rows, int((steps.revised & ~told).sum())


def _restated(steps: _Steps, one: Restated, sessions: npt.NDArray[Any]) -> dict[str, Any]:
    mine = sessions[one.places]
    first = int(one.places[np.argmin(mine)])
    note = "" if one.volume is None else f"volume × {one.volume:.6g}"
    return steps.row(
        first,
        "bars",
        "restated",
        "prices",
        last_session=mine.max().item(),
        count=len(one.places),
        old=1.0,
        new=one.factor,
        relative_change=one.factor - 1,
        note=note or None,
    )


def _of_actions(
    steps: _Steps, bars: pa.Table, *, tolerance: float
) -> tuple[list[dict[str, Any]], int]:
    action = steps.facts["action"].to_pylist()
    old, new = steps.pair("value")
    moved = steps.revised & _apart(old, new, tolerance)
    rows = []
    for place in np.flatnonzero(moved):
        numbers = _numbers(old[place], new[place])
        rows.append(steps.row(int(place), "actions", "revised", action[place], **numbers))
    for place in np.flatnonzero(steps.retracted):
        numbers = _numbers(old[place])
        rows.append(steps.row(int(place), "actions", "retracted", action[place], **numbers))
    for place in np.flatnonzero(steps.returned):
        value = float(new[place])
        rows.append(steps.row(int(place), "actions", "returned", action[place], new=value))
    assumed = as_mask(steps.facts["assumed"])
    for place in np.flatnonzero(steps.first & ~assumed):
        session, known_at = (steps.facts[name][place] for name in ("session", "known_at"))
        felt = pc.and_(
            pc.greater_equal(bars["session"], session), pc.less(bars["known_at"], known_at)
        )
        if pc.any(felt).as_py():
            value = float(new[place])
            rows.append(steps.row(int(place), "actions", "late", action[place], new=value))
    return rows, int((steps.revised & ~moved).sum())


def _apart(old: Floats, new: Floats, tolerance: float) -> Mask:
    """Where numbers differ by more than `tolerance`, relatively; NaN is like NaN only."""
    with np.errstate(invalid="ignore"):
        far = np.abs(new - old) > tolerance * np.maximum(np.abs(old), np.abs(new))
    return np.asarray(far | (np.isnan(old) != np.isnan(new)), dtype=bool)


def _numbers(old: float, new: float = float("nan")) -> dict[str, float | None]:
    relative = new / old - 1 if old else float("nan")
    numbers = {"old": old, "new": new, "relative_change": relative}
    return {name: None if np.isnan(value) else float(value) for name, value in numbers.items()}


def _released(store: Store, instrument: str, as_of: datetime | None) -> list[dict[str, Any]]:
    """Quarantined rows of the instrument that a person let in at some time."""
    rows = store.history("quarantine", instruments=[instrument])
    rows = rows.filter(pc.and_(pc.equal(rows["op"], "release"), pc.is_valid(rows["close"])))
    if as_of is not None:
        rows = rows.filter(pc.less_equal(rows["known_at"], pa.scalar(as_of.astimezone(UTC))))
    found: list[dict[str, Any]] = rows.to_pylist()
    return found


def _places_of(facts: pa.Table, released: Sequence[Mapping[str, Any]], tolerance: float) -> Mask:
    """The bars that releases put in: each the last one known by then with the same numbers."""
    let_in = np.zeros(facts.num_rows, dtype=bool)
    if not released:
        return let_in
    close = facts["close"].to_numpy()
    upsert = as_mask(pc.equal(facts["op"], "upsert"))
    for row in released:
        same = upsert & ~_apart(close, np.full(len(close), row["close"]), tolerance)
        same &= as_mask(pc.equal(facts["session"], pa.scalar(row["session"], pa.date32())))
        same &= as_mask(pc.less_equal(facts["known_at"], pa.scalar(row["known_at"])))
        let_in[np.flatnonzero(same)[-1:]] = True
    return let_in
