"""A signed message per night to a web server, as the Standard Webhooks specification has it.

Owns the message, the signature and what an answer means. Never touches the forecasts' values.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import logging
import os
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import pyarrow.compute as pc

from tasks.runs import PinnedRun
from tasks.sinks.config import WEBHOOK_KEY, WebhookSinkConfig, refuse_unasked
from tasks.sinks.sink import Edition, RefusedError, SinkError, TryAgainError, retried
from tasks.sources.rate_limit import Clock

EVENT = "forecast.published"

SENT = (
    "instrument",
    "target",
    "kind",
    "lead",
    "target_session",
    "mean",
    "lower",
    "upper",
    "level",
    "volatility",
    "probability_up",
    "probabilities",
    "edges",
    "method",
    "cutoff",
)
"""The columns of a forecast that go along where forecasts are sent."""

_ORDER = ("instrument", "target", "kind", "lead", "forecast_id")
_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)
_LATER = frozenset({408, 409, 425, 429})
_NOT_THIS_ONE = frozenset({400, 413, 415, 422})
"""Answers that say that the message, not the sender or the address, is what is wrong."""


@dataclass(frozen=True)
class WebhookSink:
    """One receiver; made without asking it."""

    config: WebhookSinkConfig
    clock: Clock = field(default_factory=Clock)
    wall: Callable[[], float] = time.time
    newest_only = False

    @property
    def name(self) -> str:
        """Its server; of the rest of the address, which may be secret, only a hash."""
        digest = hashlib.sha256(self._address.encode()).hexdigest()[:8]
        return f"webhook {self._server} ({digest})"

    @property
    def addressed(self) -> bool:
        """Whether this process knows the address, which may be in a block or in a worker alone."""
        return bool(self._address)

    @property
    def _address(self) -> str:
        variable = self.config.variable
        return (self.config.url if variable is None else os.environ.get(variable, "").strip()) or ""

    @property
    def _server(self) -> str:
        parts = urlsplit(self._address)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @property
    def _named(self) -> str:
        return self.config.variable or "publish.webhook.url"

    def takes(self, run: PinnedRun) -> bool:
        """Live runs; backfilled ones where the configuration says so."""
        return run.origin == "live" or self.config.backfill

    def lost(self, editions: Collection[str]) -> frozenset[str]:  # noqa: ARG002
        """None: a receiver can't be asked."""
        return frozenset()

    def deliver(self, edition: Edition) -> bool:
        """Sends the message until it is answered with 2xx.

        Every try has the same body and the same `webhook-id`, so that a receiver that took the
        first, but could not say so, knows the second.

        Raises:
            RefusedError: the receiver does not take this message.
            SinkError: there is no address, no key, no answer, or one that sends us away.
        """
        check_address(self.config)
        key = signing_key()
        logging.getLogger("httpx").addFilter(_SERVERS_ONLY)  # once: a filter is never added twice
        body = body_of(edition, self.config)
        with httpx.Client(timeout=self.config.timeout_seconds, follow_redirects=False) as client:
            return retried(
                self.config.attempts,
                self.clock,
                lambda: self._once(client, key, edition.edition_id, body),
            )

    def _once(self, client: httpx.Client, key: bytes, message_id: str, body: bytes) -> bool:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "fleetcast",
            "Idempotency-Key": message_id,
            **signed(key, message_id, int(self.wall()), body),
        }
        try:
            # Of the answer only the head is read: its body could be of any size.
            with client.stream("POST", self._address, content=body, headers=headers) as answer:
                status = answer.status_code
                wait = answer.headers.get("Retry-After", "")
        except httpx.TimeoutException:
            reason: SinkError = TryAgainError(
                f"{self._server} gave no answer within {self.config.timeout_seconds:g} s"
            )
        except httpx.HTTPError as error:  # its text may have the address
            reason = TryAgainError(f"no connection to {self._server} ({type(error).__name__})")
        except (httpx.InvalidURL, UnicodeError):
            reason = SinkError("the webhook's address is none that can be asked")
        else:
            if httpx.codes.is_success(status):
                return True
            reason = self._judge(status, wait)
        raise reason

    def _judge(self, status: int, wait: str) -> SinkError:
        told = f"{self._server} answered {status} {httpx.codes.get_reason_phrase(status)}".rstrip()
        if status in _LATER or httpx.codes.is_server_error(status):
            return TryAgainError(told, float(wait) if wait.isdecimal() else 0.0)
        if status in _NOT_THIS_ONE:
            return RefusedError(f"{told}; what it does not take is not sent again")
        if httpx.codes.is_redirect(status):
            return SinkError(f"{told}: write the address that it redirects to into the config")
        return SinkError(f"{told}: check {self._named}, and that {WEBHOOK_KEY} is its key")


