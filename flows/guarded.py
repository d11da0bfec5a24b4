"""A command that ends with the process that asked for it, and takes every process below it along.

Owns the end of a family of processes. Never touches what they do. Run as a module, it is the
guard of the command in its arguments: it ends them when its standard input is closed, which also
happens when whoever holds it open is killed.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

PATIENCE = 20.0
"""Seconds that a command may take to end by itself once it was asked to."""

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux: orphans below become children of this process
_PROC = Path("/proc")


def start(
    command: Sequence[str], *, environment: Mapping[str, str], log: IO[bytes], folder: Path
) -> subprocess.Popen[bytes]:
    """Starts `command` under a guard; closing the guard's `stdin` ends all of it.

    Args:
        command: program and arguments.
        environment: all of it.
        log: gets what the command says.
        folder: its working directory.
    """
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "flows.guarded", *command],
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        start_new_session=True,  # Ctrl-C is the starter's to answer
    )


def end(guards: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ends the commands of these guards, all at once, and returns when nothing of them is left."""
    for guard in guards:
        if guard.stdin is not None:
            guard.stdin.close()
    for guard in guards:
        guard.wait()


def descendants() -> list[int]:
    """Every process below this one, the nearest first; empty where the system has no /proc."""
    parents: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if fields[0] != "Z":
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found: list[int] = []
    level = [os.getpid()]
    while level:
        level = [child for parent in level for child in parents.get(parent, ())]
        found += level
    return found


def _guard(command: Sequence[str]) -> int:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, _stay)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - asked for
    while _is_running(child) and not _asked_to_end():
        pass
    limit = time.monotonic() + PATIENCE
    if child.returncode is None:
        child.terminate()
    while _is_running(child) and time.monotonic() < limit:
        time.sleep(0.05)
    _signal_all(signal.SIGTERM)
    limit = time.monotonic() + PATIENCE / 2
    while _is_running(child) or descendants():
        if time.monotonic() > limit:
            _signal_all(signal.SIGKILL)
        time.sleep(0.05)
    return child.returncode or 0


def _stay(*_: object) -> None:
    """Not ignored, which commands would inherit: the end comes by standard input."""


def _is_running(child: subprocess.Popen[bytes]) -> bool:
    """Whether the command runs; adopted processes that have ended leave the table."""
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child.pid:
                child.returncode = os.waitstatus_to_exitcode(status)
            if pid == 0:
                break
    except ChildProcessError:
        pass
    return child.returncode is None


def _asked_to_end() -> bool:
    """Whether standard input is closed; looks for a while."""
    ready, _, _ = select.select([0], [], [], 0.2)
    return bool(ready) and not os.read(0, 1)


def _signal_all(what: signal.Signals) -> None:
    for pid in descendants():
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    sys.exit(_guard(sys.argv[1:]))
