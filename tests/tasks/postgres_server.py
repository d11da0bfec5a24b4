"""A real PostgreSQL for tests: a private server in a folder of its own, reached by its socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine
from sqlalchemy.pool import NullPool

PASSWORD = "hunter2!@/:"  # noqa: S105 - of a server that lives for a test


@dataclass(frozen=True)
class PostgresServer:
    """A running server; its superuser is `me`."""

    folder: Path

    def url(self, user: str, database: str = "postgres") -> str:
        """Without a password."""
        return f"postgresql+psycopg://{user}@/{database}?host={self.folder}"

    def engine(self, user: str = "me", database: str = "postgres") -> Engine:
        place: URL = sa.make_url(self.url(user, database)).set(password=PASSWORD)
        return sa.create_engine(place, poolclass=NullPool)

    def run(self, statement: str, database: str = "postgres") -> None:
        engine = self.engine(database=database).execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Skips the test where the machine has no PostgreSQL."""
    initdb, server = shutil.which("initdb"), shutil.which("postgres")
    if initdb is None or server is None:
        pytest.skip("there is no PostgreSQL (initdb, postgres) on this machine")
    user = "postgres" if os.geteuid() == 0 else None  # it does not run as root
    folder = Path(tempfile.mkdtemp(prefix="fleetcast-pg-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        secret = folder / "secret"
        secret.write_text(PASSWORD + "\n")
        secret.chmod(0o644)
        options = ("--pwfile", str(secret), "--no-sync", "--no-locale", "-E", "UTF8")
        subprocess.run(
            [initdb, "-D", str(folder / "data"), "-U", "me", "-A", "scram-sha-256", *options],
            check=True,
            capture_output=True,
            user=user,
            cwd="/",
        )
        with subprocess.Popen(
            [
                server,
                "-D",
                str(folder / "data"),
                "-F",
                "-k",
                str(folder),
                "-c",
                "listen_addresses=",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            user=user,
            cwd="/",
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if b"ready to accept connections" in line:
                    break
            reader = threading.Thread(target=process.stderr.read)
            reader.start()
            try:
                yield PostgresServer(folder)
            finally:
                process.terminate()
                process.wait()
                reader.join()
    finally:
        shutil.rmtree(folder)
