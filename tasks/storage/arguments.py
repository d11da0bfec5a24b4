"""What callers hand to the store, checked: names of datasets, instants, instruments, paths.

Owns these checks and their messages. Never reads or writes anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.schemas import DATASETS, Dataset
from tasks.storage.columns import words_of
from tasks.storage.facts import StoreError


def named(name: str, *, fact: bool | None = None) -> Dataset:
    """The dataset of that name; `fact`: of which kind it must be."""
    spec = DATASETS.get(name)
    if spec is None:
        raise StoreError(f"There is no dataset {name!r}. Expected one of: {', '.join(DATASETS)}.")
    if fact is not None and spec.fact != fact:
        use = "commit_facts" if spec.fact else "append_once"
        raise StoreError(f"{name} holds {'facts' if spec.fact else 'derived rows'}: use {use}.")
    return spec


def default_op(spec: Dataset) -> dict[str, str]:
    """What `op` is where a row does not say: the first of its words."""
    return {"op": words_of(spec.schema.field("op"))[0]} if "op" in spec.schema.names else {}


def without(rows: pa.Table, name: str) -> pa.Table:
    """`rows` without a column."""
    return rows.drop_columns([name]) if name in rows.column_names else rows


def instant(name: str, value: datetime) -> datetime:
    """An aware instant, in UTC."""
    if value.tzinfo is None:
        raise StoreError(
            f"{name} has no time zone. Received: {value!r}. Give an instant in UTC: "
            "datetime(..., tzinfo=UTC)."
        )
    return value.astimezone(UTC)


def texts_of(spec: Dataset, instruments: Sequence[str]) -> pa.Array:
    """The distinct names, for a dataset that has instruments."""
    if "instrument" not in spec.schema.names:
        raise StoreError(f"{spec.name} has no instruments. Read it without instruments=.")
    if isinstance(instruments, str):
        raise StoreError(
            f"instruments is one text. Received: {instruments!r}. Expected a list: "
            f"[{instruments!r}]."
        )
    return pa.array(np.unique(np.asarray(instruments, dtype=str)).tolist(), pa.string())


def check_outside(relative: str) -> None:
    """Refuses a path in a dataset's folder."""
    first = Path(relative).parts[:1]
    if first and first[0] in DATASETS:
        raise StoreError(
            f"Expected a path outside the datasets. Received: {relative!r}. A file in the folder "
            f"of {first[0]} would not belong to its table."
        )
