"""Secrets kept out of what people and files get to see.

Owns the masking, and the secrets that this process was given. Never writes them down.
"""

from __future__ import annotations

import base64
import inspect
import json
import logging
import os
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote, quote_plus, unquote, urlsplit

P = ParamSpec("P")
R = TypeVar("R")

_SHORTEST = 4
"""A shorter one would mask parts of words, and is no secret."""

_LONG_PART = 16
"""Letters; so long a part of a secret address is masked alone, too."""

_NAMES = re.compile(
    r"(PASSWORD|PASSWD|_API_KEY|_WEBHOOK_KEY|_WEBHOOK_URL|AUTH_STRING|CONNECTION_URL|_PROXY"
    r"|SECRET_ACCESS_KEY|ENCRYPTION_KEY|SESSION_TOKEN|_SECRET|_SECRET_KEY|_ACCOUNT_KEY|_TOKEN)$",
    re.IGNORECASE,
)
"""Variables whose values are masked: of sources, sinks, Prefect, its database, stores, proxies."""

_BEGINNING = 12
"""Letters of a longer secret that are masked even where a message was cut off after them."""

_USER = re.compile(r"(?<=://)(?:[^/@\s]+|[^/@\s:]*:(?:(?!://)[^@\s])*)@")
"""The user part of an address; after a colon a slash may be the password's own."""

_QUERY = re.compile(r"(://(?:(?!://)[^\s?\"'])+)\?[^\s\"')]+")
"""The query of an address. Neither looks beyond the next address: of a text with thousands of them
that would take minutes."""

_given: set[str] = set()


def keep_out(secret: str) -> None:
    """From now on `without_secrets` masks `secret`, wherever it stands."""
    _given.update(_parts(secret))


def without_secrets(text: str) -> str:
    """`text` without what nobody should see: "s3://***@bucket".

    Masked are the user part and the query of every URL, what `keep_out` was given, and the secrets
    that the environment holds (docs/deploy.md lists them); as they are, quoted, and in base64.
    """
    secrets = frozenset({*_given, *_in_environment()})
    for form in _forms(secrets):
        text = text.replace(form, "***")
    if (cut := _cut_off(secrets)) is not None:
        text = cut.sub("***", text)
    return _QUERY.sub(r"\1?***", _USER.sub("***@", text))


def has_credentials(url: str) -> bool:
    """Whether a URL holds a user name or password, or a query that could hold a key."""
    parts = urlsplit(url)
    return "@" in parts.netloc or bool(parts.scheme and parts.query)


def masking(work: Callable[P, R]) -> Callable[P, R]:
    """`work`, `masked`: for bodies of Prefect's flows and tasks, whose errors it logs and keeps.

    It has the signature of `work` with its types as objects: Prefect would look for their names
    here.
    """

    @wraps(work)
    def done(*args: P.args, **kwargs: P.kwargs) -> R:
        with masked():
            return work(*args, **kwargs)

    done.__signature__ = inspect.signature(work, eval_str=True)  # type: ignore[attr-defined]
    return done


@contextmanager
def masked() -> Iterator[None]:
    """Has errors that leave, and what is logged from now on, without secrets.

    An error keeps its type and its traceback; only where its text had a secret, what it came from
    is cut off, for that is where the text came from.
    """
    keep_out_of_logs()
    found: Exception | None = None
    try:
        yield
    except Exception as error:
        told = "".join(traceback.format_exception(error))
        if without_secrets(told) == told and without_secrets(repr(error)) == repr(error):
            raise
        found = _without_secrets(error)
    if found is not None:
        raise found from None


def keep_out_of_logs() -> None:
    """Masks every message and traceback of this process's loggers, whatever handles them."""
    make = logging.getLogRecordFactory()
    if isinstance(make, _Masking):
        return
    logging.setLogRecordFactory(_Masking(make))


class _Masking:
    """Makes log records without secrets in their texts."""

    def __init__(self, make: Any) -> None:  # noqa: ANN401 - the library's own type
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: ANN401
        record: logging.LogRecord = self._make(*args, **kwargs)
        with suppress(TypeError, ValueError, KeyError):  # a wrong format is the logger's to tell
            text = record.getMessage()
            masked = without_secrets(text)
            if masked != text:
                record.msg, record.args = masked, ()
        if record.exc_info and record.exc_info[1] is not None:
            told = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
            masked = without_secrets(told)
            if masked != told:
                record.exc_text, record.exc_info = masked, None
        return record


def _without_secrets(error: Exception) -> Exception:
    told = without_secrets(str(error))
    kind = type(error)
    found: Exception
    try:
        found = kind.__new__(kind)
        found.args = (told,)
        told_again = str(found)
    except Exception:  # noqa: BLE001 - a foreign class may do anything
        told_again = ""
    if told_again != told:
        found = RuntimeError(f"{kind.__name__}: {told}")
    return found.with_traceback(error.__traceback__)


def _in_environment() -> set[str]:
    found: set[str] = set()
    for name in list(os.environ):
        value = os.environ.get(name)  # a thread that has used a secret may just take it out
        if value is None or not _NAMES.search(name):
            continue
        # An address without a password is no secret. By name: "://" may be a password's own.
        address = name.upper().endswith(("CONNECTION_URL", "_PROXY"))
        found |= _password(value) if address else _parts(value)
    return found


@lru_cache(maxsize=256)
def _parts(secret: str) -> frozenset[str]:
    """What of a secret is to be masked even by itself: of a web address its path and tokens."""
    secret = secret.strip()
    found = {secret, secret.removeprefix("whsec_")}
    if secret.startswith(("http://", "https://")):
        with suppress(ValueError):
            path = urlsplit(secret).path
            tokens = {part for part in path.split("/") if len(part) >= _LONG_PART}
            found |= {path} if len(path) >= _LONG_PART else set()
            found |= tokens | _password(secret)
    elif re.fullmatch(r"[\w.@-]+:.+", secret):  # name:password
        found.add(secret.partition(":")[2])
    return _long_enough(found)


@lru_cache(maxsize=256)
def _password(address: str) -> frozenset[str]:
    """The password in a database's or proxy's address, alone and as name:password."""
    with suppress(ValueError):
        pair = urlsplit(address if "://" in address else f"//{address}").netloc.rpartition("@")[0]
        if ":" in pair:
            password = pair.partition(":")[2]
            return _long_enough({pair, password, unquote(pair), unquote(password)})
    return frozenset()


def _long_enough(found: set[str]) -> frozenset[str]:
    return frozenset(one for one in found if len(one) >= _SHORTEST)


@lru_cache(maxsize=16)
def _forms(secrets: frozenset[str]) -> tuple[str, ...]:
    """How the secrets may be written, the longest first."""
    forms: set[str] = set()
    for secret in secrets:
        raw = secret.encode()
        coded = {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
        forms |= {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
        forms |= {json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe=" +")}
        forms |= coded | {one.rstrip("=") for one in coded}
    return tuple(sorted(forms, key=len, reverse=True))


@lru_cache(maxsize=16)
def _cut_off(secrets: frozenset[str]) -> re.Pattern[str] | None:
    """What is left of a long secret in an excerpt that ends within it; not of an address."""
    begun = {one[:_BEGINNING] for one in secrets if len(one) > _LONG_PART and "://" not in one}
    found = "|".join(re.escape(one) for one in sorted(begun))
    return re.compile(rf"(?:{found})[^\s'\"]*") if found else None
