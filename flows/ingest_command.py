"""`fleetcast ingest`: the first step of a night alone, without Prefect, and what it came to.

Owns its wording. Never does the work: `flows.steps` does.
"""

from __future__ import annotations

import dataclasses
import json

from rich.table import Table

from flows import console, steps
from flows.config import FleetcastConfig
from flows.night import Clock
from flows.progress import showing


def run(config: FleetcastConfig, *, as_json: bool = False) -> bool:
    """Ingests, shows what came of it, and says whether there was a problem.

    Raises:
        SourceError: the source gives nothing, and the store holds nothing of it.
        StoreError: the store can't be read or written.
    """
    clock = Clock()
    with showing(console.messages()), clock.part("ingest", "Ingest") as notes:
        ingested = steps.ingest_bars(config)
        notes.append(str(ingested.counts))
    out = console.answers()
    if as_json:
        out.print(_json(ingested), markup=False, soft_wrap=True)
        return bool(ingested.problems)
    if ingested.report is not None:
        out.print(_table(ingested))
        for rule, held in sorted(ingested.report.rules.items()):
            out.print(f"{held:,} quarantined by the rule {rule}")
        if ingested.report.rules:
            out.print("See them: fleetcast show quarantine", style="dim")
    for problem in ingested.problems:
        out.print(problem, style="yellow", markup=False, soft_wrap=True)
    return bool(ingested.problems)


def _table(ingested: steps.Ingested) -> Table:
    table = Table(title=f"Ingest: {ingested.counts}", title_justify="left", header_style="bold")
    table.add_column("instrument")
    for name in ("new", "changed", "unchanged", "retracted", "quarantined"):
        table.add_column(name, justify="right")
    table.add_column("sessions")
    for one in ingested.report.instruments if ingested.report else ():
        counts = (one.new, one.changed, one.unchanged, one.retracted, one.quarantined)
        known = "–" if one.first_session is None else f"{one.first_session} to {one.last_session}"
        table.add_row(one.instrument, *(f"{count:,}" for count in counts), known)
    return table


def _json(ingested: steps.Ingested) -> str:
    report = ingested.report
    return json.dumps(
        {
            **dataclasses.asdict(ingested.counts),
            "instruments": [dataclasses.asdict(one) for one in report.instruments]
            if report
            else [],
            "rules": dict(report.rules) if report else {},
            "problems": list(ingested.problems),
        },
        default=str,
        indent=2,
    )
