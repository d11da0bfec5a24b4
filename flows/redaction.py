"""Secrets kept out of what people and files get to see.

Owns the masking, and the keys that this process was given. Never writes them down.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote, quote_plus, urlsplit

_SHORTEST = 4
"""A shorter one would mask parts of words, and is no secret."""

_given: set[str] = set()


def keep_out(secret: str) -> None:
    """From now on `without_secrets` masks `secret`, wherever it stands."""
    if len(secret) >= _SHORTEST:
        _given.add(secret)


def without_secrets(text: str) -> str:
    """`text` without what nobody should see: "s3://***@bucket".

    Masked are the user part and the query of every URL, keys that `keep_out` was given, and those
    that the environment holds for sources (TIINGO_API_KEY, FLEETCAST_SQL_PASSWORD) and sinks
    (FLEETCAST_PUBLISH_SQL_PASSWORD, FLEETCAST_WEBHOOK_KEY).
    """
    for secret in sorted({*_given, *_in_environment()}, key=len, reverse=True):
        for written in (secret, quote(secret, safe=""), quote_plus(secret)):
            text = text.replace(written, "***")
    # After a colon a slash may be the password's own.
    masked = re.sub(r"(?<=://)(?:[^/@\s]+|[^/@\s]*:[^@\s]*)@", "***@", text)
    return re.sub(r"(://[^\s?\"']+)\?[^\s\"')]+", r"\1?***", masked)


def has_credentials(url: str) -> bool:
    """Whether a URL holds a user name or password, or a query that could hold a key."""
    parts = urlsplit(url)
    return "@" in parts.netloc or bool(parts.scheme and parts.query)


def _in_environment() -> set[str]:
    return {
        value
        for name, value in os.environ.items()
        if name.endswith(("_API_KEY", "_SQL_PASSWORD", "_WEBHOOK_KEY")) and len(value) >= _SHORTEST
    }
