"""No secret in any log, artifact, event, store file or error: twenty are planted and searched for.

Nights succeed, and fail in every place outside, which repeats every secret it can. Left out of the
search is nothing but the environment of the processes itself: Prefect keeps a Secret block
encrypted, so even its own document is searched. What is shown in Prefect's UI to a person who types
a secret into a run's form is not a night's to hide.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tasks.sessions import calendar
from tasks.store import Store
from tests.private_postgres import PrivatePostgres, private_postgres
from tests.system import searched
from tests.system.api import ROOT, Api, free_port
from tests.system.planted import SECRETS, World, environment, forms, needles
from tests.tasks.example_store import NOW, rows_table, run_row

CANARY = "canary/must+be found=everywhere"
"""Leaked on purpose into every place, to see that the search looks there."""

CONFIG = """
[universe]
instruments = ["A", "B"]
[source]
name = "{source}"
base_url = "{base}"
archive = true
attempts = 1
start = 2019-01-02
requests_per_minute = 100000
{key}
[training]
processes = 1
[publish.sql]
url = "postgresql+psycopg://publisher@127.0.0.1:{port}/market"
attempts = 1
{password}
[publish.folder]
url = "{folder}"
attempts = 1
[publish.webhook]
attempts = 1
backfill = true
forecasts = true
{hook}
"""

VARIABLES = {"key": "", "password": "", "hook": 'url_variable = "FLEETCAST_WEBHOOK_URL"'}
BLOCKS = {
    "key": 'key_block = "tiingo"',
    "password": 'password_block = "sink"',
    "hook": 'url_block = "hook"\nkey_block = "signing"',
}

BAD = {"password": "", "folder": "s3://denied/desk"}

SEVERAL = """
import json, sys, traceback
from pathlib import Path
from flows.cli import app
for label, text, words in json.load(sys.stdin):
    print("begun:", label)
    Path("fleetcast.toml").write_text(text)
    try:
        app(words)
    except SystemExit as end:
        print("ended with", end.code)
    except BaseException:
        print("ended with a traceback")
        traceback.print_exc()
"""

MAKE_BLOCKS = """
import json, sys
from prefect.blocks.system import Secret
for name, value in json.load(sys.stdin).items():
    Secret(value=value).save(name)
"""

LEAK = """
import sys, urllib.parse
from prefect import flow, task, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event
canary = sys.argv[1]
quoted = urllib.parse.quote_plus(canary)
@task(task_run_name=quoted)
def leaking_task():
    raise RuntimeError(canary)
@flow(name="leaks", flow_run_name="leaks " + quoted)
def leaking_flow(told):
    get_run_logger().warning(canary)
    create_markdown_artifact(canary, key="leaks")
    emit_event("leaks", resource={"prefect.resource.id": "leaks"}, payload={"told": canary})
    leaking_task()
