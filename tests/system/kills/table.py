"""The table of docs/orchestration.md: what came of the kills that a `KILLS_REPORT` holds.

Owns its lines. Never kills anything. `python -m tests.system.kills.table REPORT` prints it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median


def table(report: str) -> list[str]:
    """Lines of Markdown, from lines of JSON as `test_random_kills` writes them."""
    outcomes = [json.loads(line) for line in report.splitlines()]
    lines = [
        "| killed | times | complete by itself | by the same command | wrong | "
        "seconds until complete: median, worst |",
        "|---|---|---|---|---|---|",
    ]
    for victim in dict.fromkeys(one["victim"] for one in outcomes):
        own = [one for one in outcomes if one["victim"] == victim]
        alone = sum(one["by_itself"] for one in own)
        wrong = sum(bool(one["wrong"]) for one in own)
        seconds = [one["seconds"] for one in own]
        lines.append(
            f"| {victim} | {len(own)} | {alone} | {len(own) - alone} | {wrong} | "
            f"{median(seconds):.0f}, {max(seconds):.0f} |"
        )
    return lines


if __name__ == "__main__":
    sys.stdout.write("\n".join(table(Path(sys.argv[1]).read_text())) + "\n")
