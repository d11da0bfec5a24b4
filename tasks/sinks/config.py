"""What can be configured of the sinks: each is on where its `url` is set.

Owns the sections and their checks. Never holds a secret, and imports no driver.
"""

from __future__ import annotations

from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.sources.config import holds_password

SQL_PASSWORD = "FLEETCAST_PUBLISH_SQL_PASSWORD"  # noqa: S105 - the variable's name
"""The environment variable with the password of the role that publishes."""

OWNER_PASSWORD = "FLEETCAST_OWNER_SQL_PASSWORD"  # noqa: S105 - the variable's name
"""The environment variable with the password of the role that owns the tables."""

WEBHOOK_KEY = "FLEETCAST_WEBHOOK_KEY"
"""The environment variable with the key that webhooks are signed with."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SqlSinkConfig(_Frozen):
    """A database that every night's forecasts go to."""

    url: str | None = Field(
        default=None,
        min_length=1,
        description="A SQLAlchemy URL such as postgresql+psycopg://publisher@host/market, or "
        f"sqlite:///file.db, without a password: that comes from {SQL_PASSWORD} in the "
        "environment. Unset: nothing is published there.",
    )
    owner: str | None = Field(
        default=None,
        min_length=1,
        description="The role that makes and changes the tables, by `fleetcast publish --migrate` "
        f"({OWNER_PASSWORD} has its password); the role in url then only publishes. Unset: the "
        "role in url does both.",
    )
    namespace: str = Field(
        default="fleetcast",
        pattern=r"^[a-z_][a-z0-9_]{0,62}$",
        description="The database's schema that holds the tables (not in SQLite): small letters, "
        "digits and _.",
    )
    timeout_seconds: float = Field(
        default=60.0, gt=0, le=3600, description="How long a connection or a statement may take."
    )
    attempts: int = Field(
        default=4, ge=1, le=20, description="How often a night's delivery is tried."
    )

    @field_validator("url")
    @classmethod
    def _url_holds_no_password(cls, url: str | None) -> str | None:
        if url is not None and holds_password(url):
            raise ValueError(
                f"holds a password; take it out, and put it into the environment ({SQL_PASSWORD})"
            )
        return url


class FolderSinkConfig(_Frozen):
    """A folder or bucket that gets latest/forecasts.parquet and .csv, as the store does."""

    url: str | None = Field(
        default=None,
        min_length=1,
        description="A folder, or a URL such as s3://bucket/prefix or gs://bucket. Unset: nothing "
        "is published there.",
    )
    attempts: int = Field(
        default=4, ge=1, le=20, description="How often writing to a bucket is tried."
    )

    @field_validator("url")
    @classmethod
    def _url_holds_no_secret(cls, url: str | None) -> str | None:
        return _without_credentials(
            url, "such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, into the environment"
        )


class WebhookSinkConfig(_Frozen):
    """A web server that is told of every night, by a signed POST."""

    url: str | None = Field(
        default=None,
        min_length=1,
        description="Where to POST, such as https://example.com/forecasts. The signing key comes "
        f"from {WEBHOOK_KEY} in the environment. Unset: nothing is sent.",
    )
    link: str | None = Field(
        default=None,
        min_length=1,
        description="An address that goes into the message, for its readers to follow; {run_id} "
        "and {session} in it are filled in.",
    )
    forecasts: bool = Field(
        default=False,
        description="Send the forecasts themselves along, not only what was published.",
    )
    backfill: bool = Field(default=False, description="Also tell of nights that are backfilled.")
    timeout_seconds: float = Field(
        default=10.0, gt=0, le=300, description="How long an answer may be awaited."
    )
    attempts: int = Field(
        default=5, ge=1, le=20, description="How often a message is sent until it is answered."
    )

    @field_validator("url")
    @classmethod
    def _url_is_of_a_web_server(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("expected an address that starts with http:// or https://")
        if url is not None and not urlsplit(url).hostname:
            raise ValueError("expected an address with a server's name in it")
        return _without_credentials(url, "out: messages are signed instead")

    @model_validator(mode="after")
    def _link_can_be_filled_in(self) -> Self:
        try:
            (self.link or "").format(run_id="", session="")
        except (KeyError, IndexError, ValueError):
            raise ValueError(
                f"link = {self.link!r}: only {{run_id}} and {{session}} may stand in braces"
            ) from None
        return self


def _without_credentials(url: str | None, instead: str) -> str | None:
    parts = urlsplit(url or "")
    if "@" in parts.netloc or (parts.scheme and parts.query):
        raise ValueError(f"holds a password or key; put it {instead}")
    return url
