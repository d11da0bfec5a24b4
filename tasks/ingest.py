"""Ingest: from a source to facts in the store, with an account of what came of every row.

Owns when a fact is taken to have been known, and the order of commits. Never touches how a source
reads, what makes a row bad, or how facts are compared and written.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.bars import Validated, ValidationConfig, validate
from tasks.doubts import doubts
from tasks.identity import content_id
from tasks.known_at import propose
from tasks.schemas import DATASETS
from tasks.sessions import Calendars
from tasks.sources.protocol import Fetched, Source, SourceError, SourceProblem
from tasks.storage.rows import Mask, agree, as_mask, match
from tasks.store import FactCounts, Store

_BARS = DATASETS["bars"]
_PAYLOAD = ("open", "high", "low", "close", "volume", "price_basis")


@dataclass(frozen=True)
class InstrumentCounts:
    """What came of one instrument's rows.

    Attributes:
        instrument: its name.
        fetched: rows that came: the sum of new, changed, unchanged, quarantined and agreed.
        new: sessions that the store has no bar of.
        changed: sessions whose bar differs from the store's.
        unchanged: sessions that bring no news.
        quarantined: rows held.
        agreed_duplicates: rows that say again what another row says.
        retracted: stored bars that turned out to be bad ticks, and no longer hold.
        actions: splits and dividends that came.
        first_session: the first one with a bar that came; None without any.
        last_session: the last one.
    """

    instrument: str
    fetched: int
    new: int
    changed: int
    unchanged: int
    quarantined: int
    agreed_duplicates: int
    retracted: int
    actions: int
    first_session: date | None
    last_session: date | None


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        source: the source's name.
        provenance: where the rows came from.
        instruments: counts by instrument, sorted by name.
        unattributed: rows held that do not say whose they are.
        rules: rule → rows that it holds.
        actions: splits and dividends: new, changed and unchanged.
        problems: what a person should know.
        unknown: names asked for that the source does not have → similar ones that it has.
        known_at: the latest `known_at` written, None where nothing was. A run that must see this
            ingest has an `as_of` no earlier.
    """

    source: str
    provenance: str
    instruments: tuple[InstrumentCounts, ...]
    unattributed: int
    rules: Mapping[str, int]
    actions: FactCounts
    problems: tuple[SourceProblem, ...]
    unknown: Mapping[str, tuple[str, ...]]
    known_at: datetime | None

    @property
    def fetched(self) -> int:
        """Rows that came."""
        return sum(one.fetched for one in self.instruments) + self.unattributed

    @property
    def new(self) -> int:
        """Bars that the store did not have."""
        return sum(one.new for one in self.instruments)

    @property
    def changed(self) -> int:
        """Bars that differ from the store's."""
        return sum(one.changed for one in self.instruments)

    @property
    def unchanged(self) -> int:
        """Bars that bring no news."""
        return sum(one.unchanged for one in self.instruments)

    @property
    def quarantined(self) -> int:
        """Rows held."""
        return sum(one.quarantined for one in self.instruments) + self.unattributed

    @property
    def agreed_duplicates(self) -> int:
        """Rows that say again what another row says."""
        return sum(one.agreed_duplicates for one in self.instruments)


def ingest(
    store: Store,
    source: Source,
    *,
    instruments: Sequence[str] | None = None,
    calendars: Calendars,
    now: datetime,
    validation: ValidationConfig | None = None,
) -> IngestReport:
    """Fetches, judges and stores what is new or changed; nothing that came is lost.

    Killed at any point and run again, it ends with the same facts: actions are written before the
    bars, which decide whether a history counts as new.

    Args:
        store: where the facts go.
        source: where they come from.
        instruments: which; None: all that the source has.
        calendars: which sessions exchanges held.
        now: the instant of the ingest, aware.
        validation: thresholds.

    Raises:
        SourceError: nothing at all could be read. Nothing was written.
        StoreError: the store can't be read or written.
    """
    wanted = None if instruments is None else sorted(set(instruments))
    fetched = source.fetch(wanted)
    judged = validate(fetched, calendars, now=now, lag=source.lag, config=validation)
    names = _names(fetched)
    stored = store.read("bars", instruments=names, columns=[*_BARS.key, *_PAYLOAD])

    bars = _in_schema(_with(judged.bars, price_basis=source.price_basis))
    place = match(bars, stored, _BARS.key)
    new = place < 0
    changed = ~new
    changed[~new] = ~agree(bars.filter(pa.array(~new)), stored.take(place[~new]), _PAYLOAD)
    retracted = _turned_bad(fetched, judged, stored)

    held = _with_ids(judged.quarantine, source.name)
    kept_back = store.commit_facts("quarantine", _unreleased(store, held), now=now)
    proposed = propose(
        fetched.actions, stored, calendars, now=now, lag=source.lag, archive=source.archive
    )
    actions = store.commit_facts("actions", _with(proposed, source=source.name), now=now)
    proposed = propose(bars, stored, calendars, now=now, lag=source.lag, archive=source.archive)
    facts = [
        _with(proposed, op="upsert", source=source.name),
        _with(
            propose(retracted, stored, calendars, now=now, lag=source.lag, archive=source.archive),
            op="retract",
            source=source.name,
        ),
    ]
    written = store.commit_facts("bars", pa.concat_tables(facts), now=now)

    unknown, absent = _missing(source, fetched, wanted)
    stamps = [done.known_at for done in (kept_back, actions, written) if done.known_at is not None]
    return IngestReport(
        source=source.name,
        provenance=fetched.provenance,
        instruments=_count(names, fetched, judged, new=new, changed=changed, retracted=retracted),
        unattributed=judged.quarantine["instrument"].null_count,
        rules=dict(sorted(Counter(judged.quarantine["rule"].to_pylist()).items())),
        actions=actions,
        problems=(*fetched.problems, *absent, *doubts(source, fetched, judged, stored, now)),
        unknown=unknown,
        known_at=max(stamps, default=None),
    )


