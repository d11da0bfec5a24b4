"""Erasing an instrument or a source for good, and keeping it from coming back.

Owns the order: first the tombstones, then all that holds the thing, so that a kill is mended by
running again. Never touches how a dataset loses its rows: `tasks.storage.erasure` does.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches

import pyarrow as pa
import pyarrow.compute as pc

from tasks.fleet_files import instruments_in, without
from tasks.ingest.erased import erased
from tasks.publish import published_instruments, withdraw
from tasks.schemas import DATASETS
from tasks.storage import past, places
from tasks.store import Store

_DERIVED = ("models", "statistics", "scores", "forecasts")


class EraseError(LookupError):
    """What is to be erased or allowed again is not there. The message says what is."""


@dataclass(frozen=True)
class Erasure:
    """What was, or is to be, erased.

    Attributes:
        instruments: asked for.
        sources: asked for.
        orphans: instruments of which only these sources gave bars: what was derived of them goes
            too.
        rows: dataset → rows.
        checkpoints: files that hold a network of one of them.
        pages: report pages that show one of them.
        latest: whether `latest/forecasts.*` hold one of them.
        log_files: files of the commit logs that named one of them.
    """

    instruments: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    rows: dict[str, int] = field(default_factory=dict)
    checkpoints: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()
    latest: bool = False
    log_files: int = 0


def plan_erasure(
    store: Store, instruments: Collection[str] = (), sources: Collection[str] = ()
) -> Erasure:
    """What `erase` would remove. Nothing is changed.

    Raises:
        StoreError: the store can't be read.
    """
    orphans = _orphans(store, sources) - set(instruments)
    rows: dict[str, int] = {}
    for name, spec in DATASETS.items():
        columns = [one for one in ("instrument", "source") if one in spec.schema.names]
        if not columns:
            continue
        table = store.history(name, columns=columns)
        doomed = pa.array([False] * table.num_rows, pa.bool_())
        for column, values in (("instrument", {*instruments, *orphans}), ("source", sources)):
            if column in columns:
                wanted = pa.array(sorted(values), pa.string())
                doomed = pc.or_(doomed, pc.is_in(table[column], value_set=wanted))
        count = int(pc.sum(doomed).as_py() or 0)
        rows |= {name: count} if count else {}
    gone = {*instruments, *orphans}
    return Erasure(
        instruments=tuple(sorted(instruments)),
        sources=tuple(sorted(sources)),
        orphans=tuple(sorted(orphans)),
        rows=rows,
        checkpoints=_checkpoints(store, gone),
        pages=_pages(store, gone),
        latest=bool(gone & published_instruments(store)),
    )


def erase(
    store: Store,
    instruments: Collection[str] = (),
    sources: Collection[str] = (),
    *,
    now: datetime,
) -> Erasure:
    """Removes instruments, and all that sources said, from every file of the store, for good.

    Killed at any point and run again, it finishes.

    Args:
        store: where they are.
        instruments: their names.
        sources: names of sources. Instruments of which only they gave bars go too, but may come
            back from another source.
        now: the instant, aware.

    Raises:
        StoreError: the store can't be read or written.
    """
    instruments, sources = sorted(set(instruments)), sorted(set(sources))
    before = erased(store)
    alone = _orphans(store, sources) - set(instruments) - before.instruments
    stones = [("instrument", one, "erase") for one in instruments]
    stones += [("source", one, "erase") for one in sources]
    # Written down before their bars go, so that they are found again after a kill.
    _mark(store, [*stones, *(("instrument", one, "allow") for one in sorted(alone))], now)
    rows = dict(store.erase(instruments, sources).rows)
    noted = _noted(store) - _with_bars(store) - set(instruments) if sources else set()
    orphans = sorted(noted)
    gone = {*instruments, *orphans}
    pages, checkpoints = _pages(store, gone), _checkpoints(store, gone)
    for path in pages:
        places.remove(store.place, path)
    latest = withdraw(store, gone)
    for path in checkpoints:
        _take_out(store, path, gone)
    for name, count in store.erase(orphans).rows.items():
        rows[name] = rows.get(name, 0) + count
    names = [*instruments, *sources, *orphans]
    forgotten = sum(
        past.forget(store.place, spec, names) for spec in DATASETS.values() if spec.name != "erased"
    )
    return Erasure(
        instruments=tuple(instruments),
        sources=tuple(sources),
        orphans=tuple(orphans),
        rows=rows,
        checkpoints=checkpoints,
        pages=pages,
        latest=latest,
        log_files=forgotten,
    )


def allow(
    store: Store,
    instruments: Collection[str] = (),
    sources: Collection[str] = (),
    *,
    now: datetime,
) -> None:
    """Lets what was erased come again, with the next ingest.

    Raises:
        EraseError: one was not erased. Nothing was written.
        StoreError: the store can't be read or written.
    """
    known = erased(store)
    for subject, names, there in (
        ("instrument", instruments, known.instruments),
        ("source", sources, known.sources),
    ):
        for name in names:
            if name not in there:
                listed = ", ".join(sorted(there)) or "none"
                raise EraseError(f"The {subject} {name} was not erased. Erased are: {listed}.")
    stones = [("instrument", one, "allow") for one in sorted(set(instruments))]
    _mark(store, [*stones, *(("source", one, "allow") for one in sorted(set(sources)))], now)


def check_known(store: Store, instruments: Collection[str], sources: Collection[str]) -> None:
    """Refuses names that the store does not know, and that were not erased before.

    Raises:
        EraseError: one is not known; the message has similar ones.
        StoreError: the store can't be read.
    """
    before = erased(store)
    known_sources = {
        name
        for dataset in ("bars", "actions", "quarantine")
        for name in _distinct(store, dataset, "source")
    }
    instruments_there = _named(store, ("bars", "actions", "quarantine", "members", *_DERIVED))
    for subject, names, there in (
        ("instrument", instruments, instruments_there | before.instruments),
        ("source", sources, known_sources | before.sources),
    ):
        for name in names:
            if name not in there:
                close = get_close_matches(name, sorted(there), n=1)
                hint = f" Did you mean {close[0]}?" if close else ""
                raise EraseError(f"The store {store.url} knows no {subject} {name}.{hint}")


def _mark(store: Store, stones: Sequence[tuple[str, str, str]], now: datetime) -> None:
    """Writes subject, name and op of each."""
    names = ("subject", "name", "op")
    schema = pa.schema([DATASETS["erased"].schema.field(name) for name in names])
    rows = [dict(zip(names, stone, strict=True)) for stone in stones]
    if rows:
        store.commit_facts("erased", pa.Table.from_pylist(rows, schema), now=now)


def _noted(store: Store) -> set[str]:
    """Instruments that were erased, and may come again."""
    rows = store.read("erased").to_pylist()
    return {row["name"] for row in rows if (row["subject"], row["op"]) == ("instrument", "allow")}


def _orphans(store: Store, sources: Collection[str]) -> set[str]:
    """Everyone of whom only these sources gave bars."""
    if not sources:
        return set()
    return _with_bars(store) - _with_bars(store, without_sources=sources)


def _distinct(store: Store, dataset: str, column: str) -> set[str]:
    names = pc.unique(store.history(dataset, columns=[column])[column]).to_pylist()
    return {name for name in names if name is not None}


def _named(store: Store, datasets: Sequence[str]) -> set[str]:
    """Everyone that these datasets have rows of."""
    return {name for dataset in datasets for name in _distinct(store, dataset, "instrument")}


def _with_bars(store: Store, *, without_sources: Collection[str] = ()) -> set[str]:
    """Everyone that the store ever had a bar of, by another source than these."""
    bars = store.history("bars", columns=["instrument", "source"])
    wanted = pa.array(sorted(without_sources), pa.string())
    bars = bars.filter(pc.invert(pc.is_in(bars["source"], value_set=wanted)))
    return set(pc.unique(bars["instrument"]).to_pylist())


def _checkpoints(store: Store, gone: Collection[str]) -> tuple[str, ...]:
    """The checkpoints that hold one of `gone`, and those that can't be read: they might."""
    found = []
    for path in places.files_in(store.place, "checkpoints") if gone else ():
        there = instruments_in(store.read_file(path))
        if there is None or there & set(gone):
            found.append(path)
    return tuple(found)


def _take_out(store: Store, path: str, gone: Collection[str]) -> None:
    """A checkpoint without some members; removed where none is left, or it can't be read."""
    from lstm_models.checkpoint import CheckpointError  # noqa: PLC0415 - loads TensorFlow

    try:
        kept = without(store.read_file(path), gone, source=path)
    except CheckpointError:
        kept = None
    if kept is None:
        places.remove(store.place, path)
    else:
        store.write_file(path, kept)


def _pages(store: Store, gone: Collection[str]) -> tuple[str, ...]:
    """The report pages that say one of the names."""
    if not gone:
        return ()
    names = "|".join(re.escape(html.escape(name)) for name in sorted(gone))
    wanted = re.compile(rf"(?<!\w)(?:{names})(?!\w)")
    every = (*places.files_in(store.place, "reports"), *places.files_in(store.place, "latest"))
    pages = [path for path in every if path.endswith((".html", ".svg"))]
    return tuple(
        path for path in pages if wanted.search(store.read_file(path).decode("utf-8", "replace"))
    )
