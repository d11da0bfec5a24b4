"""A night that a schedule starts, from prices to a database and to what people see of it.

On a site as the kit makes it: a server on PostgreSQL, a worker of the pool `cpu`, one of `gpu`.
With FLEETCAST_PICTURES=docs its photographs are written there, and are those of the documentation.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from tasks.run_forecasts import forecasts_of
from tasks.runs import PinnedRun, find
from tests.browser.chromium import NAMES as BROWSERS
from tests.browser.chromium import Browser, Page, find_browser
from tests.private_postgres import PASSWORD
from tests.system.api import ROOT, environment
from tests.system.pictures import photograph
from tests.system.site import ON_THE_GPU_POOL, Site, bars, site

NAMES = ("ARDEN", "BLUMQ", "CORVO", "DELTX", "EVERS", "FENWY", "GLADE", "HARBR")

CONFIG = """
[source]
name = "files"
path = "bars"
[training]
shard_size = 4
max_updates = 30
check_every = 10
warmup_updates = 5
processes = 2
[model]
units = 6
lookback = 20
burn_in = 5
seeds = 1
[evaluation]
folds = 2
min_fit = 300
early_stop = 40
gate = 60
calibrate = 120
test = 60
[publish.sql]
url = "postgresql+psycopg://publisher@127.0.0.1:{port}/market"
owner = "forecast_owner"
"""

KEY = ("instrument", "target", "kind", "lead", "as_of", "config_hash")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site, with prices of eight invented companies and a database for the forecasts."""
    folder = tmp_path_factory.mktemp("night")
    bars(folder, NAMES, seed=11, sessions=900)
    secret = {"FLEETCAST_PUBLISH_SQL_PASSWORD": PASSWORD}
    with site(folder, CONFIG + ON_THE_GPU_POOL, workers=secret) as made:
        make_database(made)
        yield made


