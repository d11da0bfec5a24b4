"""Skill and coverage by period, on live scores that a test can add up by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.schemas import DATASETS
from tasks.store import Store
from tasks.track_record import track_record

MADE = datetime(2024, 7, 1, tzinfo=UTC)


def score(method: str, cutoff: date, target: date, mse: float, coverage: float) -> dict[str, Any]:
    return {
        "score_id": f"{method} {cutoff}",
        "evaluation_id": "model",
        "instrument": "ANT",
        "target": "log_return",
        "kind": "many_to_many",
        "lead": 1,
        "method": method,
        "baseline": "zero",
        "fold": 0,
        "segment": "live",
        "first_cutoff": cutoff,
        "last_cutoff": cutoff,
        "count": 1,
        "mse": mse,
        "coverage": coverage if method == "published" else None,
        "level": 0.8,
        "forecast_id": str(cutoff),
        "target_session": target,
        "config_hash": "config",
        "origin": "backfill",
        "as_of": MADE,
        "made_at": MADE,
        "run_id": "run",
    }


def store_of(folder: Path, days: Sequence[tuple[date, date, float, float]]) -> Store:
    """A store in which the baseline's loss is 1 on each of `days`."""
    store = Store.open(folder)
    rows = [
        row
        for cutoff, target, loss, held in days
        for row in (
            score("published", cutoff, target, loss, held),
            score("zero", cutoff, target, 1.0, held),
        )
    ]
    fields = [field for field in DATASETS["scores"].schema if field.name != "known_at"]
    store.append_once("scores", pa.Table.from_pylist(rows, schema=pa.schema(fields)), now=MADE)
    return store


DAYS = (
    (date(2024, 5, 30), date(2024, 5, 31), 0.5, 1.0),
    (date(2024, 5, 31), date(2024, 6, 3), 0.7, 0.0),
    (date(2024, 6, 3), date(2024, 6, 4), 1.1, 1.0),
)


def test_each_period_has_the_outcomes_of_its_own_sessions(tmp_path: Path) -> None:
    record = track_record(store_of(tmp_path, DAYS), "config", DAYS[0][0], date(2024, 6, 4))
    assert record.grain == "month"
    assert [(one.name, one.skills[0].pairs) for one in record.periods] == [
        ("2024-05", 1),
        ("2024-06", 2),
    ]
    assert [one.skills[0].skill for one in record.periods] == pytest.approx([0.5, 1 - 1.8 / 2])
    assert [one.skills[0].coverage for one in record.periods] == [1.0, 0.5]
    (whole,) = record.whole
    assert whole.pairs == 3
    assert whole.skill == pytest.approx(1 - 2.3 / 3)


def test_only_forecasts_made_and_answered_in_the_range_count(tmp_path: Path) -> None:
    store = store_of(tmp_path, DAYS)
    record = track_record(store, "config", date(2024, 5, 31), date(2024, 6, 3))
    assert [one.pairs for one in record.whole] == [1]
    assert track_record(store, "another", DAYS[0][0], date(2024, 6, 4)).whole == ()
    assert track_record(store, "another", DAYS[0][0], date(2024, 6, 4)).periods == ()


@pytest.mark.parametrize(
    ("first", "grain", "names"),
    [
        (date(2023, 1, 2), "month", ["2024-05", "2024-06"]),
        (date(2022, 1, 3), "quarter", ["2024 Q2"]),
        (date(1999, 1, 4), "year", ["2024"]),
    ],
)
def test_a_longer_range_has_longer_periods(
    first: date, grain: str, names: list[str], tmp_path: Path
) -> None:
    record = track_record(store_of(tmp_path, DAYS), "config", first, date(2024, 6, 4))
    assert (record.grain, [one.name for one in record.periods]) == (grain, names)
