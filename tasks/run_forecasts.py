"""Which rows of `forecasts` are a run's: those of its knowledge and configuration.

Owns that choice. Never touches how they were made.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tasks.runs import PinnedRun
from tasks.store import Store

_ABOUT = ("instrument", "target", "kind", "lead", "level")


def forecasts_of(store: Store, run: PinnedRun) -> pa.Table:
    """The forecasts of a run, whichever run of the same night wrote them.

    A baseline that stood in for a shard whose training failed is replaced by what the same night
    forecast once the training went through: of several rows the newest made is the one.

    Args:
        store: holds the forecasts.
        run: whose.

    Raises:
        StoreError: the store can't be read.
    """
    instruments = sorted(name for names in run.shards.values() for name in names)
    # Files of other nights are not read: with a year of them that takes a tenth of the time.
    of_night = {"as_of": (run.as_of, run.as_of)}
    rows = store.read("forecasts", instruments=instruments, between=of_night)
    rows = rows.filter(pc.equal(rows["config_hash"], run.config_hash))
    cells = list(zip(*(rows[name].to_pylist() for name in _ABOUT), strict=True))
    made = rows["made_at"].to_pylist()
    newest: dict[tuple[object, ...], int] = {}
    for place in sorted(range(len(cells)), key=made.__getitem__):
        newest[cells[place]] = place
    return rows.take(pa.array(sorted(newest.values()), pa.int64()))


def lacking(
    store: Store, run: PinnedRun, forecasts: Sequence[tuple[str, str]]
) -> tuple[tuple[str, str, str], ...]:
    """The instruments, kinds and targets of a run's plan that have no forecast of it, sorted.

    Args:
        store: holds the forecasts.
        run: whose plan names the instruments.
        forecasts: the kinds and targets that each is to have, see `ForecastSettings.forecasts`.
    """
    rows = forecasts_of(store, run)
    columns = (rows[name].to_pylist() for name in ("instrument", "kind", "target"))
    there = set(zip(*columns, strict=True))
    names = sorted(name for shard in run.shards.values() for name in shard)
    wanted = ((name, kind, target) for name in names for kind, target in forecasts)
    return tuple(one for one in wanted if one not in there)
