"""The kit's own scripts and commands, run without containers: databases, server, pools, worker.

What the runbook says of install, upgrade, restore and a killed server, on a real PostgreSQL.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import prefect
import psycopg
import pytest

from tests.deploy.kit import DEPLOY, ROOT, unit
from tests.system.private_postgres import PrivatePostgres, private_postgres

SECRETS = {
    "POSTGRES_PASSWORD": "unused-here",
    "PREFECT_SERVER_DATABASE_PASSWORD": "it's pre$fect/@:%41 pass",
    "FLEETCAST_OWNER_SQL_PASSWORD": "owner'--",
    "FLEETCAST_PUBLISH_SQL_PASSWORD": "publisher-1",
    "PREFECT_API_AUTH_STRING": "admin:open-sesame",
}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    for name, secret in SECRETS.items():
        (folder / name).write_text(secret + "\n")
    return folder


@pytest.fixture(scope="module")
def postgres(secrets: Path) -> Iterator[PrivatePostgres]:
    """With the kit's databases and roles, which were asked for twice."""
    with private_postgres() as server:
        environment = server.environment | {"FLEETCAST_SECRETS": str(secrets)}
        for _ in range(2):
            script = DEPLOY / "docker" / "create-databases.sh"
            done = subprocess.run(
                ["sh", script], check=False, env=environment, capture_output=True, text=True
            )
            assert (done.returncode, done.stderr) == (0, "")
            assert not [s for s in SECRETS.values() if s in done.stdout]
        yield server


def connect(postgres: PrivatePostgres, role: str, secret: str, database: str) -> psycopg.Connection:
    return psycopg.connect(
        host="127.0.0.1", port=postgres.port, user=role, password=SECRETS[secret], dbname=database
    )


