"""The command `fleetcast status`: its arguments and help.

Owns these. Never imports at the top what --help can do without.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from flows import console
from flows.cli_options import ConfigOption, DebugOption, StoreOption, load_config, open_store
from flows.failures import Exit, answering


def status(
    *,
    answer: Annotated[
        Literal["table", "json", "openmetrics"],
        typer.Option("--format", help="How the answer is written."),
    ] = "table",
    config: ConfigOption = None,
    store: StoreOption = None,
    debug: DebugOption = False,
) -> None:
    """Tell the last night in five lines, and by the exit code whether somebody should look.

    From the store alone: no Prefect server is asked.
    """
    with answering(console.messages(), debug=debug):
        settings = load_config(config, store)
        from flows import status as told

        code = told.run(settings, open_store(settings, create=False), answer)
    if code is not Exit.OK:
        raise typer.Exit(code)
