"""`fleetcast plan`: what the walk-forward will fit, stop, gate, calibrate and test on, and when.

Owns its wording, table and JSON. Never trains, and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches

import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from flows import console, universe
from flows.config import FleetcastConfig
from flows.failures import Refused
from flows.night import listed, plural
from flows.plan_picture import label, picture
from flows.secrets import no_key_needed
from tasks import runs
from tasks.fold_plan import SEGMENTS, FoldPlan, plan_of_calendar, plans_of
from tasks.folds import trainings
from tasks.sessions import Calendars
from tasks.sources import open_source
from tasks.store import NoStoreError, Store, StoreError


@dataclass(frozen=True)
class Planned:
    """The plans, one per instrument; without bars that of a calendar, and why."""

    plans: tuple[FoldPlan, ...]
    seeds: int
    note: str | None = None

    def networks(self) -> dict[tuple[str, str], int]:
        """Networks to train by kind and target."""
        total: dict[tuple[str, str], int] = {}
        for plan in self.plans:
            for forecast, count in plan.networks.items():
                total[forecast] = total.get(forecast, 0) + count
        return total


def run(config: FleetcastConfig, instrument: str | None, *, as_json: bool = False) -> None:
    """Shows the plan of one instrument, or of all, and how many networks it takes.

    Raises:
        Refused: the store can't be used, or knows no such instrument.
        StoreError: the store can't be read.
    """
    planned = find(config, instrument, now=datetime.now(UTC))
    if as_json:
        console.answers().print(as_text(planned), markup=False, soft_wrap=True)
        return
    if planned.note is not None:
        console.messages().print(planned.note, markup=False, soft_wrap=True, style="yellow")
    show(console.answers(), planned)


def find(config: FleetcastConfig, instrument: str | None, *, now: datetime) -> Planned:
    """The plans of what the store holds; where it holds nothing, that of the default calendar.

    Raises:
        Refused: the store can't be used, or has bars, but none of `instrument`.
        StoreError: the store can't be read.
    """
    settings, calendars = config.forecast_settings(), Calendars.load(config.calendar)
    with no_key_needed(config.source):  # it is only asked for its lag
        source, seeds = open_source(config.source), config.model.seeds
    names: tuple[str, ...] = ()
    try:
        store = Store.open(config.store.url, create=False)
    except NoStoreError:
        where = f"There is no store at {config.store.url} yet"
    except StoreError as error:
        raise Refused(str(error)) from error
    else:
        where = f"The store {store.url} holds no bars of the source {config.source.name}"
        names = _instruments(store, config, instrument)
    if not names:
        calendar = calendars.default if instrument is None else calendars.of(instrument)
        last = calendar.last_session(now, source.lag)
        note = (
            f"{where}: this is the plan for an instrument with a bar at every session of "
            f"{calendar.name}. `fleetcast ingest` brings in the bars."
        )
        return Planned((plan_of_calendar(calendar, settings, last=last),), seeds, note)
    moment = runs.resolve(
        calendar=calendars.default,
        lag=source.lag,
        bars=runs.known_sessions(store, names),
        archive=source.archive,
        day=None,
        scheduled=now,
    )
    if instrument is None:
        members = universe.forecast(config, store, names, moment.session, moment.as_of)
        names = tuple(name for name in names if name in members)
    plans = plans_of(
        store,
        names,
        settings,
        calendars,
        session=moment.session,
        as_of=moment.as_of or now,
        lag=source.lag,
    )
    return Planned(tuple(plans), seeds)


def _instruments(store: Store, config: FleetcastConfig, instrument: str | None) -> tuple[str, ...]:
    bars = store.read("bars", columns=["instrument", "source"])
    of_source = bars.filter(pc.equal(bars["source"], config.source.name))
    known = sorted(pc.unique(of_source["instrument"]).to_pylist())
    if instrument is None:
        wanted = config.universe.instruments
        return tuple(name for name in known if not wanted or name in wanted)
    if known and instrument not in known:
        close = get_close_matches(instrument, known, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise Refused(f"The store {store.url} knows no instrument {instrument}.{hint}")
    return (instrument,) if known else ()


def show(out: Console, planned: Planned) -> None:
    """Draws the plan that most instruments share; the others get a line each."""
    alike = _alike(planned.plans)
    drawn = next((group for group in alike if group[0].folds), None)
    if drawn is not None:
        _draw(out, drawn)
    for group in alike:
        if group is not drawn:
            names = listed([plan.instrument for plan in group])
            what = plural(max(len(group[0].folds) - 1, 0), "test fold")
            whole = group[0].reason or f"{what}; see --instrument {group[0].instrument}"
            out.print(f"{names}: {whole}", markup=False, soft_wrap=True)
    networks = planned.networks()
    shares = ", ".join(
        f"{count:,} {kind if kind != 'many_to_many' else target}"
        for (kind, target), count in networks.items()
    )
    of = plural(len(planned.plans), "instrument")
    total = plural(sum(networks.values()), "network")
    seeds = plural(planned.seeds, "seed")
    out.print(f"To train: {total} for {of} ({shares}), {seeds} each.", soft_wrap=True)


def _alike(plans: Sequence[FoldPlan]) -> list[list[FoldPlan]]:
    """Plans with the same dates and the same trouble together; the most frequent first."""
    groups: dict[object, list[FoldPlan]] = {}
    for plan in plans:
        dates = tuple(plan.dated(fold, name) for fold in plan.folds for name in SEGMENTS)
        groups.setdefault((dates, plan.reason), []).append(plan)
    return sorted(groups.values(), key=len, reverse=True)


def _draw(out: Console, group: Sequence[FoldPlan]) -> None:
    plan = group[0]
    first, last = plan.sessions[[0, -1]].tolist()
    names = listed([one.instrument for one in group])
    out.print(
        f"{names}: {plural(len(plan.sessions), 'session')}, {first} to {last} (refit {plan.refit})",
        markup=False,
        soft_wrap=True,
    )
    out.print()
    for line in picture(plan, out.width):
        out.print(line, no_wrap=True, overflow="crop")
    out.print()
    table = Table(header_style="bold", show_lines=True)
    table.add_column("fold")
    for segment in SEGMENTS:
        table.add_column(segment.replace("_", " "), justify="right")
    for fold in reversed(plan.folds):
        spans = (plan.dated(fold, segment) for segment in SEGMENTS)
        table.add_row(
            label(fold), *("–" if span is None else "{}\n{}\n{:,}".format(*span) for span in spans)
        )
    out.print(table)
    for fold in reversed(plan.folds):
        with_ = plan.trained_with(fold)
        if with_ != fold.index:
            out.print(f"fold {fold.index} is forecast by the networks of fold {with_}")
    if plan.reason is not None:
        out.print(f"Not all kinds can be trained: {plan.reason}", markup=False, soft_wrap=True)


def as_text(planned: Planned) -> str:
    """The plans as JSON; dates in ISO."""
    networks = planned.networks()
    return json.dumps(
        {
            "note": planned.note,
            "networks": sum(networks.values()),
            "seeds": planned.seeds,
            "instruments": [_plain(plan) for plan in planned.plans],
        },
        indent=2,
        default=str,
    )


def _plain(plan: FoldPlan) -> dict[str, object]:
    spans = {
        fold.index: {segment: plan.dated(fold, segment) for segment in SEGMENTS}
        for fold in plan.folds
    }
    return {
        "instrument": plan.instrument,
        "refit_session": plan.refit,
        "sessions": len(plan.sessions),
        "reason": plan.reason,
        "networks": [
            {"kind": kind, "target": target, "count": count}
            for (kind, target), count in plan.networks.items()
        ],
        "trainings": trainings(plan.folds),
        "folds": [
            {
                "fold": fold.index,
                "trained_with": plan.trained_with(fold),
                **{
                    segment: None
                    if span is None
                    else dict(zip(("first", "last", "sessions"), span, strict=True))
                    for segment, span in spans[fold.index].items()
                },
            }
            for fold in plan.folds
        ],
    }
