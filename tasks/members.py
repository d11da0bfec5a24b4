"""Who belongs to the universe on a session, as it was known at an instant.

Owns the membership file and the dataset `members`. Never touches a bar: who left keeps its bars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.schemas import INSTANT
from tasks.sources.dates import read_sessions
from tasks.sources.delimited import LINE, DelimitedError, read_delimited, unzip
from tasks.storage.rows import Mask, as_mask, match
from tasks.store import Store

STAYS = pa.schema(
    [
        pa.field("instrument", pa.string(), nullable=False),
        pa.field("first", pa.date32(), nullable=False),
        pa.field("last", pa.date32()),
    ]
)
"""One stay of one instrument: from the session `first` to `last`; null while it still belongs."""

_KEY = ["instrument", "first"]
_LATE = timedelta(days=30)
"""A stay that began longer ago than this when it first came is a correction, no news."""


class MembershipError(ValueError):
    """The membership file can't be used. The message names the file, the row and what to do."""


@dataclass(frozen=True)
class Brought:
    """What bringing the store up to date with a membership file did.

    Attributes:
        new: stays that the store did not have.
        changed: stays whose end differs from the store's.
        retracted: stays that are no longer in the file.
        late: of the new, those that began long ago, but count as known from now on only.
    """

    new: int
    changed: int
    retracted: int
    late: int


def read_membership(path: str | Path) -> pa.Table:
    """The stays of a file, `STAYS`, sorted by instrument and first session.

    Args:
        path: .csv, .csv.gz or .parquet with the columns instrument, first and last; an empty last
            means that it still belongs. An instrument may come and go several times.

    Raises:
        MembershipError: the file is not there or can't be read, lacks a column, holds no stay, a
            date that is none, a stay that ends before it begins, or stays of one instrument that
            overlap.
    """
    path = Path(path).expanduser()
    rows = _columns(path)
    if not rows.num_rows:
        raise MembershipError(f"{path} has no row. Expected a row per stay.")
    names = _instruments(path, rows["instrument"])
    columns = [names, *(_dates(path, name, rows[name], names) for name in ("first", "last"))]
    if columns[1].null_count:
        nobody = as_mask(pc.is_null(columns[1]))
        raise MembershipError(f"{path}: first of {_first(names, nobody)} is empty. Fill it in.")
    stays = pa.table(columns, schema=STAYS)
    ended = as_mask(pc.fill_null(pc.less(stays["last"], stays["first"]), False))
    if ended.any():
        one = stays.filter(pa.array(ended)).slice(0, 1).to_pylist()[0]
        raise MembershipError(
            f"{path}: {one['instrument']} is to belong from {one['first']} to {one['last']}, which "
            "is earlier. Correct first or last."
        )
    stays = stays.sort_by([(name, "ascending") for name in _KEY])
    _check_overlaps(path, stays)
    return stays


def bring_members(
    store: Store, stays: pa.Table, *, source: str, now: datetime, archive: bool = False
) -> Brought:
    """Writes what is new or changed in `stays`; what they no longer hold is retracted.

    The first membership that a store gets is history that arrives in bulk: a stay is taken as known
    when its first session began, and flagged as assumed. What comes later is known from then on
    only, unless it comes from an archive, which never tells when it became known.

    Args:
        store: where the facts go.
        stays: all of them, `STAYS`.
        source: where they come from, in a word.
        now: the clock, UTC.
        archive: whether the run's source is a fixed historical archive.

    Raises:
        StoreError: the store can't be read or written.
    """
    stays = _without_erased(store, stays)
    stored = store.read("members", columns=STAYS.names)
    bulk = archive or not store.history("members", columns=_KEY).num_rows
    instant = pa.scalar(now.astimezone(UTC), INSTANT)
    began = pc.assume_timezone(stays["first"].cast(pa.timestamp("us")), "UTC").cast(INSTANT)
    known_at = pc.if_else(pc.less(began, instant), began, instant) if bulk else instant
    left = stored.filter(pa.array(match(stored, stays, _KEY) < 0))
    facts = [
        _with(stays, op="upsert", source=source, known_at=known_at, assumed=bulk),
        _with(left, op="retract", source=source, known_at=instant, assumed=False),
    ]
    # In one commit: a stay whose beginning is corrected is another one, and the wrong one goes.
    done = store.commit_facts("members", pa.concat_tables(facts), now=now)
    fresh = match(stays, stored, _KEY) < 0
    long_ago = as_mask(pc.less(began, pa.scalar(now.astimezone(UTC) - _LATE, INSTANT)))
    return Brought(
        new=int(fresh.sum()),
        changed=done.new + done.changed - int(fresh.sum()) - left.num_rows,
        retracted=left.num_rows,
        late=0 if bulk else int((fresh & long_ago).sum()),
    )


def members_at(
    store: Store,
    session: date,
    as_of: datetime | None = None,
    versions: Mapping[str, int] | None = None,
) -> tuple[str, ...]:
    """Who belongs to the universe on `session`, as known at `as_of`, sorted.

    Args:
        store: holds `members`.
        session: the day.
        as_of: whose knowledge; None: all that is known.
        versions: of the datasets, where they are pinned.

    Raises:
        StoreError: the store can't be read.
    """
    stays = store.read("members", as_of=as_of, versions=versions, columns=STAYS.names)
    day = pa.scalar(session, pa.date32())
    begun = pc.less_equal(stays["first"], day)
    ended = pc.fill_null(pc.less(stays["last"], day), False)
    return _names(stays.filter(pc.and_not(begun, ended)))


