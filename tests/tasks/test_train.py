"""Training through the store: what is known then, what is due again, and runs cut short."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tasks.sessions import CalendarConfig, Calendars
from tasks.store import Store
from tasks.train import train_shard
from tasks.walkforward import fit_baselines, fit_fleet, predict_fold, subject
from tests.tasks.markets import (
    ANT,
    HORIZON,
    LAG,
    NOW,
    REFIT,
    ROWS,
    SETTINGS,
    TONIGHT,
    UNIVERSE,
    Night,
    action_row,
    bars_table,
    copy_of,
    exchange,
    model_of,
    payload,
    request_for,
    row_counts,
    series_of,
    sessions_to,
    store_with,
)

DERIVED = ("models", "statistics", "scores")
KNOWN_AT_REFIT = exchange().close(REFIT) + LAG
TARGETS = SETTINGS.targets.names


@pytest.fixture
def fresh(facts: Store, tmp_path: Path) -> Store:
    """The bars of the universe, nothing trained."""
    return copy_of(facts, tmp_path / "store")


def trained_rows(store: Store, *instruments: str) -> dict[str, list[dict[str, Any]]]:
    """All that training wrote of some instruments, but for the file it shares with others."""
    tables = {name: store.read(name, instruments=instruments) for name in DERIVED}
    by_training = pc.not_equal(tables["scores"]["method"], "published")
    tables["scores"] = tables["scores"].filter(by_training)
    return {name: payload(table, "checkpoint") for name, table in tables.items()}


def revision(row: int, close: float, known_at: datetime) -> pa.Table:
    """A bar of ANT with another close, known from `known_at` on."""
    bar = bars_table("ANT", ANT, rows=slice(row, row + 1), known_at=known_at)
    prices = {"close": close, "high": max(close, ANT.high[row]), "low": min(close, ANT.low[row])}
    for name, value in prices.items():
        bar = bar.set_column(bar.column_names.index(name), name, pa.array([value]))
    return bar


def test_a_night_trains_a_model_of_every_target_for_all_that_have_bars(night: Night) -> None:
    rows = night.store.read("models").to_pylist()
    assert {(row["instrument"], row["target"]) for row in rows} == {
        (name, target) for name in UNIVERSE for target in TARGETS if name not in ("JAY", "YAK")
    }
    assert len(night.trained.models) == len(rows)
    fitted = [row for row in rows if row["status"] != "not_trained"]
    assert 0 < night.trained.trained == len(fitted) < len(rows)
    status = {row["instrument"]: row["status"] for row in rows if row["target"] == "log_return"}
    assert status["ANT"] == status["BEE"] == status["PIG"] == "trained"
    assert status["FLY"] == status["GNU"] == status["HEN"] == "not_trained"
    for row in rows:
        assert row["refit_session"] == REFIT
        trained = row["status"] != "not_trained"
        assert (row["checkpoint"] is not None) == (row["cutoff"] is not None) == trained
        assert (row["reason"] is None) == (row["status"] == "trained")


def test_a_model_row_says_where_its_data_ended_and_what_training_won(night: Night) -> None:
    (row,) = (
        row
        for row in night.store.read("models", instruments=["CAT"]).to_pylist()
        if row["target"] == "log_volatility"
    )
    one = subject(series_of(ANT.head(ROWS - 2), last=REFIT), "log_volatility", SETTINGS)
    assert row["cutoff"] == one.series.sessions[one.folds[0].early_stop[1] - 1].item()
    assert row["early_stop_mse"] < row["initial_early_stop_mse"]
    assert 0 < row["best_update"] <= SETTINGS.training.max_updates


def test_targets_that_are_never_known_leave_a_diverged_model_and_no_exception(
    night: Night,
) -> None:
    model = model_of(night.trained.models, "EMU", "log_volatility")
    assert model.status == "diverged"
    assert model.reason == "2 of 2 seeds diverged; their best weights are used"


def test_training_twice_trains_nothing_and_adds_no_row(night: Night, tmp_path: Path) -> None:
    store = copy_of(night.store, tmp_path)
    before = row_counts(store)
    again = train_shard(request_for(store, *UNIVERSE, run_id="another run"))
    assert again.trained == 0
    assert again.models == night.trained.models
    assert row_counts(store) == before


def test_an_instruments_models_do_not_depend_on_its_company(night: Night, fresh: Store) -> None:
    for name in ("ANT", "BEE"):
        train_shard(request_for(fresh, name))
        alone, together = trained_rows(fresh, name), trained_rows(night.store, name)
        for dataset in DERIVED:
            assert alone[dataset] == together[dataset], dataset
        assert len(alone["models"]) == 2
        assert len(alone["scores"]) > 100


class KilledError(Exception):
    """The process ends here."""


def dying_after(original: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
    def method(store: Store, what: str, *rest: object, **more: object) -> Any:  # noqa: ANN401
        original(store, what, *rest, **more)
        if when(what):
            raise KilledError(what)

    return method


@pytest.mark.parametrize("after", ["checkpoint", "statistics", "scores", "models"])
def test_a_run_killed_between_commits_is_completed_by_the_next(
    after: str, night: Night, fresh: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for(fresh, "ANT")
    with monkeypatch.context() as patch:
        patch.setattr(
            Store, "write_file", dying_after(Store.write_file, lambda _: after == "checkpoint")
        )
        patch.setattr(
            Store, "append_once", dying_after(Store.append_once, lambda name: name == after)
        )
        with pytest.raises(KilledError):
            train_shard(request)
    models_left = fresh.read("models").num_rows
    assert models_left == (2 if after == "models" else 0)
    completed = train_shard(request)
    assert completed.trained == 2 - models_left
    assert trained_rows(fresh, "ANT") == trained_rows(night.store, "ANT")
    for name in DERIVED:
        assert fresh.history(name).num_rows == fresh.read(name).num_rows


def add_the_future(store: Store) -> None:
    """Facts that became known after the refit: bars, corrections of old bars, and actions."""
    late = KNOWN_AT_REFIT + timedelta(microseconds=1)
    store.commit_facts("bars", revision(200, 1.0, late), now=late)
    upcoming = bars_table(
        "ANT",
        replace(
            ANT,
            open=np.full(ROWS, 3.0),
            high=np.full(ROWS, 3.0),
            low=np.full(ROWS, 3.0),
            close=np.full(ROWS, 3.0),
        ),
        last=exchange().offset(TONIGHT, 9),
        rows=slice(-9, None),
    )
    store.commit_facts("bars", upcoming, now=NOW)
    early = date(2024, 1, 2)
    actions = [
        action_row("ANT", early, "split", 3.0, late),
        action_row("ANT", exchange().offset(TONIGHT, 2), "split", 3.0, KNOWN_AT_REFIT),
    ]
    store.commit_facts("actions", pa.Table.from_pylist(actions), now=NOW)


def test_what_became_known_after_the_refit_changes_no_bit_of_a_model(
    night: Night, fresh: Store
) -> None:
    add_the_future(fresh)
    train_shard(request_for(fresh, "ANT"))
    assert trained_rows(fresh, "ANT") == trained_rows(night.store, "ANT")


@pytest.mark.parametrize("kind", ["bar", "dividend"])
def test_a_correction_known_by_the_refit_changes_the_model(
    kind: str, night: Night, fresh: Store
) -> None:
    if kind == "bar":
        fresh.commit_facts("bars", revision(200, 101.0, KNOWN_AT_REFIT), now=KNOWN_AT_REFIT)
    else:
        row = action_row("ANT", date(2024, 1, 2), "dividend", 1.0, KNOWN_AT_REFIT)
        fresh.commit_facts("actions", pa.Table.from_pylist([row]), now=KNOWN_AT_REFIT)
    corrected = train_shard(request_for(fresh, "ANT")).models
    for target in TARGETS:
        honest = model_of(night.trained.models, "ANT", target)
        assert model_of(corrected, "ANT", target).model_id != honest.model_id
    corrected_scores = trained_rows(fresh, "ANT")["scores"]
    scores = trained_rows(night.store, "ANT")["scores"]
    assert {row["mse"] for row in corrected_scores} != {row["mse"] for row in scores}


@pytest.mark.parametrize("sessions", [1, 2])
def test_the_nights_until_the_next_refit_train_nothing(
    sessions: int, night: Night, tmp_path: Path
) -> None:
    store = copy_of(night.store, tmp_path)
    later = exchange().offset(TONIGHT, sessions)
    bars = bars_table("ANT", ANT, last=later, rows=slice(-sessions, None))
    store.commit_facts("bars", bars, now=NOW)
    before = row_counts(store)
    result = train_shard(request_for(store, "ANT", session=later))
    assert result.trained == 0
    assert result.models == tuple(m for m in night.trained.models if m.instrument == "ANT")
    assert row_counts(store) == before


def test_the_night_of_the_next_refit_trains_anew(night: Night, tmp_path: Path) -> None:
    store = copy_of(night.store, tmp_path)
    due = date(2024, 6, 25)
    bars = bars_table("ANT", ANT, last=due, rows=slice(-3, None))
    store.commit_facts("bars", bars, now=NOW)
    result = train_shard(request_for(store, "ANT", session=due))
    assert result.trained == len(TARGETS)
    assert {model.refit_session for model in result.models} == {due}
    old = {model.model_id for model in night.trained.models}
    assert not old & {model.model_id for model in result.models}


def test_an_exchange_that_closes_after_the_run_refits_the_night_after(tmp_path: Path) -> None:
    """Tonight's as_of is 21:00 UTC; around the clock, that session closes at midnight."""
    around = CalendarConfig(overrides={"ANT": "24/7"})
    hours = Calendars.load(around).of("ANT")
    tonight = next(
        session
        for session in sessions_to(TONIGHT, 20).tolist()[::-1]
        if hours.ordinal(session) % SETTINGS.training.refit_every == 0
    )
    late = exchange().close(tonight) + LAG + timedelta(hours=1)
    store = store_with(
        tmp_path,
        bars_table("ANT", ANT.head(30), last=tonight, rows=slice(0, 29)),
        bars_table("ANT", ANT.head(30), last=tonight, rows=slice(29, 30), known_at=late),
    )
    refits = []
    for session in (tonight, exchange().offset(tonight, 1)):
        request = replace(request_for(store, "ANT", session=session), calendars=around)
        refits.append({model.refit_session for model in train_shard(request).models})
    assert refits == [{hours.offset(tonight, -5)}, {tonight}]


