"""The keys that providers ask for, out of the environment.

Owns where a key is looked for. Never stores or shows one.
"""

from __future__ import annotations

import os
import re

from tasks.sources.config import SourceConfig
from tasks.sources.protocol import SourceError

PASSWORD = "FLEETCAST_SQL_PASSWORD"  # noqa: S105 - the variable's name
"""The environment variable with the database's password."""


def key_variable(name: str) -> str:
    """The environment variable where source `name` looks for its key: TIINGO_API_KEY."""
    if name == "sql":
        return PASSWORD
    return re.sub(r"\W", "_", name).upper() + "_API_KEY"


def api_key(config: SourceConfig, variable: str) -> str:
    """The key in the environment variable `variable`, without blanks around it.

    A key in a Prefect Secret block was put there before by `flows.secrets`: tasks know no Prefect.

    Raises:
        SourceError: there is none, or it can't be sent in a header or address.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        block = (
            'name a Prefect Secret block that holds it: source.key_block = "..."'
            if config.key_block is None
            else f"look into the Prefect Secret block {config.key_block!r}, which source.key_block "
            "names: nothing came from it"
        )
        raise SourceError(
            f"Source {config.name!r} needs a key, and the environment variable {variable} holds "
            f"none. Set it, or {block}."
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SourceError(
            f"The environment variable {variable} holds no key for source {config.name!r}: it has "
            "blanks, line breaks or letters beyond ASCII in it. Copy the key again."
        )
    return key
