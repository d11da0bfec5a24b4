"""A store of the schema before: brought up to date when it is opened, with every row it had."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from tasks.schemas import DATASETS, SCHEMA_VERSION
from tasks.storage import delta
from tasks.store import Store, StoreError
from tests.tasks.store_rows import NIGHT, losses

NEW = {
    "scores": {"log_loss", "brier", "accuracy", "auc", "rps"},
    "forecasts": {"probability_up", "probabilities", "edges"},
    "models": {"start_model_id"},
}
"""Columns that schema version 2 added."""


def old_schema(dataset: str) -> pa.Schema:
    """As version 1 had it, with other words about a column."""
    fields = [f for f in DATASETS[dataset].schema if f.name not in NEW.get(dataset, ())]
    return pa.schema([f.with_metadata({b"meaning": b"as it was"}) for f in fields])


@pytest.fixture
def old(tmp_path: Path) -> str:
    """A store of version 1 with two losses in it."""
    for name in DATASETS:
        DeltaTable.create(
            str(tmp_path / name),
            old_schema(name),
            configuration={"fleetcast.schemaVersion": "1", "delta.appendOnly": "true"},
            raise_if_key_not_exists=False,
        )
    rows = losses(["a", "b"]).append_column("known_at", pa.array([NIGHT] * 2))
    table = pa.Table.from_pylist(rows.to_pylist(), schema=old_schema("statistics"))
    write_deltalake(str(tmp_path / "statistics"), table, mode="append")
    return str(tmp_path)


def config(url: str, dataset: str) -> str:
    return DeltaTable(f"{url}/{dataset}").metadata().configuration["fleetcast.schemaVersion"]


def test_an_old_store_is_read_as_it_is_without_a_change(old: str) -> None:
    store = Store.open(old, create=False)
    assert store.read("statistics")["evaluation_id"].to_pylist() == ["a", "b"]
    assert store.read("forecasts").schema == DATASETS["forecasts"].schema
    assert {config(old, name) for name in DATASETS} == {"1"}


def test_opening_an_old_store_to_write_upgrades_it_and_keeps_its_rows(old: str) -> None:
    store = Store.open(old)
    assert {config(old, name) for name in DATASETS} == {str(SCHEMA_VERSION)}
    for name, spec in DATASETS.items():
        found = {f.name: f for f in pa.schema(DeltaTable(f"{old}/{name}").schema().to_arrow())}
        assert set(found) == set(spec.schema.names)
        for field in spec.schema:
            assert found[field.name].metadata == field.metadata
    assert store.append_once("statistics", losses(["b", "c"]), now=NIGHT) == 1
    assert store.read("statistics")["evaluation_id"].to_pylist() == ["a", "b", "c"]


def test_an_upgraded_store_is_not_upgraded_again(old: str) -> None:
    versions = Store.open(old).versions()
    assert Store.open(old).versions() == versions


def test_processes_that_upgrade_at_once_all_get_on(old: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        written = list(
            pool.map(
                lambda name: Store.open(old).append_once("statistics", losses([name]), now=NIGHT),
                "cdef",
            )
        )
    assert written == [1, 1, 1, 1]
    assert Store.open(old).read("statistics").num_rows == 6


def test_an_upgrade_that_fails_says_that_nothing_is_lost(
    old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise DeltaError("no space left")

    monkeypatch.setattr(delta, "upgrade", refused)
    monkeypatch.setattr(delta, "_LONGEST_WAIT", 0.0)
    with pytest.raises(StoreError, match=r"can't be written: no space left\. What was there is"):
        Store.open(old)
