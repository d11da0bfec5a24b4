"""`fleetcast up`: a Prefect server, its workers and the deployments on one machine, to see it live.

Owns what starts in which order, and that all of it ends. Never does a night's work.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flows import console, deployments, guarded
from flows.config import FleetcastConfig
from flows.failures import Refused
from flows.prefect_home import own_home
from flows.prefect_server import PrefectServerError, answers
from tasks.store import Store

_START_SECONDS = 180.0
_LOOK_SECONDS = 2.0
LEASE_STORAGE = "prefect.server.concurrency.lease_storage.filesystem"
"""Where the server keeps who holds a slot of a limit: in files below its home."""


def run(config: FleetcastConfig, *, host: str, port: int, once: bool) -> bool:
    """Starts everything, shows what runs until Ctrl-C, and ends everything.

    Args:
        config: what the nights do, and where.
        host: the address that the server listens at.
        port: its port.
        once: run one night now, and end when it is over.

    Returns:
        Whether the one night failed; without `once` never.

    Raises:
        Refused: the store or the port can't be used, or it is up already.
        PrefectServerError: a part did not start, or ended.
    """
    template = deployments.file("prefect.yaml").read_text(encoding="utf-8")
    healing = deployments.file("automations.yaml")
    store = Store.open(config.store.url)
    config = deployments.trained_by_deployment(config)
    config = config.model_copy(update={"store": config.store.model_copy(update={"url": store.url})})
    out = console.messages()
    with ExitStack() as stack:
        home = stack.enter_context(_alone(own_home(store.local_path).resolve()))
        _refuse_taken(host, port)
        family = stack.enter_context(_Family(home, host, port))
        with _interruptible():
            try:
                out.print("Starting Prefect's server, which takes half a minute.")
                family.start_server()
                devices = family.gpus()
                from flows import registration

                registration.make_pools(gpus=max(len(devices), 1))
                rendered = home / "prefect.yaml"
                rendered.write_text(
                    deployments.rendered(template, config, Path.cwd()), encoding="utf-8"
                )
                family.deploy(rendered)
                registration.heal(healing)
                family.start_workers(devices)
                out.print(f"The UI is at {family.address}", style="bold")
                out.print(
                    f"To have a night there: PREFECT_API_URL={family.api_url} fleetcast nightly",
                    style="dim",
                    soft_wrap=True,
                )
                out.print("Ctrl-C ends the server and the workers.", style="dim")
                return registration.follow(out, family.look, _LOOK_SECONDS, once=once)
            except KeyboardInterrupt:
                out.print("Ending the workers and the server.")
                return False


class _Family:
    """The server and the workers, each under a guard, and what they say in files."""

    def __init__(self, home: Path, host: str, port: int) -> None:
        self.home = home
        reach = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - asked for
        self.address = f"http://{reach}:{port}"
        self.api_url = f"{self.address}/api"
        self._listen = (host, port)
        self._members: dict[str, subprocess.Popen[bytes]] = {}
        self._before = dict(os.environ)

    def __enter__(self) -> _Family:
        (self.home / "logs").mkdir(parents=True, exist_ok=True)
        os.environ.update(
            {  # before Prefect is imported; children inherit it
                "PREFECT_HOME": str(self.home),
                "PREFECT_API_URL": self.api_url,
                "PREFECT_SERVER_API_HOST": self._listen[0],
                "PREFECT_SERVER_API_PORT": str(self._listen[1]),
                "PREFECT_UI_API_URL": self.api_url,
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                # In memory, a killed server would forget who holds a slot of a limit.
                "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASE_STORAGE,
                "DO_NOT_TRACK": "1",
                "PYTHONPATH": os.pathsep.join(
                    [str(deployments.FOLDER.parent), os.environ.get("PYTHONPATH", "")]
                ).rstrip(os.pathsep),
            }
        )
        for name in ("PREFECT_PROFILE", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"):
            os.environ.pop(name, None)
        return self

    def __exit__(self, *_: object) -> None:
        workers = [one for name, one in self._members.items() if name != "server"]
        guarded.end(workers)  # first: they tell the server what becomes of their runs
        guarded.end([one for name, one in self._members.items() if name == "server"])
        os.environ.clear()
        os.environ.update(self._before)

    def start_server(self) -> None:
        """Returns when it answers."""
        host, port = self._listen
        self._start("server", ["server", "start", "--host", host, "--port", str(port)])
        limit = time.monotonic() + _START_SECONDS
        while not answers(self.api_url):
            self.look()
            if time.monotonic() > limit:
                raise PrefectServerError(
                    f"The server did not answer in time: {self._said('server')}"
                )
            time.sleep(0.2)

    def start_workers(self, devices: list[str]) -> None:
        """One worker of the pool `cpu`, and one of `gpu` per GPU, which sees that GPU only."""
        self._start("cpu", ["worker", "start", "--pool", "cpu", "--name", "cpu"])
        for place, device in enumerate(devices or [""]):
            name = f"gpu-{place}"
            command = ["worker", "start", "--pool", "gpu", "--name", name, "--limit", "1"]
            self._start(name, command, CUDA_VISIBLE_DEVICES=device)

    def deploy(self, file: Path) -> None:
        """`prefect deploy --all`.

        Raises:
            PrefectServerError: it failed.
        """
        command = [*_prefect(), "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        done = subprocess.run(  # noqa: S603 - Prefect's own command line
            command, capture_output=True, text=True, check=False, start_new_session=True
        )
        if done.returncode:
            raise PrefectServerError(
                f"The deployments could not be made:\n{(done.stdout + done.stderr)[-3000:]}"
            )

    def look(self) -> None:
        """Makes sure that all of them still run.

        Raises:
            PrefectServerError: one ended.
        """
        for name, one in self._members.items():
            if one.poll() is not None:
                raise PrefectServerError(f"The {name} ended: {self._said(name)}")

    def gpus(self) -> list[str]:
        """The GPUs' identities, as CUDA_VISIBLE_DEVICES takes them; none where there is none."""
        stated = os.environ.get("CUDA_VISIBLE_DEVICES")
        if stated is not None:
            return [one for one in stated.split(",") if one]
        if (tool := shutil.which("nvidia-smi")) is None:
            return []
        asked = [tool, "--query-gpu=uuid", "--format=csv,noheader"]
        told = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603
        return told.stdout.split() if told.returncode == 0 else []

    def _start(self, name: str, command: list[str], **environment: str) -> None:
        with (self.home / "logs" / f"{name}.log").open("wb") as log:
            self._members[name] = guarded.start(
                [*_prefect(), *command],
                environment={**os.environ, **environment},
                log=log,
                folder=Path.cwd(),
            )

    def _said(self, name: str) -> str:
        file = self.home / "logs" / f"{name}.log"
        return f"see {file}.\n{file.read_text(errors='replace')[-2000:]}"


def _prefect() -> list[str]:
    return [sys.executable, "-m", "prefect"]


@contextmanager
def _alone(home: Path) -> Iterator[Path]:
    """The home, while no other server has it.

    Raises:
        Refused: one has.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                f"Another command's Prefect server runs in {home}: a nightly, or another "
                "`fleetcast up`. Wait for its end, or name another --store."
            ) from None
        yield home


def _refuse_taken(host: str, port: int) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise Refused(
                f"The server can't listen at {host}:{port}: {error.strerror}. Name another --port "
                "or --host."
            ) from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets SIGTERM and a closed terminal end the same way as Ctrl-C.

    And Ctrl-C itself, which a shell that starts it in the background has set to be ignored.
    """
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.signal(one, signal.default_int_handler) for one in names}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
