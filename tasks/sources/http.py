"""The one HTTP client of all sources: time-outs, retries with backoff, rate limits, hidden keys.

Owns how a server is asked. Never touches what an answer means.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, quote_plus

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from tasks.sources.answers import (
    Answer,
    ProviderError,
    RequestError,
    TryAgainError,
    UnansweredError,
    judge,
)
from tasks.sources.protocol import SourceError
from tasks.sources.rate_limit import Clock, Rate, wait_for_turn

T = TypeVar("T")

LARGEST = 64 << 20
"""Bytes of an answer, unpacked; decades of one instrument's days are a few MB."""

_PATIENCE = 4
"""An answer that trickles is given up after so many time-outs."""

_FAILURES_IN_A_ROW = 3
"""Requests in a row that no try brought an answer to: then the provider is down, not they."""

_REST = 600.0
"""Seconds for which a provider that is down, or refuses, is left alone."""

_LONG_KEY = 12
"""Letters; a key so long is no part of data, and what echoes it is masked before it is read."""

_backoff = wait_exponential_jitter(initial=1, max=60, jitter=1)


@dataclass(frozen=True)
class Key:
    """A provider's key and where it goes.

    Attributes:
        value: the key; never shown.
        header: the header that carries it, such as Authorization; None: the address does.
        prefix: what stands before it in the header.
        parameter: the parameter of the address that carries it.
    """

    value: str = field(repr=False)
    header: str | None = None
    prefix: str = ""
    parameter: str | None = None

    def hide(self, text: str) -> str:
        """`text` with *** in place of the key, however it is written in an address."""
        for form in self.forms():
            text = text.replace(form, "***")
        return text

    def forms(self) -> list[str]:
        """How the key may be written, the longest first."""
        forms = {self.value, quote(self.value, safe=""), quote_plus(self.value)}
        return sorted(forms, key=len, reverse=True)


