from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tasks.sinks.configured import open_sinks
from tasks.sinks.deliveries import note
from tests.tasks.sinks.nights import TONIGHT, edition, night


def fleetcast(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["publish", *arguments], env={"COLUMNS": "300"})
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a night that is due to a database and to a folder."""
    from flows.config import load
    from tasks.store import Store

    monkeypatch.chdir(tmp_path)
    Path("fleetcast.toml").write_text(
        "[publish.sql]\nurl = 'sqlite:///market.db'\n[publish.folder]\nurl = 'desk'\n"
    )
    publish = load().publish
    store = Store.open("store")
    names = [sink.name for sink in open_sinks(publish.sql, publish.folder, publish.webhook)]
    note(store, edition(store, night(store)), names, "due", now=TONIGHT)
    return tmp_path


def test_what_is_due_is_delivered_once() -> None:
    code, told, _ = fleetcast("--format", "json")
    assert code == 0
    first = json.loads(told)
    assert [one["delivered"] for one in first] == [["run-00-live"], ["run-00-live"]]
    assert [one["waiting"] for one in first] == [[], []]
    assert Path("desk/latest/forecasts.parquet").is_file()
    code, told, _ = fleetcast("--format", "json")
    assert code == 0
    assert [one["delivered"] for one in json.loads(told)] == [[], []]


def test_a_sink_with_a_problem_is_told_with_its_own_exit_code() -> None:
    Path("desk").write_text("in the way")
    code, told, _ = fleetcast()
    assert code == 3
    assert "desk is a file" in told
    with sqlite3.connect("market.db") as market:
        assert market.execute("SELECT count(*) FROM forecasts").fetchone() == (20,)
    market.close()


def test_the_tables_alone() -> None:
    code, told, _ = fleetcast("--migrate")
    assert code == 0
    assert "its tables are made or brought up to date" in told
    _, told, _ = fleetcast("--migrate")
    assert "its tables are up to date already" in told
    with sqlite3.connect("market.db") as market:
        assert market.execute("SELECT count(*) FROM forecasts").fetchone() == (0,)
    market.close()


def test_without_a_sink_it_says_which_there_are() -> None:
    Path("fleetcast.toml").write_text("")
    for arguments, told in (((), "[publish.webhook]"), (("--migrate",), "publish.sql.url")):
        code, _, error = fleetcast(*arguments)
        assert code == 2
        assert told in error


def test_a_database_that_can_not_be_migrated_is_an_error() -> None:
    Path("fleetcast.toml").write_text("[publish.sql]\nurl = 'sqlite:////nowhere/at/all.db'\n")
    code, _, error = fleetcast("--migrate")
    assert code == 1
    assert "unable to open database file" in error
