"""One night from the command line: start early what takes long, run the flow, show its end.

Owns what starts when. Never does a step's work.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from flows import console, prefect_home, workers
from flows.compute import refuse_unshared
from flows.config import FleetcastConfig
from flows.failures import Refused
from flows.night import Clock
from flows.progress import from_children, showing
from flows.secrets import no_key_needed, refuse_missing
from tasks import runs
from tasks.members import read_membership
from tasks.sessions import Calendars, ExchangeCalendar
from tasks.sources import Source, open_source
from tasks.store import Store, StoreError

if TYPE_CHECKING:
    from flows.night import Night


def run_night(
    config: FleetcastConfig, day: date | None, *, as_json: bool = False, debug: bool = False
) -> bool:
    """Runs one night, shows progress and then the result; says whether something is missing.

    Prefect's server and TensorFlow's import take ten seconds each: both start at once, in
    processes of their own, while this one reads the data.

    Args:
        config: what to do, and where.
        day: the date to forecast from; None: the last session published.
        as_json: whether standard output gets JSON instead of tables.
        debug: let Prefect write its log to the terminal.

    Raises:
        Refused: the store can't be used, or not where `compute.train` trains; or a sink lacks a
            secret.
        RunError: `day` lies in the future, or before the first bar of the store.
        MembershipError: the membership file can't be used.
        SourceError: the source can't be used.
        PrefectServerError: Prefect can't be reached.
    """
    refuse_unshared(config)
    refuse_missing(config.publish, look_up=False)  # the flow looks into Prefect
    try:
        store = Store.open(config.store.url)
    except StoreError as error:
        raise Refused(str(error)) from error
    with no_key_needed(config.source):
        source = open_source(config.source)
    calendar = Calendars.load(config.calendar).default
    stored = runs.stored_sessions(store)
    _look_first(config, source, fresh=stored is None)
    if day is not None:  # a date in the future can be refused before any bar is known
        runs.resolve(
            calendar=calendar,
            lag=source.lag,
            bars=stored or (date.min, date.max),
            archive=False,
            day=day,
            scheduled=datetime.now(UTC),
        )
    address = config.prefect.api_url
    with prefect_home.prefect(store.local_path, address, debug=debug) as prefect:
        with (
            showing(console.messages()) as shown,
            workers.running(config.training.processes, from_children(shown)) as pool,
        ):
            if not _probably_done(config, store, source, calendar, day):
                pool.warm()
            night = _flow(config, day, prefect)
        _show(night, store, prefect, as_json=as_json)
    return night.partial


def _look_first(config: FleetcastConfig, source: Source, *, fresh: bool) -> None:
    """Refuses, before ten seconds of starting, what the ingest would refuse.

    A source is asked what it has only while the store is `fresh`, since later a night goes on with
    earlier bars; and not over a network, which may need a key.
    """
    if config.universe.membership is not None:
        read_membership(config.universe.membership)
    if fresh and not source.incremental:
        source.instruments()


def _flow(config: FleetcastConfig, day: date | None, prefect: prefect_home.Prefect) -> Night:
    clock = Clock()
    with clock.part("start", "Start Prefect" if prefect.own else "Reach Prefect"):
        from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        from flows.nightly import nightly

        prefect.wait()
    # Nobody watches a server that ends with the run, and ending a heartbeat takes a second.
    quick = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    with quick if prefect.own else nullcontext():
        night = nightly(as_of=day, config=config)
    return replace(night, parts=(*clock.parts, *night.parts))


def _show(night: Night, store: Store, prefect: prefect_home.Prefect, *, as_json: bool) -> None:
    from flows import summary
    from tasks.report.run_view import view_run

    view = view_run(store, night.run_id)
    if as_json:
        console.answers().print(summary.as_json(night, view), markup=False, soft_wrap=True)
    else:
        summary.show(console.answers(), night, view, prefect)


def _probably_done(
    config: FleetcastConfig,
    store: Store,
    source: Source,
    calendar: ExchangeCalendar,
    day: date | None,
) -> bool:
    """Whether this night seems to be finished already, so that TensorFlow need not be loaded.

    Only a guess before the ingest: if it is wrong, TensorFlow is loaded later.
    """
    if day is not None:
        session: date | None = calendar.session_on_or_before(day)
    else:
        session = None if source.archive else calendar.last_session(datetime.now(UTC), source.lag)
    return any(
        run.status == "finished"
        and run.message is None
        and run.origin == ("live" if day is None else "backfill")
        and session in (None, run.session)
        for run in runs.runs_of(store, config.config_hash)
    )
