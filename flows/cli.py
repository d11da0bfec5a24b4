"""The command line: `fleetcast`. Each command reads its arguments, calls one function, and shows.

Owns arguments and their help. Never imports at the top what --help can do without.
"""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows import console
from flows.failures import Exit, Refused, answering

if TYPE_CHECKING:
    from flows.config import FleetcastConfig
    from tasks.store import Store

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


Shown = Literal["forecasts", "scores", "live", "quarantine", "runs", "models", "comparisons"]

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Configuration; without it ./fleetcast.toml if there is one, else the defaults.",
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="Store to use instead of the configured one."),
]
DebugOption = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error, and all logs.")
]
Answer = Annotated[
    Literal["table", "json"], typer.Option("--format", help="How the answer is written.")
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
        settings = _load(config, store)
        from flows.run_night import run_night

        partial = run_night(settings, _day(as_of), as_json=answer == "json", debug=debug)
    if partial:
        raise typer.Exit(Exit.PARTIAL)


@app.command()
def ingest(
    *,
    config: ConfigOption = None,
    store: StoreOption = None,
    answer: Answer = "table",
    debug: DebugOption = False,
) -> None:
    """Only bring the store up to date: new and changed bars, splits and dividends."""
    with answering(console.messages(), debug=debug):
        settings = _load(config, store)
        from flows import ingest_command

        _open(settings)
        partial = ingest_command.run(settings, as_json=answer == "json")
    if partial:
        raise typer.Exit(Exit.PARTIAL)


@app.command()
def show(
    what: Annotated[Shown, typer.Argument(metavar="DATASET", help="What to show.")],
    *,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            formats=["%Y-%m-%d"],
            metavar="DATE",
            help="Only runs of sessions up to DATE; quarantine: what was known by its end, UTC.",
        ),
    ] = None,
    instrument: Annotated[
        list[str] | None,
        typer.Option("--instrument", "-i", metavar="NAME", help="Only this one; may be repeated."),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Of every night and every refit, not just the newest."),
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
        settings = _load(config, store)
        from flows import show as shows

        opened = _open(settings, create=False)
        rows = shows.select(
            opened,
            shows.Shown(what),
            day=_day(as_of),
            instruments=tuple(instrument or ()),
            everything=everything,
        )
        if rows.num_rows == 0:
            console.messages().print(
                shows.why_empty(opened, shows.Shown(what), _day(as_of), tuple(instrument or ())),
                markup=False,
                soft_wrap=True,
            )
        if answer == "table":
            console.answers().print(shows.as_table(shows.Shown(what), rows))
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
        settings = _load(config, store)
        from flows import plan_command

        plan_command.run(settings, instrument, as_json=answer == "json")


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
        settings = _load(config, store)
        from tasks.report.page import write_report

        try:
            typer.echo(write_report(_open(settings, create=False), run_id=run))
        except LookupError as error:
            raise Refused(str(error)) from None


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
def doctor(
    *,
    config: ConfigOption = None,
    store: StoreOption = None,
    answer: Answer = "table",
    debug: DebugOption = False,
) -> None:
    """Say what works on this machine: versions, store, disk, GPU, Prefect. Takes half a minute."""
    with answering(console.messages(), debug=debug):
        settings = _load(config, store)
        from flows import doctor_command

        well = doctor_command.run(settings, as_json=answer == "json")
    if not well:
        raise typer.Exit(Exit.FAILED)


def main() -> None:
    """The console script."""
    app()


def _load(config: Path | None, store: str | None) -> FleetcastConfig:
    from flows.config import load, with_store

    return with_store(load(config), store)


def _open(config: FleetcastConfig, *, create: bool = True) -> Store:
    """The store; one that can't be used is refused before any work."""
    from tasks.store import Store, StoreError

    try:
        return Store.open(config.store.url, create=create)
    except StoreError as error:
        raise Refused(str(error)) from error


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
