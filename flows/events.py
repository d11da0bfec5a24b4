"""The events of a night in Prefect: what it published, and what is new since the night before.

Owns their names, payloads and ids, each told once. Never decides what is news: `tasks.news` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.events.filters import EventFilter, EventIDFilter

from flows.night import listed, plural
from flows.secrets import no_key_needed
from tasks.identity import content_id
from tasks.news import News, news
from tasks.sessions import Calendars
from tasks.sources import open_source
from tasks.store import Store

if TYPE_CHECKING:
    from flows.config import FleetcastConfig
    from tasks.runs import PinnedRun

PUBLISHED = "fleetcast.forecast.published"
STALE = "fleetcast.instrument.stale"
DRIFT = "fleetcast.coverage.drift"
GATE = "fleetcast.gate.changed"

MOST = 50
"""Instruments that an event names. A server takes 100 related resources and the run has some."""

_PAGE = 50
"""Events that a server tells of at once, at most; a night has four."""

_NAMESPACE = UUID("6f1a3c0e-52d7-4a3b-9a55-0f0a5a1e7c42")


@dataclass(frozen=True)
class Told:
    """One event of a night.

    Attributes:
        event: its name.
        about: what makes it another one of the same night: the same is told once.
        payload: small, as JSON.
        instruments: whom it is about, at most `MOST` of them.
    """

    event: str
    about: str
    payload: dict[str, Any]
    instruments: tuple[str, ...] = ()


def emit(config: FleetcastConfig, run: PinnedRun) -> int:
    """Emits the events of a finished night that the server does not know yet; says how many.

    Raises:
        StoreError: the store can't be read.
        Exception: the server can't be asked.
    """
    with no_key_needed(config.source):
        lag = open_source(config.source).lag
    found = news(
        Store.open(config.store.url),
        run,
        forecasts=config.forecast_settings().forecasts,
        calendars=Calendars.load(config.calendar),
        lag=lag,
    )
    told = {event_id(run, one): one for one in events_of(run, found)}
    known = _known(told)
    fresh = {which: one for which, one in told.items() if which not in known}
    for which, one in fresh.items():
        emit_event(
            one.event,
            resource=_resource(run),
            related=[_instrument(name) for name in one.instruments],
            payload=one.payload,
            id=which,
        )
    return len(fresh)


def event_id(run: PinnedRun, told: Told) -> UUID:
    """The same for the same event of the same run, whoever emits it and how often."""
    return uuid5(_NAMESPACE, f"{run.run_id}/{told.event}/{told.about}")


def events_of(run: PinnedRun, found: News) -> Iterator[Told]:
    """At most one event of each kind: a source that is away makes hundreds of instruments old.

    An automation that sends a message would send hundreds. So each event names up to `MOST`
    instruments, in its payload and as related resources, by which an automation can still pick one
    instrument; and says how many more there are.
    """
    night = {"run_id": run.run_id, "session": str(run.session), "origin": run.origin}
    if found.forecasts:
        planned = sum(one.planned for one in found.published)
        missing = sum(len(one.missing) for one in found.published)
        made = planned - missing
        summary = (
            f"Session {run.session}: {made:,} of {planned:,} published, "
            f"{found.learned:,} by a network that earned it"
        )
        counts = {"planned": planned, "published": made, "missing": missing}
        body = {**night, **counts, "learned": found.learned, "forecasts": found.forecasts}
        yield Told(PUBLISHED, found.edition, {**body, "summary": summary})
    if found.old:
        names = [one.instrument for one in found.old]
        summary = f"Session {run.session}: no new bar of {listed(names)}"
        rows = [
            {"instrument": one.instrument, "newest": one.newest and str(one.newest)}
            for one in found.old
        ]
        yield _listed(STALE, night, rows, names, summary, still=found.still_old)
    if found.drifted:
        names = [one.instrument for one in found.drifted]
        summary = (
            f"Session {run.session}: intervals held too seldom of late for "
            f"{listed(list(dict.fromkeys(names)))}"
        )
        rows = [asdict(one) for one in found.drifted]
        yield _listed(DRIFT, night, rows, names, summary, still=found.still_drifted)
    if found.changed:
        first, names = found.changed[0], [one.instrument for one in found.changed]
        summary = (
            f"Session {run.session}: another method than on {found.before} in "
            f"{plural(len(names), 'case')}, such as {first.instrument}'s {first.target}: "
            f"{first.before} → {first.now}"
        )
        rows = [asdict(one) for one in found.changed]
        yield _listed(GATE, {**night, "since": found.before}, rows, names, summary)


def _listed(
    event: str,
    night: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    names: Iterable[str],
    summary: str,
    **more: int,
) -> Told:
    """An event about a list: the first rows of it, and how many there are."""
    body = {**night, "count": len(rows), "listed": list(rows[:MOST]), **more}
    about = content_id(event, [sorted(row.items()) for row in rows])
    distinct = tuple(dict.fromkeys(names))[:MOST]
    return Told(event, about, {**body, "summary": summary}, distinct)


def _resource(run: PinnedRun) -> dict[str, str]:
    return {
        "prefect.resource.id": f"fleetcast.run.{run.run_id}",
        "prefect.resource.name": f"night of {run.session}",
        "fleetcast.session": str(run.session),
        "fleetcast.origin": run.origin,
    }


def _instrument(name: str) -> dict[str, str]:
    return {
        "prefect.resource.id": f"fleetcast.instrument.{name}",
        "prefect.resource.role": "instrument",
        "prefect.resource.name": name,
    }


def _known(ids: Iterable[UUID]) -> set[UUID]:
    """Those of the events that the server has had within the last 180 days."""
    wanted = EventFilter(id=EventIDFilter(id=list(ids)))
    if not wanted.id.id:
        return set()
    with get_client(sync_client=True) as client:
        return {event.id for event in client.read_events(wanted, limit=_PAGE).events}
