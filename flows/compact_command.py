"""`fleetcast compact`: the store's files merged, and what came of it.

Owns its wording. Never does the work: `tasks.store` does.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from rich.table import Table

from flows import console
from tasks.store import CompactCounts, Store


def run(store: Store, dataset: str | None, *, as_json: bool = False) -> None:
    """Compacts one dataset, or all of them, and shows the counts.

    Raises:
        StoreError: there is no such dataset, or the store can't be read or written.
    """
    done = store.compact(dataset)
    out = console.answers()
    if as_json:
        counts = {name: dataclasses.asdict(one) for name, one in done.items()}
        out.print(json.dumps(counts, indent=2), markup=False, soft_wrap=True)
    else:
        out.print(_table(done))


def _table(done: Mapping[str, CompactCounts]) -> Table:
    table = Table(title="Compaction", title_justify="left", header_style="bold")
    table.add_column("dataset")
    for name in ("files before", "files now", "rows rewritten", "old files removed"):
        table.add_column(name, justify="right")
    for name, one in done.items():
        counts = (one.before, one.after, one.rows, one.removed)
        table.add_row(name, *(f"{count:,}" for count in counts))
    return table
