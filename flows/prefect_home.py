"""Which Prefect a night runs on: the one that is configured, or one of the project's own.

Owns Prefect's environment, set before Prefect is imported. Never touches the user's profiles.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.prefect_server import LocalServer, PrefectServerError, answers
from flows.redaction import without_secrets

_NO_TELEMETRY = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
_QUIET = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
"""The UI gets Prefect's log; a person at a terminal gets the answer."""


@dataclass(frozen=True)
class Prefect:
    """The Prefect that this process talks to.

    Attributes:
        own: True: a server of ours that ends with the run; False: somebody else's.
        api_url: where it answers, without credentials; None: as the active profile says.
        home: `PREFECT_HOME` of our own server: the record of past runs.
    """

    own: bool
    api_url: str | None
    home: Path | None
    _server: LocalServer | None = None

    def wait(self) -> None:
        """Returns when Prefect answers; our own server may still be starting.

        Raises:
            PrefectServerError: it does not.
        """
        if self._server is not None:
            self._server.wait()


@contextmanager
def prefect(
    store: Path | None, api_url: str | None = None, *, debug: bool = False
) -> Iterator[Prefect]:
    """Sets Prefect's environment for this process and its children, and starts what is missing.

    With `PREFECT_API_URL` or `PREFECT_PROFILE` in the environment, or an `api_url` from the
    configuration, that one is used, as Prefect itself would. Otherwise a server of our own starts,
    with its home beside the store, and ends with this context. Prefect must not be imported yet.

    Args:
        store: the store's folder, None where it is not on this machine.
        api_url: the configuration's `prefect.api_url`.
        debug: let Prefect write its log to the terminal.

    Raises:
        PrefectServerError: the configured server does not answer.
    """
    for name, value in (_NO_TELEMETRY if debug else _NO_TELEMETRY | _QUIET).items():
        os.environ.setdefault(name, value)
    configured = os.environ.get("PREFECT_API_URL") or (
        None if os.environ.get("PREFECT_PROFILE") else api_url
    )
    if configured:
        os.environ["PREFECT_API_URL"] = configured
        if not answers(configured):
            raise PrefectServerError(
                f"No Prefect API answers at {without_secrets(configured)}. Start that server, or "
                "unset PREFECT_API_URL and prefect.api_url to run without one."
            )
        yield Prefect(own=False, api_url=without_secrets(configured), home=None)
    elif os.environ.get("PREFECT_PROFILE"):
        yield Prefect(own=False, api_url=None, home=None)
    else:
        with _own(own_home(store), "INFO" if debug else "ERROR") as prefect:
            yield prefect


def own_home(store: Path | None) -> Path:
    """The project's own `PREFECT_HOME`: in a local store, else in the user's state folder."""
    if store is not None:
        return store / ".prefect"
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "fleetcast" / "prefect"


@contextmanager
def _own(home: Path, level: str) -> Iterator[Prefect]:
    with ExitStack() as stack:
        home = stack.enter_context(_exclusive(home))
        server = stack.enter_context(LocalServer(home))
        mine = {
            "PREFECT_HOME": str(home.resolve()),
            "PREFECT_API_URL": server.api_url,
            "PREFECT_LOGGING_TO_API_ENABLED": "false",  # it would be told after its end
            "PREFECT_LOGGING_LEVEL": os.environ.get("PREFECT_LOGGING_LEVEL", level),
        }
        before = {name: os.environ.get(name) for name in mine}
        os.environ.update(mine)
        try:
            yield Prefect(own=True, api_url=server.api_url, home=home, _server=server)
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@contextmanager
def _exclusive(home: Path) -> Iterator[Path]:
    """`home`, or a temporary folder where it can't be written or another run's server has it."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        opened = (home / "server.lock").open("w")
    except OSError:
        with tempfile.TemporaryDirectory(prefix="fleetcast-prefect-") as temporary:
            yield Path(temporary)
        return
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with tempfile.TemporaryDirectory(prefix="fleetcast-prefect-") as temporary:
                yield Path(temporary)
        else:
            yield home
