"""Reading rows of a snapshot: which files to open, and which file is to blame when one can't be.

Owns the limits of a scan and the damage reports. Never touches the commit log's content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
from deltalake import DeltaTable

from tasks.schemas import Dataset
from tasks.storage.columns import INSTANT
from tasks.storage.facts import DamagedError, StoreError
from tasks.storage.places import Place

_FOREVER = pa.scalar(2**63 - 1, pa.int64()).cast(INSTANT)


@dataclass(frozen=True)
class Bounds:
    """What rows a scan is after; files and row groups that can't hold such rows are skipped.

    Attributes:
        among: column → the values wanted.
        between: column → the least and the greatest value wanted.
        known_by: rows known later are not wanted.
    """

    among: Mapping[str, pa.Array] = field(default_factory=dict)
    between: Mapping[str, tuple[object, object]] = field(default_factory=dict)
    known_by: datetime | None = None

    def ranges(self) -> dict[str, tuple[object, object]]:
        """Column → the least and the greatest value, of every bound but `known_by`."""
        spans = {name: _span(values) for name, values in self.among.items()}
        return {**spans, **self.between}

    def expression(self) -> pa.dataset.Expression | None:
        """The bounds as a filter; None where there are none."""
        terms = [pc.field(name).isin(values) for name, values in self.among.items()]
        for name, (least, greatest) in self.ranges().items():
            terms += [pc.field(name) >= least, pc.field(name) <= greatest]
        if self.known_by is not None:
            terms.append(pc.field("known_at") <= pa.scalar(self.known_by, INSTANT))
        whole = None
        for term in terms:
            whole = term if whole is None else whole & term
        return whole


def around(rows: pa.Table, dataset: Dataset) -> Bounds:
    """The bounds that hold every stored row whose key is among those of `rows`."""
    texts = [name for name in dataset.prune if pa.types.is_string(rows.schema.field(name).type)]
    return Bounds(
        among={name: rows[name].unique() for name in texts},
        between={name: _span(rows[name]) for name in dataset.prune if name not in texts},
    )


def scan(
    place: Place,
    dataset: Dataset,
    table: DeltaTable,
    columns: Sequence[str],
    bounds: Bounds,
    *,
    spare: Mapping[str, str] | None = None,
) -> pa.Table:
    """The rows of a snapshot inside `bounds`, in no particular order.

    Args:
        place: the store's.
        dataset: whose they are.
        table: the snapshot.
        columns: which.
        bounds: what is wanted.
        spare: column → a text; it is left out where the log says that it is this in every row.

    Raises:
        StoreError: a file of the snapshot is missing or damaged.
    """
    schema = pa.schema([dataset.schema.field(name) for name in columns])
    if any(len(values) == 0 for values in bounds.among.values()):
        return schema.empty_table()
    listed = files_of(table, bounds)
    if not listed.num_rows:
        return schema.empty_table()
    if bounds.known_by is not None and _all_known(listed, bounds.known_by):
        bounds = replace(bounds, known_by=None)
    known = [name for name, text in (spare or {}).items() if _is_everywhere(listed, name, text)]
    schema = pa.schema([one for one in schema if one.name not in known])
    return read_files(
        place, dataset, table, listed, columns=schema.names, only=bounds.expression()
    ).cast(schema)


def _all_known(listed: pa.Table, by: datetime) -> bool:
    """Whether the log says so, which cuts instants off to the millisecond."""
    if "max.known_at" not in listed.column_names or listed["max.known_at"].null_count:
        return False
    latest: datetime = pc.max(listed["max.known_at"]).as_py()
    return latest + timedelta(milliseconds=1) <= by


def _is_everywhere(listed: pa.Table, name: str, text: str) -> bool:
    ends = [f"{end}.{name}" for end in ("min", "max")]
    if not set(ends) <= set(listed.column_names):
        return False
    return all(pc.all(pc.equal(listed[end], text), skip_nulls=False).as_py() for end in ends)


def read_files(
    place: Place,
    dataset: Dataset,
    table: DeltaTable,
    listed: pa.Table,
    *,
    columns: Sequence[str] | None = None,
    only: pa.dataset.Expression | None = None,
) -> pa.Table:
    """The rows of some files of a snapshot, in their order.

    Args:
        place: the store's.
        dataset: whose they are.
        table: the snapshot.
        listed: the files, as `files_of` gives them.
        columns: only these; None: all.
        only: a filter.

    Raises:
        StoreError: a file is missing or damaged.
    """
    paths = [place.inside(f"{dataset.name}/{path}") for path in listed["path"].to_pylist()]
    filesystem = place.filesystem()
    try:
        return pa.dataset.dataset(
            paths, schema=dataset.schema, format="parquet", filesystem=filesystem
        ).to_table(columns=None if columns is None else list(columns), filter=only)
    except (OSError, pa.ArrowException) as error:
        sizes = dict(zip(paths, listed["size_bytes"].to_pylist(), strict=True))
        raise _damaged(place, dataset, table, sizes, error) from error


def latest_known_at(place: Place, dataset: Dataset, table: DeltaTable) -> datetime | None:
    """The latest `known_at` in a snapshot; None where it is empty."""
    files = files_of(table)
    if not files.num_rows:
        return None
    bounds = Bounds()
    if "max.known_at" in files.column_names and not files["max.known_at"].null_count:
        # The log keeps instants to the millisecond only: it tells which files to ask.
        bounds = Bounds(between={"known_at": (pc.max(files["max.known_at"]), _FOREVER)})
    known_at = scan(place, dataset, table, ["known_at"], bounds)["known_at"]
    latest: datetime | None = pc.max(known_at).as_py()
    return latest


def files_of(table: DeltaTable, bounds: Bounds | None = None) -> pa.Table:
    """The snapshot's files that may hold rows inside `bounds`, going by the log.

    Columns: path, size_bytes, modification_time, num_records, and of the columns that the log has
    ranges of min.NAME, max.NAME and null_count.NAME.
    """
    files = pa.table(table.get_add_actions(flatten=True))
    keep = None
    for name, (least, greatest) in (bounds or Bounds()).ranges().items():
        if f"min.{name}" not in files.column_names:
            continue
        most = files[f"max.{name}"]
        if pa.types.is_timestamp(most.type):  # the log cuts instants off to the millisecond
            most = pc.add(most, pa.scalar(timedelta(milliseconds=1)))
        reaches = pc.and_(
            pc.greater_equal(most, least),
            pc.less_equal(files[f"min.{name}"], greatest),
        )
        reaches = pc.fill_null(reaches, True)
        keep = reaches if keep is None else pc.and_(keep, reaches)
    return files if keep is None else files.filter(keep)


def _span(values: pa.Array) -> tuple[object, object]:
    ends = pc.min_max(values)
    return ends["min"], ends["max"]


def _damaged(
    place: Place,
    dataset: Dataset,
    table: DeltaTable,
    sizes: Mapping[str, int],
    error: Exception,
) -> StoreError:
    """Which file is to blame for a failed scan, and what to do about it."""
    filesystem = place.filesystem()
    kept = files_of(DeltaTable(place.address(dataset.name)))["path"].to_pylist()
    current = {place.inside(f"{dataset.name}/{path}") for path in kept}
    for path, size in sizes.items():
        info = filesystem.get_file_info(path)
        if info.type == pa.fs.FileType.NotFound and path not in current:
            return StoreError(
                f"Version {table.version()} of {dataset.name} in {place.url} can't be read any "
                "more: rows of it were erased for good. Read the newest version, by as_of."
            )
        if info.type == pa.fs.FileType.NotFound:
            what = "is missing"
        elif info.size != size:
            what = f"is damaged: it has {info.size} bytes, the commit log says {size}"
        else:
            try:
                pa.parquet.read_table(path, filesystem=filesystem)
                continue
            except (OSError, pa.ArrowException) as cause:
                what = f"is damaged: {first_line(cause)}"
        address = place.address(dataset.name)
        return DamagedError(
            f"The file {path} of the dataset {dataset.name} {what}. Restore it from a backup. "
            f"Without one, delete it, drop it from the log with deltalake.DeltaTable({address!r})"
            ".repair(), and run again: what it held is fetched or computed anew."
        )
    return StoreError(
        f"The dataset {dataset.name} in {place.url} can't be read: {first_line(error)}. Check "
        "that the disk and the network are well, and run again."
    )


def first_line(error: Exception) -> str:
    """What an error of a library says, for the middle of a sentence.

    Its first line, and the causes that the Delta library hangs below it with arrows, in colour.
    """
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
    first = lines[0] if lines else type(error).__name__
    causes = [line.strip().lstrip("↳ ") for line in lines[1:] if line.strip().startswith("↳")]
    return ": ".join([first.rstrip(" :."), *causes]).rstrip(".")
