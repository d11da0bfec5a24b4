"""Where things stand: the last night in the store beside what the schedule was to bring by now.

Owns the verdict on it, and that verdict's exit code. Never touches Prefect, nor the words.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from flows.failures import Exit
from flows.secrets import no_key_needed
from flows.starts import Start, last_start, next_start
from tasks.last_night import LastNight, look_at, nights_of
from tasks.sessions import Calendars
from tasks.sources import open_source
from tasks.store import Store

if TYPE_CHECKING:
    from flows.config import FleetcastConfig

_QUIET = timedelta(hours=1)
"""How long a night that trains on this machine may write nothing: a shard's training."""


class Verdict(StrEnum):
    """Whether somebody should look."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    MISSING = "missing"
    LATE = "late"
    BROKEN_OFF = "broken_off"


EXITS = {
    Verdict.COMPLETE: Exit.OK,
    Verdict.PARTIAL: Exit.PARTIAL,
    Verdict.MISSING: Exit.FAILED,
    Verdict.LATE: Exit.FAILED,
    Verdict.BROKEN_OFF: Exit.FAILED,
}
"""As for a night itself: 1, trying again may help; 3, done but not everything on fresh data."""


@dataclass(frozen=True)
class Standing:
    """Where things stand.

    Attributes:
        now: when that was, UTC.
        night: the last night of this configuration; None: there was none.
        others: whether the store holds runs of other configurations, or of other code.
        verdict: whether somebody should look.
        due: the last scheduled start whose night should be over; None: an archive, which has no
            schedule, a start before the first night, or a calendar that does not know the day.
        next: the next start that has something to do; None: an archive, or such a calendar.
    """

    now: datetime
    night: LastNight | None
    others: bool
    verdict: Verdict
    due: Start | None
    next: Start | None

    @property
    def exit_code(self) -> Exit:
        """Of `fleetcast status`."""
        return EXITS[self.verdict]


def standing(config: FleetcastConfig, store: Store, now: datetime) -> Standing:
    """Where things stand with a configuration.

    Raises:
        StoreError: the store can't be read.
        SourceError: there is no such source.
    """
    with no_key_needed(config.source, at_all=True):
        source = open_source(config.source)
    calendars = Calendars.load(config.calendar)
    schedule, calendar = config.schedule, calendars.default
    patience = timedelta(minutes=config.monitoring.patience_minutes)
    look = partial(
        look_at,
        store,
        forecasts=config.forecast_settings().forecasts,
        calendars=calendars,
        lag=source.lag,
        source=config.source.name,
        sinks=_sinks(config, store),
        now=now,
        quiet=_quiet(config),
    )
    nights = nights_of(store, config.config_hash)
    before = next((run for run in nights if run.status == "finished"), None)
    night = look(nights[0]) if nights else None
    due = None if source.archive else last_start(schedule, calendar, source.lag, now - patience)
    if due is not None and nights and due.session < nights[-1].session:
        due = None  # before the first night nothing was to come
    verdict = _verdict(night, due)
    if verdict is None:  # it goes on, and may: what is judged is the night before
        verdict = _verdict(look(before) if before else None, due)
    done = before.session if before else None
    return Standing(
        now=now,
        night=night,
        others=night is None and store.read("runs", columns=["run_id"]).num_rows > 0,
        verdict=verdict or Verdict.LATE,
        due=due,
        next=None if source.archive else next_start(schedule, calendar, source.lag, now, done),
    )


def _sinks(config: FleetcastConfig, store: Store) -> tuple[str, ...]:
    """The names of the sinks that are switched on.

    A webhook's is made of its address: where that is in a Prefect block or in a worker's
    environment only, it is the one that was told last.
    """
    publish = config.publish
    if not publish.outside:
        return ()
    from tasks.sinks.configured import open_sinks  # loads SQLAlchemy
    from tasks.sinks.deliveries import account
    from tasks.sinks.webhook import WebhookSink

    names = []
    for one in open_sinks(publish.sql, publish.folder, publish.webhook):
        if isinstance(one, WebhookSink) and not one.addressed:
            told = (d for d in account(store).values() if d.sink.startswith("webhook "))
            last = max(told, key=lambda d: d.as_of, default=None)
            names.append("webhook" if last is None else last.sink)
        else:
            names.append(one.name)
    return tuple(names)


def _quiet(config: FleetcastConfig) -> timedelta:
    """How long a night that goes on may write nothing."""
    elsewhere = timedelta(minutes=config.compute.wait_minutes)
    return _QUIET if config.compute.deployment is None else elsewhere


def _verdict(night: LastNight | None, due: Start | None) -> Verdict | None:
    """None: the night goes on, and is not late."""
    if night is None or (due is not None and night.run.session < due.session):
        return Verdict.MISSING
    if night.state == "broken_off":
        return Verdict.BROKEN_OFF
    if night.state == "going_on":
        late = due is not None and night.run.session <= due.session
        return Verdict.LATE if late else None
    return Verdict.COMPLETE if night.complete else Verdict.PARTIAL
