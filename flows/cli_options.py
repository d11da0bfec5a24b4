"""What the commands share: their common options, and how these become settings and a store.

Owns the options' help. Never imports at the top what --help can do without.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.failures import Refused

if TYPE_CHECKING:
    from flows.config import FleetcastConfig
    from tasks.store import Store

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


def load_config(config: Path | None, store: str | None) -> FleetcastConfig:
    """The configuration of a file or of the folder, with another store if one is given."""
    from flows.config import load, with_store

    return with_store(load(config), store)


def open_store(config: FleetcastConfig, *, create: bool = True) -> Store:
    """The store; one that can't be used is refused before any work."""
    from tasks.store import Store, StoreError

    try:
        return Store.open(config.store.url, create=create)
    except StoreError as error:
        raise Refused(str(error)) from error
