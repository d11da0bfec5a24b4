"""The automations of a file such as `deploy/automations.yaml` on a Prefect server, by name.

Owns that only. Never decides what heals: the file does. Run as a module, it applies a file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

BlockId = Callable[[str], UUID]
"""The id of a block document, by "TYPE/NAME"."""


def _no_blocks(name: str) -> UUID:
    raise ValueError(f"the block {name} is named, but no server was given to look it up on")


def read(file: Path, block_id: BlockId = _no_blocks) -> tuple[AutomationCore, ...]:
    """The automations of a file.

    Args:
        file: YAML. Where Prefect takes the id of a block document, which each server makes up, an
            action says `block: TYPE/NAME`, such as slack-webhook/fleetcast.
        block_id: looks such an id up.

    Raises:
        OSError: it can't be read.
        ValueError: it is not what Prefect takes.
    """
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    for one in found["automations"]:
        for action in one.get("actions", ()):
            if "block" in action:
                action["block_document_id"] = str(block_id(action.pop("block")))
    return tuple(AutomationCore.model_validate(one) for one in found["automations"])


def apply(file: Path) -> tuple[str, ...]:
    """Makes the file's automations on the server that is set, or changes those of the same name.

    Returns:
        Their names.

    Raises:
        ValueError: a block that an action names is not on the server; nothing was changed then.
    """
    with get_client(sync_client=True) as client:
        wanted = read(file, _looked_up(client, file))
        for one in wanted:
            there = client.read_automations_by_name(one.name)
            if there:
                client.update_automation(there[0].id, one)
            else:
                client.create_automation(one)
    return tuple(one.name for one in wanted)


def _looked_up(client: SyncPrefectClient, file: Path) -> BlockId:
    def block_id(name: str) -> UUID:
        kind, _, own = name.partition("/")
        try:
            document: Any = client.read_block_document_by_name(own, kind, include_secrets=False)
        except ObjectNotFound:
            raise ValueError(
                f"{file} names the block {name}, which this server does not have. Make one of that "
                "type and name (in the UI: Blocks), or take its actions out of the file."
            ) from None
        return UUID(str(document.id))

    return block_id


def refuse_no_server() -> None:
    """Ends the process where no server is set: Prefect would tell one that ends with it."""
    if not get_current_settings().api.url:
        sys.exit("No Prefect server is set. Set PREFECT_API_URL, as to http://127.0.0.1:4200/api.")


def main(file: str) -> None:
    """Applies a file, and says which automations are there now."""
    refuse_no_server()
    try:
        names = apply(Path(file))
    except httpx.TransportError as error:
        url = get_current_settings().api.url
        sys.exit(f"The Prefect server {url} does not answer: {error}. Start it, then try again.")
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    sys.stdout.writelines(f"{name}\n" for name in names)


if __name__ == "__main__":
    main(sys.argv[1])