class _ServersOnly(logging.Filter):
    """Addresses that are POSTed to, which httpx logs: they may have a secret in their path."""

    def filter(self, record: logging.LogRecord) -> bool:
        told = re.sub(r"(POST https?://[^/\s?]+)[^\s\"]*", r"\1/***", record.getMessage())
        record.msg, record.args = told, ()
        return True


_SERVERS_ONLY = _ServersOnly()


def signed(key: bytes, message_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks: HMAC-SHA256 over "id.timestamp.body".

    Args:
        key: shared with the receiver.
        message_id: the same for the same message.
        seconds: when it is sent, since 1970; receivers refuse old ones.
        body: as it is sent.
    """
    content = f"{message_id}.{seconds}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, content, "sha256")).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": f"v1,{signature}",
    }


def body_of(edition: Edition, config: WebhookSinkConfig) -> bytes:
    """The message: the same bytes for the same edition and configuration.

    Raises:
        RefusedError: a forecast is not finite.
    """
    run, rows = edition.run, edition.rows
    message: dict[str, Any] = {
        "type": EVENT,
        "timestamp": _text(pc.max(rows["made_at"]).as_py()),
        "data": {
            "edition": edition.edition_id,
            "run_id": run.run_id,
            "session": run.session.isoformat(),
            "as_of": _text(run.as_of),
            "origin": run.origin,
            "config_hash": run.config_hash,
            "counts": {
                "instruments": len(pc.unique(rows["instrument"])),
                "forecasts": rows.num_rows,
                "methods": _counted(rows["method"].to_pylist()),
            },
        },
    }
    if config.link is not None:
        link = config.link.format(run_id=run.run_id, session=run.session)
        message["data"]["link"] = link
    if config.forecasts:
        ordered = rows.sort_by([(name, "ascending") for name in _ORDER]).select(list(SENT))
        message["data"]["forecasts"] = ordered.to_pylist()
    try:
        text = json.dumps(message, default=_text, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise RefusedError("one of its numbers is not finite, which JSON can't hold") from None
    return text.encode()


def _counted(words: Collection[str]) -> dict[str, int]:
    return {word: sum(one == word for one in words) for word in sorted(set(words))}


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"Expected a value that JSON can hold. Received: {value!r}")


def check_address(config: WebhookSinkConfig) -> None:
    """Checks what the environment has, where the configuration leaves the address to it.

    Raises:
        SinkError: there is none, or it is none; the message does not show it.
    """
    if config.variable is None:
        return
    told = f"the environment variable {config.variable}, which has the webhook's address,"
    address = os.environ.get(config.variable, "").strip()
    if not address:
        raise SinkError(f"{told} is empty")
    try:
        refuse_unasked(address)
    except ValueError as error:
        raise SinkError(f"{told} holds none: {error}") from None


def signing_key() -> bytes:
    """The signing key out of the environment.

    Raises:
        SinkError: there is none, or it is no key; the message does not show it.
    """
    text = os.environ.get(WEBHOOK_KEY, "").strip()
    if not text:
        raise SinkError(
            f"the environment variable {WEBHOOK_KEY}, which has the signing key, is empty"
        )
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(_PREFIX) or len(key) not in _KEY_BYTES:
        raise SinkError(
            f"the environment variable {WEBHOOK_KEY} holds no signing key. Expected {_PREFIX} and "
            f"{_KEY_BYTES[0]} to {_KEY_BYTES[-1]} random bytes in base64"
        )
    return key
