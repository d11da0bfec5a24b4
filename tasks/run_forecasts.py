"""Which rows of `forecasts` are a run's: those of its knowledge and configuration.

Owns that choice. Never touches how they were made.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from tasks.runs import PinnedRun
from tasks.store import Store

_ABOUT = ("instrument", "target", "kind", "lead", "level")


def forecasts_of(store: Store, run: PinnedRun) -> pa.Table:
    """The forecasts of a run, whichever run of the same night wrote them.

    A baseline that stood in for a shard whose training failed is replaced by what the same night
    forecast once the training went through: of several rows the newest made is the one.

    Raises:
        StoreError: the store can't be read.
    """
    instruments = sorted(name for names in run.shards.values() for name in names)
    rows = store.read("forecasts", instruments=instruments)
    same_night = pc.equal(rows["as_of"], pa.scalar(run.as_of, rows["as_of"].type))
    rows = rows.filter(pc.and_(same_night, pc.equal(rows["config_hash"], run.config_hash)))
    cells = list(zip(*(rows[name].to_pylist() for name in _ABOUT), strict=True))
    made = rows["made_at"].to_pylist()
    newest: dict[tuple[object, ...], int] = {}
    for place in sorted(range(len(cells)), key=made.__getitem__):
        newest[cells[place]] = place
    return rows.take(pa.array(sorted(newest.values()), pa.int64()))


def lacking(store: Store, run: PinnedRun, targets: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The instruments and targets of a run's plan that have no forecast of it, sorted."""
    rows = forecasts_of(store, run)
    there = set(zip(rows["instrument"].to_pylist(), rows["target"].to_pylist(), strict=True))
    names = sorted(name for shard in run.shards.values() for name in shard)
    return tuple(
        (name, target) for name in names for target in targets if (name, target) not in there
    )
