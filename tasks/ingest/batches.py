"""The whole of an ingest: batch after batch, and what it came to.

Owns what happens when a source dies midway, and the report. Never touches a row.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, datetime

from tasks.bars import ValidationConfig
from tasks.doubts import stale
from tasks.ingest.batch import Setting, Taken, take_in
from tasks.ingest.erased import erased, refused
from tasks.ingest.report import IngestReport, merged
from tasks.ingest.requests import Request, plan
from tasks.ingest.stored import newest_sessions
from tasks.sessions import Calendars
from tasks.sources.protocol import Source, SourceError, SourceProblem
from tasks.store import FactCounts, Store

Progress = Callable[[int, int], None]
"""Called with how many names are done, and of how many."""

_DEAD_AFTER = 3
"""Requests that fail one after another until the source is given up for this time."""

_PLACES_TOLD = 3


def ingest(
    store: Store,
    source: Source,
    *,
    instruments: Sequence[str] | None = None,
    calendars: Calendars,
    now: datetime,
    validation: ValidationConfig | None = None,
    start: date | None = None,
    overlap_sessions: int = 10,
    full: bool = False,
    progress: Progress | None = None,
    redact: Callable[[str], str] = str,
) -> IngestReport:
    """Fetches, judges and stores what is new or changed; nothing that came is lost.

    Batch by batch: each is committed before the next is fetched, so that whatever breaks an ingest
    off, what it had is kept, and the next one asks for the rest. Killed at any point and run again,
    it ends with the same facts.

    Args:
        store: where the facts go.
        source: where they come from.
        instruments: which; None: all that the source has.
        calendars: which sessions exchanges held.
        now: the instant of the ingest, aware.
        validation: thresholds.
        start: the first session ever asked for, of a source that need not be read whole.
        overlap_sessions: sessions before the newest stored one that such a source is asked for
            again, to see revisions.
        full: ask for everything again, whatever is stored.
        progress: told after each batch.
        redact: masks secrets in what is written down about the ingest.

    Raises:
        SourceError: nothing at all could be read. That is all that was written.
        StoreError: the store can't be read or written.
        InvariantError: a row that came is not accounted for.
    """
    gone = erased(store)
    refusals: list[SourceProblem] = []
    if source.name in gone.sources:
        refusals, instruments = [refused("source", source.name)], ()
    wanted = _wanted(source, instruments)
    asked = None
    if wanted is not None:
        refusals += [refused("instrument", one) for one in wanted if one in gone.instruments]
        asked = [one for one in wanted if one not in gone.instruments]
    newest = newest_sessions(store, asked, now) if asked and source.incremental and not full else {}
    requests = plan(
        source, asked, newest, calendars, start=start, overlap_sessions=overlap_sessions
    )
    setting = Setting(store, source, calendars, now, validation or ValidationConfig(), start)
    taken, failures, silenced = _all(setting, requests, progress)
    if failures and not taken:
        report = _report(source, (), [SourceProblem(None, str(failures[0]))], {})
        store.append_once("ingests", report.row(now, redact), now=now)
        raise failures[0]
    came = {name for one in taken for name in one.names}
    problems = [*refusals, *(problem for one in taken for problem in one.problems)]
    told = {problem.instrument for problem in problems}
    silent = [name for name in asked or () if name not in came | told | set(silenced)]
    unknown, empty = _missing(source, silent)
    problems += [*_unread(source, failures, silenced), *empty]
    problems += stale(source, max((one.newest for one in taken if one.newest), default=None), now)
    report = _report(source, taken, list(dict.fromkeys(problems)), unknown)
    store.append_once("ingests", report.row(now, redact), now=now)
    return report


def _wanted(source: Source, instruments: Sequence[str] | None) -> list[str] | None:
    """The names to ask for; None where the source is best asked for all that it has at once."""
    if instruments is not None:
        return sorted(set(instruments))
    if source.incremental or source.batch_size is not None:
        return sorted(set(source.instruments()))
    return None


def _all(
    setting: Setting, requests: Sequence[Request], progress: Progress | None
) -> tuple[list[Taken], list[SourceError], list[str]]:
    """What came of every request; the failures, and whom they concern."""
    taken: list[Taken] = []
    failures: list[SourceError] = []
    silenced: list[str] = []
    total = sum(len(request.instruments or ()) for request in requests)
    done = row = 0
    show = progress or (lambda _done, _total: None)
    show(0, total)
    for request in requests:
        names = request.instruments or ()
        if row >= _DEAD_AFTER:
            silenced += names
            continue
        try:
            fetched = setting.source.fetch(request.instruments, request.first)
        except SourceError as error:
            failures.append(error)
            silenced += names
            row += 1
        else:
            row = 0
            taken.append(take_in(setting, request, fetched))
        done += len(names)
        show(done, total)
    return taken, failures, silenced


def _unread(
    source: Source, failures: Sequence[SourceError], silenced: Sequence[str]
) -> list[SourceProblem]:
    """That the source failed for a part of the names."""
    if not failures:
        return []
    shown = ", ".join(silenced[:5]) + (f" and {len(silenced) - 5} more" if silenced[5:] else "")
    message = (
        f"source {source.name!r} failed for {len(silenced)} of the instruments ({shown}): "
        f"{str(failures[0]).rstrip('.')}. The others are in; the next ingest asks for these again."
    )
    return [SourceProblem(silenced[0] if len(silenced) == 1 else None, message)]


def _missing(
    source: Source, silent: Sequence[str]
) -> tuple[dict[str, tuple[str, ...]], list[SourceProblem]]:
    """Names that brought no row: those that the source does not have, and those that it has."""
    if not silent:
        return {}, []
    try:
        offered = set(source.instruments())
    except SourceError:
        offered = set()
    folded = {name.casefold(): name for name in sorted(offered)}
    unknown = {
        name: tuple(
            folded[close] for close in difflib.get_close_matches(name.casefold(), folded, n=3)
        )
        for name in silent
        if name not in offered
    }
    empty = [
        SourceProblem(name, f"{name}: source {source.name!r} has it, but brought no row of it.")
        for name in silent
        if name in offered
    ]
    return unknown, empty


def _report(
    source: Source,
    taken: Sequence[Taken],
    problems: Sequence[SourceProblem],
    unknown: dict[str, tuple[str, ...]],
) -> IngestReport:
    nameless = {identity: rule for one in taken for identity, rule in one.unattributed.items()}
    rules, flags = Counter(nameless.values()), Counter[str]()
    for one in taken:
        rules.update(one.rules)
        flags.update(one.flags)
    actions = [one.actions for one in taken]
    stamps = [one.known_at for one in taken if one.known_at is not None]
    places = list(dict.fromkeys(one.provenance for one in taken if one.provenance))
    more = f"; and {len(places) - _PLACES_TOLD} more" if len(places) > _PLACES_TOLD else ""
    return IngestReport(
        source=source.name,
        provenance="; ".join(places[:_PLACES_TOLD]) + more,
        instruments=merged(one for batch in taken for one in batch.counts),
        unattributed=len(nameless),
        rules=dict(sorted(rules.items())),
        flags=dict(sorted(flags.items())),
        actions=FactCounts(
            sum(one.new for one in actions),
            sum(one.changed for one in actions),
            sum(one.unchanged for one in actions),
            max((one.known_at for one in actions if one.known_at), default=None),
        ),
        held_actions=sum(one.held_actions for one in taken),
        problems=tuple(problems),
        unknown=unknown,
        known_at=max(stamps, default=None),
    )
