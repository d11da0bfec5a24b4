"""The automations of `deploy/automations.yaml` on a Prefect server: made, or changed, by name.

Owns that only. Never decides what heals: the file does. Run as a module, it applies a file.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore


def read(file: Path) -> tuple[AutomationCore, ...]:
    """The automations of a file.

    Raises:
        OSError: it can't be read.
        ValueError: it is not what Prefect takes.
    """
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    return tuple(AutomationCore.model_validate(one) for one in found["automations"])


def apply(file: Path) -> tuple[str, ...]:
    """Makes the file's automations on the server that is set, or changes those of the same name.

    Returns:
        Their names.
    """
    wanted = read(file)
    with get_client(sync_client=True) as client:
        for one in wanted:
            there = client.read_automations_by_name(one.name)
            if there:
                client.update_automation(there[0].id, one)
            else:
                client.create_automation(one)
    return tuple(one.name for one in wanted)


if __name__ == "__main__":
    for name in apply(Path(sys.argv[1])):
        sys.stdout.write(f"{name}\n")
