"""Webhooks to a real web server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging

import pytest

from tasks.sinks.config import WEBHOOK_KEY, WebhookSinkConfig
from tasks.sinks.sink import Edition, RefusedError, SinkError
from tasks.sinks.webhook import WebhookSink, body_of, signed
from tasks.store import Store
from tests.tasks.sinks.nights import Pauses, edition, night
from tests.tasks.sinks.receiver import KEY, Receiver

SECRET = base64.b64decode(KEY.removeprefix("whsec_"))


def sink_for(receiver: Receiver, **fields: object) -> WebhookSink:
    config = WebhookSinkConfig.model_validate({"url": receiver.url, **fields})
    return WebhookSink(config, Pauses(), wall=lambda: 1_700_000_000.9)


def pauses(sink: WebhookSink) -> list[float]:
    assert isinstance(sink.clock, Pauses)
    return sink.clock.waited


def test_the_example_of_the_specification() -> None:
    headers = signed(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_receiver_can_check_who_sent_what_and_when(receiver: Receiver, store: Store) -> None:
    one = edition(store, night(store))
    assert sink_for(receiver, link="https://desk.example/{session}/{run_id}").deliver(one)
    ((headers, body),) = receiver.received
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = hmac.new(SECRET, content, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert headers["webhook-timestamp"] == "1700000000"
    assert headers["idempotency-key"] == headers["webhook-id"] == one.edition_id
    assert headers["content-type"] == "application/json"
    message = json.loads(body)
    assert message["type"] == "forecast.published"
    assert message["data"] == {
        "edition": one.edition_id,
        "run_id": "run-00-live",
        "session": "2013-03-01",
        "as_of": "2013-03-01T22:00:00.000000Z",
        "origin": "live",
        "config_hash": one.run.config_hash,
        "counts": {
            "instruments": 2,
            "forecasts": 20,
            "methods": {"harx_market": 5, "lstm": 5, "zero": 10},
        },
        "link": "https://desk.example/2013-03-01/run-00-live",
    }


def test_the_same_forecasts_are_the_same_message_and_others_are_another(
    receiver: Receiver, store: Store
) -> None:
    sink = sink_for(receiver, forecasts=True)
    first = edition(store, night(store))
    again = Edition.of(first.run, first.rows.sort_by([("mean", "descending")]))
    assert sink.deliver(first)
    assert sink.deliver(again)
    assert sink.deliver(edition(store, night(store, made=5, shift=0.5)))
    bodies = [body for _, body in receiver.received]
    assert bodies[0] == bodies[1] != bodies[2]
    assert receiver.ids[0] == receiver.ids[1] != receiver.ids[2]


def test_forecasts_go_along_where_they_are_asked_for(receiver: Receiver, store: Store) -> None:
    one = edition(store, night(store))
    assert sink_for(receiver, forecasts=True).deliver(one)
    sent = json.loads(receiver.received[0][1])["data"]["forecasts"]
    kept = {(row["instrument"], row["target"], row["lead"]): row for row in one.rows.to_pylist()}
    assert len(sent) == 20
    for row in sent:
        known = kept[row["instrument"], row["target"], row["lead"]]
        assert row["target_session"] == known["target_session"].isoformat()
        for name in ("mean", "lower", "upper", "level", "volatility", "probabilities", "method"):
            assert row[name] == known[name]


def test_a_number_that_json_cannot_hold_is_refused_for_good(store: Store) -> None:
    one = edition(store, night(store))
    rows = one.rows.from_pylist(
        [row | {"mean": float("nan")} for row in one.rows.to_pylist()], schema=one.rows.schema
    )
    config = WebhookSinkConfig(url="http://host/x", forecasts=True)
    with pytest.raises(RefusedError, match="not finite"):
        body_of(Edition.of(one.run, rows), config)


@pytest.mark.parametrize("first", [500, 503, 408, 409, 429, None])
def test_what_may_pass_is_sent_again_as_the_same_message(
    receiver: Receiver, store: Store, first: int | None
) -> None:
    receiver.answers = [first, first]
    sink = sink_for(receiver)
    assert sink.deliver(edition(store, night(store)))
    assert len(receiver.received) == 3
    assert len({(headers["webhook-id"], body) for headers, body in receiver.received}) == 1
    one, two = pauses(sink)
    assert 0 < one < two


@pytest.mark.parametrize(("asked", "waited"), [("30", 30.0), ("9999", 60.0)])
def test_a_receiver_may_ask_for_a_pause_up_to_a_minute(
    receiver: Receiver, store: Store, asked: str, waited: float
) -> None:
    receiver.answers = [(429, {"Retry-After": asked}), (503, {"Retry-After": "tomorrow"})]
    sink = sink_for(receiver)
    assert sink.deliver(edition(store, night(store)))
    assert pauses(sink)[0] == waited
    assert pauses(sink)[1] < 60


def test_in_the_end_it_is_given_up(receiver: Receiver, store: Store) -> None:
    receiver.answers = [502] * 9
    with pytest.raises(SinkError, match=r"answered 502 Bad Gateway \(3 tries\)"):
        sink_for(receiver, attempts=3).deliver(edition(store, night(store)))
    assert len(receiver.received) == 3


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_message_that_is_not_taken_is_not_sent_again(
    receiver: Receiver, store: Store, status: int
) -> None:
    receiver.answers = [status]
    with pytest.raises(RefusedError, match=f"answered {status}"):
        sink_for(receiver).deliver(edition(store, night(store)))
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (401, WEBHOOK_KEY),
        (404, "check publish.webhook.url"),
        ((302, {"Location": "https://elsewhere.example"}), "write the address that it redirects"),
    ],
)
def test_a_wrong_key_or_address_waits_for_a_person(
    receiver: Receiver, store: Store, answer: int | tuple[int, dict[str, str]], told: str
) -> None:
    receiver.answers = [answer]
    with pytest.raises(SinkError, match=told) as caught:
        sink_for(receiver).deliver(edition(store, night(store)))
    assert not isinstance(caught.value, RefusedError)
    assert len(receiver.received) == 1


def test_nobody_listens(store: Store) -> None:
    with Receiver() as gone:
        sink = sink_for(gone, attempts=2)
    with pytest.raises(SinkError, match=r"no connection to http://127.0.0.1:\d+ \(ConnectError\)"):
        sink.deliver(edition(store, night(store)))


@pytest.mark.parametrize("key", ["", "hunter2hunter2", "whsec_c2hvcnQ=", "whsec_no base64!"])
def test_without_a_key_nothing_is_sent_and_a_wrong_one_is_not_shown(
    receiver: Receiver, store: Store, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(WEBHOOK_KEY, key)
    with pytest.raises(SinkError, match=WEBHOOK_KEY) as caught:
        sink_for(receiver).deliver(edition(store, night(store)))
    assert receiver.received == []
    assert not key or key.removeprefix("whsec_") not in str(caught.value)


def test_the_path_of_the_address_and_the_key_are_nowhere_told(
    receiver: Receiver, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sink = sink_for(receiver, attempts=1)
    sink.deliver(edition(store, night(store)))
    receiver.answers = [500]
    with pytest.raises(SinkError) as caught:
        sink.deliver(edition(store, night(store)))
    told = f"{caplog.text} {caught.value} {sink.name}"
    assert "HTTP Request" in told
    assert "path-is-secret" not in told
    assert KEY not in told
    other = sink_for(receiver, url=receiver.url + "/other")
    assert other.name != sink.name


def test_a_backfilled_night_is_told_only_where_it_is_asked_for(
    receiver: Receiver, store: Store
) -> None:
    past = night(store, origin="backfill")
    assert not sink_for(receiver).takes(past)
    assert sink_for(receiver, backfill=True).takes(past)
    assert sink_for(receiver).takes(night(store))
