"""A Prefect server of our own, for a night when none is configured: it lives as long as its parent.

Owns the server's process. Never touches a server that somebody else runs. Run as a module, it is
that process.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import urlsplit

_START_SECONDS = 120.0
_STOP_SECONDS = 5.0

_ENVIRONMENT = {
    "PREFECT__SERVER_EPHEMERAL": "1",  # only the services that record runs; ignored: all of them
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_LEVEL": "ERROR",
}


class PrefectServerError(Exception):
    """The Prefect server did not start or can't be reached; the message says what to do."""


class LocalServer:
    """A server on a free port of this machine, with its database in `home`.

    It starts at once and gets ready in the background (5 s, and 12 s when the database is made):
    `api_url` is known immediately, `wait` says when it answers. It ends with `close`, and by itself
    when the process that made it is gone.
    """

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))  # handed over open: no other process can take the port
            self.api_url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
            environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "flows.prefect_server", str(listener.fileno())],
                env=environment | _ENVIRONMENT | {"PREFECT_HOME": str(home.resolve())},
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                pass_fds=[listener.fileno()],
                cwd=Path(__file__).resolve().parent.parent,
                start_new_session=True,  # Ctrl-C must not end it before the run has said goodbye
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def wait(self) -> None:
        """Returns when the server answers.

        Raises:
            PrefectServerError: it ended, or did not answer within two minutes.
        """
        end = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            if answers(self.api_url):
                return
            time.sleep(0.05)
        code = self._process.poll()
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip()
        raise PrefectServerError(
            "The local Prefect server "
            + ("did not answer in time." if code is None else f"ended with exit code {code}.")
            + (f" It said:\n{said[-2000:]}\n" if said else " ")
            + "Start one yourself (prefect server start) and set PREFECT_API_URL to its address."
        )

    def close(self) -> None:
        """Ends the server, after it has written down what it was told."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def answers(api_url: str, timeout: float = 5.0) -> bool:
    """Whether a Prefect API answers there, whatever it answers (it may ask for a password)."""
    parts = urlsplit(api_url)
    host = parts.netloc.rpartition("@")[2]  # health is asked without a name and password
    health = f"{parts.scheme}://{host}{parts.path.rstrip('/')}/health"
    try:
        with urllib.request.urlopen(health, timeout=timeout):  # noqa: S310 - http or https
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except (OSError, ValueError):
        return False


def _serve(descriptor: int) -> None:
    """The server process: serves the Prefect API on an open socket until its parent is gone."""
    import uvicorn

    threading.Thread(target=_end_with_parent, name="orphan-watch", daemon=True).start()
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        fd=descriptor,
        log_level="error",
        lifespan="on",
    )


def _end_with_parent() -> None:
    """Ends this process when standard input, which its parent holds open, is closed."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
