"""The two streams of the command line: answers on standard output, all else on standard error.

Owns how they are made. Never touches what is said.
"""

from __future__ import annotations

import os

from rich.console import Console

_WIDE = 200
"""Columns where nobody looks at a terminal: a pipe or a file gets whole lines."""


def answers() -> Console:
    """Standard output, where the answer goes and nothing else."""
    return _console(stderr=False)


def messages() -> Console:
    """Standard error: progress, errors and hints."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE
    return console
