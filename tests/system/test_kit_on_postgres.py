"""The kit's own scripts and commands, run without containers: databases, server, pools, worker.

What the runbook says of install, upgrade, restore and a killed server, on a real PostgreSQL.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import prefect
import psycopg
import pytest

from tests.deploy.kit import DEPLOY, unit
from tests.private_postgres import PrivatePostgres, private_postgres
from tests.system.api import PATIENCE, Api, free_port, status
from tests.system.supervised import Supervised

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


def wait_for(url: str, process: Supervised) -> None:
    end = time.monotonic() + PATIENCE
    while status(url) != 200:
        assert time.monotonic() < end, process.said()
        time.sleep(0.1)


def started_by(name: str) -> list[str]:
    """The command of a systemd unit, from the program's name on."""
    (line,) = unit(DEPLOY / "systemd" / name)["Service"]["ExecStart"]
    return ["prefect", *line.split()[1:]]


def test_server_pools_and_worker_of_the_kit_and_a_server_that_is_killed(
    postgres: PrivatePostgres, secrets: Path, tmp_path: Path
) -> None:
    password = SECRETS["PREFECT_API_AUTH_STRING"]
    api, health = Api(free_port(), password), free_port()
    server_secrets = tmp_path / "server-secrets"
    server_secrets.mkdir()
    (server_secrets / "PREFECT_SERVER_API_AUTH_STRING").write_text(password)
    name = "PREFECT_SERVER_DATABASE_PASSWORD"
    (server_secrets / name).write_text(SECRETS[name])
    command = started_by("fleetcast-server.service")
    command[command.index("--port") + 1] = str(api.port)
    started = through_the_entry_point(
        server_secrets, tmp_path / "server", *command, **database_of(postgres)
    )
    client = {"PREFECT_API_URL": api.url}
    with ExitStack() as stack:
        server = Supervised("server", *started, tmp_path)  # as by the unit's Restart=always
        stack.callback(server.close)
        wait_for(f"{api.url}/health", server)
        assert Api(api.port).answers("admin/version") == 401
        assert Api(api.port, "admin:wrong").answers("admin/version") == 401
        assert api.answers("admin/version") == 200

        register, environment = through_the_entry_point(
            secrets, tmp_path / "client", "sh", str(DEPLOY / "register.sh"), **client
        )
        for gpus in (1, 2):  # the second changes what differs
            done = subprocess.run(
                register,
                check=False,
                env=environment | {"GPUS": str(gpus)},
                cwd=tmp_path,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert api.ask("v2/concurrency_limits/gpu")["limit"] == gpus
        pools = {name: api.ask(f"work_pools/{name}") for name in ("cpu", "gpu")}
        assert pools["gpu"]["concurrency_limit"] == 2
        for name, pool in pools.items():
            template = json.loads((DEPLOY / "pools" / f"{name}.json").read_text())
            assert pool["type"] == "process"
            assert pool["base_job_template"] == template

        begun = through_the_entry_point(
            secrets,
            tmp_path / "worker",
            *started_by("fleetcast-worker-cpu.service"),
            "--with-healthcheck",
            **client,
            PREFECT_WORKER_WEBSERVER_HOST="127.0.0.1",
            PREFECT_WORKER_WEBSERVER_PORT=str(health),
            PREFECT_WORKER_QUERY_SECONDS="1",
        )
        worker = Supervised("worker", *begun, tmp_path)
        stack.callback(worker.close)
        check = [sys.executable, str(DEPLOY / "docker" / "healthy.py")]
        wait_for(f"http://127.0.0.1:{health}/health", worker)
        healthy = [*check, f"http://127.0.0.1:{health}/health"]
        assert subprocess.run(healthy, check=False).returncode == 0
        seen = wait_for_a_sign_of_the_worker(api, after="")

        server.kill_group()
        gone = subprocess.run([*check, f"{api.url}/health"], check=False, capture_output=True)
        assert gone.returncode != 0
        wait_for(f"{api.url}/health", server)
        assert server.starts == 2
        assert api.ask("work_pools/gpu")["id"] == pools["gpu"]["id"]
        wait_for_a_sign_of_the_worker(api, after=seen)  # the worker that waited is back
        assert api.ask("work_pools/cpu")["status"] == "READY"
        assert worker.starts == 1
        told = server.said() + worker.said()
    assert not [secret for secret in SECRETS.values() if secret in told]


def wait_for_a_sign_of_the_worker(api: Api, after: str) -> str:
    """When the worker of the pool `cpu` last said that it is there, once that is later."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for one in api.ask("work_pools/cpu/workers/filter"):
            if str(one["last_heartbeat_time"]) > after:
                assert one["status"] == "ONLINE"
                return str(one["last_heartbeat_time"])
        time.sleep(0.2)
    raise AssertionError("the worker did not say that it is there")
