"""The key of a source out of a Prefect Secret block, for as long as the source is read.

Owns the block. Never writes the key anywhere, and never shows it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows import prefect_home
from flows.redaction import keep_out
from tasks.sources.config import SourceConfig
from tasks.sources.keys import key_variable
from tasks.sources.protocol import SourceError


@contextmanager
def key_of(source: SourceConfig) -> Iterator[None]:
    """Puts the key that `source.key_block` names where the source looks for it: the environment.

    Without a block nothing happens. Afterwards the environment is as it was, and the key stays
    masked in whatever this process says.

    Raises:
        SourceError: there is no such block, or what it holds is no key.
    """
    if source.key_block is None:
        yield
        return
    key = _load(source.key_block)
    keep_out(key)
    with _environment(key_variable(source.name), key):
        yield


@contextmanager
def no_key_needed(source: SourceConfig) -> Iterator[None]:
    """Lets a source be opened, to be asked for its lag, before Prefect can be asked for its key."""
    variable = key_variable(source.name)
    if source.key_block is None or os.environ.get(variable):
        yield
        return
    with _environment(variable, "in-a-Prefect-block"):
        yield


@contextmanager
def prefect_for_key(
    source: SourceConfig, store: Path | None, api_url: str | None = None
) -> Iterator[None]:
    """The Prefect that holds the block, for a command that needs no other part of Prefect.

    Args:
        source: which may name a block; else nothing is started.
        store: the store's folder, None where it is not on this machine.
        api_url: the configuration's `prefect.api_url`.

    Raises:
        PrefectServerError: Prefect can't be reached.
    """
    if source.key_block is None:
        yield
        return
    with prefect_home.prefect(store, api_url) as prefect:
        prefect.wait()
        yield


@contextmanager
def _environment(variable: str, value: str) -> Iterator[None]:
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = before


def _load(name: str) -> str:
    from prefect.blocks.system import Secret
    from prefect.exceptions import PrefectException
    from pydantic import ValidationError

    where = os.environ.get("PREFECT_API_URL") or "the active Prefect profile"
    try:
        block: Any = Secret.load(name)
    except ValidationError:
        raise SourceError(f"The Prefect block {name!r} holds no readable secret.") from None
    except ValueError:  # what Prefect raises where there is none of that name
        raise SourceError(
            f"There is no Prefect Secret block {name!r} (source.key_block) at {where}. Make it "
            "where Prefect runs (Blocks, Secret), with PREFECT_API_URL set to that server; or set "
            "the provider's environment variable and leave source.key_block out."
        ) from None
    except (OSError, RuntimeError, PrefectException) as error:
        raise SourceError(
            f"The Prefect Secret block {name!r} (source.key_block) can't be loaded from {where}: "
            f"{type(error).__name__}. Is that server up?"
        ) from None
    # Not block.get(): it takes a key of digits for a number.
    value = block.value.get_secret_value()
    if not isinstance(value, str) or not value.strip():
        raise SourceError(
            f"The Prefect Secret block {name!r} holds no key: expected a text, received "
            f"{'an empty one' if isinstance(value, str) else type(value).__name__}."
        )
    return value.strip()
