"""The command line: `fleetcast`. Each command reads its arguments, calls one function, and shows.

Owns arguments and their help. Never imports at the top what --help can do without.
"""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows import backfill_cli, console, curation_cli, status_cli
from flows.cli_options import (
    Answer,
    ConfigOption,
    DebugOption,
    StoreOption,
    load_config,
    open_store,
)
from flows.failures import Exit, Refused, answering

app = typer.Typer(
    name="fleetcast",
    help="Nightly forecasts for a whole universe of instruments: one LSTM each, all of them "
    "trained at once.",
    epilog="Exit codes: 0 done; 1 broke off, trying again may help; 2 refused, something must be "
    "changed first; 3 done, but something was stale or could not be forecast; 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


Shown = Literal[
    "forecasts", "scores", "live", "quarantine", "runs", "models", "comparisons", "revisions"
]


@app.callback(invoke_without_command=True)
def fleetcast(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True)
    ] = False,
) -> None:
    """Options of `fleetcast` itself."""
    if version:
        typer.echo(f"fleetcast {_version()}")
        raise typer.Exit


@app.command()
def nightly(
    *,
    config: ConfigOption = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            formats=["%Y-%m-%d"],
            metavar="DATE",
            help="Forecast from the last session on or before DATE, with what was known then; "
            "without it from the last session published, or an archive's last one.",
        ),
    ] = None,
    store: StoreOption = None,
    answer: Answer = "table",
    debug: DebugOption = False,
) -> None:
    """Run one night: ingest, train where due, score, decide, forecast, publish.

    The same night twice gives the same forecasts, and nothing twice.
    """
    with answering(console.messages(), debug=debug):
        settings = load_config(config, store)
        from flows.run_night import run_night

        partial = run_night(settings, _day(as_of), as_json=answer == "json", debug=debug)
    if partial:
        raise typer.Exit(Exit.PARTIAL)


@app.command()
def ingest(
    *,
    config: ConfigOption = None,
    instrument: Annotated[
        list[str] | None,
        typer.Option("--instrument", "-i", metavar="NAME", help="Only this one; may be repeated."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="Ask for the whole history again, whatever is stored."),
    ] = False,
    store: StoreOption = None,
    answer: Answer = "table",
    debug: DebugOption = False,
) -> None:
    """Only bring the store up to date: new and changed bars, splits and dividends."""
    with answering(console.messages(), debug=debug):
        settings = load_config(config, store)
        from flows import ingest_command

        open_store(settings)
        partial = ingest_command.run(
            settings, only=instrument or (), full=full, as_json=answer == "json"
        )
    if partial:
        raise typer.Exit(Exit.PARTIAL)


@app.command()
def show(
    what: Annotated[Shown, typer.Argument(metavar="DATASET", help="What to show.")],
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[INSTRUMENT]...", help="Only these; of revisions, which one."),
    ] = None,
    *,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            formats=["%Y-%m-%d"],
            metavar="DATE",
            help="Only runs of sessions up to DATE; quarantine and revisions: what was known by "
            "its end, UTC.",
        ),
    ] = None,
    instrument: Annotated[
        list[str] | None,
        typer.Option("--instrument", "-i", metavar="NAME", help="Only this one; may be repeated."),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Of every night and every refit, not just the newest; quarantine: also what was "
            "released; revisions: every bar of a restated history.",
        ),
    ] = False,
    answer: Annotated[
        Literal["table", "csv", "json"],
        typer.Option(
            "--format",
            help="table: the main columns; csv, json: all columns of the dataset, dates as ISO.",
        ),
    ] = "table",
    config: ConfigOption = None,
    store: StoreOption = None,
    debug: DebugOption = False,
) -> None:
    """Show what the store holds. Nothing is changed."""
    with answering(console.messages(), debug=debug):
        settings = load_config(config, store)
        from flows import show as shows

        opened = open_store(settings, create=False)
        wanted = (*(names or ()), *(instrument or ()))
        if what == "revisions":
            from flows import revisions_command

            revisions_command.run(
                opened, wanted, day=_day(as_of), everything=everything, answer=answer
            )
            return
        rows = shows.select(
            opened,
            shows.Shown(what),
            day=_day(as_of),
            instruments=wanted,
            everything=everything,
        )
        if rows.num_rows == 0:
            console.messages().print(
                shows.why_empty(opened, shows.Shown(what), _day(as_of), wanted),
                markup=False,
                soft_wrap=True,
            )
        if answer == "table":
            console.answers().print(shows.as_table(shows.Shown(what), rows))
            if what == "quarantine":
                from flows import quarantine_command

                quarantine_command.advise(rows)
        else:
            written = shows.as_csv(rows) if answer == "csv" else shows.as_json(rows) + "\n"
            typer.echo(written, nl=False)


