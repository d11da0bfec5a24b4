"""`fleetcast show revisions`: what changed of one instrument and when, for people and programs.

Owns its wording. Never finds a revision: `tasks.revisions` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Literal

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from flows import console
from flows.failures import Refused
from flows.show import as_csv, as_json, check_instruments, end_of
from tasks.revisions import Revisions, revisions
from tasks.store import Store

_WORDS = {
    "revised": ("bar or action revised", "bars or actions revised"),
    "restated": ("bar restated by a factor", "bars restated by a factor"),
    "retracted": ("retracted", "retracted"),
    "returned": ("back after a retraction", "back after a retraction"),
    "released": ("released from quarantine", "released from quarantine"),
    "late": ("action that came late", "actions that came late"),
}


def run(
    store: Store,
    instruments: Sequence[str],
    *,
    day: date | None = None,
    everything: bool = False,
    answer: Literal["table", "csv", "json"] = "table",
) -> None:
    """Shows the revisions of one instrument.

    Raises:
        Refused: not exactly one instrument is named.
        NothingToShowError: the store does not know it.
        StoreError: the store can't be read.
    """
    if len(instruments) != 1:
        raise Refused(
            "Revisions are of one instrument at a time: fleetcast show revisions NAME. Received: "
            f"{', '.join(instruments) or 'none'}."
        )
    (instrument,) = instruments
    check_instruments(store, instruments)
    as_of = None if day is None else end_of(day)
    found = revisions(store, instrument, as_of=as_of, every_bar=everything)
    if found.rows.num_rows == 0:
        console.messages().print(why_none(found, day), markup=False, soft_wrap=True)
    if answer != "table":
        written = as_csv(found.rows) if answer == "csv" else as_json(found.rows) + "\n"
        typer.echo(written, nl=False)
    elif found.rows.num_rows:
        console.answers().print(as_table(found))
        console.answers().print(summary(found), markup=False, soft_wrap=True)


def why_none(found: Revisions, day: date | None) -> str:
    """Why there is nothing to show, for people."""
    then = "" if day is None else f" known by {day}"
    if not found.facts:
        return f"The store has no bar and no action of {found.instrument}{then}."
    return (
        f"Nothing about {found.instrument}{then} was ever changed: each of its {found.facts:,} "
        f"facts is the first of its kind.{_recomputed(found)}"
    )


def summary(found: Revisions) -> str:
    """What there was of each change, in one line."""
    told = ", ".join(
        f"{count:,} {_WORDS[change][count != 1]}" for change, count in found.counts.items()
    )
    return (
        f"{found.instrument}: {told}; {found.facts:,} facts on {found.sessions:,} sessions."
        f"{_recomputed(found)}"
    )


def as_table(found: Revisions) -> Table:
    """A line for each change of a number, and for each restatement."""
    title = f"revisions of {found.instrument}: {found.rows.num_rows:,}"
    table = Table(title=title, title_justify="left", header_style="bold")
    table.box, table.padding, table.show_edge = box.SIMPLE_HEAD, (0, 1, 0, 0), False
    for name in ("known at", "change", "session", "field"):
        table.add_column(name, overflow="fold")
    for name in ("old", "new", "change by"):
        table.add_column(name, justify="right")
    for name in ("source", "note"):
        table.add_column(name, overflow="fold")
    for row in found.rows.to_pylist():
        table.add_row(*(Text(cell) for cell in _cells(row)))
    return table


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    known = f"{row['known_at']:%Y-%m-%d %H:%M}"
    field, note = row["field"], row["note"] or ""
    if row["change"] == "restated":
        sessions = f"{row['session']} to {row['last_session']}"
        factor = f"{row['count']:,} bars × {row['new']:.6g}"
        return (known, "restated", sessions, field, "", "", factor, row["source"], note)
    numbers = (_number(row["old"]), _number(row["new"]), _relative(row["relative_change"]))
    session = str(row["session"])
    return (known, row["change"], session, field, *numbers, row["source"], note)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.8g}"


def _relative(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:+.2%}" if abs(value) < 10 else f"× {value + 1:,.4g}"


def _recomputed(found: Revisions) -> str:
    if not found.recomputed:
        return ""
    return f" {found.recomputed:,} more differ by rounding only, and are not shown."
