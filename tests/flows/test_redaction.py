from __future__ import annotations

import base64
import json
import logging
import traceback
from collections import UserDict
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest

from flows import redaction
from flows.failures import Refused
from flows.redaction import has_credentials, keep_out, masked, masking, without_secrets
from tasks.sources import SourceError

SECRET = "correct/horse+battery staple"  # noqa: S105 - nobody's


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_given", set())


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("s3://key:hunter2@bucket/x", "s3://***@bucket/x"),
        ("can't reach https://me:hunter2@host:4200/api.", "can't reach https://***@host:4200/api."),
        ("get 'https://host/bars?apikey=hunter2&x=1' failed", "get 'https://host/bars?***' failed"),
        ("two: http://a:b@c and http://d:e@f", "two: http://***@c and http://***@f"),
        ("write to me@example.com, 3 rows?", "write to me@example.com, 3 rows?"),
        ("s3://bucket/store", "s3://bucket/store"),
    ],
)
def test_users_and_queries_of_urls_are_masked(text: str, masked: str) -> None:
    assert without_secrets(text) == masked


@pytest.mark.parametrize(
    ("url", "has"),
    [
        ("s3://a:b@bucket", True),
        ("s3://bucket?secret=1", True),
        ("s3://bucket/store", False),
        ("store", False),
        ("what?", False),
        ("me@work/store", False),
    ],
)
def test_credentials_are_found_in_urls_only(url: str, has: bool) -> None:
    assert has_credentials(url) is has


@pytest.mark.parametrize(
    "variable",
    [
        "TIINGO_API_KEY",
        "PREFECT_API_KEY",
        "FLEETCAST_SQL_PASSWORD",
        "FLEETCAST_PUBLISH_SQL_PASSWORD",
        "FLEETCAST_OWNER_SQL_PASSWORD",
        "FLEETCAST_WEBHOOK_KEY",
        "PREFECT_API_AUTH_STRING",
        "PREFECT_SERVER_API_AUTH_STRING",
        "PREFECT_SERVER_DATABASE_PASSWORD",
        "POSTGRES_PASSWORD",
        "PGPASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ],
)
def test_what_the_environment_holds_is_masked_however_it_is_written(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"admin:{SECRET}" if "AUTH" in variable else SECRET)
    for form in (SECRET, quote(SECRET), quote(SECRET, safe=""), quote_plus(SECRET)):
        assert without_secrets(f"<{form}>") == "<***>"
    for pair in (SECRET, f"admin:{SECRET}"):
        coded = base64.b64encode(pair.encode()).decode()
        if "AUTH" in variable or pair == SECRET:
            assert coded not in without_secrets(f"Basic {coded}")
    monkeypatch.setenv(variable, 'a"quoted\\one')
    assert without_secrets(json.dumps({"told": 'a"quoted\\one'})) == '{"told": "***"}'


def test_of_an_address_the_password_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:p%40ss-word@proxy:3128")
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql://prefect:w0rd@db/x")
    assert without_secrets("p%40ss-word p@ss-word me:p@ss-word") == "*** *** ***"
    assert without_secrets("said prefect@db: no w0rd") == "said prefect@db: no ***"
    monkeypatch.setenv("HTTPS_PROXY", "me:passed@proxy:3128")
    assert without_secrets("passed by proxy") == "*** by proxy"
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert without_secrets("localhost") == "localhost"
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert without_secrets("no way to http://proxy:3128/") == "no way to http://proxy:3128/"


def test_a_password_that_looks_like_an_address_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETCAST_SQL_PASSWORD", "kw://9f-Zq")
    assert without_secrets("said: kw://9f-Zq is wrong") == "said: *** is wrong"


def test_an_address_ends_where_the_next_one_begins() -> None:
    told = '{"a":"http://host:4200/api","b":"s3://me:a/b@bucket/x?key=1","c":"http://host:80/y"}'
    assert without_secrets(told) == (
        '{"a":"http://host:4200/api","b":"s3://***@bucket/x?***","c":"http://host:80/y"}'
    )
    many = told[1:-1] * 2_000
    assert without_secrets(many).count("s3://***@bucket/x?***") == 2_000


def test_a_variable_that_another_thread_takes_out_meanwhile_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Hasty(UserDict[str, str]):
        def __iter__(self) -> Iterator[str]:
            return iter(["GONE_PASSWORD", *self.data])

    monkeypatch.setattr("os.environ", Hasty(FLEETCAST_SQL_PASSWORD=SECRET))
    assert without_secrets(SECRET) == "***"


def test_of_a_hook_the_path_and_the_token_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "FLEETCAST_WEBHOOK_URL", "https://hooks.example/services/T0/aToken0123456789"
    )
    told = "POST /services/T0/aToken0123456789, aToken0123456789 of https://hooks.example/services"
    assert without_secrets(told) == "POST ***, *** of https://hooks.example/services"


def test_a_secret_that_was_cut_off_is_masked() -> None:
    keep_out(SECRET)
    assert without_secrets(f"it said '{SECRET[:15]}'") == "it said '***'"
    assert without_secrets("correct/horse is fine") == "*** is fine"
    assert without_secrets("correct/hors is fine") == "*** is fine"
    assert without_secrets("correct/hor is fine") == "correct/hor is fine"


class OddError(Exception):
    """Can't be made from a text."""

    def __init__(self, code: int, *, told: str) -> None:
        super().__init__(code, told)

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SourceError(f"it said {SECRET}"), SourceError),
        (Refused(f"it said {SECRET}"), Refused),
        (OSError(5, f"it said {SECRET}"), OSError),
        (OddError(5, told=f"it said {SECRET}"), RuntimeError),
    ],
)
def test_an_error_that_leaves_has_no_secret_and_keeps_its_kind(
    error: Exception, kind: type[Exception]
) -> None:
    keep_out(SECRET)

    @masking
    def failing() -> None:
        try:
            raise ValueError(SECRET)
        except ValueError:
            raise error  # noqa: B904 - as careless libraries do

    with pytest.raises(kind, match="it said") as caught:
        failing()
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "failing" in "".join(traceback.format_exception(caught.value))


def test_an_error_without_a_secret_stays_as_it_is() -> None:
    error = SourceError("nothing there")
    with pytest.raises(SourceError) as caught, masked():
        raise error from ValueError("why")
    assert caught.value is error
    assert isinstance(error.__cause__, ValueError)


def test_nothing_logged_has_a_secret(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "_logRecordFactory", logging.LogRecord)
    log = logging.getLogger("somebody.else")
    log.warning("before %s", SECRET)
    assert SECRET in caplog.text, "or this test could not fail"
    caplog.clear()
    keep_out(SECRET)
    with masked():
        log.warning("sent %s to %d", SECRET, 5)
    try:
        raise ValueError(SECRET)
    except ValueError:
        log.exception("failed")
    assert "sent *** to 5" in caplog.text
    assert "ValueError: ***" in caplog.text
    assert SECRET not in caplog.text
