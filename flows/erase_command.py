"""`fleetcast erase`: what would go, the question, and what went.

Owns its wording and the question. Never removes anything: `tasks.erase` does.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.table import Table

from flows import console
from flows.failures import Refused
from tasks.erase import EraseError, Erasure, allow, check_known, erase, plan_erasure
from tasks.store import Store


def run(
    store: Store,
    instruments: Sequence[str],
    sources: Sequence[str],
    *,
    yes: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
) -> None:
    """Shows what would go, asks, erases, and says what went.

    Raises:
        Refused: nothing is named, a name is not known, or nobody said yes.
        StoreError: the store can't be read or written.
    """
    _check_named(instruments, sources)
    try:
        check_known(store, instruments, sources)
    except EraseError as error:
        raise Refused(str(error)) from None
    out = console.answers()
    if dry_run or not yes:
        planned = plan_erasure(store, instruments, sources)
        if dry_run and as_json:
            out.print(_json(planned), markup=False, soft_wrap=True)
            return
        shown = out if dry_run else console.messages()
        shown.print(as_table(planned, "would be erased"))
        _print_notes(planned, shown)
        if dry_run:
            return
        _ask(instruments, sources)
    done = erase(store, instruments, sources, now=datetime.now(UTC))
    if as_json:
        out.print(_json(done), markup=False, soft_wrap=True)
        return
    out.print(as_table(done, "erased for good"))
    _print_notes(done, out)
    again = " ".join([*instruments, *(f"--source {name}" for name in sources)])
    out.print(
        f"It won't come back. To let it: fleetcast erase --allow {again}",
        markup=False,
        soft_wrap=True,
    )


def run_allow(store: Store, instruments: Sequence[str], sources: Sequence[str]) -> None:
    """Lets what was erased come again.

    Raises:
        Refused: nothing is named, or a name was not erased.
        StoreError: the store can't be read or written.
    """
    _check_named(instruments, sources)
    try:
        allow(store, instruments, sources, now=datetime.now(UTC))
    except EraseError as error:
        raise Refused(str(error)) from None
    named = ", ".join([*instruments, *sources])
    console.answers().print(
        f"Allowed: {named}. The next ingest brings the whole history.", markup=False
    )


def as_table(one: Erasure, what: str) -> Table:
    """How much of each dataset, and which files."""
    named = ", ".join([*one.instruments, *(f"source {name}" for name in one.sources)])
    table = Table(title=f"{named}: {what}", title_justify="left", header_style="bold")
    table.add_column("where")
    table.add_column("how much", justify="right")
    for dataset, count in one.rows.items():
        table.add_row(dataset, f"{count:,} row{'' if count == 1 else 's'}")
    for name, files in (("checkpoints", one.checkpoints), ("report pages", one.pages)):
        if files:
            table.add_row(name, f"{len(files):,} file{'' if len(files) == 1 else 's'}")
    if one.latest:
        table.add_row("latest/forecasts", "its rows")
    return table


def _print_notes(one: Erasure, out: Console) -> None:
    notes = []
    if one.orphans:
        notes.append(
            f"Nobody else has bars of {', '.join(one.orphans)}: all that was derived of them goes "
            "too. They may come back from another source."
        )
    if one.checkpoints:
        notes.append("The other networks in these checkpoints stay as they are.")
    if one.pages:
        notes.append("`fleetcast report` writes the newest page again, without it.")
    for note in notes:
        out.print(note, style="dim", markup=False, soft_wrap=True)


def _check_named(instruments: Sequence[str], sources: Sequence[str]) -> None:
    if not instruments and not sources:
        raise Refused(
            "Nothing is named. Expected instruments, or a source: fleetcast erase NAME…, fleetcast "
            "erase --source NAME."
        )


def _ask(instruments: Sequence[str], sources: Sequence[str]) -> None:
    if not sys.stdin.isatty():
        raise Refused(
            "Nothing was erased: there is no terminal to ask on. Look first with --dry-run, then "
            "say --yes."
        )
    named = ", ".join([*instruments, *(f"source {name}" for name in sources)])
    if not typer.confirm(f"Erase {named} for good?", err=True):
        raise Refused("Nothing was erased.")


def _json(one: Erasure) -> str:
    return json.dumps(dataclasses.asdict(one), indent=2)
