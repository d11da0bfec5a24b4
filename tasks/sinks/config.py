"""What can be configured of the sinks: each is on where its address is named.

Owns the sections and their checks. Never holds a secret, and imports no driver.
"""

from __future__ import annotations

import re
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

WEBHOOK_URL = "FLEETCAST_WEBHOOK_URL"
"""The environment variable with an address that is a secret itself."""

_BLOCK = r"^[a-z0-9][a-z0-9-]*$"
_TOKEN = re.compile(
    r"(?=[a-z0-9]*\d)(?=[a-z0-9]*[a-z])[a-z0-9]{16,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    re.IGNORECASE,
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SqlSinkConfig(_Frozen):
    """A database that every night's forecasts go to."""

    url: str | None = Field(
        default=None,
        min_length=1,
        description="A SQLAlchemy URL such as postgresql+psycopg://publisher@host/market, or "
        f"sqlite:///file.db, without a password: that comes from {SQL_PASSWORD} in the "
        "environment, or from password_block. Unset: nothing is published there.",
    )
    password_block: str | None = Field(
        default=None,
        pattern=_BLOCK,
        description="Name of a Prefect Secret block with that password. Unset: it is in the "
        "environment.",
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
                f"holds a password; take it out, and put it into the environment ({SQL_PASSWORD}) "
                "or a Prefect Secret block (password_block)"
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
        f"from {WEBHOOK_KEY} in the environment, or from key_block. Unset: nothing is sent, unless "
        "one of the next two names the address.",
    )
    url_variable: str | None = Field(
        default=None,
        pattern=r"^([A-Z][A-Z0-9_]*_)?WEBHOOK_URL$",
        description="For an address that is a secret, as a chat's are: the environment variable "
        f"that holds it, such as {WEBHOOK_URL}.",
    )
    url_block: str | None = Field(
        default=None,
        pattern=_BLOCK,
        description="For an address that is a secret: the name of a Prefect Secret block with it.",
    )
    key_block: str | None = Field(
        default=None,
        pattern=_BLOCK,
        description="Name of a Prefect Secret block with the signing key. Unset: it is in the "
        "environment.",
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
    def _url_is_no_secret(cls, url: str | None) -> str | None:
        if url is None:
            return None
        refuse_unasked(url)
        _without_credentials(url, "out: messages are signed instead")
        if without_tokens(url) != url:
            raise ValueError(
                "seems to have a secret in its path. A configuration is seen by many: put the "
                f"address into the environment, and name the variable (url_variable = "
                f'"{WEBHOOK_URL}"), or into a Prefect Secret block (url_block)'
            )
        return url

    @field_validator("link")
    @classmethod
    def _link_holds_no_password(cls, link: str | None) -> str | None:
        if link is not None and "@" in urlsplit(link).netloc:
            raise ValueError("holds a user or password; many read it: take it out")
        return link

    @property
    def on(self) -> bool:
        """Whether messages are sent."""
        return any(one is not None for one in (self.url, self.url_variable, self.url_block))

    @property
    def variable(self) -> str | None:
        """The environment variable with the address; None: it is no secret."""
        return None if self.url is not None else self.url_variable or WEBHOOK_URL

    @model_validator(mode="after")
    def _address_is_named_once(self) -> Self:
        named = {"url": self.url, "url_variable": self.url_variable, "url_block": self.url_block}
        given = [name for name, value in named.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both stated. Leave one of them out")
        return self

    @model_validator(mode="after")
    def _link_can_be_filled_in(self) -> Self:
        try:
            (self.link or "").format(run_id="", session="")
        except (KeyError, IndexError, ValueError):
            raise ValueError(
                f"link = {self.link!r}: only {{run_id}} and {{session}} may stand in braces"
            ) from None
        return self


def refuse_unasked(url: str) -> None:
    """Refuses what is no address of a web server; the message does not show it.

    Raises:
        ValueError: it is none.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError("expected an address that starts with http:// or https://")
    if not urlsplit(url).hostname:
        raise ValueError("expected an address with a server's name in it")


def without_tokens(text: str) -> str:
    """`text` with *** for what looks like a token: 16 letters and digits mixed, or a UUID."""
    return _TOKEN.sub("***", text)


def _without_credentials(url: str | None, instead: str) -> str | None:
    parts = urlsplit(url or "")
    if "@" in parts.netloc or (parts.scheme and parts.query):
        raise ValueError(f"holds a password or key; put it {instead}")
    return url
