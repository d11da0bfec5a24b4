"""The command that goes through past sessions: backfill.

Owns its arguments and their help. Never imports at the top what --help can do without.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flows import console
from flows.cli_options import Answer, ConfigOption, DebugOption, StoreOption, load_config
from flows.failures import Exit, Refused, answering

if TYPE_CHECKING:
    from tasks.backfill_plan import Which


def backfill(
    start: Annotated[
        datetime, typer.Argument(metavar="START", formats=["%Y-%m-%d"], help="The first date.")
    ],
    end: Annotated[
        datetime, typer.Argument(metavar="END", formats=["%Y-%m-%d"], help="The last date.")
    ],
    *,
    every: Annotated[
        int,
        typer.Option("--every", min=1, metavar="N", help="Of N sessions one; 5 is one a week."),
    ] = 1,
    instruments: Annotated[
        list[str] | None,
        typer.Option(
            "--instruments",
            "-i",
            metavar="NAME",
            help="Only this one; may be repeated. They count as a universe of their own, whose "
            "forecasts are kept apart and not published.",
        ),
    ] = None,
    only_missing: Annotated[
        bool,
        typer.Option(
            "--only-missing", help="Sessions that no run has finished; this is what is done."
        ),
    ] = False,
    failed: Annotated[
        bool,
        typer.Option(
            "--failed", help="Sessions whose run failed, or finished and lacks something."
        ),
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="All sessions again; nothing is written twice.")
    ] = False,
    config: ConfigOption = None,
    store: StoreOption = None,
    answer: Answer = "table",
    debug: DebugOption = False,
) -> None:
    """Forecast past sessions, each with what was known then, and show how they did.

    The same command again goes on where it was stopped.
    """
    with answering(console.messages(), debug=debug):
        asked: dict[Which, bool] = {
            "only-missing": only_missing,
            "failed": failed,
            "all": everything,
        }
        chosen = [which for which, wanted in asked.items() if wanted]
        if len(chosen) > 1:
            told = ", ".join(f"--{one}" for one in chosen)
            raise Refused(f"{told} are stated together. Choose one of them.")
        settings = load_config(config, store)
        from flows import backfill_command

        partial = backfill_command.run(
            settings,
            start.date(),
            end.date(),
            every=every,
            instruments=tuple(instruments or ()),
            which=chosen[0] if chosen else "only-missing",
            as_json=answer == "json",
            debug=debug,
        )
    if partial:
        raise typer.Exit(Exit.PARTIAL)
