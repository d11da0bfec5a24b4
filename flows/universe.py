"""Whom a night is about: everybody whose bars are asked for, and who belongs on its session.

Owns the two ways to say it, `universe.instruments` and `universe.membership`. Never touches a bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

from flows.config import FleetcastConfig
from tasks.ingest.erased import erased
from tasks.members import bring_members, members_at, members_until, read_membership
from tasks.runs import PinnedRun, RunError
from tasks.sources import Source
from tasks.store import Store


def asked(
    config: FleetcastConfig, store: Store, source: Source, now: datetime
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Everybody whose bars are wanted, and what a person should know of them.

    With a membership file, the store is brought up to date with it: bars are wanted of all who ever
    belonged, for they are part of history.

    Raises:
        MembershipError: the file can't be used.
        SourceError: the source can't say what it offers.
        StoreError: the store can't be read or written.
    """
    path = config.universe.membership
    if path is None:
        return tuple(config.universe.instruments) or _offered(source, store), ()
    stays = read_membership(path)
    done = bring_members(store, stays, source=Path(path).name, now=now, archive=source.archive)
    notes = []
    if done.late:
        notes.append(
            f"{done.late} stays of {path} began long ago, but came only now: nights of a date "
            "before today do not know them, because nobody did then."
        )
    return members_until(store), tuple(notes)


def _offered(source: Source, store: Store) -> tuple[str, ...]:
    """All that the source has, but for whom a person erased: that is no problem to be told of.

    Where nobody is left, everybody: then it is.
    """
    offered = source.instruments()
    gone = erased(store).instruments
    return tuple(name for name in offered if name not in gone) or tuple(offered)


def known(config: FleetcastConfig, store: Store, bars: set[str]) -> tuple[str, ...]:
    """As `asked`, where the source does not answer: those with `bars` in the store, or nobody."""
    wanted = config.universe.instruments
    if config.universe.membership is not None:
        wanted = members_until(store)
    return tuple(sorted(wanted or bars)) if bars & set(wanted or bars) else ()


def forecast(
    config: FleetcastConfig,
    store: Store,
    instruments: Sequence[str],
    session: date,
    as_of: datetime | None,
) -> tuple[str, ...]:
    """Whom a run about `session` forecasts.

    Args:
        config: with a membership file, those who belong on `session`, and nobody asks whether they
            were asked for tonight; without, all of `instruments` that were not erased.
        store: holds the members.
        instruments: everybody asked for.
        session: the run's.
        as_of: whose knowledge; None: all that is known.

    Raises:
        RunError: nobody belongs on `session`, or all were erased.
        StoreError: the store can't be read.
    """
    if config.universe.membership is None:
        gone = erased(store).instruments
        left = tuple(name for name in instruments if name not in gone)
        if instruments and not left:
            raise RunError(
                f"All of {', '.join(instruments)} were erased, and nobody else is asked for. Name "
                "others under universe.instruments, or let one in: fleetcast erase --allow NAME."
            )
        return left
    chosen = members_at(store, session, as_of)
    if not chosen and not members_until(store, as_of=as_of):
        raise RunError(
            f"The store {store.url} knows no member of the universe yet. `fleetcast ingest` brings "
            f"them in from {config.universe.membership}."
        )
    if not chosen:
        known = "" if as_of is None else f", as known at {as_of:%Y-%m-%d %H:%M} UTC"
        raise RunError(
            f"Nobody belongs to the universe on {session}{known}. See first and last in "
            f"{config.universe.membership}."
        )
    return chosen


def past(config: FleetcastConfig, store: Store, run: PinnedRun) -> tuple[str, ...]:
    """Who may stand for the market of a run: its own, and those who belonged before and left.

    A market of survivors would move in hindsight, whenever one more leaves.

    Raises:
        StoreError: the store can't be read.
    """
    own = [name for names in run.shards.values() for name in names]
    if config.universe.membership is None:
        return tuple(own)
    return members_until(store, run.session, run.as_of, run.table_versions)
