"""Runs pip for set-up: short progress on the screen, everything in a log, and a reason on failure.

Never overrides pip's settings, and never decides what is installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

# What pip's last lines say, and what that means for the person. The first match is told.
CAUSES = {
    "No space left": "The disk is full. Free some space; TMPDIR moves pip's temporary files.",
    "DO NOT MATCH THE HASHES": "The index served another file than the locked one. A proxy or "
    "mirror may have altered it; if a direct connection gives the same, do not install it.",
    "No matching distribution": "The package index does not offer a locked version. If it is a "
    "mirror, it may lag behind: see `pip config list`.",
    "ProxyError|407 ": "The proxy refused. pip reads HTTPS_PROXY, or `proxy` in its settings.",
    "CERTIFICATE_VERIFY_FAILED|SSLError": "The certificate of the package index is not trusted "
    "here. pip reads PIP_CERT, or `cert` in its settings.",
    "'--user' install": "pip is told to install for the user (PIP_USER, or `user` in its "
    "settings), which no virtual environment allows: PIP_USER=0 turns it off for one command.",
    "401 |403 ": "The package index refused these credentials: see `pip config list`.",
    "NewConnectionError|ConnectTimeout|ReadTimeout|name resolution|retries": "The package index "
    "was not reached. The index, proxy and certificate are pip's own: see `pip config list`.",
}


class SetupError(Exception):
    """Set-up cannot go on. The message says why, and what to do."""


def pip_install(python: Path, arguments: list[str], log: Path, *, done: int, total: int) -> None:
    """Runs `pip install` with the user's own settings, appending its output to `log`.

    A terminal shows one line that moves; anything else gets the large downloads only.

    Args:
        python: the interpreter whose pip runs.
        arguments: what follows `pip install`.
        log: file that keeps the whole output.
        done: number of packages that were there before, for the progress line.
        total: number of packages that will be there.

    Raises:
        SetupError: pip failed; the message has its last errors and what they mean.
    """
    command = [str(python), "-m", "pip", "install", "--no-input", *arguments]
    lines = [f"$ {' '.join(command)}\n"]
    terminal, seen = sys.stdout.isatty(), done
    with log.open("a") as copy:
        copy.writelines(lines)
        pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in pip.stdout or ():
            copy.write(line)
            copy.flush()
            lines.append(line)
            seen += line.startswith("Collecting ")
            show(f"[{min(seen, total)}/{total}] {line.strip()}", line, terminal=terminal)
        if terminal:
            print("\r\x1b[K", end="", flush=True)
        if pip.wait() != 0:
            raise SetupError(explain(lines, log))


def show(progress: str, line: str, *, terminal: bool) -> None:
    """Shows `progress` if pip's `line` tells something that a waiting person wants to know."""
    if terminal and line.lstrip().startswith(("Collecting", "Downloading", "Installing")):
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[K{progress[:width]}", end="", flush=True)
    elif not terminal and re.match(r"\s*Downloading .*\(\d{2,}\S* MB\)", line):
        print(progress, flush=True)


def explain(lines: list[str], log: Path) -> str:
    """Why pip failed, as far as its last lines tell, and what to do about it."""
    last = [line.strip()[:300] for line in lines[-40:] if line.strip()]
    cause = next((told for sign, told in CAUSES.items() if re.search(sign, "\n".join(last))), "")
    errors = [line for line in last if "ERROR" in line] or last
    return "\n".join(
        [
            "pip failed:",
            *errors[-5:],
            *([cause] if cause else []),
            f"The whole log: {log}",
            "The same command goes on from here.",
        ]
    )
