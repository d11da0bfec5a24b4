"""Upkeep of the store as flows of their own: an ingest without a night, and compaction.

Owns their parameters and what people see of them. Never does the work: `flows.steps` and
`tasks.store` do.
"""

from __future__ import annotations

import dataclasses

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.states import Completed, Failed

from flows import artifacts, steps
from flows.config import FleetcastConfig, load
from flows.redaction import masking
from tasks.store import Store


@flow(name="ingest")
@masking
def ingest(
    config: FleetcastConfig | None = None, instruments: tuple[str, ...] = (), full: bool = False
) -> str:
    """Only bring the store up to date: new and changed bars, splits and dividends.

    Args:
        config: What to do, and where; without it the worker's fleetcast.toml holds, and without
            that every default.
        instruments: Only these; none: all of the universe.
        full: Ask for the whole history again, whatever is stored.
    """
    done = steps.ingest_bars(config or load(), only=instruments, full=full)
    artifacts.health(done)
    told = "; ".join(done.problems)
    if done.report is None:  # a night goes on with earlier bars; this had nothing else to do
        return Failed(message=told)  # type: ignore[return-value] # Prefect takes a state
    return str(done.counts) if not told else Completed(message=told, data=str(done.counts))  # type: ignore[return-value]


@flow(name="compact")
@masking
def compact(config: FleetcastConfig | None = None, dataset: str | None = None) -> str:
    """Merge the store's small files, so that reads stay quick; changes no row.

    Args:
        config: Where the store is; without it the worker's fleetcast.toml holds, and without that
            every default.
        dataset: Only this one, such as bars; none: all.
    """
    config = config or load()
    done = Store.open(config.store.url, create=False).compact(dataset)
    rows = [{"dataset": name, **dataclasses.asdict(one)} for name, one in sorted(done.items())]
    create_table_artifact(rows, key="compaction", description="Files before and after, by dataset.")
    before, after = (
        sum(getattr(one, name) for one in done.values()) for name in ("before", "after")
    )
    return f"{before} files are now {after}"