class Client:
    """Asks one provider. A context: `with client:` keeps the connection between requests."""

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        rate: Rate,
        timeout_seconds: float,
        attempts: int,
        key: Key | None = None,
        clock: Clock | None = None,
        largest: int = LARGEST,
    ) -> None:
        """Remembers how to ask; opens nothing. `largest` is the most bytes of one answer.

        Raises:
            SourceError: `base_url` is no address of a web server.
        """
        try:
            url = httpx.URL(base_url)
        except httpx.InvalidURL:
            url = httpx.URL()
        if url.scheme not in {"http", "https"} or not url.host:
            raise SourceError(
                f"source.base_url of source {name!r} is {_without_password(base_url)!r}. Expected "
                "an address such as https://api.example.com"
            )
        self.name = name
        self.server = str(httpx.URL(scheme=url.scheme, host=url.host, port=url.port))
        self.attempts = attempts
        self.timeout_seconds = timeout_seconds
        self._base = base_url.rstrip("/")
        self.rate = rate
        self._key = key
        self._clock = clock or Clock()
        self._largest = largest
        self._http: httpx.Client | None = None
        self._streams: list[Any] = []  # of the open client; a copy of a list is safe in a thread
        self._failures = 0
        self._closed: tuple[float, str] | None = None

    def __repr__(self) -> str:
        return f"Client({self.name!r}, {self.server!r})"

    def __enter__(self) -> Self:
        _hide_keys_in_logs()
        headers = {"User-Agent": "fleetcast", "Accept": "application/json, text/csv, */*;q=0.5"}
        if self._key is not None and self._key.header is not None:
            headers[self._key.header] = f"{self._key.prefix}{self._key.value}"
        self._http = httpx.Client(
            headers=headers,
            timeout=self.timeout_seconds,
            follow_redirects=True,
            max_redirects=5,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None
            self._streams.clear()

    def get(self, path: str, parameters: Mapping[str, str | int], read: Callable[[Answer], T]) -> T:
        """What `read` makes of the answer to GET `path`.

        Args:
            path: below the base address; its parts are quoted already.
            parameters: of the address, without the key.
            read: reads the answer. It raises `TryAgainError` for one that is damaged or says
                "later", `RequestError` for one that says no, `ProviderError` where it says no to
                every request.

        Raises:
            ProviderError: asking on is useless; for some minutes nothing is asked any more.
            RequestError: this request failed, if need be after `attempts` tries.
        """
        if self._closed is not None and self._clock.now() < self._closed[0]:
            raise ProviderError(self._closed[1])

        def once() -> T:
            wait_for_turn(self.server, self.rate, self._clock)
            return read(self._ask(path, parameters))

        failed: RequestError
        try:
            answer = self._retrying()(once)
        except RequestError as error:
            failed = type(error)(self._hide(str(error)))
            self._failures = 0
        except TryAgainError as error:
            self._failures += 1
            failed = self._give_up(error)
        else:
            self._failures, self._closed = 0, None
            return answer
        if isinstance(failed, ProviderError):
            self._failures = 0
            self._closed = (self._clock.now() + _REST, str(failed))
        # Raised outside of `except`: what came before holds the address with the key in it.
        raise failed

    def _retrying(self) -> Retrying:
        def pause(state: RetryCallState) -> float:
            error = None if state.outcome is None else state.outcome.exception()
            asked = error.wait if isinstance(error, TryAgainError) else 0.0
            return max(asked, _backoff(state))

        return Retrying(
            stop=stop_after_attempt(self.attempts),
            wait=pause,
            retry=retry_if_exception_type(TryAgainError),
            sleep=self._clock.sleep,
            reraise=True,
        )

    def _give_up(self, error: TryAgainError) -> RequestError:
        tries = "1 try" if self.attempts == 1 else f"{self.attempts} tries"
        message = f"{self._hide(str(error))} ({tries})"
        if error.for_all:
            return ProviderError(message)
        if self._failures >= _FAILURES_IN_A_ROW:
            return ProviderError(f"{message}, {self._failures} requests in a row")
        return UnansweredError(message)

    def _ask(self, path: str, parameters: Mapping[str, str | int]) -> Answer:
        """One try.

        Raises:
            RequestError, TryAgainError: as `get` tells.
        """
        if self._http is None:
            raise RuntimeError("Ask within `with client:`.")
        query = {name: str(value) for name, value in parameters.items()}
        if self._key is not None and self._key.parameter is not None:
            query[self._key.parameter] = self._key.value
        address = f"{self._base}/{path.lstrip('/')}"
        reason: RequestError | TryAgainError
        with self._watch() as expired:
            try:
                request = self._http.stream(
                    "GET", address, params=query, extensions={"trace": self._trace}
                )
                with request as response:
                    body = self._hide_echoes(_read_body(response, self._largest))
                    status, headers = response.status_code, response.headers
                if not expired.is_set():
                    return judge(status, headers, body, self.server)
                reason = self._too_slow()
            except (RequestError, TryAgainError) as error:
                reason = error
            except httpx.HTTPError as error:
                reason = self._too_slow() if expired.is_set() else self._explain(error)
            except (httpx.InvalidURL, UnicodeError) as error:
                reason = RequestError(f"its address can't be asked for ({error})")
        raise reason

    def _too_slow(self) -> TryAgainError:
        return TryAgainError(
            f"{self.server} took more than {_PATIENCE * self.timeout_seconds:g} s to answer"
        )

    def _explain(self, error: httpx.HTTPError) -> RequestError | TryAgainError:
        told = f"{self.server}: {error}" if str(error) else self.server
        match error:
            case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.ProxyError():
                return TryAgainError(f"no connection to {told}", for_all=True)
            case httpx.TimeoutException():
                return TryAgainError(
                    f"{self.server} gave no answer within {self.timeout_seconds:g} s"
                )
            case httpx.TransportError() | httpx.DecodingError():
                return TryAgainError(f"the answer of {told} broke off or is damaged")
            case _:
                return RequestError(f"{told} can't be followed")

    def _hide(self, text: str) -> str:
        text = _without_password(text)
        return text if self._key is None else self._key.hide(text)

    def _hide_echoes(self, body: bytes) -> bytes:
        """A key that a careless server repeats: a shortened excerpt might show a part of it."""
        if self._key is None or len(self._key.value) < _LONG_KEY:
            return body
        for form in self._key.forms():
            body = body.replace(form.encode("ascii"), b"***")
        return body

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        stream = info.get("return_value")
        if event.endswith(".complete") and hasattr(stream, "get_extra_info"):
            self._streams.append(stream)

    @contextmanager
    def _watch(self) -> Iterator[threading.Event]:
        """Cuts the connection of a request that takes too long, however it trickles.

        A read's own time-out starts anew with every byte.
        """
        expired = threading.Event()

        def cut() -> None:
            expired.set()
            for stream in list(self._streams):
                opened = stream.get_extra_info("socket")
                if opened is not None:
                    with suppress(OSError):
                        socket.socket.shutdown(opened, socket.SHUT_RDWR)

        timer = threading.Timer(_PATIENCE * self.timeout_seconds, cut)
        timer.daemon = True
        timer.start()
        try:
            yield expired
        finally:
            timer.cancel()
            timer.join()


def _read_body(response: httpx.Response, largest: int) -> bytes:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > largest:
            raise RequestError(f"the answer is larger than {largest >> 20} MiB")
    return bytes(body)


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//***@", text)


class _HideKeys(logging.Filter):
    """Keys and passwords out of the addresses that httpx logs."""

    _KEY = re.compile(r"((?:api_?key|token)=)[^&\s'\"]+", re.IGNORECASE)

    def filter(self, record: logging.LogRecord) -> bool:
        told = _without_password(self._KEY.sub(r"\1***", record.getMessage()))
        record.msg, record.args = told, ()
        return True


_HIDE_KEYS = _HideKeys()


def _hide_keys_in_logs() -> None:
    for name in ("httpx", "httpcore.http11"):
        logging.getLogger(name).addFilter(_HIDE_KEYS)  # once: a filter is never added twice
