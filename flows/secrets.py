"""Secrets out of Prefect Secret blocks, for as long as a source or sink is used; one way for all.

Owns the blocks, and which secrets a configuration needs. Never writes one anywhere or shows it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flows import prefect_home
from flows.config import FleetcastConfig, PublishConfig
from flows.failures import Refused
from flows.redaction import keep_out
from tasks.sinks.config import OWNER_PASSWORD, SQL_PASSWORD, WEBHOOK_KEY, SqlSinkConfig
from tasks.sinks.sink import SinkError
from tasks.sources.config import SourceConfig
from tasks.sources.keys import key_variable
from tasks.sources.protocol import SourceError


@dataclass(frozen=True)
class Wanted:
    """A secret that is needed.

    Attributes:
        what: in words.
        variable: the environment variable where it is looked for.
        block: the Prefect Secret block that it is put there from; None: it is there already.
        field: the configuration's field that names the block.
    """

    what: str
    variable: str
    block: str | None
    field: str


def of_source(source: SourceConfig) -> Wanted:
    """What a source may need: which sources do is theirs to say."""
    what = f"the key of source {source.name!r}"
    return Wanted(what, key_variable(source.name), source.key_block, "source.key_block")


def of_sinks(publish: PublishConfig) -> tuple[Wanted, ...]:
    """What the sinks that are switched on need."""
    found = []
    sql, webhook = publish.sql, publish.webhook
    if sql.url is not None and (sql.password_block is not None or _asks_for_password(sql.url)):
        what = "the password of publish.sql"
        found.append(Wanted(what, SQL_PASSWORD, sql.password_block, "publish.sql.password_block"))
    if webhook.on:
        what, field = "the signing key of publish.webhook", "publish.webhook.key_block"
        found.append(Wanted(what, WEBHOOK_KEY, webhook.key_block, field))
        if webhook.variable is not None:
            what, field = "the address of publish.webhook", "publish.webhook.url_block"
            found.append(Wanted(what, webhook.variable, webhook.url_block, field))
    return tuple(found)


def blocks(config: FleetcastConfig) -> tuple[Wanted, ...]:
    """What is to be looked up in Prefect."""
    wanted = (of_source(config.source), *of_sinks(config.publish))
    return tuple(one for one in wanted if one.block is not None)


def refuse_missing(publish: PublishConfig, *, look_up: bool = True) -> None:
    """Refuses a night whose sinks lack a secret, before any work.

    Args:
        publish: which sinks are switched on, and where their secrets are.
        look_up: also load the Prefect blocks; else they are taken as given.

    Raises:
        Refused: a secret is missing, or is none; the message names where it is looked for.
    """
    from tasks.sinks.webhook import check_address, signing_key

    wanted = of_sinks(publish)
    _refuse_empty(wanted)
    if not look_up:
        wanted = tuple(one for one in wanted if one.block is None)
    there = {one.variable for one in wanted}
    try:
        with _put(wanted, Refused):
            if WEBHOOK_KEY in there:
                signing_key()
            if publish.webhook.variable in there:
                check_address(publish.webhook)
    except SinkError as error:
        raise Refused(f"publish.webhook can't be used: {error}.") from None


def refuse_no_owner(sql: SqlSinkConfig) -> None:
    """Refuses to change a database's tables without the owner's password.

    Raises:
        Refused: it is not in the environment.
    """
    if sql.owner is not None and sql.url is not None and _asks_for_password(sql.url):
        what = f"the password of publish.sql.owner, {sql.owner!r}"
        _refuse_empty([Wanted(what, OWNER_PASSWORD, None, "")])


@contextmanager
def key_of(source: SourceConfig) -> Iterator[None]:
    """Puts the key that `source.key_block` names where the source looks for it: the environment.

    Without a block nothing happens. Afterwards the environment is as it was, and the key stays
    masked in whatever this process says.

    Raises:
        SourceError: there is no such block, or what it holds is no key.
    """
    with _put([of_source(source)], SourceError):
        yield


@contextmanager
def of_blocks(publish: PublishConfig) -> Iterator[None]:
    """As `key_of`, for the sinks.

    Raises:
        SinkError: there is no such block, or what it holds is no secret.
    """
    with _put(of_sinks(publish), SinkError):
        yield


@contextmanager
def no_key_needed(source: SourceConfig, *, at_all: bool = False) -> Iterator[None]:
    """Lets a source be opened, to be asked for its lag, before Prefect can be asked for its key.

    With `at_all` also where the key is in the environment, but of other processes only: for who
    reads the store alone.
    """
    variable = key_variable(source.name)
    if (source.key_block is None and not at_all) or os.environ.get(variable):
        yield
        return
    with _environment(variable, "in-a-Prefect-block"):
        yield


@contextmanager
def prefect_for(
    wanted: Iterable[Wanted], store: Path | None, api_url: str | None = None
) -> Iterator[None]:
    """The Prefect that holds the blocks, for a command that needs no other part of Prefect.

    Args:
        wanted: which may name blocks; else nothing is started.
        store: the store's folder, None where it is not on this machine.
        api_url: the configuration's `prefect.api_url`.

    Raises:
        PrefectServerError: Prefect can't be reached.
    """
    if all(one.block is None for one in wanted):
        yield
        return
    with prefect_home.prefect(store, api_url) as prefect:
        prefect.wait()
        yield


def _asks_for_password(url: str) -> bool:
    """Whether a database is one over a network, which asks for a password as a rule."""
    parts = urlsplit(url)
    if parts.scheme.partition("+")[0] == "sqlite":
        return False
    host = parts.hostname or parse_qs(parts.query).get("host", [""])[0]
    return bool(host) and not host.startswith("/")


def _refuse_empty(wanted: Iterable[Wanted]) -> None:
    missing = [one for one in wanted if one.block is None and one.variable not in os.environ]
    if not missing:
        return
    told = [
        f"{one.what} is missing: set the environment variable {one.variable}"
        + (f", or name a Prefect Secret block that holds it ({one.field})" if one.field else "")
        for one in missing
    ]
    if any(one.variable in (SQL_PASSWORD, OWNER_PASSWORD) for one in missing):
        told.append("a database that asks for no password has its variable set, to nothing")
    raise Refused(". ".join(one[:1].upper() + one[1:] for one in told) + ".")


@contextmanager
def _put(wanted: Iterable[Wanted], kind: type[Exception]) -> Iterator[None]:
    """Puts what the blocks hold into the environment; `kind` is what is raised where they don't."""
    with ExitStack() as stack:
        for one in wanted:
            if one.block is not None:
                secret = _load(one, kind)
                keep_out(secret)
                stack.enter_context(_environment(one.variable, secret))
        yield


