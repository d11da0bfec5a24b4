"""The commands by which a person decides about data: `fleetcast quarantine` and `fleetcast erase`.

Owns their arguments and help. Never imports at the top what --help can do without.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from flows import console
from flows.cli_options import (
    Answer,
    ConfigOption,
    DebugOption,
    StoreOption,
    load_config,
    open_store,
)
from flows.failures import Refused, answering


def quarantine(
    decision: Annotated[
        Literal["release", "hold", "list"],
        typer.Argument(
            metavar="release|hold|list",
            help="Let rows in; take that back; list them as `show quarantine` does.",
        ),
    ],
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Which rows, or the first digits of their ids."),
    ] = None,
    *,
    config: ConfigOption = None,
    store: StoreOption = None,
    answer: Answer = "table",
    debug: DebugOption = False,
) -> None:
    """Let quarantined rows in as facts known from now on, or take that back."""
    if decision == "list":
        from flows.cli import show

        show("quarantine", list(ids or ()), answer=answer, config=config, store=store, debug=debug)
        return
    with answering(console.messages(), debug=debug):
        if not ids:
            raise Refused(
                f"Which rows? fleetcast quarantine {decision} ID…, with ids that `fleetcast show "
                "quarantine` lists."
            )
        settings = load_config(config, store)
        from flows import quarantine_command

        opened = open_store(settings, create=False)
        quarantine_command.run(opened, decision, ids, as_json=answer == "json")


def erase(
    instruments: Annotated[
        list[str] | None, typer.Argument(metavar="[INSTRUMENT]...", help="Which ones.")
    ] = None,
    *,
    instrument: Annotated[
        list[str] | None,
        typer.Option("--instrument", "-i", metavar="NAME", help="The same; may be repeated."),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="NAME", help="All that this source said."),
    ] = None,
    allow: Annotated[
        bool, typer.Option("--allow", help="Let what was erased before come again.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be erased.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    config: ConfigOption = None,
    store: StoreOption = None,
    answer: Answer = "table",
    debug: DebugOption = False,
) -> None:
    """Remove an instrument or a source for good, and keep it from coming back.

    From every file of the store: bars, models, forecasts, checkpoints, pages. Nothing undoes it.
    """
    with answering(console.messages(), debug=debug):
        settings = load_config(config, store)
        from flows import erase_command

        opened = open_store(settings, create=False)
        named = [*(instruments or ()), *(instrument or ())]
        if allow:
            erase_command.run_allow(opened, named, source or ())
            return
        erase_command.run(
            opened,
            named,
            source or (),
            yes=yes,
            dry_run=dry_run,
            as_json=answer == "json",
        )
