"""`fleetcast ingest`: the first step of a night alone, without Prefect, and what it came to.

Owns its wording. Never does the work: `flows.steps` does.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import pyarrow.compute as pc
from rich import box
from rich.table import Table
from rich.text import Text

from flows import console, steps
from flows.config import FleetcastConfig
from flows.failures import Refused
from flows.night import Clock, plural
from flows.progress import showing
from flows.redaction import without_secrets
from flows.secrets import of_source, prefect_for
from tasks.ingest import IngestReport, InstrumentCounts
from tasks.store import Store

ROWS_SHOWN = 60
"""Most instruments in the table; JSON has all of them."""

_COLUMNS = ("new", "changed", "retracted", "quarantined", "flagged", "missing")
"""Counts of the table; what is unchanged is in the line below it, for all together."""
_ALWAYS = ("new", "quarantined")
_ADD_UP = ("new", "changed", "unchanged", "quarantined")


def run(
    config: FleetcastConfig,
    *,
    only: Sequence[str] = (),
    full: bool = False,
    as_json: bool = False,
) -> bool:
    """Ingests, shows what came of it, and says whether there was a problem.

    Args:
        config: what to do, and where.
        only: of these instruments; none: of the universe.
        full: ask for everything again, whatever is stored.
        as_json: one object with all of the account, not a table.

    Raises:
        Refused: the source does not have one of `only`; the others are in.
        SourceError: the source gives nothing, and the store holds nothing of it.
        StoreError: the store can't be read or written.
    """
    clock = Clock()
    place = Store.open(config.store.url).local_path
    with (
        prefect_for([of_source(config.source)], place, config.prefect.api_url),
        showing(console.messages()),
        clock.part("ingest", "Ingest") as notes,
    ):
        ingested = steps.ingest_bars(config, only=only, full=full)
        notes.append(str(ingested.counts))
    out = console.answers()
    if as_json:
        out.print(_json(ingested), markup=False, soft_wrap=True)
        return _judged(ingested, only, config)
    report = ingested.report
    if report is not None:
        out.print(f"Ingest: {ingested.counts}", style="italic", markup=False, soft_wrap=True)
        if report.instruments:
            out.print(as_table(report))
        if len(report.instruments) > ROWS_SHOWN:
            left = len(report.instruments) - ROWS_SHOWN
            out.print(f"and {left:,} instruments more; --format json has all", style="dim")
        for rule, held in report.rules.items():
            out.print(f"{held:,} quarantined by the rule {rule}")
        for rule, marked in report.flags.items():
            out.print(f"{marked:,} flagged by the rule {rule}")
        if report.rules or report.flags:
            out.print("See them: fleetcast show quarantine", style="dim")
        out.print(_closing(report), soft_wrap=True)
    for problem in ingested.problems:
        out.print(problem, style="yellow", markup=False, soft_wrap=True)
    return _judged(ingested, only, config)


def _judged(ingested: steps.Ingested, only: Sequence[str], config: FleetcastConfig) -> bool:
    """Whether there was a problem; a name on the command line that nobody knows is refused."""
    report = ingested.report
    strange = set(only) & set(report.unknown) if report else set()
    strange -= set(config.universe.instruments)
    if strange:
        bars = Store.open(config.store.url).read("bars", columns=["instrument"])
        strange -= set(pc.unique(bars["instrument"]).to_pylist())
    if report and strange:
        similar = sorted({name for one in strange for name in report.unknown[one]})
        hint = f" Did you mean {', '.join(similar)}?" if similar else ""
        others = " The other instruments named are in." if set(only) - strange else ""
        raise Refused(
            f"The source {report.source} does not have {', '.join(sorted(strange))}.{hint}{others}"
        )
    return bool(ingested.problems)


def as_table(report: IngestReport) -> Table:
    """Those with something to look at go first; a count that is zero for all has no column."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False, header_style="bold")
    columns = [
        name
        for name in _COLUMNS
        if name in _ALWAYS or any(getattr(one, name) for one in report.instruments)
    ]
    table.add_column("instrument", overflow="fold")
    for name in (*columns, "first", "last"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in sorted(report.instruments, key=_quiet)[:ROWS_SHOWN]:
        counts = (f"{getattr(one, name):,}" for name in columns)
        ends = ("–" if day is None else f"{day}" for day in (one.first_session, one.last_session))
        table.add_row(Text(one.instrument), *counts, *ends)
    return table


def _quiet(one: InstrumentCounts) -> tuple[bool, str]:
    """Those with something to look at go first."""
    told = one.changed + one.retracted + one.quarantined + one.flagged + one.missing
    return not told, one.instrument


def _closing(report: IngestReport) -> str:
    """The rows that came, and where each of them went."""
    parts = [f"{getattr(report, name):,} {name}" for name in _ADD_UP]
    told = f"{plural(report.fetched, 'row')} in = {' + '.join(parts)}"
    return f"{told} + {plural(report.agreed_duplicates, 'agreed duplicate')}"


def _json(ingested: steps.Ingested) -> str:
    report = ingested.report
    told: dict[str, object] = {}
    if report is not None:
        actions = ("new", "changed", "unchanged")
        told = {
            "source": report.source,
            "provenance": without_secrets(report.provenance),
            "known_at": report.known_at and report.known_at.isoformat(),
            "fetched": report.fetched,
            "unattributed": report.unattributed,
            "actions": {name: getattr(report.actions, name) for name in actions},
            "held_actions": report.held_actions,
            "unknown": {name: list(similar) for name, similar in report.unknown.items()},
        }
    return json.dumps(
        {
            **dataclasses.asdict(ingested.counts),
            **told,
            "instruments": [dataclasses.asdict(one) for one in report.instruments]
            if report
            else [],
            "rules": dict(report.rules) if report else {},
            "flags": dict(report.flags) if report else {},
            "problems": list(ingested.problems),
        },
        default=str,
        indent=2,
    )
