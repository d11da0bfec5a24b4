"""A run's report shows the rows that belong to the run, and counts its data truly."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.comparisons import company_of
from tasks.report.run_view import view_run
from tasks.store import Store
from tests.tasks.example_store import (
    AS_OF,
    INSTRUMENTS,
    NOW,
    RUN_ID,
    SESSION,
    bar_rows,
    example_store,
    forecast_rows,
    model_rows,
    quarantine_rows,
    rows_table,
    run_row,
)
from tests.tasks.report.class_rows import class_models, night


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return example_store(tmp_path / "store")


def commit_run(store: Store, **changes: Any) -> None:  # noqa: ANN401
    row = run_row(**{"table_versions": json.dumps(store.versions())} | changes)
    store.commit_facts("runs", rows_table("runs", [row]), now=row["made_at"])


def test_a_run_has_its_forecasts_models_and_pooled_scores(store: Store) -> None:
    view = view_run(store)
    assert view.run["run_id"] == RUN_ID
    assert len(view.forecasts) == 10
    assert [row["lead"] for row in view.forecasts["AAPL", "log_return", "many_to_many"]] == [
        1,
        2,
        3,
        4,
        5,
    ]
    assert view.models["FB", "log_return", "many_to_many"]["status"] == "not_trained"
    assert ("FB", "log_return", "many_to_many") not in view.scores
    (one,) = (
        row
        for row in view.scores["AAPL", "log_volatility", "many_to_many"]
        if row["method"] == "lstm" and row["lead"] == 1
    )
    assert one["folds"] == 2
    assert one["count"] == 251 + 252


def test_forecasts_of_another_night_or_configuration_are_not_the_runs(store: Store) -> None:
    changes: tuple[dict[str, Any], ...] = (
        {"as_of": AS_OF + timedelta(days=1)},
        {"config_hash": "another"},
    )
    other = [
        row | {"forecast_id": f"{row['forecast_id']}-{i}", "mean": 9.0} | change
        for row in forecast_rows(["AAPL"])
        for i, change in enumerate(changes)
    ]
    store.append_once("forecasts", rows_table("forecasts", other), now=NOW)
    rows = view_run(store, RUN_ID).forecasts["AAPL", "log_return", "many_to_many"]
    assert [row["mean"] for row in rows] == [0.0] * 5


def test_bars_known_after_as_of_are_not_in_the_picture(store: Store) -> None:
    before = view_run(store, RUN_ID).prices["AAPL"]
    changed = [
        row | {"close": row["close"] * 3, "known_at": NOW, "assumed": False}
        for row in bar_rows(["AAPL"], last=5)
    ]
    store.commit_facts("bars", rows_table("bars", changed), now=NOW)
    after = view_run(store, RUN_ID).prices["AAPL"]
    assert after.close.tolist() == before.close.tolist()


def test_new_and_changed_bars_are_counted_between_two_runs(store: Store) -> None:
    first = {one.instrument: one for one in view_run(store).health}
    assert (first["AAPL"].new, first["AAPL"].changed) == (260, 0)
    extra = bar_rows(["AAPL"], last=1)[0]
    later = NOW + timedelta(days=3)
    rows = [
        extra | {"session": date(2013, 3, 4), "known_at": later, "assumed": False},
        extra | {"close": extra["close"] + 1},
    ]
    store.commit_facts("bars", rows_table("bars", rows), now=later)
    commit_run(
        store,
        run_id="second",
        run_key="second",
        session=date(2013, 3, 4),
        as_of=later,
        made_at=later,
    )
    health = {one.instrument: one for one in view_run(store, "second").health}
    assert (health["AAPL"].new, health["AAPL"].changed) == (1, 1)
    assert (health["IBM"].new, health["IBM"].changed) == (0, 0)
    assert (health["AAPL"].behind, health["IBM"].behind) == (0, 1)
    assert health["AAPL"].last == date(2013, 3, 4)
    again = {one.instrument: one for one in view_run(store, RUN_ID).health}
    assert again["AAPL"] == first["AAPL"]  # the first run's page does not change with time


def test_quarantine_is_shown_up_to_the_session_until_it_is_released(store: Store) -> None:
    held = quarantine_rows()
    later = held[0] | {"quarantine_id": "later", "session": SESSION + timedelta(days=3)}
    released = held[1] | {"op": "release"}
    store.commit_facts("quarantine", rows_table("quarantine", [later, released]), now=NOW)
    view = view_run(store)
    assert {row["quarantine_id"] for row in view.quarantine} == {"q0", "q2", "q3"}
    counts = {one.instrument: one.quarantined for one in view.health}
    assert (counts["IBM"], counts["MSFT"], counts["AAPL"]) == (1, 1, 0)


def test_an_instrument_of_the_plan_without_a_forecast_says_why(store: Store) -> None:
    plan = {"shard-000": ["AAPL", "GONE", "SHORT"]}
    model = next(row for row in model_rows(["FB"]) if row["target"] == "log_return")
    model |= {"model_id": "m-short", "instrument": "SHORT", "reason": "1 session, 752 are needed"}
    store.append_once("models", rows_table("models", [model]), now=NOW)
    bar = bar_rows(["IBM"], last=1)[0] | {"instrument": "SHORT"}
    store.commit_facts("bars", rows_table("bars", [bar]), now=NOW)
    made = NOW + timedelta(hours=1)
    commit_run(store, run_id="r2", run_key="r2", made_at=made, shards=json.dumps(plan))
    missing = {(one.instrument, one.target): one.reason for one in view_run(store, "r2").missing}
    assert missing["SHORT", "log_return"] == "1 session, 752 are needed"
    assert missing["SHORT", "log_volatility"] == "only 1 session known"
    assert missing["GONE", "log_return"] == "no bar is known"
    assert ("AAPL", "log_return") not in missing


def test_two_kinds_of_one_target_are_kept_apart(tmp_path: Path) -> None:
    view = view_run(night(tmp_path / "kinds"))
    kinds = {"many_to_many": 5, "direction": 1, "quantile_class": 1}
    for kind, leads in kinds.items():
        key = ("IBM", "log_return", kind)
        assert [row["kind"] for row in view.forecasts[key]] == [kind] * leads
        assert {row["kind"] for row in view.scores[key]} == {kind}
        assert view.models[key]["kind"] == kind
    assert view.missing == ()
    assert set(view.rises) == set(INSTRUMENTS)


def test_what_only_other_settings_forecast_is_not_missing(store: Store) -> None:
    now, other = class_models(["direction"], ["FB"]), class_models(["quantile_class"], ["FB"])
    table = rows_table("models", now + [row | {"config_hash": "another"} for row in other])
    store.append_once("models", table, now=NOW)
    missing = {(one.instrument, one.kind): one.reason for one in view_run(store).missing}
    assert missing["FB", "direction"] == "196 sessions, and 752 are needed"
    assert {kind for _, kind in missing} == {"direction"}


def test_the_newest_run_that_did_not_fail_is_the_default(store: Store) -> None:
    later = NOW + timedelta(days=1)
    commit_run(store, run_id="broken", run_key="b", as_of=later, made_at=later, status="failed")
    assert view_run(store).run["run_id"] == RUN_ID
    assert view_run(store, "broken").run["status"] == "failed"


def test_an_unknown_run_is_named_with_the_remedy(store: Store, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=r"no run 'nope'; its newest is '5f0c2d9e8a7b41f3'"):
        view_run(store, "nope")
    with pytest.raises(LookupError, match="holds no run yet: make one with `fleetcast nightly`"):
        view_run(Store.open(tmp_path / "empty"))


@pytest.mark.parametrize("later", [timedelta(0), timedelta(days=9)])
def test_the_comparisons_are_of_the_runs_own_models_whoever_computed_them(
    store: Store, later: timedelta
) -> None:
    """A night that lacked a shard is another company; a later night may have computed ours."""
    view = view_run(store)
    ids = {
        row["model_id"]
        for row in view.models.values()
        if row["status"] not in (None, "not_trained")
    }
    own = company_of(ids)

    def compared(company: str, as_of: datetime, made_at: datetime) -> dict[str, Any]:
        return {
            "comparison_id": company,
            "company": company,
            "instrument": None,
            "target": "log_return",
            "kind": "many_to_many",
            "method": "lstm",
            "baseline": "zero",
            "first_cutoff": SESSION,
            "last_cutoff": SESSION,
            "sessions": 1,
            "instruments": 1,
            "as_of": as_of,
            "config_hash": view.run["config_hash"],
            "run_id": RUN_ID,
            "origin": "live",
            "made_at": made_at,
        }

    def shown() -> set[str]:
        return {row["company"] for rows in view_run(store).comparisons.values() for row in rows}

    other = compared("other", AS_OF, NOW + timedelta(hours=1))
    store.append_once("comparisons", rows_table("comparisons", [other]), now=NOW)
    assert shown() == {"other"}
    ours = compared(own, AS_OF + later, NOW)
    store.append_once("comparisons", rows_table("comparisons", [ours]), now=NOW)
    assert shown() == {own}
