"""A PostgreSQL server of the test's own: on a free port, with a folder that goes when it ends.

Owns that server. Never touches one that runs already.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class PrivatePostgres:
    """Where it answers: anybody at the socket, and with a password at 127.0.0.1."""

    port: int
    folder: Path
    programs: Path

    @property
    def environment(self) -> dict[str, str]:
        """For psql, pg_dump and pg_restore: the superuser at the socket."""
        return {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "PGHOST": str(self.folder),
            "PGPORT": str(self.port),
            "PGUSER": "postgres",
        }

    def run(self, program: str, *arguments: str) -> str:
        """What a program of PostgreSQL prints, run as the superuser."""
        return subprocess.run(
            [self.programs / program, *arguments],
            check=True,
            env=self.environment,
            capture_output=True,
            text=True,
        ).stdout


@contextmanager
def private_postgres() -> Iterator[PrivatePostgres]:
    """Starts one, and ends it with the context; skips where PostgreSQL is not installed."""
    programs = _programs()
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory(prefix="fleetcast-postgres-") as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, user)
        made = [str(programs / "initdb"), "--pgdata", f"{folder}/data", "--username", "postgres"]
        made += ["--auth-local", "trust", "--auth-host", "scram-sha-256", "--no-sync"]
        subprocess.run(
            made,
            check=True,
            user=user,
            cwd=folder,
            capture_output=True,
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        control = [str(programs / "pg_ctl"), "--pgdata", f"{folder}/data", "--wait"]
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = ["--log", f"{folder}/log"]
        started = [*control, *log, "--options", options, "start"]
        subprocess.run(started, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)
        try:
            yield PrivatePostgres(port, folder, programs)
        finally:
            subprocess.run(
                [*control, "--mode", "immediate", "stop"],
                check=True,
                user=user,
                cwd=folder,
                stdout=subprocess.DEVNULL,
            )


def _programs() -> Path:
    """The folder of initdb, pg_ctl and pg_dump."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    for folder in [*debian, *([Path(found).parent] if found else [])]:
        if all((folder / name).exists() for name in ("initdb", "pg_ctl", "pg_dump", "psql")):
            return folder
    pytest.skip("needs PostgreSQL's programs (apt install postgresql)")
