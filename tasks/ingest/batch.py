"""One batch: what was fetched, judged, compared with the store, and committed.

Owns the order of the commits. Never touches what makes a row bad, or how facts are compared and
written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.bars import RULES, Validated, ValidationConfig, validate, with_ids
from tasks.doubts import doubts
from tasks.ingest.counts import count
from tasks.ingest.erased import erased, refused, without
from tasks.ingest.report import InstrumentCounts
from tasks.ingest.requests import Request
from tasks.ingest.restated import Again, fetch_again, restated
from tasks.ingest.stored import KEY, PAYLOAD, Stored, absent_from, stored_around
from tasks.known_at import propose
from tasks.schemas import DATASETS
from tasks.sessions import Calendars
from tasks.sources.protocol import ACTIONS, BARS, Fetched, Source, SourceProblem
from tasks.storage.rows import Mask, agree, as_mask, match
from tasks.store import FactCounts, Store

_NOT_FIRM = tuple(name for name, rule in RULES.items() if not rule.firm)
"""Rules that may hold what was a bar: a later row can show that an earlier one is bad, and a person
can make a rule stricter. The others are about what was never one, or about the clock."""


@dataclass(frozen=True)
class Setting:
    """What all batches of an ingest share; see `tasks.ingest.ingest`."""

    store: Store
    source: Source
    calendars: Calendars
    now: datetime
    validation: ValidationConfig
    start: date | None


@dataclass(frozen=True)
class Taken:
    """What came of one batch.

    Attributes:
        names: everyone whose rows or actions came, sorted.
        counts: by instrument.
        unattributed: id → rule of the rows held that do not say whose they are.
        rules: rule → rows of `counts` that it holds.
        flags: rule → bars that it marks.
        actions: splits and dividends: new, changed and unchanged.
        held_actions: how many are held; `rules` counts them too.
        problems: what a person should know.
        provenance: where the rows came from.
        newest: the newest session with a bar; None without any.
        known_at: the latest `known_at` written; None where nothing was.
    """

    names: tuple[str, ...]
    counts: tuple[InstrumentCounts, ...]
    unattributed: Mapping[str, str]
    rules: Mapping[str, int]
    flags: Mapping[str, int]
    actions: FactCounts
    held_actions: int
    problems: tuple[SourceProblem, ...]
    provenance: str
    newest: date | None
    known_at: datetime | None


def take_in(setting: Setting, request: Request, fetched: Fetched) -> Taken:
    """Judges and commits what a request brought.

    Quarantine and actions are written before the bars, which decide whether a history counts as
    new: killed at any point and run again, it ends with the same facts.

    Raises:
        StoreError: the store can't be read or written.
    """
    store, source, now = setting.store, setting.source, setting.now
    fetched, refusals = _allowed(store, fetched)
    again, stored = _with_whole_histories(setting, request, fetched)
    fetched = again.fetched
    names = _names(fetched)
    let_in = _let_in(store, source, names)
    released = let_in["quarantine_id"].to_pylist()
    judged = validate(
        fetched,
        setting.calendars,
        now=now,
        lag=source.lag,
        config=setting.validation,
        stored=_of_others(stored.bars, again.whole),
        released=released,
        price_basis=source.price_basis,
        source=source.name,
        stored_actions=store.read("actions", instruments=names, columns=ACTIONS.names),
        let_in=let_in,
    )
    held = _doubtful(judged.quarantine, "hold", source)
    flags = _doubtful(judged.flags, "flag", source)
    bars = _in_schema(_with(judged.bars, price_basis=source.price_basis))
    new, changed = _compared(bars, stored.bars, setting.validation.revision_tolerance)
    gone = _no_longer_holds(setting, fetched, judged, stored.bars, again.whole)
    written = [
        store.commit_facts(
            "quarantine", _without(pa.concat_tables([held, flags]), released), now=now
        ),
        actions := store.commit_facts(
            "actions", _with(_known(setting, judged.actions, stored), source=source.name), now=now
        ),
        store.commit_facts(
            "bars",
            pa.concat_tables(
                [
                    _with(_known(setting, bars, stored), op="upsert", source=source.name),
                    _with(_known(setting, gone, stored), op="retract", source=source.name),
                ]
            ),
            now=now,
            tolerance=setting.validation.revision_tolerance,
        ),
    ]
    nameless = held.filter(pc.is_null(held["instrument"]))
    attributed = held.filter(pc.is_valid(held["instrument"]))
    return Taken(
        names=tuple(names),
        counts=count(
            names,
            fetched,
            judged,
            new=new,
            changed=changed,
            retracted=gone,
            stored=stored.bars,
            calendars=setting.calendars,
        ),
        unattributed=dict(
            zip(nameless["quarantine_id"].to_pylist(), nameless["rule"].to_pylist(), strict=True)
        ),
        rules=Counter(attributed["rule"].to_pylist()),
        flags=Counter(flags["rule"].to_pylist()),
        actions=actions,
        held_actions=judged.quarantine.num_rows - len(judged.held),
        problems=(
            *fetched.problems,
            *refusals,
            *again.problems,
            *doubts(source, fetched, judged, stored.bars),
        ),
        provenance=fetched.provenance,
        newest=pc.max(judged.bars["session"]).as_py(),
        known_at=max((one.known_at for one in written if one.known_at), default=None),
    )


def _allowed(store: Store, fetched: Fetched) -> tuple[Fetched, list[SourceProblem]]:
    """What was fetched, without what was erased, maybe since it was asked for."""
    gone = erased(store).instruments
    back = [name for name in _names(fetched) if name in gone]
    return without(fetched, back), [refused("instrument", name) for name in back]


def _with_whole_histories(
    setting: Setting, request: Request, fetched: Fetched
) -> tuple[Again, Stored]:
    """What was fetched, with the whole history of what the source restated; and what is stored."""
    store = setting.store
    stored = stored_around(store, fetched)
    if not request.partial:
        return Again(fetched), stored
    factors = restated(fetched.bars, stored.bars, setting.validation.revision_tolerance)
    if not factors:
        return Again(fetched), stored
    again = fetch_again(store, setting.source, fetched, factors, setting.start)
    return again, stored_around(store, again.fetched, again.whole)


def _names(fetched: Fetched) -> list[str]:
    """Everyone that a row or an action names, sorted."""
    every = [
        name
        for table in (fetched.bars, fetched.actions)
        for name in pc.unique(table["instrument"]).drop_null().to_pylist()
    ]
    return sorted(set(every))


def _let_in(store: Store, source: Source, names: list[str]) -> pa.Table:
    """The rows of `names` from the source that a person let in."""
    columns = ["quarantine_id", "source", "op", *BARS.names]
    past = store.read("quarantine", instruments=names, columns=columns)
    mine = pc.and_(pc.equal(past["op"], "release"), pc.equal(past["source"], source.name))
    return past.filter(mine)


def _of_others(stored: pa.Table, whole: frozenset[str]) -> pa.Table:
    """The stored bars of those whose history did not come anew, in another scale."""
    names = pa.array(sorted(whole), pa.string())
    return stored.filter(pc.invert(pc.is_in(stored["instrument"], value_set=names)))


def _doubtful(quarantine: pa.Table, op: str, source: Source) -> pa.Table:
    return _with(with_ids(quarantine, source.name), op=op, price_basis=source.price_basis)


def _without(quarantine: pa.Table, released: list[str]) -> pa.Table:
    ids = pa.array(released, pa.string())
    return quarantine.filter(pc.invert(pc.is_in(quarantine["quarantine_id"], value_set=ids)))


def _known(setting: Setting, rows: pa.Table, stored: Stored) -> pa.Table:
    source = setting.source
    return propose(
        rows,
        stored.firsts,
        setting.calendars,
        now=setting.now,
        lag=source.lag,
        archive=source.archive,
    )


def _with(table: pa.Table, **texts: str) -> pa.Table:
    for name, text in texts.items():
        table = table.append_column(name, pa.repeat(pa.scalar(text), table.num_rows))
    return table


def _in_schema(bars: pa.Table) -> pa.Table:
    """Judged bars under the store's own fields, which leave no doubt about instrument and close."""
    fields = [DATASETS["bars"].schema.field(name) for name in bars.column_names]
    return pa.table(bars.columns, schema=pa.schema(fields))


