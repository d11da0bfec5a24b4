"""`fleetcast doctor`: the checks as they are done, with remedies.

Owns their wording. Never checks anything: `flows.doctor` does.
"""

from __future__ import annotations

import dataclasses
import json

from rich.text import Text

from flows import console
from flows.config import FleetcastConfig
from flows.doctor import Check, checks


def run(config: FleetcastConfig, *, as_json: bool = False) -> bool:
    """Shows every check as it is done, and says whether all are well."""
    out, done = console.answers(), []
    with console.messages().status("Looking at this machine …"):
        for check in checks(config):
            done.append(check)
            if not as_json:
                out.print(_line(check), soft_wrap=True)
    well = all(check.ok for check in done)
    if as_json:
        report = {"ok": well, "checks": [dataclasses.asdict(check) for check in done]}
        out.print(json.dumps(report, indent=2), markup=False, soft_wrap=True)
    elif well:
        out.print("All is well: `fleetcast nightly` can run.", style="green")
    else:
        out.print("Something must be changed first.", style="red")
    return well


def _line(check: Check) -> Text:
    mark = ("✓ ", "green") if check.ok else ("✗ ", "bold red")
    line = Text.assemble(mark, f"{check.name:<19}", (check.found, "" if check.ok else "red"))
    if check.remedy:
        line.append(f"\n{'':21}{check.remedy}", style="yellow")
    return line
