"""How a command ends: exit codes for schedulers, and one clear message instead of a traceback.

Owns the exit codes. Never decides what is an error: the exceptions do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import typer
from rich.console import Console

from flows.redaction import masked, without_secrets


class Exit(IntEnum):
    """What a scheduler can tell from the exit code."""

    OK = 0
    FAILED = 1  # the work broke off; trying again may help
    REFUSED = 2  # a person must change something: command line, configuration, store or data
    PARTIAL = 3  # done, but not everything was forecast on fresh data
    INTERRUPTED = 130


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault
    """Work that can't begin as asked; the message says what to change."""


@contextmanager
def answering(console: Console, *, debug: bool = False) -> Iterator[None]:
    """Turns exceptions into a message on `console` and an exit code; `debug` lets them through."""
    try:
        with masked():
            yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        console.print("Interrupted. Run the same command again to go on.", style="yellow")
        raise typer.Exit(Exit.INTERRUPTED) from None
    except Exception as error:  # the last frame: everything becomes one message
        if debug:
            raise
        refused = is_refusal(error)
        console.print("Error: ", style="bold red", end="")
        console.print(describe(error), markup=False, highlight=False, soft_wrap=True)
        if not refused and not _is_ours(error):
            console.print("Run the command again with --debug to see where.", style="dim")
        raise typer.Exit(Exit.REFUSED if refused else Exit.FAILED) from None


def describe(error: BaseException) -> str:
    """An error in words, without secrets; the kind is named where the message alone says little."""
    text = without_secrets(str(error)).strip()
    if _is_ours(error):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_refusal(error: BaseException) -> bool:
    """Whether a person must change something before trying again can help."""
    return any(kind.__name__ in _REFUSALS for kind in type(error).__mro__)


_REFUSALS = frozenset(
    {
        "ConfigError",
        "DamagedError",
        "MembershipError",
        "NothingToShowError",
        "Refused",
        "RunError",
        "SessionError",
        "SourceError",
    }
)
"""By name: importing the modules that define them would load tables for every --help."""


def _is_ours(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in {"flows", "tasks", "lstm_models"}
