"""One long-lived command of a test's site, started again when it dies, as systemd's units are.

Owns that command's processes. Never touches a process that it did not start.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.system.api import alive

MARK = "FLEETCAST_TEST_PART"
_REST = 1.0  # seconds between an end and the next start


class Supervised:
    """Keeps a command running until it is closed.

    Attributes:
        starts: how often it was started.
        sweeps: whether what the command leaves behind when it dies is killed before the next start,
            as systemd does with a unit's other processes, and Docker with a container's.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: dict[str, str], folder: Path
    ) -> None:
        self.name = name
        self.starts = 0
        self.sweeps = True
        self.log = folder / "logs" / f"{name}.log"
        self._command = list(command)
        self._mark = f"{MARK}={folder}:{name}"
        self._environment = environment | {MARK: f"{folder}:{name}"}
        self._folder = folder
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._process = self._start()
        self._watch = threading.Thread(target=self._keep_running, name=f"keeps-{name}", daemon=True)
        self._watch.start()

    @property
    def pid(self) -> int:
        """Of the command itself, as it runs now or ran last."""
        with self._lock:
            return self._process.pid

    def alive(self) -> dict[int, str]:
        """All its processes, whoever their parent is now: their commands."""
        return alive(self._mark)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL to the command's own process and to no other."""
        os.kill(self.pid, signal.SIGKILL)

    def kill_group(self) -> None:
        """SIGKILL to everything that the command has started, and to the command."""
        self._signal(self.alive())

    def close(self) -> None:
        """Ends it and everything that it has started, for good."""
        self._closed.set()
        with self._lock:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._watch.join()
        while left := self.alive():
            self._signal(left)
            self._closed.wait(0)

    def _start(self) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.starts += 1
            return subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _keep_running(self) -> None:
        while True:
            self._process.wait()
            if self.sweeps:
                self._signal(self.alive())
            if self._closed.wait(_REST):
                return
            with self._lock:
                if self._closed.is_set():
                    return
                self._process = self._start()

    def _signal(self, pids: dict[int, str]) -> None:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
