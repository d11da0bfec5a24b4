"""Erasure: rows that are removed for good, from every version and every file that held them.

Owns the one way in which a table ever loses a row. Never touches files outside the datasets.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.fs
from deltalake.exceptions import DeltaError

from tasks.schemas import Dataset
from tasks.storage import delta, files, scans
from tasks.storage.facts import StoreError
from tasks.storage.places import Place

_ATTEMPTS = 100
"""Each time, another writer or compaction got on."""

_MOST_ROWS = 2**21
"""Rows of the files that one commit rewrites."""

_LONGEST_COMMIT = 3600.0
"""Seconds after which a file that no version names is no commit's that is still under way."""


@dataclass(frozen=True)
class ErasedCounts:
    """What was erased.

    Attributes:
        rows: dataset → rows of the newest version, where there were any.
        files: files removed, those of older versions included.
    """

    rows: Mapping[str, int]
    files: int


def erase(place: Place, dataset: Dataset, among: Mapping[str, Sequence[str]]) -> tuple[int, int]:
    """Removes the rows that have one of the values in one of the columns, and the files with them.

    The table accepts no removals (`delta.appendOnly`): it is told to, and told not to again. Broken
    off anywhere and run again, it ends in the same state.

    Args:
        place: the store's.
        dataset: whose table it is.
        among: column → the values to erase; columns that the dataset lacks are passed over.

    Returns:
        Rows removed from the newest version, and files removed.

    Raises:
        StoreError: the table can't be read or written.
    """
    terms = [
        pc.field(name).isin(pa.array(sorted(set(values)), pa.string()))
        for name, values in among.items()
        if values and name in dataset.schema.names
    ]
    if not terms or delta.find_table(place, dataset) is None:
        return 0, 0
    doomed = reduce(lambda one, other: one | other, terms)
    erased = 0
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(min(0.5, 0.01 * attempt))
        holding = _holding(place, dataset, doomed, among)
        if not holding:
            break
        _set_append_only(place, dataset, append_only=False)
        for batch in _batches(holding):
            if not _rewrite(place, dataset, doomed, [path for path, _, _ in batch]):
                break
            erased += sum(count for _, count, _ in batch)
    else:
        raise StoreError(
            f"Erasing from {dataset.name} in {place.url} gave way {_ATTEMPTS} times to others. "
            "Stop the other writers, and run again."
        )
    _set_append_only(place, dataset, append_only=True)
    return erased, _remove_files(place, dataset, doomed)


def _holding(
    place: Place,
    dataset: Dataset,
    doomed: pa.dataset.Expression,
    among: Mapping[str, Sequence[str]],
) -> list[tuple[str, int, int]]:
    """The newest version's files with rows that are to go: path, how many, and of how many."""
    table = delta.open_table(place, dataset)
    listed = scans.files_of(table)
    wanted = {name: pa.array(values, pa.string()) for name, values in among.items() if values}
    suspects = {
        path
        for name, values in wanted.items()
        for path in scans.files_of(table, scans.Bounds(among={name: values}))["path"].to_pylist()
    }
    found = []
    for number, path in enumerate(listed["path"].to_pylist()):
        if path in suspects:
            one = listed.slice(number, 1)
            count = scans.read_files(
                place, dataset, table, one, columns=dataset.key[:1], only=doomed
            ).num_rows
            found.append((path, count, one["num_records"][0].as_py() or count))
    return [file for file in found if file[1]]


def _batches(holding: Sequence[tuple[str, int, int]]) -> list[list[tuple[str, int, int]]]:
    """The files in pieces that fit into memory."""
    batches: list[list[tuple[str, int, int]]] = [[]]
    held = 0
    for file in holding:
        held += file[2]
        if batches[-1] and held > _MOST_ROWS:
            batches.append([])
            held = file[2]
        batches[-1].append(file)
    return batches


def _rewrite(
    place: Place, dataset: Dataset, doomed: pa.dataset.Expression, paths: Sequence[str]
) -> bool:
    """Replaces files by others without the rows, in one commit; False: others were there first."""
    table = delta.open_table(place, dataset)
    listed = scans.files_of(table)
    listed = listed.filter(pc.is_in(listed["path"], value_set=pa.array(paths)))
    if listed.num_rows < len(paths):
        return False
    kept = []
    for number in range(listed.num_rows):
        rows = scans.read_files(place, dataset, table, listed.slice(number, 1), only=~doomed)
        kept += files.cut(rows, dataset)
    removed = dict(zip(listed["path"].to_pylist(), listed["size_bytes"].to_pylist(), strict=True))
    return delta.exchange(place, dataset, table, rows=kept, removed=removed)


def _set_append_only(place: Place, dataset: Dataset, *, append_only: bool) -> None:
    wanted = {"delta.appendOnly": str(append_only).lower()}
    for attempt in range(_ATTEMPTS):
        table = delta.open_table(place, dataset)
        if table.metadata().configuration.get("delta.appendOnly") == wanted["delta.appendOnly"]:
            return
        try:
            table.alter.set_table_properties(wanted)
        except (DeltaError, OSError) as error:
            if attempt == _ATTEMPTS - 1:
                raise delta.unwritable(place, dataset, error) from error
            time.sleep(min(0.5, 0.01 * attempt))


def _remove_files(place: Place, dataset: Dataset, doomed: pa.dataset.Expression) -> int:
    """Removes the files of older versions, and of commits that never were, that hold such rows."""
    table = delta.open_table(place, dataset)
    filesystem = place.filesystem()
    try:
        past = table.vacuum(retention_hours=0, dry_run=True, enforce_retention_duration=False)
    except (DeltaError, OSError) as error:
        raise delta.unwritable(place, dataset, error) from error
    removed = {path.rpartition("/")[2] for path in past}
    current = set(scans.files_of(table)["path"].to_pylist())
    found = filesystem.get_file_info(pa.fs.FileSelector(place.inside(dataset.name)))
    gone = []
    for info in found:
        name = info.base_name
        if not name.endswith(".parquet") or name in current:
            continue
        finished = name in removed or time.time() - info.mtime.timestamp() > _LONGEST_COMMIT
        if finished and _holds(info.path, filesystem, dataset, doomed):
            gone.append(name)
    files.remove(place, dataset, gone)
    return len(gone)


def _holds(
    path: str, filesystem: pa.fs.FileSystem, dataset: Dataset, doomed: pa.dataset.Expression
) -> bool:
    """Whether a file has such rows; one that can't be read might."""
    try:
        rows = pa.dataset.dataset(
            path, schema=dataset.schema, format="parquet", filesystem=filesystem
        )
        return bool(rows.count_rows(filter=doomed))
    except FileNotFoundError:
        return False
    except (OSError, pa.ArrowException):
        return True