def members_until(
    store: Store,
    session: date = date.max,
    as_of: datetime | None = None,
    versions: Mapping[str, int] | None = None,
) -> tuple[str, ...]:
    """Everyone who belonged on `session` or earlier, those who left included; as `members_at`."""
    stays = store.read("members", as_of=as_of, versions=versions, columns=STAYS.names)
    return _names(stays.filter(pc.less_equal(stays["first"], pa.scalar(session, pa.date32()))))


def _names(stays: pa.Table) -> tuple[str, ...]:
    return tuple(sorted(pc.unique(stays["instrument"]).to_pylist()))


def _without_erased(store: Store, stays: pa.Table) -> pa.Table:
    """The stays of those whom nobody erased for good."""
    erased = store.read("erased", columns=["subject", "name", "op"])
    mine = pc.and_(pc.equal(erased["subject"], "instrument"), pc.equal(erased["op"], "erase"))
    gone = pa.array(erased["name"].filter(mine).to_pylist(), pa.string())
    return stays.filter(pc.invert(pc.is_in(stays["instrument"], value_set=gone)))


def _with(table: pa.Table, **values: object) -> pa.Table:
    for name, value in values.items():
        column = value
        if not isinstance(value, pa.ChunkedArray):
            column = pa.repeat(value, table.num_rows)
        table = table.append_column(name, column)
    return table


def _columns(path: Path) -> pa.Table:
    """The three columns of a file, as they came."""
    try:
        rows = _read(path)
    except FileNotFoundError:
        raise MembershipError(
            f"There is no membership file {path} (looked for {path.absolute()}). Correct "
            "universe.membership."
        ) from None
    except (DelimitedError, OSError, EOFError, pa.ArrowException) as error:
        raise MembershipError(f"The membership file {path} can't be read: {error}.") from error
    known = {name.strip().casefold(): name for name in rows.column_names}
    for name in STAYS.names:
        if name not in known:
            raise MembershipError(
                f"{path} has no column {name!r}. Expected {', '.join(STAYS.names)}. Received: "
                f"{', '.join(rows.column_names)}."
            )
    return rows.select([known[name] for name in STAYS.names]).rename_columns(STAYS.names)


def _read(path: Path) -> pa.Table:
    name = path.name.lower()
    if name.endswith(".parquet"):
        with pq.ParquetFile(path) as file:
            return file.read()
    if not name.endswith((".csv", ".csv.gz")):
        raise MembershipError(
            f"The membership file is {path}. Expected one that ends in .csv, .csv.gz or .parquet."
        )
    data = path.read_bytes()
    found = read_delimited(unzip(data) if name.endswith(".gz") else data)
    if found.malformed.any():
        place = int(np.flatnonzero(found.malformed)[0])
        raise MembershipError(
            f"{path}: the cells of a line can't be told apart: {found.rows[LINE][place].as_py()!r}."
        )
    return found.rows


def _instruments(path: Path, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        names = pc.utf8_trim_whitespace(column.cast(pa.string()))
    except pa.ArrowException as error:
        raise MembershipError(f"{path}: instrument can't be read as text: {error}.") from error
    empty = pc.fill_null(pc.equal(names, ""), True)
    if pc.any(empty).as_py():
        raise MembershipError(f"{path}: instrument is empty in a row. Fill it in.")
    return names


def _dates(
    path: Path, name: str, column: pa.ChunkedArray, instruments: pa.ChunkedArray
) -> pa.ChunkedArray:
    if pa.types.is_null(column.type):
        return pa.chunked_array([pa.nulls(len(column), pa.date32())])
    try:
        read = read_sessions(column)
    except (ValueError, pa.ArrowException) as error:
        raise MembershipError(f"{path}, column {name}: {error}") from error
    if read.wrong.any():
        raise MembershipError(
            f"{path}: {name} of {_first(instruments, read.wrong)} is "
            f"{_first(column, read.wrong)!r}. Expected a date such as 2024-12-31."
        )
    return read.values


def _first(column: pa.ChunkedArray, chosen: Mask) -> object:
    return column[int(np.flatnonzero(chosen)[0])].as_py()


def _check_overlaps(path: Path, stays: pa.Table) -> None:
    earlier, later = stays.slice(0, stays.num_rows - 1), stays.slice(1)
    still = pa.scalar(date.max, pa.date32())
    into = pc.greater_equal(pc.fill_null(earlier["last"], still), later["first"])
    both = as_mask(pc.and_(pc.equal(earlier["instrument"], later["instrument"]), into))
    if both.any():
        place = int(np.flatnonzero(both)[0])
        one, other = stays.slice(place, 2).to_pylist()
        until = "" if one["last"] is None else f" to {one['last']}"
        raise MembershipError(
            f"{path}: {one['instrument']} is to belong from {one['first']}{until}, and again from "
            f"{other['first']}. Stays of one instrument can't overlap: give each its last session."
        )
