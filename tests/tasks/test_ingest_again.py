"""What a later ingest does with rows that were judged, released or let in with a flag before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.bars import ValidationConfig
from tasks.release import release
from tasks.store import Store
from tests.tasks.provider import SESSIONS, Provider, Row, bar, messages, night, run

TOLD = {"start": SESSIONS[0], "overlap_sessions": 5}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def history(until: int) -> list[Row]:
    return [bar(place, 10.0 + place % 3 / 10) for place in range(until)]


def close_of(store: Store, place: int) -> float | None:
    closes = store.read("bars", columns=["session", "close"]).to_pylist()
    return {row["session"]: row["close"] for row in closes}.get(SESSIONS[place])


def released(store: Store, close: float) -> Provider:
    """A source whose jump at 40 a person let in."""
    source = Provider([*history(40), bar(40, close), bar(41, 10.0)], incremental=True)
    run(store, source, 41, **TOLD)
    release(store, store.read("quarantine")["quarantine_id"].to_pylist(), now=night(42))
    assert close_of(store, 40) == close
    return source


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"close": 100.0 * (1 + 1e-8)}, id="jitter"),
        pytest.param({"volume": 1.0 + 1e-9}, id="jitter of the volume"),
    ],
)
def test_jitter_does_not_undo_a_release(store: Store, changes: Row) -> None:
    source = released(store, 100.0)
    source.bars = [*history(40), bar(40, 100.0) | changes, bar(41, 10.0)]
    report = run(store, source, 43, **TOLD)
    assert (report.quarantined, report.changed, report.retracted) == (0, 0, 0)
    assert close_of(store, 40) == 100.0
    assert store.read("quarantine")["op"].to_pylist() == ["release"]


def test_another_rule_does_not_undo_a_release(store: Store) -> None:
    """More bars beside a row, or another threshold, may make it break a later rule."""
    source = released(store, 100.0)
    easier = ValidationConfig(severity={"absurd_jump": "off"})
    report = run(store, source, 43, validation=easier, **TOLD)
    assert (report.quarantined, report.retracted) == (0, 0)
    assert close_of(store, 40) == 100.0


def test_another_row_of_the_session_is_not_released(store: Store) -> None:
    source = released(store, 100.0)
    source.bars = [*history(40), bar(40, 101.0), bar(41, 10.0)]
    report = run(store, source, 43, **TOLD)
    assert (report.quarantined, report.retracted) == (1, 0)
    assert close_of(store, 40) == 100.0


def test_a_clock_that_goes_back_holds_released_rows_too_and_retracts_nothing(store: Store) -> None:
    source = released(store, 100.0)
    source.bars = [row | {"volume": row["volume"] * (1 + 1e-9)} for row in source.bars]
    report = run(store, source, 39, **TOLD)
    assert dict(report.rules)["not_closed_yet"] == 2
    assert close_of(store, 40) == 100.0


@pytest.mark.parametrize("rule", ["outside_range", "negative_volume"])
def test_a_rule_made_stricter_takes_back_the_bars_that_it_let_in(store: Store, rule: str) -> None:
    """What `fleetcast quarantine hold` says of a flagged row."""
    bad = bar(30, 10.0, high=9.9, open=9.85, low=9.8) if rule == "outside_range" else None
    source = Provider([*history(30), bad or bar(30, 10.0, volume=-5.0)], incremental=True)

    def again(place: int, severity: str) -> tuple[int, int, float | None]:
        config = ValidationConfig(severity={rule: severity})
        report = run(store, source, place, validation=config, **TOLD)
        assert messages(report) == ""
        return report.quarantined, report.retracted, close_of(store, 30)

    assert again(30, "flag") == (0, 0, 10.0)
    assert again(31, "quarantine") == (1, 1, None)
    assert again(32, "quarantine") == (1, 0, None)
    assert again(33, "off") == (0, 0, 10.0)
