"""A key goes to its provider, and nowhere else: not into an error, a log, a repr or a row."""

from __future__ import annotations

import logging
import pickle
import traceback
from contextlib import nullcontext
from dataclasses import dataclass
from urllib.parse import quote_plus

import pytest

from flows.config import check
from flows.config_errors import ConfigError
from tasks.sources import Fetched, Source, SourceConfig, SourceError
from tasks.sources.alphavantage import open_alphavantage
from tasks.sources.http import Key
from tasks.sources.rate_limit import Clock
from tasks.sources.tiingo import open_tiingo
from tests.tasks.sources.provider_server import Asked, FakeClock, ProviderServer, Reply

KEY = "s3cret+/key=&%41"
FORMS = (KEY, quote_plus(KEY), "s3cret")


@dataclass(frozen=True)
class Keyed:
    name: str
    variable: str


TIINGO = Keyed("tiingo", "TIINGO_API_KEY")
ALPHAVANTAGE = Keyed("alphavantage", "ALPHAVANTAGE_API_KEY")


def open_keyed(keyed: Keyed, address: str, time: FakeClock) -> Source:
    config = SourceConfig(name=keyed.name, base_url=address, attempts=2, timeout_seconds=2)
    opened = {"tiingo": open_tiingo, "alphavantage": open_alphavantage}[keyed.name]
    return opened(config, Clock(time.now, time.sleep))


@pytest.fixture(params=[TIINGO, ALPHAVANTAGE], ids=lambda keyed: keyed.name)
def keyed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Keyed:
    monkeypatch.setenv(request.param.variable, KEY)
    found: Keyed = request.param
    return found


def sent(asked: Asked) -> str | None:
    return asked.query.get("apikey", asked.headers.get("Authorization"))


def echo(asked: Asked, status: int) -> Reply:
    """An answer that holds everything that was asked, as careless servers do."""
    return Reply(f"{asked.path} {dict(asked.query)} {dict(asked.headers)}", status=status)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 429, 500])
def test_no_answer_makes_a_key_known(
    server: ProviderServer,
    time: FakeClock,
    keyed: Keyed,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.answer = lambda asked: echo(asked, status)
    source = open_keyed(keyed, server.url, time)
    with caplog.at_level(logging.DEBUG):
        try:
            told = repr(source.fetch(["AAPL", "MSFT"]).problems)
        except SourceError as error:
            told = "".join(traceback.format_exception(error))
    assert server.asked
    assert sent(server.asked[0]) in {KEY, f"Token {KEY}"}
    assert "HTTP" in caplog.text or "http" in caplog.text
    for text in (told, repr(source), str(source), caplog.text):
        assert not [form for form in FORMS if form in text]


@pytest.mark.parametrize("status", [200, 404, 401])
@pytest.mark.parametrize("before", [180, 190, 198])  # an excerpt has 200 letters
def test_no_part_of_a_key_is_shown(
    server: ProviderServer, time: FakeClock, keyed: Keyed, status: int, before: int
) -> None:
    server.replies(Reply("x" * before + KEY, status=status))
    source = open_keyed(keyed, server.url, time)
    with pytest.raises(SourceError) if status != 404 else nullcontext() as caught:
        problems = source.fetch(["AAPL"]).problems
    told = str(problems if caught is None else caught.value)
    assert "xxx" in told
    assert "s3" not in told


def test_nothing_behind_an_error_holds_a_key(
    server: ProviderServer, time: FakeClock, keyed: Keyed
) -> None:
    server.die()
    with pytest.raises(SourceError) as caught:
        open_keyed(keyed, server.url, time).fetch(["AAPL"])
    chain: list[BaseException] = [caught.value]
    while (before := chain[-1].__context__) is not None:
        chain.append(before)
    for error in chain:
        assert "s3cret" not in str(error)
        assert b"s3cret" not in pickle.dumps(vars(error))


def test_a_redirect_to_another_server_does_not_bring_it_the_key(
    server: ProviderServer, time: FakeClock, keyed: Keyed
) -> None:
    with ProviderServer() as other:
        server.replies(Reply(status=302, headers={"Location": f"{other.url}/rows"}))
        other.replies(Reply("[]"))
        try:
            open_keyed(keyed, server.url, time).fetch(["AAPL"])
        except SourceError:
            assert keyed is ALPHAVANTAGE  # which answers no list
        assert other.asked
        assert sent(other.asked[0]) is None
        assert "s3cret" not in str(other.asked[0])


def test_what_came_does_not_hold_the_key(
    server: ProviderServer, time: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TIINGO.variable, KEY)
    server.replies(Reply('[{"date": "2024-01-02T00:00:00.000Z", "close": 185.64}]'))
    fetched: Fetched = open_keyed(TIINGO, server.url, time).fetch(["AAPL"])
    assert fetched.bars.num_rows == 1
    assert "s3cret" not in f"{fetched}{fetched.original.to_pylist()}{fetched.provenance}"


def test_a_password_in_an_address_is_not_shown(
    server: ProviderServer, time: FakeClock, keyed: Keyed, caplog: pytest.LogCaptureFixture
) -> None:
    address = server.url.replace("//", "//me:hunter2@")
    with pytest.raises(ConfigError, match="holds a user or password") as refused:
        check({"source": {"name": keyed.name, "base_url": address}}, "test")
    assert "hunter2" not in str(refused.value)
    server.replies(Reply(f"nothing at {address}/x", status=404))
    source = open_keyed(keyed, server.url, time)
    with caplog.at_level(logging.DEBUG):
        fetched = source.fetch(["AAPL"])
    assert fetched.problems
    for text in (repr(fetched), repr(source.client), caplog.text):  # type: ignore[attr-defined]
        assert "hunter2" not in text


def test_without_a_key_nothing_is_asked(
    server: ProviderServer, time: FakeClock, keyed: Keyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(keyed.variable)
    with pytest.raises(SourceError, match=keyed.variable):
        open_keyed(keyed, server.url, time)
    assert server.asked == []


def test_a_key_is_hidden_however_it_is_written() -> None:
    key = Key(KEY, parameter="apikey")
    assert KEY not in repr(key)
    assert key.hide(f"a {KEY} b {quote_plus(KEY)} c") == "a *** b *** c"