print(canary)
print(quoted, file=sys.stderr)
leaking_flow(canary)
"""


@dataclass
class Stage:
    """Where it all happens."""

    folder: Path
    api: Api
    world: World
    postgres: PrivatePostgres
    environment: dict[str, str]
    codes: dict[str, int] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return Store.open(self.folder / "store")

    def text(self, **changes: str) -> str:
        values = {
            "source": "tiingo",
            "base": f"http://{self.world.address}",
            "port": str(self.postgres.port),
            "folder": str(self.folder / "desk"),
            **VARIABLES,
            **changes,
        }
        return CONFIG.format(**values)

    def configure(self, **changes: str) -> None:
        (self.folder / "fleetcast.toml").write_text(self.text(**changes))

    def run(self, label: str, *command: str, given: str | None = None, **more: str) -> str:
        """Runs a Python command; what it says is kept in `said/`. Returns its standard output."""
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.environment | more,
            input=None if given is None else given.encode(),
            capture_output=True,
            check=False,
        )
        (self.folder / "said" / f"{label} stdout").write_bytes(done.stdout)
        (self.folder / "said" / f"{label} stderr").write_bytes(done.stderr)
        self.codes[label] = done.returncode
        return done.stdout.decode()

    def fleetcast(self, label: str, *command: str, **more: str) -> None:
        self.run(label, "-m", "flows.cli", *command, **more)

    def said(self, label: str) -> str:
        return "".join(
            (self.folder / "said" / f"{label} {where}").read_text()
            for where in ("stdout", "stderr")
        )

    def places(self) -> dict[str, bytes]:
        """All that is there to be read."""
        found = dict(searched.files(self.folder))
        found |= searched.live_database(self.folder / "prefect" / "prefect.db")
        found |= searched.told_by_prefect(self.api.url, SECRETS["PREFECT_API_AUTH_STRING"])
        found["the sink's database"] = self.postgres.run("pg_dump", "market").encode()
        for place, (_, headers, body) in enumerate(self.world.hooked):
            found[f"message {place}"] = headers.encode() + b"\n" + body
        return found


def quoted(text: str) -> str:
    return text.replace("'", "''")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("planted")
    for name in ("said", "home", "tmp"):
        (folder / name).mkdir()
    sessions = calendar("XNYS").sessions(date(2019, 1, 2), date(2019, 12, 31))
    with ExitStack() as stack:
        world = stack.enter_context(World([*sessions.tolist()]))
        postgres = stack.enter_context(private_postgres())
        right = quoted(SECRETS["FLEETCAST_PUBLISH_SQL_PASSWORD"])
        postgres.execute(f"CREATE ROLE publisher LOGIN PASSWORD '{right}'")
        postgres.execute("CREATE DATABASE market OWNER publisher")
        api = Api(free_port())
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT_", "TF_", "AWS_", "FLEETCAST_"))
        }
        variables = {
            **inherited,
            **environment(world.address, world.hook),
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": api.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.2",
            "DO_NOT_TRACK": "1",
        }
        one = Stage(folder, api, world, postgres, variables)
        database = f"sqlite+aiosqlite:///{folder}/prefect/prefect.db"
        (folder / "prefect").mkdir()
        log = stack.enter_context((folder / "said" / "the server").open("wb"))
        server = subprocess.Popen(
            [*(sys.executable, "-m", "prefect", "server", "start"), "--port", str(api.port)],
            cwd=folder,
            env=variables | {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        stack.callback(server.wait)
        stack.callback(server.terminate)
        end = time.monotonic() + 300
        while api.answers() != 200:
            assert server.poll() is None, (folder / "said" / "the server").read_text()
            assert time.monotonic() < end
            time.sleep(0.2)
        yield one


@pytest.fixture(scope="module")
def nights(stage: Stage) -> Stage:
    """Nights that succeed and nights that fail, with all that a person does around them."""
    world = stage.world
    world.kind = world.blocks = True
    stage.configure()
    stage.fleetcast("good", "nightly", "--format", "json")
    stage.configure(**BLOCKS)
    blocks = {
        "tiingo": SECRETS["tiingo in a block"],
        "sink": SECRETS["FLEETCAST_PUBLISH_SQL_PASSWORD"],
        "signing": SECRETS["FLEETCAST_WEBHOOK_KEY"],
        "hook": world.block_hook,
        "wrong": SECRETS["sink password in a block"],
    }
    stage.run("blocks", "-c", MAKE_BLOCKS, given=json.dumps(blocks))
    empty = dict.fromkeys(("TIINGO_API_KEY", "FLEETCAST_WEBHOOK_URL"), "")
    stage.fleetcast("from blocks", "nightly", "--as-of", "2019-12-20", "--debug", **empty)
    stage.fleetcast("doctor", "doctor", "--format", "json")
    stage.fleetcast("plan", "plan", "--format", "json")

    world.kind = False
    wrong = {**BLOCKS, "password": 'password_block = "wrong"'}
    stage.configure(**{**wrong, "folder": "s3://denied/desk"})
    failing = ("--format", "json", "--debug")
    stage.fleetcast("all fails", "nightly", "--as-of", "2019-12-19", *failing)
    stage.fleetcast("a night without data", "nightly", "--store", "fresh", "--debug")
    url = f"http://me:{quote_plus(SECRETS['PREFECT_API_KEY'])}@127.0.0.1:1/api"
    stage.fleetcast("no Prefect", "nightly", "--debug", PREFECT_API_URL=url)
    wrong_auth = SECRETS["PREFECT_API_AUTH_STRING"] + "x"
    stage.fleetcast("wrong auth", "nightly", "--debug", PREFECT_API_AUTH_STRING=wrong_auth)
    stage.configure()
    return stage


@pytest.fixture(scope="module")
def refusals(stage: Stage) -> str:
    """What is said, on standard output, by commands that fail without Prefect."""
    stage.world.kind = stage.world.blocks = False
    commands = list(refused(stage))
    told = stage.run("refused", "-c", SEVERAL, given=json.dumps(commands))
    stage.configure()
    assert told.count("begun: ") == len(commands)
    return told


def refused(stage: Stage) -> Iterator[tuple[str, str, list[str]]]:
    """Commands that take no Prefect, as they are and with --debug: label, configuration, words."""
    world = stage.world
    commands = [("due", stage.text(**BAD, port="1"), ["publish", "--format", "json"])]
    commands += [("due, with a database", stage.text(**BAD), ["publish"])]
    commands += [("a bucket", stage.text(), ["nightly", "--store", "s3://denied/store"])]
    commands += [("tables", stage.text(port="1"), ["publish", "--migrate"])]
    for source in ("tiingo", "alphavantage"):
        for label, base in (
            ("a source", f"http://{world.address}"),
            ("a proxy", "http://p.example"),
        ):
            words = ["ingest", "--store", f"of {source} {label}"]
            commands += [(f"{label} {source}", stage.text(source=source, base=base), words)]
    database = f"postgresql+psycopg://publisher@127.0.0.1:{stage.postgres.port}/market"
    source = f'[source]\nname = "sql"\ntable = "x"\nurl = "{database}"\n'
    commands += [("a database", source, ["ingest", "--store", "other"])]
    written = SECRETS["password written into the configuration"]
    for label, lines in {
        "sql": f'[source]\nname = "sql"\ntable = "x"\nurl = "postgresql://me:{written}@db/x"',
        "sql query": f'[source]\nname = "sql"\ntable = "x"\nurl = "mssql://d/x?password={written}"',
        "sql sink": f'[publish.sql]\nurl = "postgresql://me:{written}@db/x"',
        "hook": f'[publish.webhook]\nurl = "{world.hook}"',
        "user of a hook": f'[publish.webhook]\nurl = "https://me:{written}@example.com/x"',
        "query of a hook": f'[publish.webhook]\nurl = "https://example.com/x?token={written}"',
        "a field of its own": f'[publish.sql]\npassword = "{written}"',
        "an option": f'[source.options]\napi_key = "{written}"',
        "base url": f'[source]\nname = "tiingo"\nbase_url = "https://me:{written}@example.com"',
        "path": f'[source]\nname = "files"\npath = "https://example.com/x.csv?token={written}"',
        "store": f'[store]\nurl = "s3://me:{written}@bucket"',
        "api url": f'[prefect]\napi_url = "http://me:{written}@host/api"',
    }.items():
        commands += [(f"written: {label}", lines, ["nightly"])]
    for label, text, words in commands:
        yield label, text, words
        yield f"{label}, debugged", text, [*words, "--debug"]


def test_the_nights_were_what_they_are_meant_to_be(nights: Stage) -> None:
    told = nights.codes
    assert told["good"] == 0, nights.said("good")
    assert told["from blocks"] == 0, nights.said("from blocks")
    assert told["doctor"] == 0, nights.said("doctor")
    assert told["plan"] == 0, nights.said("plan")
    assert [path for path, *_ in nights.world.hooked][:2] == [
        nights.world.hook.partition(nights.world.address)[2],
        nights.world.block_hook.partition(nights.world.address)[2],
    ]
    assert told["all fails"] == 3, nights.said("all fails")
    for word in ("the source gave nothing", "authentication failed", "answered 500"):
        assert word in nights.said("all fails")
    assert "publish.folder.url" in nights.said("all fails")
    assert told["a night without data"] == 1, nights.said("a night without data")
    assert {told["no Prefect"], told["wrong auth"]} == {1}


def test_what_fails_without_prefect_tells_no_secret(stage: Stage, refusals: str) -> None:
    assert refusals.count("\nended with ") == refusals.count("begun: ")
    assert "ended with 0" not in refusals
    said = stage.said("refused")
    for word in ("onnection refused", "authentication failed", "ACCESS_DENIED", "answers HTTP 407"):
        assert word in said
    assert any(line.startswith("GET http://p.example") for line in stage.world.asked)
    assert any("/s3" in line for line in stage.world.asked)
    assert searched.found(dict(searched.files(stage.folder)), needles()) == {}


def test_no_secret_is_anywhere(nights: Stage, refusals: str) -> None:
    del refusals
    time.sleep(3)  # logs and events are sent in batches
    places = nights.places()
    assert len(places) > 100
    assert searched.found(places, needles()) == {}


def test_the_search_finds_what_is_leaked(stage: Stage) -> None:
    """Every kind of place is searched, and every form is known."""
    before = searched.found(stage.places(), {"canary": CANARY})
    assert before == {}
    assert stage.run("leak", "-c", LEAK, CANARY) is not None
    row = run_row(run_id="leak", message=CANARY)
    stage.store.commit_facts("runs", rows_table("runs", [row]), now=NOW)
    stage.store.write_file("latest/report.html", f"<p>{CANARY}</p>".encode())
    stage.postgres.run("psql", "market", "-c", f"CREATE TABLE leak AS SELECT '{CANARY}' AS told")
    end = time.monotonic() + 60
    wanted = {
        "api flow_runs",
        "api task_runs",
        "api logs",
        "api artifacts",
        "api events",
        "prefect.db flow_run.parameters",
        "prefect.db flow_run.name",
        "prefect.db task_run_state.message",
        "prefect.db flow_run_state.message",
        "prefect.db log.message",
        "prefect.db artifact.data",
        "prefect.db events.payload",
        "said/leak stdout",
        "said/leak stderr",
        "store/latest/report.html",
        "the sink's database",
    }
    while True:
        found = searched.found(stage.places(), {"canary": CANARY}).get("canary", set())
        if wanted <= found or time.monotonic() > end:
            break
        time.sleep(1)
    assert wanted <= found, wanted - found
    assert any(one.startswith("store/runs/") and one.endswith("(decoded)") for one in found)
    assert any(one.startswith("prefect/prefect.db") for one in found)


@pytest.mark.parametrize("secret", sorted(needles()))
def test_every_form_is_found(secret: str) -> None:
    text = needles()[secret]
    written = [text.encode(), quote(text, safe="").encode(), quote_plus(text).encode()]
    written += [b64encode(text.encode()), urlsafe_b64encode(text.encode())]
    written += [b64encode(f"{before}:{text}:x".encode()) for before in ("", "a", "ab", "abc")]
    for one in written:
        assert any(form in b"<" + one + b">" for form in forms(text)), one