def make_database(made: Site) -> None:
    """The tables and roles, by the statements and the command of docs/publishing.md."""
    file = made.folder / "fleetcast.toml"
    file.write_text(file.read_text().replace("{port}", str(made.postgres.port)))
    made.postgres.execute("CREATE DATABASE market")
    page = (ROOT / "docs" / "publishing.md").read_text(encoding="utf-8")
    (roles,) = (one for one in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) if "ROLE" in one)
    for statement in filter(None, map(str.strip, roles.split(";"))):
        made.postgres.execute(statement, "market")
    for role in ("forecast_owner", "publisher"):
        made.postgres.execute(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "publish", "--migrate"],
        cwd=made.folder,
        env=environment(made.folder)
        | {"FLEETCAST_OWNER_SQL_PASSWORD": PASSWORD, "FLEETCAST_PUBLISH_SQL_PASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def night(live: Site) -> dict[str, Any]:
    """The night that the deployment's schedule created, once that was due within two minutes."""
    deployment = live.ask("deployments/name/nightly/nightly")
    (schedule,) = deployment["schedules"]
    assert schedule["schedule"]["cron"] == "30 18 * * mon-fri"
    due = datetime.now(UTC) + timedelta(seconds=80)
    changed = {"cron": f"{due.minute} {due.hour} * * *", "timezone": "UTC"}
    place = f"deployments/{deployment['id']}/schedules/{schedule['id']}"
    live.ask(place, "PATCH", schedule=changed, active=True)
    (night,) = live.until(lambda: live.runs("nightly") or None, "the scheduled night")
    return night


def test_the_schedule_created_a_run_that_completed(night: dict[str, Any]) -> None:
    assert (night["auto_scheduled"], night["created_by"]["type"]) == (True, "SCHEDULE")
    assert night["state"]["type"] == "COMPLETED", night["state"]
    assert night["name"].startswith("nightly-20")
    assert {"fleetcast", "night"} <= set(night["tags"])
    assert night["work_pool_name"] == "cpu"


def test_its_shards_were_trained_on_the_gpu_pool(live: Site, night: dict[str, Any]) -> None:
    shards = live.runs("train-shard")
    assert sorted(run["name"] for run in shards) == ["train-shard-0000", "train-shard-0001"]
    assert {run["work_pool_name"] for run in shards} == {"gpu"}
    assert {run["state"]["type"] for run in shards} == {"COMPLETED"}
    tasks = live.ask("task_runs/filter", flow_runs={"id": {"any_": [night["id"]]}})
    assert {run["parent_task_run_id"] for run in shards} <= {task["id"] for task in tasks}
    models = live.store.read("models").to_pylist()
    assert {(row["instrument"], row["status"]) for row in models} == {
        (name, "trained") for name in NAMES
    }


def the_run(live: Site) -> PinnedRun:
    (row,) = live.store.read("runs").to_pylist()
    assert (row["status"], row["message"]) == ("finished", None)
    return find(live.store, row["run_id"])


def comparable(value: object) -> object:
    """The same for what PostgreSQL and the store say of one value."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return None if isinstance(value, float) and math.isnan(value) else value


def by_key(rows: list[dict[str, Any]]) -> dict[tuple[object, ...], dict[str, object]]:
    told = [{name: comparable(value) for name, value in row.items()} for row in rows]
    return {tuple(row[name] for name in KEY): row for row in told}


def test_the_database_has_what_the_store_has_row_by_row(live: Site, night: dict[str, Any]) -> None:
    del night
    stored: pa.Table = forecasts_of(live.store, the_run(live))
    with live.postgres.engine("publisher", "market").connect() as connection:
        found = connection.execute(sa.text("SELECT * FROM fleetcast.forecasts")).mappings().all()
        (told,) = connection.execute(sa.text("SELECT * FROM fleetcast.nights")).mappings().all()
    rows = [dict(row) for row in found]
    assert set(rows[0]) == set(stored.column_names)
    assert len(rows) == stored.num_rows == told["forecasts"]
    assert {row["instrument"] for row in rows} == set(NAMES)
    expected = by_key(stored.to_pylist())
    assert len(expected) == len(rows)
    assert by_key(rows) == expected


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM fleetcast.forecasts", "DROP TABLE fleetcast.nights", "CREATE SCHEMA mine"],
)
def test_the_publisher_may_not(live: Site, night: dict[str, Any], statement: str) -> None:
    del night
    with (
        live.postgres.engine("publisher", "market").connect() as connection,
        pytest.raises(sa.exc.ProgrammingError, match=r"must be owner|permission denied"),
    ):
        connection.execute(sa.text(statement))


def test_what_people_see_of_it_in_prefect(live: Site, night: dict[str, Any]) -> None:
    found = live.ask("artifacts/filter", flow_runs={"id": {"any_": [night["id"]]}})
    kinds = {one["key"]: one["type"] for one in found}
    assert kinds == {
        "data-health": "table",
        "scores": "table",
        "forecasts": "markdown",
        "report": "markdown",
    }
    told = {one["key"]: one for one in found}
    assert "latest/report.html" in told["report"]["data"]
    assert (live.folder / "store" / "latest" / "report.html").exists()
    assert all(one["description"] for one in found)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    path = find_browser()
    if path is None:
        pytest.skip(f"needs a browser: {', '.join(BROWSERS)}")
    with Browser(path) as browser:
        yield browser.new_page()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where photographs go."""
    return Path(os.environ.get("FLEETCAST_PICTURES") or tmp_path)


def test_the_page_of_the_run(live: Site, night: dict[str, Any], page: Page, folder: Path) -> None:
    shows = [night["name"], "Completed", "fleetcast", "night", "nightly", "cpu"]
    url = f"http://127.0.0.1:{live.port}/v2/runs/flow-run/{night['id']}?tab=TaskRuns"
    photograph(page, url, folder / "run.png", shows=shows, size=(1280, 900))


def artifact(live: Site, night: dict[str, Any], key: str) -> str:
    """The address of an artifact's page."""
    found = live.ask("artifacts/filter", flow_runs={"id": {"any_": [night["id"]]}})
    (own,) = (one["id"] for one in found if one["key"] == key)
    return f"http://127.0.0.1:{live.port}/v2/artifacts/artifact/{own}"


def test_the_page_of_the_forecasts(
    live: Site, night: dict[str, Any], page: Page, folder: Path
) -> None:
    session = night["name"].removeprefix("nightly-")
    url = artifact(live, night, "forecasts")
    photograph(page, url, folder / "artifact.png", shows=["forecasts", session], size=(1280, 1200))
    width, height = page.ask(
        """(one => [one.naturalWidth, one.naturalHeight])(
             [...document.images].find(one => one.src.startsWith('data:image/svg+xml')))"""
    )
    assert min(width, height) > 300


SHOWN = {"scores": ["LSTM", "skill"], "data-health": list(NAMES), "report": ["report.html"]}


@pytest.mark.parametrize("key", SHOWN)
def test_the_other_artifacts_can_be_read(
    live: Site, night: dict[str, Any], page: Page, tmp_path: Path, key: str
) -> None:
    place = artifact(live, night, key)
    photograph(page, place, tmp_path / f"{key}.png", shows=SHOWN[key], size=(1280, 900))


def test_the_report_of_the_night(
    live: Site, night: dict[str, Any], page: Page, tmp_path: Path
) -> None:
    report = live.folder / "store" / "latest" / "report.html"
    session = night["name"].removeprefix("nightly-")
    shows = [session, *NAMES]
    photograph(page, report.as_uri(), tmp_path / "report.png", shows=shows, size=(1280, 1980))
