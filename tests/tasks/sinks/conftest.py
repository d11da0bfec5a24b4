"""A database, a web server and a store with nights, for the tests of the sinks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.store import Store
from tests.private_postgres import PASSWORD, PrivatePostgres, private_postgres
from tests.tasks.sinks.fault_points import SECRETS
from tests.tasks.sinks.receiver import Receiver

_COUNT = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    with private_postgres() as server:
        server.execute(f"CREATE ROLE publisher LOGIN PASSWORD '{PASSWORD}'")
        server.execute(f"CREATE ROLE owner LOGIN PASSWORD '{PASSWORD}'")
        yield server


@pytest.fixture
def database(postgres: PrivatePostgres) -> str:
    """A new database, of `owner`, in which `publisher` may make a schema of its own."""
    name = f"market_{next(_COUNT)}"
    postgres.execute(f"CREATE DATABASE {name} OWNER owner")
    postgres.execute(f"GRANT CREATE ON DATABASE {name} TO publisher")
    return name


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
