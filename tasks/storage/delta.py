"""Datasets as Delta tables: making, opening and appending to them.

Owns the table format and what its failures mean to a person. Never touches the meaning of a row.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from tasks.schemas import SCHEMA_VERSION, Dataset
from tasks.storage import files
from tasks.storage.facts import StoreError
from tasks.storage.places import Place
from tasks.storage.scans import first_line
from tasks.storage.turns import turn
from tasks.storage.upgrade import upgrade

_VERSION_SETTING = "fleetcast.schemaVersion"
_RETENTION = "interval 366 days"
"""How long a pinned version stays readable; an older one is replayed by `known_at`."""

_COMMIT_RETRIES = 1000
_ATTEMPTS = 10_000
"""How often a commit is judged anew; each time, one of the writers gets on."""

_UPGRADE_ATTEMPTS = 10

_LONGEST_WAIT = 0.5
"""Seconds before the next attempt."""

_APPENDS, _REMOVALS = "fleetcast", "fleetcast removals"

_CONFLICTS = (
    "Concurrent transaction",  # somebody committed rows
    "Metadata changed",  # somebody upgraded the table, or erased from it
    "concurrent transaction deleted",  # somebody compacted it, or erased from it
    "append-only",  # somebody has just ended erasing from it
)


def open_table(place: Place, dataset: Dataset) -> DeltaTable:
    """The dataset's table at its newest version; made if there is none, upgraded if it is old.

    Raises:
        StoreError: it can't be made or upgraded, or what is there can't be read.
    """
    table = find_table(place, dataset)
    if table is not None:
        return table if _version(table) == SCHEMA_VERSION else _upgraded(place, dataset, table)
    try:
        return DeltaTable.create(
            place.address(dataset.name),
            dataset.schema,
            mode="ignore",
            name=dataset.name,
            description=f"fleetcast: {dataset.meaning}",
            configuration={
                _VERSION_SETTING: str(SCHEMA_VERSION),
                "delta.appendOnly": "true",
                "delta.logRetentionDuration": _RETENTION,
                "delta.deletedFileRetentionDuration": _RETENTION,
            },
            raise_if_key_not_exists=False,
        )
    except (DeltaError, OSError) as error:
        table = find_table(place, dataset)
        if table is None:  # else another process made it in the meantime
            raise unwritable(place, dataset, error) from error
        return table


def find_table(place: Place, dataset: Dataset, version: int | None = None) -> DeltaTable | None:
    """The dataset's table at `version`, by default the newest; None where it was never made.

    Raises:
        StoreError: its log is damaged, the version is gone, or a newer fleetcast wrote it.
    """
    address = place.address(dataset.name)
    try:
        table = DeltaTable(address, version=version)
        written_by = _version(table)
    except TableNotFoundError:
        return None
    except (DeltaError, OSError, ValueError) as error:
        if version is not None and _openable(address):
            raise StoreError(
                f"Version {version} of {dataset.name} in {place.url} is not there (any more): "
                f"versions are kept for {_RETENTION.removeprefix('interval ')}. Read by as_of."
            ) from error
        raise StoreError(
            f"The commit log {address}/_delta_log can't be read: {first_line(error)}. Check that "
            "the store can be reached; if it can, restore this folder from a backup."
        ) from error
    if written_by > SCHEMA_VERSION:
        raise StoreError(
            f"The dataset {dataset.name} in {place.url} has schema version {written_by}; this "
            f"fleetcast knows versions up to {SCHEMA_VERSION}. Install a newer fleetcast."
        )
    return table


def commit(place: Place, dataset: Dataset, judge: Callable[[DeltaTable], pa.Table]) -> pa.Table:
    """Appends what `judge` finds missing from the newest snapshot, in one commit.

    Writers on one machine take turns. If somebody else commits between the judgement and the append
    all the same, nothing is written and the rows are judged anew. That makes "compare, then append"
    one step, on every file system that Delta can use.

    Args:
        place: the store's.
        dataset: whose table it is.
        judge: from a snapshot to the rows to append, in the dataset's schema and order.

    Returns:
        The rows appended, which may be none.

    Raises:
        StoreError: the commit failed for another reason; what was there is intact.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:  # let writers get apart
            longest = min(_LONGEST_WAIT, 0.02 * 2.0 ** min(attempt, 10))
            time.sleep(random.uniform(0.0, longest))  # noqa: S311
        with turn(place, dataset):
            table = find_table(place, dataset)
            if table is not None and _version(table) == SCHEMA_VERSION:
                rows = judge(table)
                if not rows.num_rows or _append(place, dataset, table, rows):
                    return rows
                continue
        open_table(place, dataset)
    raise StoreError(
        f"The commit to {dataset.name} in {place.url} gave way {_ATTEMPTS} times to commits of "
        "others. Nothing was written. Run fewer writers at once, and run again."
    )


