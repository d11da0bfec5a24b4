"""A limit on what must not hang: an alarm that ends it with a traceback of where it was."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SECONDS = 60
"""Far above what any small input needs, on however busy a machine."""


class HangError(AssertionError):
    """It did not come to an end."""


@contextmanager
def patience(seconds: int = SECONDS) -> Iterator[None]:
    """Raises `HangError` inside of what takes longer than `seconds`."""

    def give_up(_signal: int, _frame: FrameType | None) -> None:
        raise HangError(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
