"""Secrets kept out of what people and files get to see.

Owns the masking. Never stores what it masks.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit


def without_secrets(text: str) -> str:
    """`text` with the user part and the query of every URL in it masked: "s3://***@bucket"."""
    masked = re.sub(r"(?<=://)[^/@\s]+@", "***@", text)
    return re.sub(r"(://[^\s?\"']+)\?[^\s\"')]+", r"\1?***", masked)


def has_credentials(url: str) -> bool:
    """Whether a URL holds a user name or password, or a query that could hold a key."""
    parts = urlsplit(url)
    return "@" in parts.netloc or bool(parts.scheme and parts.query)
