"""A real family of processes under a guard; one of its members leaves the group and the session."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import guarded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="families are kept on Linux")

PARENT = """
import pathlib, subprocess, sys, time
stubborn = "import os,signal,sys,time;signal.signal(signal.SIGTERM, signal.SIG_IGN);" \\
    "open(sys.argv[1], 'w').write(str(os.getpid()));time.sleep(600)"
subprocess.Popen([sys.executable, "-c", stubborn, "inner"], start_new_session=True)
open("outer", "w").write(str(__import__("os").getpid()))
time.sleep(600)
"""


@pytest.fixture
def guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A guard of a command whose child ignores SIGTERM in a session of its own; both are up."""
    quick = (
        "import flows.guarded as g; g.PATIENCE = 0.5; import sys; sys.exit(g._guard(sys.argv[1:]))"
    )
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    one = subprocess.Popen(
        [sys.executable, "-c", quick, sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        cwd=tmp_path,
        start_new_session=True,
    )
    while not all((tmp_path / name).exists() and pid(tmp_path / name) for name in WHO):
        assert one.poll() is None
        time.sleep(0.02)
    yield one
    guarded.end([one])


WHO = ("outer", "inner")


def pid(file: Path) -> int:
    return int(file.read_text() or 0)


def alive(number: int) -> bool:
    """Also False for one that has ended and that nobody has asked after yet."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_closing_its_input_ends_a_family_even_one_that_has_left(
    guard: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    pids = [pid(tmp_path / name) for name in WHO]
    assert all(map(alive, pids))
    guarded.end([guard])
    assert not any(map(alive, pids))


def test_a_command_that_is_killed_leaves_no_orphan(
    guard: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    os.kill(pid(tmp_path / "outer"), signal.SIGKILL)
    assert guard.wait() != 0
    assert not alive(pid(tmp_path / "inner"))


def test_a_signal_to_the_guard_is_not_the_end(
    guard: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    guard.send_signal(signal.SIGINT)
    guard.send_signal(signal.SIGTERM)
    assert alive(pid(tmp_path / "outer"))
    guarded.end([guard])
    assert guard.returncode is not None
