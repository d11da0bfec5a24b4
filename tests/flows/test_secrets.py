"""A key in a real Prefect's Secret block: it reaches the source, and nobody else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from flows import doctor, plan_command, redaction
from flows.cli import app
from flows.config import PublishConfig, check
from flows.config_errors import ConfigError
from flows.failures import Refused
from flows.prefect_server import LocalServer
from flows.redaction import keep_out, without_secrets
from flows.secrets import key_of, no_key_needed, of_blocks, refuse_missing
from tasks.actions import PriceBasis
from tasks.sinks.config import OWNER_PASSWORD, SQL_PASSWORD, WEBHOOK_KEY, WEBHOOK_URL
from tasks.sinks.webhook import WebhookSink
from tasks.sources import Fetched, SourceConfig, SourceError
from tasks.sources.keys import api_key
from tasks.sources.protocol import BARS

pytestmark = pytest.mark.filterwarnings("ignore")  # Prefect's and its libraries' own

KEY = "0123/hunter2+="
VARIABLE = "SPY_API_KEY"
CONFIG = SourceConfig(name="spy", key_block="spy-key")


@dataclass(frozen=True)
class Spy:
    """A source that says too much of its key where it is told to."""

    leaks: bool
    name: str = "spy"
    price_basis: PriceBasis = "raw"
    lag: timedelta = timedelta(0)
    archive: bool = True
    incremental: bool = False
    batch_size: int | None = None

    def instruments(self) -> tuple[str, ...]:
        return ("A",)

    def fetch(self, *_: object) -> Fetched:
        key = api_key(CONFIG, VARIABLE)
        assert key == KEY
        if self.leaks:
            raise SourceError(f"https://spy.example/bars?token={key} said no to {key}")
        row = {"instrument": "A", "session": date(2024, 1, 2), "close": 1.0}
        bars = pa.Table.from_pylist([row], schema=BARS)
        return Fetched(bars=bars, original=pa.table({"day": ["2024-01-02"]}))


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server that holds a good block, and two that are none."""
    from prefect.blocks.system import Secret
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    home = tmp_path_factory.mktemp("prefect")
    with LocalServer(home) as server:
        server.wait()
        with temporary_settings({PREFECT_API_URL: server.api_url, PREFECT_HOME: home}):
            Secret(value=f" {KEY}\n").save("spy-key")
            Secret(value="12345678").save("digits")
            Secret(value={"user": "hunter2"}).save("two-things")
            yield server


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(redaction, "_given", set())


def test_the_key_is_there_while_the_source_is_read_and_masked_for_ever(
    prefect: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    del prefect
    for before in (None, "another"):
        if before is not None:
            monkeypatch.setenv(VARIABLE, before)
        with key_of(CONFIG):
            assert os.environ[VARIABLE] == KEY
            assert without_secrets(str(before)) == ("None" if before is None else "***")
        assert os.environ.get(VARIABLE) == before
    assert without_secrets(f"said no to {KEY}, 0123%2Fhunter2%2B%3D") == "said no to ***, ***"


def test_a_key_of_digits_stays_text(prefect: LocalServer) -> None:
    del prefect
    with key_of(SourceConfig(name="spy", key_block="digits")):
        assert os.environ[VARIABLE] == "12345678"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("none-such", "no Prefect Secret block 'none-such'"),
        ("two-things", "expected a text, recei"),
    ],
)
def test_what_is_no_key_is_told(prefect: LocalServer, block: str, message: str) -> None:
    del prefect
    with (
        pytest.raises(SourceError, match=message) as caught,
        key_of(SourceConfig(name="spy", key_block=block)),
    ):
        pass
    assert "hunter2" not in str(caught.value)


def test_without_a_block_prefect_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with key_of(SourceConfig(name="spy")), no_key_needed(SourceConfig(name="spy")):
        assert VARIABLE not in os.environ


def test_a_source_can_be_opened_before_its_key_is_there() -> None:
    with no_key_needed(CONFIG):
        assert api_key(CONFIG, VARIABLE)
    assert VARIABLE not in os.environ