@app.command()
def plan(
    *,
    instrument: Annotated[
        str | None,
        typer.Option("--instrument", "-i", metavar="NAME", help="Only this one."),
    ] = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    answer: Answer = "table",
    debug: DebugOption = False,
) -> None:
    """Show what the next training will fit, gate and test on, session by session. Trains nothing.

    Of the bars that the store holds; without any, of the calendar's sessions.
    """
    with answering(console.messages(), debug=debug):
        settings = load_config(config, store)
        from flows import plan_command

        plan_command.run(settings, instrument, as_json=answer == "json")


@app.command()
def compact(
    dataset: Annotated[
        str | None, typer.Argument(metavar="[DATASET]", help="Only this one; without it all.")
    ] = None,
    *,
    config: ConfigOption = None,
    store: StoreOption = None,
    answer: Answer = "table",
    debug: DebugOption = False,
) -> None:
    """Merge the store's small files, so that reads stay quick. Changes no row.

    Other commands may run meanwhile. Once a week is often enough.
    """
    with answering(console.messages(), debug=debug):
        settings = load_config(config, store)
        from flows import compact_command

        compact_command.run(open_store(settings, create=False), dataset, as_json=answer == "json")


app.command()(status_cli.status)
app.command()(backfill_cli.backfill)
app.command()(curation_cli.quarantine)
app.command()(curation_cli.erase)


@app.command()
def report(
    *,
    run: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="Of this run, not of the newest.")
    ] = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    debug: DebugOption = False,
) -> None:
    """Write the report page again, from what the store holds, and say where it is."""
    with answering(console.messages(), debug=debug):
        settings = load_config(config, store)
        from tasks.report.page import write_report
        from tasks.report.run_view import view_run

        there = open_store(settings, create=False)
        try:
            typer.echo(write_report(there, view_run(there, run)))
        except LookupError as error:
            raise Refused(str(error)) from None


@app.command()
def publish(
    *,
    migrate: Annotated[
        bool,
        typer.Option(
            "--migrate",
            help="Only make the database's tables, or bring them up to date, as publish.sql.owner.",
        ),
    ] = False,
    config: ConfigOption = None,
    store: StoreOption = None,
    answer: Answer = "table",
    debug: DebugOption = False,
) -> None:
    """Deliver now what is still due to the sinks outside, instead of with the next night."""
    with answering(console.messages(), debug=debug):
        settings = load_config(config, store)
        from flows import publish_command

        if migrate:
            publish_command.migrate(settings)
            return
        opened = open_store(settings, create=False)
        partial = publish_command.run(settings, opened, as_json=answer == "json")
    if partial:
        raise typer.Exit(Exit.PARTIAL)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="[FILE]", help="The file to write.")] = Path(
        "fleetcast.toml"
    ),
    debug: DebugOption = False,
) -> None:
    """Write a configuration file with every field, its meaning and its default, to start from."""
    with answering(console.messages(), debug=debug):
        from flows import config_file

        config_file.write(path)
        typer.echo(f"Wrote {path}. Every line is a default, commented out: change what you need.")


@app.command()
def up(
    *,
    host: Annotated[
        str, typer.Option("--host", help="Address that the server listens at.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="Port that the server listens at.")
    ] = 4200,
    once: Annotated[
        bool, typer.Option("--once", help="Run one night at once, and end when it is over.")
    ] = False,
    config: ConfigOption = None,
    store: StoreOption = None,
    debug: DebugOption = False,
) -> None:
    """See it live: server, workers and deployments on this machine, until Ctrl-C."""
    with answering(console.messages(), debug=debug):
        settings = load_config(config, store)
        from flows import up as live

        failed = live.run(settings, host=host, port=port, once=once)
    if failed:
        raise typer.Exit(Exit.FAILED)


@app.command()
def doctor(
    *,
    config: ConfigOption = None,
    store: StoreOption = None,
    answer: Answer = "table",
    debug: DebugOption = False,
) -> None:
    """Say what works on this machine: versions, store, disk, GPU, Prefect. Takes half a minute."""
    with answering(console.messages(), debug=debug):
        settings = load_config(config, store)
        from flows import doctor_command

        well = doctor_command.run(settings, as_json=answer == "json")
    if not well:
        raise typer.Exit(Exit.FAILED)


def main() -> None:
    """The console script."""
    app()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("fleetcast")
    except PackageNotFoundError:
        return "(not installed: run from its folder)"


def _day(instant: datetime | None) -> date | None:
    return None if instant is None else instant.date()


if __name__ == "__main__":
    main()
