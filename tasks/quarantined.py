"""Quarantined rows: found by their ids, and as the facts that they would be.

Owns which rows can be facts. Never writes: `tasks.release` does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from tasks.store import Store

Row = Mapping[str, Any]

PRICES = ("open", "high", "low", "close")
PAYLOAD = {"bars": (*PRICES, "volume", "price_basis"), "actions": ("value",)}
"""What a fact of a dataset says."""

SHORTEST = 8
"""Digits of an id as people see it, where they tell it from all others."""

_UNREADABLE = {
    "malformed_line": "its cells can't be told apart",
    "not_a_date": "its session can't be read",
    "not_a_number": "one of its numbers can't be read",
    "missing_instrument": "it does not say whose it is",
}
TOLD = 10
"""Rows that one message names."""


class ReleaseError(LookupError):
    """Rows can't be released or held as asked; nothing was changed. The message says why."""


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """Each id → its first digits, as many as tell all of them apart."""
    ids = sorted(set(ids))
    longest = SHORTEST
    for one, other in pairwise(ids):  # sorted: the next one shares most
        alike = next((n for n in range(len(one)) if one[n : n + 1] != other[n : n + 1]), len(one))
        longest = max(longest, alike + 1)
    return {one: one[:longest] for one in ids}


def quarantined_rows(store: Store) -> dict[str, Row]:
    """Every row of the quarantine by its id."""
    return {row["quarantine_id"]: row for row in store.read("quarantine").to_pylist()}


def find(known: Mapping[str, Row], wanted: str, store: Store) -> Row:
    """The row of an id, or of a beginning that only its id has.

    Raises:
        ReleaseError: there is none, or more than one.
    """
    prefix = wanted.strip().lower()
    found = [one for one in known if one.startswith(prefix)] if prefix else []
    if prefix in known:
        found = [prefix]
    if not found:
        raise ReleaseError(
            f"The quarantine of {store.url} has no row {wanted!r}. Expected an id, or its first "
            "digits, as `fleetcast show quarantine` lists them."
        )
    if len(found) > 1:
        short = short_ids(found)
        listed = ", ".join(short[one] for one in sorted(found)[:TOLD])
        more = f" and {len(found) - TOLD:,} more" if len(found) > TOLD else ""
        raise ReleaseError(f"{wanted!r} begins several ids: {listed}{more}. Give more digits.")
    return known[found[0]]


def key_of(row: Row) -> tuple[object, ...]:
    """Rows of one key can't be facts at once."""
    fact = _action(row)
    return (row["instrument"], row["session"], None if fact is None else fact["action"])


def why_not(row: Row) -> str | None:
    """Why a row can't be a fact; None where it can."""
    rule = row["rule"]
    if row["op"] == "flag":
        return "it is flagged, not held: its bar is in the store already"
    if rule in _UNREADABLE:
        return f"{_UNREADABLE[rule]}: mend it at its source, and ingest again"
    if row["instrument"] is None or row["session"] is None:
        return "whose row it is, or of which session, can't be told"
    if rule == "not_a_session":
        return (
            "a bar needs a session. If the exchange held it, say so: calendar.held = "
            f'{{ XNYS = ["{row["session"]}"] }} with its calendar, and ingest again'
        )
    if rule == "not_closed_yet":
        return "it is no news yet: the first ingest after the session's close stores it"
    if rule == "impossible_action":
        return "no price can follow such an action: mend it at its source, and ingest again"
    if _action(row) is not None:
        return None
    if row["close"] is None:
        if rule == "missing_price":
            return "it has no close: there is nothing to forecast from"
        return "an older fleetcast kept no numbers of it: ingest it again, then release it"
    wrong = next((n for n in PRICES if row[n] is not None and row[n] <= 0), None)
    if wrong is not None:
        return f"its {wrong} is {row[wrong]:g}, and returns are logarithms of positive prices"
    if row["price_basis"] is None:
        return "an older fleetcast did not say what its prices are: ingest it again"
    return None


def _action(row: Row) -> dict[str, Any] | None:
    """The split or dividend that the row is, None where it is a bar."""
    if row["close"] is not None:
        return None
    try:
        said = json.loads(row["row"])
    except ValueError:
        return None
    if not isinstance(said, dict) or said.get("action") not in ("split", "dividend"):
        return None
    try:
        return {"action": said["action"], "value": float(said["value"])}
    except (KeyError, TypeError, ValueError):
        return None


def fact_of(row: Row) -> dict[str, Any]:
    """The fact that a row is, with its dataset and what to call it."""
    common = {name: row[name] for name in ("instrument", "session", "source")}
    action = _action(row)
    if action is not None:
        return {"dataset": "actions", "what": action["action"], "op": "upsert", **common, **action}
    numbers = {name: row[name] for name in PAYLOAD["bars"]}
    return {"dataset": "bars", "what": "bar", "op": "upsert", **common, **numbers}
