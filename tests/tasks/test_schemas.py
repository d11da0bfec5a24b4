from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.schemas import DATASETS, SCHEMA_VERSION, Dataset
from tasks.storage.columns import INSTANT, words_of
from tests.tasks import store_documentation

EVERY = pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)


@EVERY
def test_every_column_says_what_it_means(dataset: Dataset) -> None:
    for field in dataset.schema:
        assert field.metadata[b"meaning"], field.name
        if pa.types.is_integer(field.type) or pa.types.is_temporal(field.type):
            assert field.metadata[b"unit"], field.name


@EVERY
def test_numbers_without_a_unit_are_ratios(dataset: Dataset) -> None:
    bare = {
        field.name
        for field in dataset.schema
        if pa.types.is_floating(field.type) and b"unit" not in field.metadata
    }
    assert bare <= {"skill", "qlike", "dm_t", "cw_t"}


@EVERY
def test_keys_orders_and_prunes_are_columns_that_can_be(dataset: Dataset) -> None:
    names = dataset.schema.names
    assert len(set(names)) == len(names)
    assert {*dataset.key, *dataset.order, *dataset.prune} <= set(names)
    assert set(dataset.key) <= set(dataset.order)  # else equal rows would lie in any order
    for name in dataset.key + dataset.prune:
        assert not dataset.schema.field(name).nullable, name
    sortable = {pa.string(), pa.date32(), pa.int32(), pa.int64(), INSTANT}
    assert {dataset.schema.field(name).type for name in dataset.order} <= sortable


@EVERY
def test_instants_are_utc_and_sessions_are_dates(dataset: Dataset) -> None:
    for field in dataset.schema:
        if field.name.endswith("_at") or field.name == "as_of":
            assert field.type == INSTANT, field.name
        if field.name.endswith("session") or field.name.endswith("cutoff"):
            assert field.type == pa.date32(), field.name


@EVERY
def test_facts_have_what_facts_need(dataset: Dataset) -> None:
    assert "known_at" in dataset.schema.names
    assert ("row_hash" in dataset.schema.names) == dataset.fact
    if "op" in dataset.schema.names:
        assert dataset.fact
        assert words_of(dataset.schema.field("op"))[0] in ("upsert", "hold", "erase")


def test_what_may_be_a_revision() -> None:
    assert DATASETS["bars"].compared == (
        "open",
        "high",
        "low",
        "close",
        "volume",
        "price_basis",
        "op",
    )
    assert set(DATASETS["bars"].schema.names) - set(DATASETS["bars"].hashed) == {
        "known_at",
        "assumed",
        "row_hash",
    }


def test_the_documentation_shows_the_schemas() -> None:
    """If this fails: python -m tests.tasks.store_documentation."""
    page = store_documentation.PAGE.read_text(encoding="utf-8")
    assert page.endswith(store_documentation.MARK + "\n" + store_documentation.datasets())
    assert f"Schema version {SCHEMA_VERSION}." in page


def test_the_store_imports_neither_tensorflow_nor_prefect() -> None:
    code = "import sys, tasks.store; print({'tensorflow', 'keras', 'prefect'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"