@contextmanager
def _environment(variable: str, value: str) -> Iterator[None]:
    before = os.environ.get(variable)
    if before:
        keep_out(before)  # no longer seen in the environment for a while
    os.environ[variable] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = before


def _load(wanted: Wanted, kind: type[Exception]) -> str:
    from prefect.blocks.system import Secret
    from prefect.exceptions import PrefectException
    from pydantic import ValidationError

    name = str(wanted.block)
    where = os.environ.get("PREFECT_API_URL") or "the active Prefect profile"
    try:
        block: Any = Secret.load(name)
    except ValidationError:
        raise kind(f"The Prefect block {name!r} holds no readable secret.") from None
    except ValueError:  # what Prefect raises where there is none of that name
        raise kind(
            f"There is no Prefect Secret block {name!r} ({wanted.field}) at {where}. Make it "
            "where Prefect runs (Blocks, Secret), with PREFECT_API_URL set to that server; or set "
            f"the environment variable {wanted.variable} and leave {wanted.field} out."
        ) from None
    except (OSError, RuntimeError, PrefectException) as error:
        raise kind(
            f"The Prefect Secret block {name!r} ({wanted.field}) can't be loaded from {where}: "
            f"{type(error).__name__}. Is that server up?"
        ) from None
    # Not block.get(): it takes a key of digits for a number.
    value = block.value.get_secret_value()
    if not isinstance(value, str) or not value.strip():
        raise kind(
            f"The Prefect Secret block {name!r} holds no key: expected a text, received "
            f"{'an empty one' if isinstance(value, str) else type(value).__name__}."
        )
    return value.strip()
