from __future__ import annotations

import pytest

from flows.redaction import has_credentials, without_secrets


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