def test_keys_in_the_environment_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIINGO_API_KEY", "hunter2")
    monkeypatch.setenv("FLEETCAST_SQL_PASSWORD", "hunter2hunter2")
    assert without_secrets("hunter2hunter2 and hunter2") == "*** and ***"
    keep_out("abc")  # too short to be told from a part of a word
    assert without_secrets("abcdef") == "abcdef"


def test_fleetcast_ingest_loads_the_key_and_writes_it_nowhere(
    prefect: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", prefect.api_url)
    monkeypatch.syspath_prepend(str(tmp_path))
    installed = tmp_path / "spy-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: spy\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(f"[fleetcast.sources]\nspy = {__name__}:Spy\n")
    Path("fleetcast.toml").write_text('[source]\nname = "spy"\nkey_block = "spy-key"\n')

    def ingest(*, leaks: bool) -> Result:
        monkeypatch.setattr("flows.steps.open_source", lambda _: Spy(leaks))
        return CliRunner().invoke(app, ["ingest", "--format", "json"])

    masked = "https://spy.example/bars?*** said no to ***"
    refused, done, told = ingest(leaks=True), ingest(leaks=False), ingest(leaks=True)
    assert refused.exit_code == 2
    assert masked in refused.output
    assert json.loads(done.stdout)["new"] == 1
    assert masked in json.loads(told.stdout)["problems"][0]  # earlier bars are used
    assert VARIABLE not in os.environ
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 1
    outputs = [answer.output.encode() for answer in (refused, done, told)]
    for found in (*outputs, *(path.read_bytes() for path in written)):
        assert b"hunter2" not in found


WEBHOOK = "https://hooks.example/services/T0/aToken0123456789"
SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def publishing(**sections: dict[str, object]) -> PublishConfig:
    return check({"publish": sections}, "test").publish


@pytest.fixture
def no_sink_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (SQL_PASSWORD, OWNER_PASSWORD, WEBHOOK_KEY, WEBHOOK_URL):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_sink_secrets")
def test_the_secrets_of_sinks_are_there_while_they_are_used(prefect: LocalServer) -> None:
    from prefect.blocks.system import Secret

    del prefect
    for name, value in {"db": KEY, "hook": WEBHOOK, "signing": SIGNING}.items():
        Secret(value=value).save(name, overwrite=True)
    publish = publishing(
        sql={"url": "postgresql+psycopg://me@db/x", "password_block": "db"},
        webhook={"url_block": "hook", "key_block": "signing"},
    )
    refuse_missing(publish)
    with of_blocks(publish):
        there = [os.environ[name] for name in (SQL_PASSWORD, WEBHOOK_URL, WEBHOOK_KEY)]
        assert there == [KEY, WEBHOOK, SIGNING]
        assert WebhookSink(publish.webhook).name.startswith("webhook https://hooks.example (")
    assert SQL_PASSWORD not in os.environ
    assert without_secrets(f"no {KEY} at /services/T0/aToken0123456789") == "no *** at ***"
    for block in ("digits", "hook", "none-such"):
        with pytest.raises(Refused, match="publish.webhook|none-such"):
            refuse_missing(publishing(webhook={"url_block": "hook", "key_block": block}))
    with pytest.raises(Refused, match="publish.webhook.*holds none"):
        refuse_missing(publishing(webhook={"url_block": "digits", "key_block": "signing"}))


@pytest.mark.usefixtures("no_sink_secrets")
@pytest.mark.parametrize(
    ("sections", "variable"),
    [
        ({"sql": {"url": "postgresql+psycopg://me@db/x"}}, SQL_PASSWORD),
        ({"sql": {"url": "postgresql+psycopg://me@/x?host=db"}}, SQL_PASSWORD),
        ({"webhook": {"url": "https://hooks.example/x"}}, WEBHOOK_KEY),
        ({"webhook": {"url_variable": "CHAT_WEBHOOK_URL"}}, "CHAT_WEBHOOK_URL"),
    ],
)
def test_a_sink_that_lacks_a_secret_is_refused_at_the_start(
    sections: dict[str, dict[str, object]],
    variable: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match=f"set the environment variable {variable}"):
        refuse_missing(publishing(**sections), look_up=False)
    (tmp_path / "fleetcast.toml").write_text(_toml(sections))
    done = CliRunner().invoke(app, ["nightly", "-c", str(tmp_path / "fleetcast.toml")])
    assert done.exit_code == 2
    assert variable in done.output
    assert not Path("store").exists()


@pytest.mark.usefixtures("no_sink_secrets")
@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"folder": {"url": "desk"}},
        {"sql": {"url": "sqlite:///market.db"}},
        {"sql": {"url": "postgresql+psycopg://me@/x?host=/run/postgresql"}},
        {"sql": {"url": "postgresql+psycopg:///x"}},
    ],
)
def test_what_needs_no_secret_is_not_refused(sections: dict[str, dict[str, object]]) -> None:
    refuse_missing(publishing(**sections))


