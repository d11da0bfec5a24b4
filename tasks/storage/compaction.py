"""Compaction: many small files become few that lie well, and what nobody reads any more is removed.

Owns which files are merged, and the upkeep of the log. Never changes a row of a table.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from tasks.schemas import Dataset
from tasks.storage import delta, files, scans
from tasks.storage.facts import StoreError
from tasks.storage.places import Place
from tasks.storage.rows import Codes, Mask, ordered

_LARGEST = 2**20
"""Rows of a file that is never merged again."""

_GROWTH = 2.0
"""A file joins those smaller than it if it has at most so many times their rows: so nightly commits
are each rewritten a few times over the years, not every time."""

_ATTEMPTS = 5

_TIDY_EVERY = 32
"""Commits after which whoever made the last of them merges the small files of all."""


@dataclass(frozen=True)
class CompactCounts:
    """What a compaction did to one dataset.

    Attributes:
        before: files of the table before.
        after: files after it.
        rows: rows that were written anew, unchanged.
        removed: old files that no pinned version needs any more, and that are gone.
    """

    before: int
    after: int
    rows: int
    removed: int


def compact(place: Place, dataset: Dataset) -> CompactCounts:
    """Merges small files of a table, writes a checkpoint of its log and removes what has expired.

    Each merge is one commit that changes no row. Commits of other writers go on meanwhile, and old
    versions stay readable until the table's retention has passed.

    Raises:
        StoreError: the table can't be read or written; what was there is intact.
    """
    table = delta.find_table(place, dataset)
    if table is None:
        return CompactCounts(0, 0, 0, 0)
    before = scans.files_of(table).num_rows
    rewritten = 0
    for _ in range(_ATTEMPTS):
        table = delta.open_table(place, dataset)
        merges = plan(scans.files_of(table), dataset)
        done = [_merge(place, dataset, merge) for merge in merges]
        rewritten += sum(rows for rows in done if rows is not None)
        if None not in done:
            break  # else others have removed some of the files: look again
    table = delta.open_table(place, dataset)
    try:
        if table.version() and not _has_checkpoint(place, dataset, table):
            table.create_checkpoint()
            table.cleanup_metadata()
        removed = table.vacuum(dry_run=False, full=True)
    except (DeltaError, OSError) as error:
        raise delta.unwritable(place, dataset, error) from error
    after = scans.files_of(delta.open_table(place, dataset)).num_rows
    return CompactCounts(before, after, rewritten, len(removed))


def tidy(place: Place, dataset: Dataset, version: int) -> None:
    """Merges what small commits left, at every 32nd version: else each commit reads all before it.

    The commit that led to `version` is done: what hinders the merge is told by `compact`.
    """
    if version % _TIDY_EVERY:
        return
    with contextlib.suppress(StoreError):
        listed = scans.files_of(delta.open_table(place, dataset))
        small = pc.less(pc.fill_null(listed["num_records"], 0), files.ROWS_PER_FILE // 2)
        for merge in plan(listed.filter(small), dataset):
            if merge.num_rows >= _TIDY_EVERY // 2:
                _merge(place, dataset, merge)


def plan(listed: pa.Table, dataset: Dataset) -> list[pa.Table]:
    """Which files are to be merged with which.

    Only files of about the same time are merged. Those that share no instrument with any other are
    left, if they are worth opening on their own: a search for some instruments skips the rest.

    Args:
        listed: the table's files, as `scans.files_of` gives them.
        dataset: whose files they are.

    Returns:
        For each merge the rows of `listed`, at least two.
    """
    listed = listed.sort_by([("modification_time", "ascending"), ("path", "ascending")])
    rows: Codes = pc.fill_null(listed["num_records"], 0).to_numpy()
    era: Codes = np.zeros(len(rows), dtype=np.int64)
    if files.spans_sessions(dataset) and "min.session" in listed.column_names:
        era = pc.fill_null(pc.year(listed["min.session"]), 0).to_numpy()
    merges = []
    for one in np.unique(era):
        mine = np.flatnonzero((era == one) & (rows < _LARGEST))
        mine = mine[~_apart(listed.take(pa.array(mine)), rows[mine])]
        by_size = mine[np.argsort(rows[mine], kind="stable")]
        chosen: list[int] = []
        held = 0
        for place in by_size.tolist():
            if chosen and rows[place] > _GROWTH * held:
                break
            chosen.append(place)
            held += int(rows[place])
            if held >= 2 * _LARGEST:
                merges.append(listed.take(pa.array(sorted(chosen))))
                chosen, held = [], 0
        if len(chosen) > 1:
            merges.append(listed.take(pa.array(sorted(chosen))))
    return merges


def _apart(listed: pa.Table, rows: Codes) -> Mask:
    """Which files are worth opening and share no instrument with the others."""
    alone: Mask = np.zeros(len(rows), dtype=bool)
    if "min.instrument" not in listed.column_names or listed["min.instrument"].null_count:
        return alone
    least = np.array(listed["min.instrument"].to_pylist(), dtype=object)
    greatest = np.array(listed["max.instrument"].to_pylist(), dtype=object)
    ranked = np.argsort(least, kind="stable")
    reach = ""  # the greatest name of the files before
    for place, file in enumerate(ranked):
        after = least[ranked[place + 1]] if place + 1 < len(ranked) else None
        alone[file] = (place == 0 or least[file] > reach) and (
            after is None or greatest[file] < after
        )
        reach = max(reach, greatest[file])
    return alone & (rows >= files.ROWS_PER_FILE // 2)


def _merge(place: Place, dataset: Dataset, merge: pa.Table) -> int | None:
    """The rows that were written anew; None where others have removed one of the files."""
    table = delta.open_table(place, dataset)
    removed = dict(zip(merge["path"].to_pylist(), merge["size_bytes"].to_pylist(), strict=True))
    if not set(removed) <= set(scans.files_of(table)["path"].to_pylist()):
        return None
    rows = ordered(scans.read_files(place, dataset, table, merge), dataset.order)
    parts = files.cut(rows, dataset)
    done = delta.exchange(place, dataset, table, rows=parts, removed=removed, data_change=False)
    return int(rows.num_rows) if done else None


def _has_checkpoint(place: Place, dataset: Dataset, table: DeltaTable) -> bool:
    path = f"{dataset.name}/_delta_log/{table.version():020d}.checkpoint.parquet"
    return bool(place.filesystem().get_file_info(place.inside(path)).is_file)
