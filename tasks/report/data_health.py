"""How the data of a run stands: sessions per instrument, what is new or changed, what is held back.

Owns these counts. Never touches a price, and writes nothing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.store import Store, StoreError

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Health:
    """How one instrument's data stands: counts of sessions, and of facts since the run before.

    `new` and `changed` are None where the earlier version of the store can't be read any more.
    """

    instrument: str
    sessions: int
    first: date | None
    last: date | None
    behind: int
    new: int | None
    changed: int | None
    quarantined: int


def arrivals(store: Store, run: Row, runs: Sequence[Row]) -> dict[str, tuple[int, int]] | None:
    """Per instrument: new sessions and changed ones between the run before and this one.

    Told from the versions that both pinned; None where the earlier can't be read any more.
    """
    earlier = [row for row in runs if row["made_at"] < run["made_at"]]
    before = max(earlier, key=lambda row: row["made_at"]) if earlier else None
    version = json.loads(run["table_versions"]).get("bars")
    pinned = None if before is None else json.loads(before["table_versions"]).get("bars")
    if before is not None and pinned == version:
        return {}
    try:
        now = _facts(store, version)
        then = {} if pinned is None else _facts(store, pinned)
    except StoreError:
        return None
    return {
        name: (new - then.get(name, (0, 0))[0], changed - then.get(name, (0, 0))[1])
        for name, (new, changed) in now.items()
    }


def data_health(
    bars: pa.Table,
    arrived: Mapping[str, tuple[int, int]] | None,
    quarantine: Sequence[Row],
    session: date,
) -> tuple[Health, ...]:
    """One entry per instrument that has bars or a row in quarantine, by name.

    Args:
        bars: (row) what is known, with `instrument` and `session`.
        arrived: See `arrivals`.
        quarantine: Rows that are held back.
        session: The run's; an instrument is behind by the sessions up to it that others have.
    """
    every = np.unique(pc.unique(bars["session"]).to_numpy(zero_copy_only=False))
    every = every.astype("datetime64[D]")[every <= np.datetime64(session)]
    spans = {
        row["instrument"]: row
        for row in bars.group_by("instrument")
        .aggregate([("session", "count"), ("session", "min"), ("session", "max")])
        .to_pylist()
    }
    held: dict[str, int] = defaultdict(int)
    for row in quarantine:
        held[row["instrument"] or ""] += 1
    result = []
    for name in sorted({*spans, *held} - {""}):
        span = spans.get(name, {})
        last = span.get("session_max")
        new, changed = (None, None) if arrived is None else arrived.get(name, (0, 0))
        result.append(
            Health(
                instrument=name,
                sessions=span.get("session_count", 0),
                first=span.get("session_min"),
                last=last,
                behind=0 if last is None else int((every > np.datetime64(last)).sum()),
                new=new,
                changed=changed,
                quarantined=held[name],
            )
        )
    return tuple(result)


def _facts(store: Store, version: int | None) -> dict[str, tuple[int, int]]:
    """Per instrument: distinct sessions, and facts beyond the first of a session."""
    versions = None if version is None else {"bars": version}
    table = store.history("bars", versions=versions, columns=["instrument", "session"])
    sessions = table.group_by(["instrument", "session"]).aggregate([([], "count_all")])
    counted = sessions.group_by("instrument").aggregate([([], "count_all"), ("count_all", "sum")])
    return {
        row["instrument"]: (row["count_all"], row["count_all_sum"] - row["count_all"])
        for row in counted.to_pylist()
    }