@pytest.mark.parametrize("target", TARGETS)
def test_scores_in_the_store_equal_a_recomputation_from_predictions(
    target: str, night: Night
) -> None:
    """The fleet is fitted again outside the store, and every squared error summed in a loop."""
    one = subject(series_of(ANT.head(ROWS - 2), last=REFIT), target, SETTINGS)
    fleet = fit_fleet([one], SETTINGS)
    default = {"log_return": "zero", "log_volatility": "harx_market"}[target]
    stored = {
        (row["fold"], row["segment"], row["method"], row["lead"]): row
        for row in night.store.read("scores", instruments=["ANT"]).to_pylist()
        if row["target"] == target and row["method"] != "published"
    }
    scored = [(fold, "gate", fold.gate) for fold in one.folds]
    scored += [(fold, "test", fold.test) for fold in one.folds[1:]]
    assert {key[:2] for key in stored} == {(fold.index, segment) for fold, segment, _ in scored}
    for fold, segment, rows in scored:
        (lstm,) = predict_fold(fleet, [one.member(fold)], [one], [rows])
        linear = fit_baselines(one, fold)[default].predict(one.inputs[None])[0]
        for lead in range(1, HORIZON + 1):
            squares: dict[str, list[float]] = {"lstm": [], default: []}
            for place, row in enumerate(range(*rows)):
                if row + lead < len(one.series):
                    if target == "log_return":
                        truth = np.log(one.series.close[row + lead] / one.series.close[row])
                    else:
                        mean = one.series.variance[row + 1 : row + lead + 1].mean()
                        truth = np.log(mean + one.epsilon)
                    squares["lstm"].append((lstm[place, lead - 1] - truth) ** 2)
                    squares[default].append((linear[row, lead - 1] - truth) ** 2)
            for method, found in squares.items():
                found_row = stored[fold.index, segment, method, lead]
                assert found_row["count"] == len(found)
                assert found_row["mse"] == pytest.approx(np.mean(found), rel=1e-10)
            expected = 1 - np.sum(squares["lstm"]) / np.sum(squares[default])
            skill = stored[fold.index, segment, "lstm", lead]["skill"]
            assert skill == pytest.approx(expected, abs=1e-9)


def test_one_instrument_with_one_bar_trains_nothing_and_says_why(tmp_path: Path) -> None:
    store = store_with(tmp_path, bars_table("ANT", ANT.head(1), last=REFIT))
    result = train_shard(request_for(store, "ANT"))
    assert {model.status for model in result.models} == {"not_trained"}
    assert {model.reason for model in result.models} == {"1 session of history, the LSTM needs 387"}
    assert store.read("scores").num_rows == store.read("statistics").num_rows == 0


def test_a_shard_without_a_bar_has_no_model(tmp_path: Path) -> None:
    result = train_shard(request_for(Store.open(tmp_path), "YAK"))
    assert (result.models, result.trained) == ((), 0)


def test_progress_is_told_step_by_step(fresh: Store) -> None:
    told: list[tuple[str, int, int]] = []
    train_shard(request_for(fresh, "ANT"), lambda *step: told.append(step))
    lanes = [(done, total) for step, done, total in told if step == "train"]
    scored = [(done, total) for step, done, total in told if step == "score"]
    assert lanes == [(done, 12) for done in range(1, 13)]
    assert scored == [(done, 6) for done in range(1, 7)]
