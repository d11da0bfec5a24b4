"""The client against a real server: what is tried again, what is not, and when it gives up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tasks.sources import SourceError, answers
from tasks.sources.answers import (
    Answer,
    ProviderError,
    RequestError,
    UnansweredError,
    as_csv,
    as_json,
)
from tasks.sources.http import LARGEST, Client
from tasks.sources.rate_limit import Clock, Rate
from tests.tasks.sources.provider_server import FakeClock, ProviderServer, Reply

GOOD = Reply("[1, 2]")


def client(
    server: ProviderServer,
    time: FakeClock,
    *,
    attempts: int = 3,
    timeout_seconds: float = 5.0,
    largest: int = LARGEST,
) -> Client:
    return Client(
        "acme",
        server.url,
        rate=Rate(1000, 1.0),
        timeout_seconds=timeout_seconds,
        attempts=attempts,
        clock=Clock(time.now, time.sleep),
        largest=largest,
    )


def get(
    server: ProviderServer,
    time: FakeClock,
    read: Callable[[Answer], object] = as_json,
    *,
    attempts: int = 3,
    timeout_seconds: float = 5.0,
) -> object:
    with client(server, time, attempts=attempts, timeout_seconds=timeout_seconds) as opened:
        return opened.get("rows", {"from": "2024-01-02"}, read)


def test_an_answer_is_read_at_once(server: ProviderServer, time: FakeClock) -> None:
    server.replies(GOOD)
    assert get(server, time) == [1, 2]
    assert [(one.path, one.query) for one in server.asked] == [("/rows", {"from": "2024-01-02"})]
    assert time.slept == []


@pytest.mark.parametrize(
    "bad",
    [
        Reply("down", status=500),
        Reply("down", status=503),
        Reply("", status=429),
        Reply("", status=408),
        Reply("[1, 2]", missing=1),
        Reply("[1, ", measured=False),
        Reply("<html>busy</html>"),
        Reply(""),
        Reply(b"no gzip", headers={"Content-Encoding": "gzip"}),
        Reply(hangs_up=True),
    ],
    ids=lambda bad: f"{bad.status} {bad.body!r}",
)
def test_what_may_pass_is_tried_again(server: ProviderServer, time: FakeClock, bad: Reply) -> None:
    server.replies(bad, bad, GOOD)
    assert get(server, time) == [1, 2]
    assert len(server.asked) == 3
    assert len(time.slept) == 2


@pytest.mark.parametrize("bad", [Reply(silent=True), Reply("[1, 2]", trickle=0.15)])
def test_an_answer_that_takes_too_long_is_tried_again(
    server: ProviderServer, time: FakeClock, bad: Reply
) -> None:
    server.replies(bad, GOOD)
    assert get(server, time, timeout_seconds=0.2, attempts=10) == [1, 2]


@pytest.mark.parametrize(
    ("slow", "told"),
    [
        (Reply(silent=True), "no answer within 0.1 s"),
        (Reply("[1, 2]" * 50, trickle=0.03), "more than 0.4 s|no answer within 0.1 s"),
        (
            Reply("[1, 2]" * 50, trickle=0.03, measured=False),
            "more than 0.4 s|no answer within 0.1 s",
        ),
        (Reply(trickle_headers=0.03), "more than 0.4 s|no answer within 0.1 s"),
    ],
)
def test_no_server_can_hold_a_request_for_ever(
    server: ProviderServer, time: FakeClock, slow: Reply, told: str
) -> None:
    server.replies(slow)
    with pytest.raises(UnansweredError, match=rf"(?:{told}).* \(1 try\)"):
        get(server, time, timeout_seconds=0.1, attempts=1)


@pytest.mark.parametrize("status", [400, 404, 410, 422])
def test_a_no_to_this_request_is_not_asked_again(
    server: ProviderServer, time: FakeClock, status: int
) -> None:
    server.replies(Reply('{"detail": "Not found."}', status=status))
    with pytest.raises(RequestError, match=f"HTTP {status}.*Not found") as error:
        get(server, time)
    assert not isinstance(error.value, (ProviderError, UnansweredError))
    assert (len(server.asked), time.slept) == (1, [])


@pytest.mark.parametrize("status", [401, 402, 403, 418, 451])
def test_a_no_to_every_request_closes_the_provider(
    server: ProviderServer, time: FakeClock, status: int
) -> None:
    server.replies(Reply("who are you?", status=status))
    with client(server, time) as opened:
        for _ in range(2):
            with pytest.raises(ProviderError, match=f"HTTP {status}.*who are you"):
                opened.get("rows", {}, as_json)
        assert (len(server.asked), time.slept) == (1, [])
        time.seconds += 601
        server.replies(GOOD)
        assert opened.get("rows", {}, as_json) == [1, 2]


def test_the_pauses_grow_and_differ(server: ProviderServer, time: FakeClock) -> None:
    server.replies(Reply(status=500))
    with pytest.raises(UnansweredError, match="6 tries"):
        get(server, time, attempts=6)
    assert [int(pause) for pause in time.slept] == [1, 2, 4, 8, 16]
    assert len({pause % 1 for pause in time.slept}) == 5


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed(server: ProviderServer, time: FakeClock, status: int) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    server.replies(
        Reply(status=status, headers={"Retry-After": "40"}),
        Reply(status=status, headers={"Retry-After": date}),
        GOOD,
    )
    assert get(server, time) == [1, 2]
    assert time.slept[0] == 40
    assert 90 < time.slept[1] <= 100


@pytest.mark.parametrize("text", ["soon", "-5", "²", "Thu, 99 Foo 2024 00:00:00 GMT", "1e3"])
def test_a_strange_retry_after_is_passed_over(
    server: ProviderServer, time: FakeClock, text: str
) -> None:
    server.replies(
        Reply(status=429, headers={"Retry-After": text.encode().decode("latin-1")}), GOOD
    )
    assert get(server, time) == [1, 2]
    assert time.slept[0] <= 2


def test_a_long_pause_is_not_waited_for(server: ProviderServer, time: FakeClock) -> None:
    server.replies(Reply("slow down", status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(ProviderError, match="asks for a pause of 3600 s"):
        get(server, time)
    assert (len(server.asked), time.slept) == (1, [])


def test_a_limit_that_stays_is_a_limit_for_all(server: ProviderServer, time: FakeClock) -> None:
    server.replies(Reply("slow down", status=429))
    with pytest.raises(ProviderError, match=r"HTTP 429.*slow down.*\(3 tries\)"):
        get(server, time)


def test_a_server_that_is_not_there_is_down_for_all(
    time: FakeClock, server: ProviderServer
) -> None:
    server.die()
    with pytest.raises(ProviderError, match="no connection to http://127.0.0.1"):
        get(server, time)
    assert len(time.slept) == 2


def test_three_requests_without_an_answer_mean_that_the_provider_is_down(
    server: ProviderServer, time: FakeClock
) -> None:
    server.replies(Reply(status=500))
    with client(server, time) as opened:
        for kind in (UnansweredError, UnansweredError, ProviderError):
            with pytest.raises(RequestError) as error:
                opened.get("rows", {}, as_json)
            assert type(error.value) is kind
    assert "3 requests in a row" in str(error.value)


def test_an_answer_between_shows_that_the_provider_is_up(
    server: ProviderServer, time: FakeClock
) -> None:
    bad, no = Reply(status=500), Reply(status=404)
    server.replies(bad, bad, no, bad, bad, GOOD, bad)
    told: list[object] = []
    with client(server, time, attempts=1) as opened:
        for _ in range(9):
            try:
                opened.get("rows", {}, as_json)
                told.append(None)
            except RequestError as error:
                told.append(type(error))
    silent = [UnansweredError] * 2
    assert told == [*silent, RequestError, *silent, None, *silent, ProviderError]


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream", "text/csv; charset=x"])
def test_the_content_type_does_not_matter(
    server: ProviderServer, time: FakeClock, kind: str
) -> None:
    server.replies(Reply("[1, 2]", headers={"Content-Type": kind}))
    assert get(server, time) == [1, 2]


def test_a_zipped_answer_is_unpacked(server: ProviderServer, time: FakeClock) -> None:
    server.replies(Reply("[1, 2]", zipped=True))
    assert get(server, time) == [1, 2]


@pytest.mark.parametrize("zipped", [False, True])
def test_an_endless_answer_is_not_kept(
    server: ProviderServer, time: FakeClock, zipped: bool
) -> None:
    server.replies(Reply(b" " * (2 << 20), zipped=zipped))
    with (
        client(server, time, largest=1 << 20) as opened,
        pytest.raises(RequestError, match="larger than 1 MiB"),
    ):
        opened.get("rows", {}, as_json)
    assert len(server.asked) == 1


def test_a_redirect_is_followed(server: ProviderServer, time: FakeClock) -> None:
    server.replies(Reply(status=302, headers={"Location": "/there"}), GOOD)
    assert get(server, time) == [1, 2]
    assert [one.path for one in server.asked] == ["/rows", "/there"]


@pytest.mark.parametrize("place", ["/again", "ftp://example.com/x", "http://[bad", ""])
def test_a_redirect_to_nowhere_is_told(server: ProviderServer, time: FakeClock, place: str) -> None:
    server.replies(Reply(status=302, headers={"Location": place}))
    with pytest.raises(RequestError):
        get(server, time)
    assert len(server.asked) <= 6


def test_a_cut_csv_is_not_taken_for_a_whole_one(server: ProviderServer, time: FakeClock) -> None:
    cut, whole = "Date,Close\n2024-01-02,18", "Date,Close\n2024-01-02,187.15\n"
    server.replies(Reply(cut, measured=False), Reply("<html>"), Reply(whole, measured=False))
    assert get(server, time, as_csv) == whole
    server.replies(Reply(cut))  # its length is told, and so it is whole
    assert get(server, time, as_csv) == cut


@pytest.mark.parametrize("body", [b"[" * 100_000, b"\xff\xfe\x00", b"1" * 10_000, b"{", b"nul"])
def test_no_bytes_break_the_reading_of_json(body: bytes) -> None:
    with pytest.raises(answers.TryAgainError, match="expected JSON"):
        as_json(Answer(body, measured=True))


def test_a_page_is_told_by_its_title(server: ProviderServer, time: FakeClock) -> None:
    page = "<html><head><title>Error\n 404</title><body>" + "x" * 10_000
    server.replies(Reply(page, status=404))
    with pytest.raises(RequestError, match=r"answers HTTP 404: 'Error 404'$"):
        get(server, time)


@pytest.mark.parametrize("address", ["", "example.com", "ftp://example.com", "http://"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(SourceError, match="base_url of source 'acme'"):
        Client("acme", address, rate=Rate(1, 1), timeout_seconds=1, attempts=1)