def test_a_password_set_to_nothing_says_that_none_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish = publishing(sql={"url": "postgresql+psycopg://me@db/x"})
    monkeypatch.delenv(SQL_PASSWORD, raising=False)
    with pytest.raises(Refused):
        refuse_missing(publish)
    monkeypatch.setenv(SQL_PASSWORD, "")
    refuse_missing(publish)


@pytest.mark.usefixtures("no_sink_secrets")
def test_a_key_that_is_none_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEBHOOK_KEY, "hunter2hunter2")
    with pytest.raises(Refused, match=f"{WEBHOOK_KEY} holds no signing key") as caught:
        refuse_missing(publishing(webhook={"url": "https://hooks.example/x"}), look_up=False)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("webhook", "told"),
    [
        ({"url": WEBHOOK}, "seems to have a secret in its path"),
        ({"url": "https://h.example/6f1c2a34-89ab-4cde-8f01-23456789abcd"}, "seems to have"),
        ({"url": "https://h.example/x", "url_block": "hook"}, "url and url_block are both"),
        ({"url_variable": "HOME"}, "publish.webhook.url_variable"),
        ({"url_block": "aToken0123456789aToken"}, "publish.webhook.url_block"),
        ({"link": "https://me:aToken0123456789@h.example"}, "holds a user or password"),
    ],
)
def test_an_address_that_is_a_secret_is_refused_and_not_shown(
    webhook: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        publishing(webhook=webhook)
    assert told in str(caught.value)
    for secret in ("aToken0123456789", "6f1c2a34"):
        assert secret not in str(caught.value)


def test_the_doctor_and_the_plan_know_of_blocks(
    prefect: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", prefect.api_url)
    monkeypatch.delenv("TIINGO_API_KEY", raising=False)
    source: dict[str, object] = {"name": "tiingo", "key_block": "spy-key"}
    config = check({"source": source, "universe": {"instruments": ["A"]}}, "test")
    assert plan_command.find(config, "A", now=datetime.now(UTC)).plans
    told = {one.name: one for one in doctor._prefect(config, doctor._outside(config))}
    assert told["prefect server"].ok
    assert told["source"].ok, told["source"]
    missing = check({"source": {**source, "key_block": "none-such"}}, "test")
    told = {one.name: one for one in doctor._outside(missing)}
    assert not told["source"].ok
    assert "none-such" in told["source"].found
    sinks = check({"publish": {"webhook": {"url": "https://hooks.example/x"}}}, "test")
    monkeypatch.delenv(WEBHOOK_KEY, raising=False)
    assert WEBHOOK_KEY in doctor._sinks(sinks).found
    monkeypatch.setenv(WEBHOOK_KEY, SIGNING)
    assert doctor._sinks(sinks).found == f"{WEBHOOK_KEY} from the environment"


def _toml(sections: dict[str, dict[str, object]]) -> str:
    return "".join(
        f"[publish.{name}]\n" + "".join(f"{key} = {json.dumps(one)}\n" for key, one in keys.items())
        for name, keys in sections.items()
    )