def _compared(bars: pa.Table, stored: pa.Table, tolerance: float) -> tuple[Mask, Mask]:
    """Which bars the store does not have, and which it has otherwise."""
    place = match(bars, stored, KEY)
    new = place < 0
    changed = ~new
    there, before = bars.filter(pa.array(~new)), stored.take(pa.array(place[~new]))
    changed[~new] = ~agree(there, before, PAYLOAD, tolerance)
    return new, changed


def _no_longer_holds(
    setting: Setting,
    fetched: Fetched,
    judged: Validated,
    stored: pa.Table,
    whole: frozenset[str],
) -> pa.Table:
    """Stored bars to retract.

    Those that only the rows after them, or a stricter rule, showed to be bad: the same bars, held
    now. And of
    histories that came anew in another scale, what did not come with them.
    """
    suspects = np.zeros(fetched.bars.num_rows, dtype=bool)
    suspects[judged.held] = as_mask(
        pc.is_in(judged.held_rows["rule"], value_set=pa.array(_NOT_FIRM))
    )
    rows = _in_schema(fetched.bars.filter(pa.array(suspects)))
    place = match(rows, stored, KEY)
    there = place >= 0
    before = stored.take(pa.array(place[there]))
    numbers, tolerance = PAYLOAD[:-1], setting.validation.revision_tolerance
    same = agree(rows.filter(pa.array(there)), before, numbers, tolerance)
    bad = before.filter(pa.array(same))
    names = pa.array(sorted(whole), pa.string())
    mine = stored.filter(pc.is_in(stored["instrument"], value_set=names))
    left = absent_from(absent_from(mine, judged.bars), bad)
    return pa.concat_tables([bad, left])
