"""A night's forecasts to every sink, and before them what a sink missed on earlier nights.

Owns the order: written down as due, delivered, written down as delivered; so a kill at any point
is mended by running again. Never touches how a sink takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks import runs
from tasks.run_forecasts import forecasts_of
from tasks.runs import PinnedRun
from tasks.sinks.deliveries import Delivery, account, note
from tasks.sinks.sink import Edition, RefusedError, Sink, SinkError
from tasks.store import Store


@dataclass(frozen=True)
class SinkOutcome:
    """What came of one sink.

    Attributes:
        sink: its kind and its address without secrets.
        delivered: run ids whose forecasts it took, in order of their `as_of`.
        waiting: run ids that are still due, in order of their `as_of`.
        problem: why something is waiting or was refused; None: nothing is, or was.
    """

    sink: str
    delivered: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    problem: str | None = None


def publish_outside(
    store: Store, run: PinnedRun, sinks: Sequence[Sink], now: datetime
) -> tuple[SinkOutcome, ...]:
    """Gives every sink the forecasts of `run`, after what is still due to it from earlier runs.

    A sink gets runs in the order of their `as_of`, each whole. One that can't take a run gets no
    later one either; what is due to it stays due. The others are not held up by it.

    Args:
        store: holds the forecasts, and the account of what was delivered.
        run: the run whose forecasts are news.
        sinks: where they go.
        now: the clock, UTC.

    Returns:
        What came of each sink, in their order.

    Raises:
        StoreError: the store can't be read or written.
    """
    rows = forecasts_of(store, run)
    if rows.num_rows:
        edition = Edition.of(run, rows)
        known = account(store)
        news = [
            sink.name
            for sink in sinks
            if sink.takes(run) and not _is_known(known.get((sink.name, run.run_id)), edition)
        ]
        if news:
            note(store, edition, news, "due", now=now)
    return catch_up(store, sinks, now)


def catch_up(store: Store, sinks: Sequence[Sink], now: datetime) -> tuple[SinkOutcome, ...]:
    """Gives every sink what is still due to it, as `publish_outside` does.

    Raises:
        StoreError: the store can't be read or written.
    """
    known = account(store)
    outcomes = []
    for sink in sinks:
        own = [one for (name, _), one in known.items() if name == sink.name]
        outcomes.append(_serve(store, sink, own, now))
    return tuple(outcomes)


def _is_known(delivery: Delivery | None, edition: Edition) -> bool:
    return delivery is not None and delivery.edition == edition.edition_id


def _serve(store: Store, sink: Sink, own: Sequence[Delivery], now: datetime) -> SinkOutcome:
    """Gives one sink what is due to it; `own` is its account, in order of `as_of`."""
    delivered: list[str] = []
    problems: list[str] = []
    settled: set[str] = set()
    due = [one for one in own if one.status == "due"]
    try:
        lost = sink.lost({one.edition for one in own if one.status == "delivered"})
        due = [one for one in own if one.status == "due" or one.edition in lost]
        known = runs.runs_by_id(store, {one.run_id for one in due})
        for place, one in enumerate(due):
            edition = _edition(store, known.get(one.run_id))
            if edition is None:
                continue  # its forecasts were erased
            if sink.newest_only and place < len(due) - 1:
                note(store, edition, [sink.name], "superseded", now=now)
                settled.add(one.run_id)
                continue
            try:
                taken = sink.deliver(edition)
            except RefusedError as error:
                note(store, edition, [sink.name], "refused", now=now)
                settled.add(one.run_id)
                problems.append(f"{sink.name} refused the night {edition.run.session}: {error}")
                continue
            note(store, edition, [sink.name], "delivered" if taken else "superseded", now=now)
            settled.add(one.run_id)
            delivered += [one.run_id] * taken
    except SinkError as error:
        left = [one for one in due if one.run_id not in settled]
        problems.append(_behind(sink, left, error))
        waiting = tuple(one.run_id for one in left)
        return SinkOutcome(sink.name, tuple(delivered), waiting, "; ".join(problems))
    return SinkOutcome(sink.name, tuple(delivered), (), "; ".join(problems) or None)


def _edition(store: Store, run: PinnedRun | None) -> Edition | None:
    """A run's forecasts as they are now; None where there are none left."""
    rows = None if run is None else forecasts_of(store, run)
    return None if run is None or rows is None or not rows.num_rows else Edition.of(run, rows)


def _behind(sink: Sink, due: Sequence[Delivery], error: SinkError) -> str:
    if not due:
        return f"{sink.name}: {error}"
    nights = "1 night waits" if len(due) == 1 else f"{len(due)} nights wait"
    return (
        f"{sink.name}: {error}. {nights} since {due[0].as_of:%Y-%m-%d %H:%M} UTC: the next run, or "
        "`fleetcast publish`, tries again"
    )