def _names(fetched: Fetched) -> list[str]:
    """Everyone that a row or an action names, sorted."""
    every = [
        name
        for table in (fetched.bars, fetched.actions)
        for name in pc.unique(table["instrument"]).drop_null().to_pylist()
    ]
    return sorted(set(every))


def _with(table: pa.Table, **texts: str) -> pa.Table:
    for name, text in texts.items():
        table = table.append_column(name, pa.repeat(pa.scalar(text), table.num_rows))
    return table


def _in_schema(bars: pa.Table) -> pa.Table:
    """Judged bars under the store's own fields, which leave no doubt about instrument and close."""
    fields = [_BARS.schema.field(name) for name in bars.column_names]
    return pa.table(bars.columns, schema=pa.schema(fields))


def _turned_bad(fetched: Fetched, judged: Validated, stored: pa.Table) -> pa.Table:
    """Stored bars that only the row after them showed to be bad ticks: the same bars, held now."""
    jumped = as_mask(pc.equal(judged.quarantine["rule"], "absurd_jump"))
    rows = _in_schema(fetched.bars.take(pa.array(judged.held[jumped])))
    place = match(rows, stored, _BARS.key)
    there = place >= 0
    rows, place = rows.filter(pa.array(there)), place[there]
    before = stored.take(pa.array(place))
    same = agree(rows, before, ("open", "high", "low", "close", "volume"))
    return before.filter(pa.array(same))


def _with_ids(quarantine: pa.Table, source: str) -> pa.Table:
    """The held rows with the id of source, row and rule; equal rows are numbered."""
    seen: Counter[tuple[object, ...]] = Counter()
    ids = []
    for row in quarantine.select(["instrument", "rule", "row"]).to_pylist():
        what = (row["instrument"], row["rule"], row["row"])
        ids.append(content_id("quarantine", source, *what, seen[what]))
        seen[what] += 1
    table = quarantine.append_column("quarantine_id", pa.array(ids, pa.string()))
    return _with(table, source=source, op="hold")


def _unreleased(store: Store, held: pa.Table) -> pa.Table:
    """The held rows without those that a person has let through: these are not held again."""
    past = store.read("quarantine", columns=["quarantine_id", "op"])
    released = past["quarantine_id"].filter(pc.equal(past["op"], "release"))
    return held.filter(pc.invert(pc.is_in(held["quarantine_id"], value_set=released)))


def _missing(
    source: Source, fetched: Fetched, wanted: Sequence[str] | None
) -> tuple[dict[str, tuple[str, ...]], tuple[SourceProblem, ...]]:
    """Names that brought no row: those that the source does not have, and those that it has."""
    came = {*_names(fetched), *(problem.instrument for problem in fetched.problems)}
    silent = [name for name in wanted or () if name not in came]
    if not silent:
        return {}, ()
    try:
        offered = source.instruments()
    except SourceError:
        offered = ()
    folded = {name.casefold(): name for name in offered}
    unknown = {
        name: tuple(
            folded[close] for close in difflib.get_close_matches(name.casefold(), folded, n=3)
        )
        for name in silent
        if name not in offered
    }
    empty = tuple(
        SourceProblem(name, f"{name}: source {source.name!r} has it, but brought no row of it.")
        for name in silent
        if name in offered
    )
    return unknown, empty


def _count(
    names: Sequence[str],
    fetched: Fetched,
    judged: Validated,
    *,
    new: Mask,
    changed: Mask,
    retracted: pa.Table,
) -> tuple[InstrumentCounts, ...]:
    everyone = pa.array(names, pa.string())

    def tally(instruments: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        place = pc.index_in(instruments.drop_null(), value_set=everyone).to_numpy()
        return np.bincount(place.astype(np.int64), minlength=len(names))

    bars = judged.bars["instrument"]
    ends = judged.bars.group_by("instrument").aggregate([("session", "min"), ("session", "max")])
    sessions = {row["instrument"]: row for row in ends.to_pylist()}
    columns = {
        "fetched": tally(fetched.bars["instrument"]),
        "new": tally(bars.filter(pa.array(new))),
        "changed": tally(bars.filter(pa.array(changed))),
        "unchanged": tally(bars.filter(pa.array(~new & ~changed))),
        "quarantined": tally(judged.quarantine["instrument"]),
        "agreed_duplicates": tally(fetched.bars["instrument"].take(pa.array(judged.agreed))),
        "retracted": tally(retracted["instrument"]),
        "actions": tally(fetched.actions["instrument"]),
    }
    return tuple(
        InstrumentCounts(
            instrument=name,
            first_session=sessions.get(name, {}).get("session_min"),
            last_session=sessions.get(name, {}).get("session_max"),
            **{what: int(counts[place]) for what, counts in columns.items()},
        )
        for place, name in enumerate(names)
    )
