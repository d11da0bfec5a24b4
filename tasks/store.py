"""The store: datasets of facts and derived rows, appended and never edited, and a few files.

Owns commits, as-of reads and pinned versions. Never touches what the numbers in a row mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from tasks.schemas import DATASETS, Dataset
from tasks.storage import arguments, compaction, delta, erasure, facts, places, scans
from tasks.storage.compaction import CompactCounts
from tasks.storage.erasure import ErasedCounts
from tasks.storage.facts import StoreError
from tasks.storage.rows import RELATIVE_TOLERANCE, as_mask, match, ordered, take

__all__ = ["CompactCounts", "ErasedCounts", "FactCounts", "NoStoreError", "Store", "StoreError"]


class NoStoreError(StoreError):
    """The place may well become a store, but nothing made one there yet."""


@dataclass(frozen=True)
class FactCounts:
    """What a commit of facts did; the first three add up to the rows given.

    Attributes:
        new: rows whose key was not in the store.
        changed: rows that differ from the latest of their key.
        unchanged: rows that say nothing new; they are not written.
        known_at: the latest `known_at` among the rows written, None where none was. A run that
            must see its own commit has an `as_of` no earlier than this.
    """

    new: int
    changed: int
    unchanged: int
    known_at: datetime | None = None


@dataclass(frozen=True)
class Store:
    """A store at a place: cheap to open, without a connection, safe for many processes at once."""

    place: places.Place

    @classmethod
    def open(cls, url: str | Path, *, create: bool = True) -> Store:
        """The store in a folder, or at a file://, s3:// or gs:// URL.

        Args:
            url: the place. Credentials of an object store come from the environment, in the
                variables that its own tools use.
            create: True: check that the place can be written, and make what is not there yet.
                False: the store must be there; it is only looked at, so it may be read-only.

        Raises:
            StoreError: the place is a file, can't be written, is nearly full, is not a store
                (`NoStoreError`), or was written by a newer fleetcast.
        """
        place = places.locate(url)
        if create:
            places.check_writable(place)
            for dataset in DATASETS.values():
                delta.open_table(place, dataset)
            return cls(place)
        places.check_folder(place)
        there = [delta.find_table(place, one) for one in DATASETS.values()]
        if all(table is None for table in there):
            raise NoStoreError(
                f"There is no store at {place.url}. Check the address, or run `fleetcast nightly` "
                "or `fleetcast ingest` to make one."
            )
        return cls(place)

    @property
    def url(self) -> str:
        """The address, without secrets: an absolute path, or a URL."""
        return self.place.url

    @property
    def local_path(self) -> Path | None:
        """The store's folder, None where it is not on this machine."""
        return self.place.local_path

    def commit_facts(
        self,
        dataset: str,
        rows: pa.Table,
        *,
        now: datetime,
        tolerance: float = RELATIVE_TOLERANCE,
    ) -> FactCounts:
        """Writes what is new or changed in `rows`, in one commit.

        A new key keeps the `known_at` and `assumed` that its row proposes (without one: `now`). A
        changed key is known at `now`, or just after the latest known of its key, whichever is
        later, and is not assumed. Numbers within `tolerance` are unchanged. Nobody else can
        commit between the comparison and the write.

        Args:
            dataset: name of a dataset of facts.
            rows: one row per key. `known_at`, `assumed`, `op` (upsert, hold) and columns that may
                be null may be left out; `row_hash` is always computed.
            now: the instant of the commit.
            tolerance: numbers that differ by less, relative to the larger, are the same.

        Raises:
            StoreError: the rows don't fit the dataset, two rows of one key disagree, or the store
                can't be read or written. Nothing was written then.
        """
        spec = arguments.named(dataset, fact=True)
        now = arguments.instant("now", now)
        stamps = {"known_at": now, "assumed": False, "row_hash": "", **arguments.default_op(spec)}
        rows = facts.conform(arguments.without(rows, "row_hash"), spec, stamps)
        rows = facts.hashed(rows, spec)
        given = rows.num_rows
        rows = facts.distinct(rows, spec, tolerance)
        repeated = given - rows.num_rows
        wanted = [*spec.key, *spec.compared, "known_at", "row_hash"]
        news = facts.Revision(rows.slice(0, 0), 0, 0, 0)
        before = 0

        def judge(table: DeltaTable) -> pa.Table:
            nonlocal news, before
            before = table.version()
            stored = scans.scan(self.place, spec, table, wanted, scans.around(rows, spec))
            news = facts.revise(rows, facts.latest(stored, spec.key), spec, now, tolerance)
            return news.rows

        known_at = pc.max(delta.commit(self.place, spec, judge)["known_at"]).as_py()
        if known_at is not None:
            compaction.tidy(self.place, spec, before + 1)
        return FactCounts(news.new, news.changed, news.unchanged + repeated, known_at)

    def append_once(self, dataset: str, rows: pa.Table, *, now: datetime) -> int:
        """Writes the rows whose id is not in the store yet, in one commit, known at `now`.

        Args:
            dataset: name of a dataset of derived rows.
            rows: the rows; of several with one id, one is kept. Columns that may be null may be
                left out; `known_at` is always `now`.
            now: the instant of the commit.

        Returns:
            How many rows were written.

        Raises:
            StoreError: the rows don't fit the dataset, or the store can't be read or written.
                Nothing was written then.
        """
        spec = arguments.named(dataset, fact=False)
        stamps = {"known_at": arguments.instant("now", now)}
        rows = facts.conform(arguments.without(rows, "known_at"), spec, stamps)
        rows = facts.earliest(rows, spec.key)

        def judge(table: DeltaTable) -> pa.Table:
            stored = scans.scan(self.place, spec, table, spec.key, scans.around(rows, spec))
            fresh = rows.filter(pa.array(match(rows, stored, spec.key) < 0))
            return ordered(fresh, spec.order)

        return int(delta.commit(self.place, spec, judge).num_rows)

    def read(
        self,
        dataset: str,
        *,
        as_of: datetime | None = None,
        instruments: Sequence[str] | None = None,
        among: Mapping[str, Sequence[str]] | None = None,
        between: Mapping[str, tuple[date, date]] | None = None,
        versions: Mapping[str, int] | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The rows that hold.

        Of facts: the latest per key among those known at `as_of`, without the retracted. Of
        derived rows: the earliest per id, whatever `as_of`.

        Args:
            dataset: its name.
            as_of: facts known later are left out; None: all that is known.
            instruments: only these; files and row groups without them are not read.
            among: of derived rows, column of texts → the values wanted.
            between: column of sessions or instants → the first and the last wanted; of facts a
                column of the key.
            versions: dataset → pinned version, as `versions()` gave it; None: the newest.
            columns: only these, in this order.

        Returns:
            The rows, sorted by the dataset's `order`.

        Raises:
            StoreError: an argument names something that is not there, or the store can't be read.
        """
        # Of facts, a limit on more than the key would take an older row for the latest.
        spec = arguments.named(dataset, fact=False if among else None)
        if spec.fact and not set(between or ()) <= set(spec.key):
            raise StoreError(
                f"{dataset} holds facts: the latest of a key can only be told among rows limited "
                f"by the key. Received between={dict(between or {})!r}. Expected columns of: "
                f"{', '.join(spec.key)}."
            )
        known_by = None if as_of is None or not spec.fact else arguments.instant("as_of", as_of)
        needed = [*spec.key, *spec.order, "known_at", "op"]

        def scan(needed: Sequence[str]) -> pa.Table:
            return self._scan(
                spec,
                needed,
                known_by=known_by,
                instruments=instruments,
                among=among,
                between=between,
                versions=versions,
                columns=columns,
            )

        rows = scan(needed)
        held = facts.holding(rows, spec)
        if held is None:
            rows = scan([*needed, "row_hash"])  # the largest column: read only where it decides
            held = facts.one_per_key(rows, spec.key, last=spec.fact)
        if "op" in rows.column_names:
            stays = as_mask(pc.not_equal(rows["op"], "retract"))
            held = held if stays.all() else held[stays[held]]
        names = list(columns or spec.schema.names)
        if spec.order == spec.key:
            return take(rows.select(names), held)
        return ordered(take(rows, held), spec.order).select(names)

    def history(
        self,
        dataset: str,
        *,
        instruments: Sequence[str] | None = None,
        versions: Mapping[str, int] | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Every row ever written, sorted by the dataset's `order` and then `known_at`.

        Arguments and errors are those of `read`.
        """
        spec = arguments.named(dataset)
        needed = [*spec.order, "known_at", "row_hash"]
        rows = self._scan(spec, needed, instruments=instruments, versions=versions, columns=columns)
        last = ["known_at", "row_hash"] if spec.fact else ["known_at"]
        rows = ordered(rows, [*spec.order, *last])
        return rows.select(list(columns or spec.schema.names))

    def scan(
        self,
        dataset: str,
        columns: Sequence[str],
        *,
        instruments: Sequence[str] | None = None,
        among: Mapping[str, Sequence[str]] | None = None,
        between: Mapping[str, tuple[date, date]] | None = None,
    ) -> pa.Table:
        """Derived rows as they lie in the files: the way to look through millions of them.

        In no order, and a row that a race wrote twice is there twice: neither sorting nor comparing
        ids takes time.

        Args:
            dataset: name of a dataset of derived rows.
            columns: only these, in this order.
            instruments: only these.
            among: column of texts → the values wanted.
            between: column of sessions or instants → the first and the last wanted.

        Raises:
            StoreError: an argument names something that is not there, or the store can't be read.
        """
        spec = arguments.named(dataset, fact=False)
        rows = self._scan(
            spec,
            (),
            instruments=instruments,
            among=among,
            between=between,
            versions=None,
            columns=columns,
        )
        return rows.select(list(columns))

    def compact(self, dataset: str | None = None) -> dict[str, CompactCounts]:
        """Merges small files into few, writes checkpoints of the logs, removes what has expired.

        Without a name also the halves of files that killed processes were writing.

        No row changes, other processes may read and write meanwhile, and pinned versions stay
        readable for as long as `versions` says.

        Args:
            dataset: its name; None: all of them.

        Returns:
            By dataset what was done.

        Raises:
            StoreError: there is no such dataset, or the store can't be read or written.
        """
        specs = DATASETS.values() if dataset is None else [arguments.named(dataset)]
        if dataset is None:
            places.sweep(self.place)
        return {spec.name: compaction.compact(self.place, spec) for spec in specs}

    def erase(self, instruments: Sequence[str] = (), sources: Sequence[str] = ()) -> ErasedCounts:
        """Removes all rows of some instruments, and all that some sources said, for good.

        Afterwards no file of any dataset holds them, so no older version that held them can be
        read. Broken off and run again, it ends in the same state. Rows that another process commits
        at the same time are kept, if they are not of these.

        Args:
            instruments: their names.
            sources: names of sources, in the datasets that say who said so.

        Raises:
            StoreError: the store can't be read or written.
        """
        for names in (instruments, sources):
            if isinstance(names, str):
                raise StoreError(f"Expected a list of names. Received the text {names!r}.")
        among = {"instrument": list(instruments), "source": list(sources)}
        rows: dict[str, int] = {}
        removed = 0
        for name, spec in DATASETS.items():
            erased, files = erasure.erase(self.place, spec, among)
            rows |= {name: erased} if erased else {}
            removed += files
        return ErasedCounts(rows, removed)

    def versions(self) -> dict[str, int]:
        """The newest version of every dataset: what a run pins, to read exactly this again."""
        tables = {name: delta.find_table(self.place, spec) for name, spec in DATASETS.items()}
        return {name: table.version() for name, table in tables.items() if table is not None}

    def latest_known_at(self) -> datetime | None:
        """The latest `known_at` among all facts; None where there are none.

        A run's `as_of` is no earlier, even where this machine's clock lags behind the one that
        wrote the facts.
        """
        found = []
        for spec in DATASETS.values():
            table = delta.find_table(self.place, spec) if spec.fact else None
            if table is not None:
                found.append(scans.latest_known_at(self.place, spec, table))
        return max((instant for instant in found if instant is not None), default=None)

    def write_file(self, relative: str, data: bytes) -> str:
        """Writes or replaces a file at once: a reader sees the old bytes or the new, never a part.

        Args:
            relative: its path in the store, such as "latest/forecasts.parquet".
            data: its bytes.

        Returns:
            Its full address.

        Raises:
            StoreError: it can't be written, or lies outside the store or inside a dataset.
        """
        arguments.check_outside(relative)
        return places.write(self.place, relative, data)

    def read_file(self, relative: str) -> bytes:
        """The bytes of a file in the store; StoreError if it is not there or can't be read."""
        return places.read(self.place, relative)

    def exists(self, relative: str) -> bool:
        """Whether the store has this file."""
        return places.exists(self.place, relative)

    def _scan(
        self,
        spec: Dataset,
        needed: Sequence[str],
        *,
        known_by: datetime | None = None,
        instruments: Sequence[str] | None,
        among: Mapping[str, Sequence[str]] | None = None,
        between: Mapping[str, tuple[date, date]] | None = None,
        versions: Mapping[str, int] | None,
        columns: Sequence[str] | None,
    ) -> pa.Table:
        """The rows within the limits, with the columns asked for and those `needed` that it has."""
        names = spec.schema.names
        asked = [*(columns or ()), *(among or ()), *(between or ())]
        unknown = [name for name in asked if name not in names]
        if unknown:
            raise StoreError(
                f"{spec.name} has no column {unknown[0]!r}. Expected some of: {', '.join(names)}."
            )
        if versions is not None and spec.name not in versions:
            raise StoreError(
                f"versions pins no version of {spec.name}. It pins: "
                f"{json.dumps(dict(versions), sort_keys=True)}."
            )
        texts = (among or {}).items()
        wanted = {name: pa.array(list(values), pa.string()) for name, values in texts}
        if instruments is not None:
            wanted["instrument"] = arguments.texts_of(spec, instruments)
        bounds = scans.Bounds(among=wanted, between=between or {}, known_by=known_by)
        version = None if versions is None else versions[spec.name]
        table = delta.find_table(self.place, spec, version)
        given = [name for name in names if columns is None or name in {*columns, *needed}]
        if table is None:
            return pa.schema([spec.schema.field(name) for name in given]).empty_table()
        spare = {} if "op" in (columns or names) else arguments.default_op(spec)
        return scans.scan(self.place, spec, table, given, bounds, spare=spare)
