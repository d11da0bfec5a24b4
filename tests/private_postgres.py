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
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine
from sqlalchemy.pool import NullPool

SUPERUSER = "postgres"
PASSWORD = "hunter2!@/:"  # noqa: S105 - of a server that lives for a test


@dataclass(frozen=True)
class PrivatePostgres:
    """Where it answers: at a socket in `folder` and at 127.0.0.1, everywhere by password."""

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
            "PGUSER": SUPERUSER,
            "PGPASSWORD": PASSWORD,
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

    def url(self, user: str = SUPERUSER, database: str = "postgres") -> str:
        """The socket's, without a password."""
        return f"postgresql+psycopg://{user}@/{database}?host={self.folder}&port={self.port}"

    def engine(self, user: str = SUPERUSER, database: str = "postgres") -> Engine:
        """For a user whose password is `PASSWORD`."""
        place: URL = sa.make_url(self.url(user, database)).set(password=PASSWORD)
        return sa.create_engine(place, poolclass=NullPool)

    def execute(self, statement: str, database: str = "postgres") -> None:
        """One statement, of the superuser and outside of a transaction."""
        engine = self.engine(database=database).execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)


@contextmanager
def private_postgres(*settings: str) -> Iterator[PrivatePostgres]:
    """Starts one, and ends it with the context; skips where PostgreSQL is not installed.

    Args:
        settings: of the server, each as `name=value`.
    """
    programs = _programs()
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory(prefix="fleetcast-postgres-") as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, user)
        secret = folder / "secret"
        secret.write_text(PASSWORD + "\n")
        secret.chmod(0o644)
        made = [str(programs / "initdb"), "--pgdata", f"{folder}/data", "--username", SUPERUSER]
        made += ["--auth", "scram-sha-256", "--pwfile", str(secret), "--no-sync", "--no-locale"]
        made += ["--encoding", "UTF8"]
        subprocess.run(made, check=True, user=user, cwd=folder, capture_output=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        control = [str(programs / "pg_ctl"), "--pgdata", f"{folder}/data", "--wait"]
        options = f"-p {port} -k {folder} " + " ".join(
            f"-c {one}" for one in ("listen_addresses=127.0.0.1", "fsync=off", *settings)
        )
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
