from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.run_forecasts import forecasts_of, lacking
from tasks.runs import PinnedRun
from tasks.schemas import DATASETS
from tasks.store import Store

AS_OF = datetime(2013, 3, 1, 22, tzinfo=UTC)
RUN = PinnedRun(
    run_id="run",
    run_key="key",
    session=date(2013, 3, 1),
    as_of=AS_OF,
    origin="live",
    status="finished",
    config_hash="config",
    code_version="1",
    table_versions={},
    shards={"shard-0000": ("A", "B"), "shard-0001": ("C",)},
    made_at=AS_OF,
)


def forecast(instrument: str, target: str = "log_return", **more: object) -> dict[str, object]:
    return {
        "forecast_id": f"{instrument}/{target}/{sorted(more.items(), key=str)}",
        "instrument": instrument,
        "as_of": AS_OF,
        "cutoff": RUN.session,
        "target": target,
        "kind": "many_to_many",
        "lead": 1,
        "target_session": date(2013, 3, 4),
        "mean": 0.0,
        "lower": -0.1,
        "upper": 0.1,
        "level": 0.8,
        "method": "zero",
        "reason": "",
        "config_hash": "config",
        "run_id": "run",
        "origin": "live",
        "made_at": AS_OF,
        **more,
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    rows = [
        forecast("A"),
        forecast("A", "log_volatility"),
        forecast("B"),
        forecast("B", run_id="an earlier run of the same night", lead=2),
        forecast("C", as_of=AS_OF - timedelta(days=1)),
        forecast("C", config_hash="other"),
        forecast("D"),
    ]
    store = Store.open(tmp_path / "store")
    fields = [field for field in DATASETS["forecasts"].schema if field.name in rows[0]]
    table = pa.Table.from_pylist(rows, schema=pa.schema(fields))
    store.append_once("forecasts", table, now=AS_OF)
    return store


def test_a_runs_forecasts_have_its_knowledge_configuration_and_instruments(store: Store) -> None:
    rows = forecasts_of(store, RUN).to_pylist()
    assert [(row["instrument"], row["target"], row["lead"]) for row in rows] == [
        ("A", "log_return", 1),
        ("A", "log_volatility", 1),
        ("B", "log_return", 1),
        ("B", "log_return", 2),
    ]


def test_what_lacks_is_named(store: Store) -> None:
    both = (("many_to_many", "log_return"), ("many_to_many", "log_volatility"))
    assert lacking(store, RUN, both) == (
        ("B", "many_to_many", "log_volatility"),
        ("C", "many_to_many", "log_return"),
        ("C", "many_to_many", "log_volatility"),
    )
    assert lacking(store, RUN, (("direction", "log_return"),)) == tuple(
        (name, "direction", "log_return") for name in "ABC"
    )
    only = replace(RUN, shards={"shard-0000": ("A",)})
    assert lacking(store, only, both) == ()


def test_only_files_of_the_night_are_read_however_fine_its_instant(tmp_path: Path) -> None:
    """The log of a table cuts instants off to the millisecond."""
    fine = AS_OF + timedelta(microseconds=999)
    made = Store.open(tmp_path)
    for row in (forecast("A", as_of=fine), forecast("B", as_of=AS_OF - timedelta(days=1))):
        fields = [field for field in DATASETS["forecasts"].schema if field.name in row]
        made.append_once("forecasts", pa.Table.from_pylist([row], pa.schema(fields)), now=fine)
    for file in (tmp_path / "forecasts").rglob("*.parquet"):
        if pq.read_table(file)["instrument"].to_pylist() == ["B"]:
            file.unlink()
    assert forecasts_of(made, replace(RUN, as_of=fine))["instrument"].to_pylist() == ["A"]
