"""Nothing secret leaves by what a sink says, or stays in the store."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from flows.config import check
from flows.config_errors import ConfigError
from flows.redaction import without_secrets
from tasks.schemas import DATASETS
from tasks.sinks.config import OWNER_PASSWORD, SQL_PASSWORD, WEBHOOK_KEY
from tasks.sinks.configured import open_sinks
from tasks.sinks.outside import publish_outside
from tasks.sinks.sql import _explained
from tasks.store import Store
from tests.private_postgres import PrivatePostgres
from tests.tasks.sinks.nights import TONIGHT, night
from tests.tasks.sinks.receiver import KEY, Receiver

WRONG = "correct-horse-battery"


@pytest.fixture
def market(postgres: PrivatePostgres, database: str) -> str:
    return postgres.url("publisher", database)


def test_failures_say_no_secret(
    market: str,
    receiver: Receiver,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv(SQL_PASSWORD, WRONG)
    receiver.answers = [500] * 9
    config = check(
        {
            "publish": {
                "sql": {"url": market, "attempts": 1},
                "folder": {"url": "/proc/1/nowhere"},
                "webhook": {"url": receiver.url, "attempts": 1},
            }
        },
        "test",
    ).publish
    run = night(store)
    sinks = open_sinks(config.sql, config.folder, config.webhook)
    outcomes = publish_outside(store, run, sinks, TONIGHT)
    assert [one.problem is not None for one in outcomes] == [True] * 3
    kept = "".join(str(store.history(name).to_pylist()) for name in DATASETS)
    raw = b"".join(path.read_bytes() for path in Path(store.url).rglob("*") if path.is_file())
    told = f"{outcomes} {caplog.text} {kept} {raw!r}"
    for secret in (WRONG, KEY, "path-is-secret"):
        assert secret not in told


def test_a_driver_that_repeats_the_password_is_not_repeated() -> None:
    said = sa.exc.OperationalError("", {}, Exception(f"no route with password={WRONG}"))
    told = _explained("postgresql://host/market", said, WRONG, SQL_PASSWORD)
    assert "no route with password=***" in str(told)
    assert WRONG not in str(told)


@pytest.mark.parametrize("variable", [SQL_PASSWORD, OWNER_PASSWORD, WEBHOOK_KEY])
def test_what_the_environment_holds_is_masked(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, WRONG)
    assert without_secrets(f"it said {WRONG}!") == "it said ***!"


@pytest.mark.parametrize(
    ("section", "url"),
    [
        ("sql", "postgresql+psycopg://me:hunter2@host/market"),
        ("sql", "postgresql+psycopg://host/market?password=hunter2"),
        ("folder", "s3://me:hunter2@bucket/x"),
        ("folder", "s3://bucket/x?key=hunter2"),
        ("webhook", "https://me:hunter2@example.com/x"),
        ("webhook", "https://example.com/x?token=hunter2"),
    ],
)
def test_a_configuration_with_a_secret_in_it_is_refused_without_showing_it(
    section: str, url: str
) -> None:
    with pytest.raises(ConfigError, match="holds a password") as caught:
        check({"publish": {section: {"url": url}}}, "test")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"webhook": {"url": "example.com"}}, "starts with http:// or https://"),
        ({"webhook": {"url": "https:///x"}}, "server's name"),
        ({"webhook": {"link": "https://x/{run}"}}, "only {run_id} and {session}"),
        ({"sql": {"namespace": "a b"}}, "publish.sql.namespace"),
        ({"sql": {"table": "x"}}, "publish.sql.table: unknown field"),
    ],
)
def test_what_is_not_allowed_is_refused(section: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check({"publish": section}, "test")
    assert told in str(caught.value)
