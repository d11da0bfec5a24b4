"""What became of a request: an answer, or a failure and whether another try would help.

Owns the meaning of status codes, and the failures. Never touches the network.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

_LONGEST_WAIT = 300.0
"""Seconds; a server that asks for a longer pause is not asked again in this run."""

_REFUSES_ALL = {401, 402, 403, 407, 418, 451}
_PASSES = {408, 425, *range(500, 600)}


class RequestError(Exception):
    """One request has failed for good; others may fare better. The message holds no key."""


class ProviderError(RequestError):
    """No further request would fare better: the provider is down, refuses the key, or is used up.

    The message holds no key.
    """


class TryAgainError(Exception):
    """An answer that another try may better.

    Attributes:
        wait: seconds to wait at least.
        for_all: whether every other request would fare the same way.
    """

    def __init__(self, message: str, *, wait: float = 0.0, for_all: bool = False) -> None:
        super().__init__(message)
        self.wait = wait
        self.for_all = for_all


class UnansweredError(RequestError):
    """No try brought an answer that could be read."""


@dataclass(frozen=True)
class Answer:
    """A complete answer of status 200 to 299.

    Attributes:
        body: its bytes, unpacked.
        measured: whether the server told its length, so that a cut is seen.
    """

    body: bytes
    measured: bool

    @property
    def text(self) -> str:
        """As UTF-8; a byte that is none becomes a mark."""
        return self.body.decode("utf-8-sig", errors="replace")


def judge(status: int, headers: httpx.Headers, body: bytes, server: str) -> Answer:
    """The answer, if its status says that it is one.

    Raises:
        TryAgainError: 408, 425, 429 or 5xx.
        ProviderError: every request would be refused.
        RequestError: this one is.
    """
    if 200 <= status < 300:
        measured = "content-length" in headers or "transfer-encoding" in headers
        return Answer(body, measured)
    told = f"{server} answers HTTP {status}{excerpt(body)}"
    if status == 429:
        return _later(told, headers, for_all=True)
    if status in _PASSES:
        return _later(told, headers, for_all=False)
    if status in _REFUSES_ALL:
        raise ProviderError(told)
    raise RequestError(told)


def _later(told: str, headers: httpx.Headers, *, for_all: bool) -> Answer:
    wait = _retry_after(headers.get("retry-after"))
    if wait > _LONGEST_WAIT:
        raise ProviderError(f"{told}, and asks for a pause of {wait:.0f} s")
    raise TryAgainError(told, wait=wait, for_all=for_all)


def _retry_after(text: str | None) -> float:
    """Seconds that the header Retry-After asks for (RFC 9110, 10.2.3): a number or a date."""
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    with suppress(ValueError, TypeError, OverflowError):
        until = parsedate_to_datetime(text)
        until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
    return 0.0


def excerpt(body: bytes | str) -> str:
    """The start of a text for a message, as `: '...'`; of a page its title; empty for nothing."""
    text = body if isinstance(body, str) else body[:4096].decode("utf-8", errors="replace")
    title = re.search(r"<title[^>]*>(.*?)</title>", text[:4096], re.IGNORECASE | re.DOTALL)
    text = " ".join((title.group(1) if title else text[:1000]).split())
    text = "".join(letter for letter in text if letter.isprintable())
    return f": {text[:200]!r}" if text else ""


def as_json(answer: Answer) -> Any:  # noqa: ANN401 - whatever the provider sent
    """The answer as JSON, whatever its content type says.

    Raises:
        TryAgainError: it is none, or cut off.
    """
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        shown = excerpt(answer.body) or ": nothing"
    raise TryAgainError(f"expected JSON, received{shown}")


def as_csv(answer: Answer) -> str:
    """The answer as the text of a CSV, or the short text that a provider sent instead.

    Raises:
        TryAgainError: it is a page, or cut off.
    """
    text = answer.text
    if text.lstrip().startswith("<"):
        raise TryAgainError(f"expected CSV, received a page{excerpt(text)}")
    if "\n" in text and not text.endswith("\n") and not answer.measured:
        raise TryAgainError("the CSV ends within a line")
    return text