def _append(place: Place, dataset: Dataset, table: DeltaTable, rows: pa.Table) -> bool:
    """Appends `rows` unless somebody has appended since `table` was opened; whether it did."""
    return exchange(
        place,
        dataset,
        table,
        rows=files.cut(rows, dataset),
    )


def exchange(
    place: Place,
    dataset: Dataset,
    table: DeltaTable,
    *,
    rows: Sequence[pa.Table],
    removed: Mapping[str, int] | None = None,
    data_change: bool = True,
) -> bool:
    """Adds a file for each of `rows` and takes the files `removed` out of the table, in one commit.

    It gives way to any other append since the snapshot, or, where it removes files, to any other
    removal: compactions and appends do not hinder each other.

    Args:
        place: the store's.
        dataset: whose table it is.
        table: the snapshot that the choice was made on.
        rows: as `files.cut` gives them.
        removed: path in the table → its bytes.
        data_change: False: the table holds the same rows as before, in other files.

    Returns:
        False: others have changed what this rests on. Nothing is left of it then.

    Raises:
        StoreError: the commit failed for another reason; what was there is intact.
    """
    actions: list[AddAction | RemoveAction] = []
    done = False
    try:
        actions += files.write(place, dataset, rows, data_change=data_change)
        now = time.time_ns() // 1_000_000
        for path, size in (removed or {}).items():
            actions.append(RemoveAction(path, data_change, now, size=size))
        table.create_write_transaction(
            actions,
            mode="append",
            schema=table.schema(),
            commit_properties=CommitProperties(
                custom_metadata={_VERSION_SETTING: str(SCHEMA_VERSION)},
                max_commit_retries=_COMMIT_RETRIES,
                # Commits of one application conflict, where the library sees nothing amiss: two
                # appends, or two removals of one file.
                app_transactions=[
                    Transaction(_REMOVALS if removed else _APPENDS, table.version() + 1)
                ],
            ),
        )
        done = True
    except CommitFailedError as error:
        if not any(conflict in str(error) for conflict in _CONFLICTS):
            raise unwritable(place, dataset, error) from error
    except (DeltaError, OSError) as error:
        raise unwritable(place, dataset, error) from error
    finally:
        if not done:
            added = [action.path for action in actions if isinstance(action, AddAction)]
            files.remove(place, dataset, added)
    return done


def _version(table: DeltaTable) -> int:
    return int(table.metadata().configuration.get(_VERSION_SETTING, "0"))


def _upgraded(place: Place, dataset: Dataset, table: DeltaTable) -> DeltaTable:
    """The table, brought up to today's schema version, by us or by whoever was quicker."""
    for attempt in range(_UPGRADE_ATTEMPTS):
        try:
            upgrade(table, dataset, {_VERSION_SETTING: str(SCHEMA_VERSION)})
        except (DeltaError, OSError) as error:
            if attempt == _UPGRADE_ATTEMPTS - 1:
                raise unwritable(place, dataset, error) from error
            time.sleep(random.uniform(0.0, _LONGEST_WAIT))  # noqa: S311
        newest = find_table(place, dataset)
        if newest is not None:
            table = newest
        if _version(table) == SCHEMA_VERSION:
            break
    return table


def _openable(address: str) -> bool:
    try:
        DeltaTable(address)
    except (DeltaError, OSError, ValueError, TableNotFoundError):
        return False
    return True


def unwritable(place: Place, dataset: Dataset, error: Exception) -> StoreError:
    """What a failed write means to a person."""
    return StoreError(
        f"The dataset {dataset.name} in {place.url} can't be written: {first_line(error)}. What "
        "was there is intact. Make room or make the store writable, and run again."
    )