def test_each_role_gets_into_its_own_database_only(postgres: PrivatePostgres) -> None:
    prefect = ("prefect", "PREFECT_SERVER_DATABASE_PASSWORD")
    owner = ("fleetcast_owner", "FLEETCAST_OWNER_SQL_PASSWORD")
    publisher = ("fleetcast_publisher", "FLEETCAST_PUBLISH_SQL_PASSWORD")
    connect(postgres, *prefect, "prefect").close()
    connect(postgres, *owner, "forecasts").close()
    with (
        connect(postgres, *publisher, "forecasts") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("CREATE SCHEMA mine")
    for role, database in ((publisher, "prefect"), (owner, "prefect"), (prefect, "forecasts")):
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            connect(postgres, *role, database)


def through_the_entry_point(
    secrets: Path, home: Path, *command: str, **environment: str
) -> tuple[list[str], dict[str, str]]:
    """A command as a container runs it, and its environment."""
    script = str(DEPLOY / "docker" / "entrypoint.sh")
    kept = {n: v for n, v in os.environ.items() if not n.startswith("PREFECT")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    mine = {"FLEETCAST_SECRETS": str(secrets), "PREFECT_HOME": str(home), "PATH": path}
    return ["sh", script, *command], kept | mine | environment


def database_of(postgres: PrivatePostgres) -> dict[str, str]:
    """The server's settings, as compose.yaml has them but for the place."""
    return {
        "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
        "PREFECT_SERVER_DATABASE_HOST": "127.0.0.1",
        "PREFECT_SERVER_DATABASE_PORT": str(postgres.port),
        "PREFECT_SERVER_DATABASE_USER": "prefect",
        "PREFECT_SERVER_DATABASE_NAME": "prefect",
    }


def revision(postgres: PrivatePostgres) -> str:
    sql = "SELECT version_num FROM alembic_version"
    return postgres.run("psql", "-AXtc", sql, "prefect").strip()


def old_revision() -> str:
    """The last schema that Prefect had in 2024."""
    folder = Path(prefect.__file__).parent / "server/database/_migrations/versions/postgresql"
    newest = max(path for path in folder.glob("2024_*.py"))
    (line,) = (line for line in newest.read_text().splitlines() if line.startswith("revision"))
    return line.partition("=")[2].strip().strip("\"'")


def test_the_upgrade_of_the_runbook_and_the_way_back(
    postgres: PrivatePostgres, secrets: Path, tmp_path: Path
) -> None:
    """Prefect's database as it was, a dump of it, the migration, and the dump restored."""

    def upgrade(*more: str) -> None:
        command, environment = through_the_entry_point(
            secrets,
            tmp_path,
            *("prefect", "server", "database", "upgrade", "-y", *more),
            **database_of(postgres),
        )
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not [s for s in SECRETS.values() if s in done.stdout + done.stderr]

    old = old_revision()
    upgrade("--revision", old)
    assert revision(postgres) == old
    row = "INSERT INTO variable (name, value) VALUES ('kept', '\"from before\"')"
    postgres.run("psql", "-qXc", row, "prefect")
    dump = str(tmp_path / "prefect.dump")
    postgres.run("pg_dump", "--format=custom", "--file", dump, "prefect")
    upgrade()
    newest = revision(postgres)
    assert newest != old
    assert "from before" in postgres.run("psql", "-AXtc", "SELECT value FROM variable", "prefect")
    postgres.run("pg_restore", "--clean", "--create", "--if-exists", "-d", "postgres", dump)
    assert revision(postgres) == old
    assert "from before" in postgres.run("psql", "-AXtc", "SELECT value FROM variable", "prefect")
    upgrade()
    assert revision(postgres) == newest


def answer(url: str, secret: str | None = None) -> tuple[int, str]:
    """Status and text of an answer; 0 where nobody answers."""
    request = urllib.request.Request(url, method="GET")  # noqa: S310
    if secret:
        request.add_header("Authorization", "Basic " + base64.b64encode(secret.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=5) as got:  # noqa: S310
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return 0, ""


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        if answer(url)[0] == 200:
            return
        assert process.poll() is None, "it ended"
        time.sleep(0.1)
    raise AssertionError(f"{url} did not answer")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def started_by(name: str) -> list[str]:
    """The command of a systemd unit, from the program's name on."""
    (line,) = unit(DEPLOY / "systemd" / name)["Service"]["ExecStart"]
    return ["prefect", *line.split()[1:]]


@contextmanager
def running(
    command: list[str], environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=out, stderr=out, start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_server_pools_and_worker_of_the_kit_and_a_server_that_is_killed(
    postgres: PrivatePostgres, secrets: Path, tmp_path: Path
) -> None:
    port, health = free_port(), free_port()
    api = f"http://127.0.0.1:{port}/api"
    server_secrets = tmp_path / "server-secrets"
    server_secrets.mkdir()
    password = SECRETS["PREFECT_API_AUTH_STRING"]
    (server_secrets / "PREFECT_SERVER_API_AUTH_STRING").write_text(password)
    name = "PREFECT_SERVER_DATABASE_PASSWORD"
    (server_secrets / name).write_text(SECRETS[name])
    command = started_by("fleetcast-server.service")
    command[command.index("--port") + 1] = str(port)
    server = through_the_entry_point(
        server_secrets, tmp_path / "server", *command, **database_of(postgres)
    )
    client = {"PREFECT_API_URL": api}
    log = tmp_path / "log"
    with running(*server, log) as process:
        wait_for(f"{api}/health", process)
        assert answer(f"{api}/admin/version")[0] == 401
        assert answer(f"{api}/admin/version", "admin:wrong")[0] == 401
        assert answer(f"{api}/admin/version", password)[0] == 200

        register, environment = through_the_entry_point(
            secrets, tmp_path / "client", "sh", str(DEPLOY / "register.sh"), **client, GPUS="2"
        )
        for gpus in ("1", "2"):  # the second changes what differs
            done = subprocess.run(
                register,
                check=False,
                env=environment | {"GPUS": gpus},
                cwd=tmp_path,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            limit = json.loads(answer(f"{api}/v2/concurrency_limits/gpu", password)[1])
            assert limit["limit"] == int(gpus)
        pools = {
            name: json.loads(answer(f"{api}/work_pools/{name}", password)[1])
            for name in ("cpu", "gpu")
        }
        assert pools["gpu"]["concurrency_limit"] == 2
        for name, pool in pools.items():
            template = json.loads((DEPLOY / "pools" / f"{name}.json").read_text())
            assert pool["type"] == "process"
            assert pool["base_job_template"] == template

        worker = through_the_entry_point(
            secrets,
            tmp_path / "worker",
            *started_by("fleetcast-worker-cpu.service"),
            "--with-healthcheck",
            **client,
            PREFECT_WORKER_WEBSERVER_HOST="127.0.0.1",
            PREFECT_WORKER_WEBSERVER_PORT=str(health),
            PREFECT_WORKER_QUERY_SECONDS="1",
        )
        with running(*worker, log) as working:
            check = [sys.executable, str(DEPLOY / "docker" / "healthy.py")]
            wait_for(f"http://127.0.0.1:{health}/health", working)
            healthy = [*check, f"http://127.0.0.1:{health}/health"]
            assert subprocess.run(healthy, check=False).returncode == 0
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            gone = subprocess.run([*check, f"{api}/health"], check=False, capture_output=True)
            assert gone.returncode != 0
            with running(*server, log) as again:  # as the unit's Restart=always does
                wait_for(f"{api}/health", again)
                kept = json.loads(answer(f"{api}/work_pools/gpu", password)[1])
                assert kept["id"] == pools["gpu"]["id"]
                assert working.poll() is None
                for _ in range(600):
                    status = json.loads(answer(f"{api}/work_pools/cpu", password)[1])["status"]
                    if status == "READY":
                        break
                    time.sleep(0.1)
                assert status == "READY"  # the worker that waited is back
    told = log.read_text(errors="replace")
    assert not [secret for secret in SECRETS.values() if secret in told]
