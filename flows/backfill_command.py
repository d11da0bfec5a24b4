"""A backfill from the command line: start early what takes long, run the flow, show its end.

Owns what starts when. Never does a step's work.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from flows import console, prefect_home, workers
from flows.compute import refuse_unshared
from flows.config import FleetcastConfig
from flows.failures import Refused
from flows.night import Clock
from flows.progress import from_children, showing
from flows.secrets import refuse_missing
from tasks.store import Store, StoreError

if TYPE_CHECKING:
    from flows.backfilled import Backfill
    from tasks.backfill_plan import Which


def run(
    config: FleetcastConfig,
    start: date,
    end: date,
    *,
    every: int = 1,
    instruments: tuple[str, ...] = (),
    which: Which = "only-missing",
    as_json: bool = False,
    debug: bool = False,
) -> bool:
    """Goes through past sessions, shows progress and then what they came to.

    Args:
        config: what to do, and where.
        start: the first date.
        end: the last date.
        every: of so many sessions one.
        instruments: only these, as a universe of their own; none: the whole universe.
        which: of these sessions, which.
        as_json: whether standard output gets JSON instead of tables.
        debug: let Prefect write its log to the terminal.

    Returns:
        Whether a session failed or lacks something.

    Raises:
        Refused: the store can't be used, or something must be changed first.
        RunError: the dates can't be gone through.
        SourceError: the source can't be used.
        PrefectServerError: Prefect can't be reached.
    """
    if start > end:
        raise Refused(f"START {start} lies after END {end}. Name the earlier date first.")
    refuse_unshared(config)
    if not instruments:  # a part of the universe is not published
        refuse_missing(config.publish, look_up=False)
    try:
        store = Store.open(config.store.url)
    except StoreError as error:
        raise Refused(str(error)) from error
    address = config.prefect.api_url
    with (
        prefect_home.prefect(store.local_path, address, debug=debug) as prefect,
        showing(console.messages()) as shown,
        workers.running(config.training.processes, from_children(shown)) as pool,
    ):
        pool.warm()
        clock = Clock()
        with clock.part("start", "Start Prefect" if prefect.own else "Reach Prefect"):
            from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

            from flows.backfill import backfill

            prefect.wait()
        # Nobody watches a server that ends with the run, and ending a heartbeat takes a second.
        quick = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
        with quick if prefect.own else nullcontext():
            done = backfill(
                start=start,
                end=end,
                every=every,
                instruments=list(instruments) or None,
                which=which,
                config=config,
            )
        done = replace(done, parts=(*clock.parts, *done.parts))
    _show(done, as_json=as_json)
    return done.partial


def _show(done: Backfill, *, as_json: bool) -> None:
    from flows import backfill_summary

    if as_json:
        answer = backfill_summary.as_json(done)
        console.answers().print(answer, markup=False, soft_wrap=True)
    else:
        backfill_summary.show(console.answers(), done)
