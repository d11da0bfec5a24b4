"""Models for a shard whose training failed, on the store of a night that trained a refit before."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from tasks.forecast import forecast_shard
from tasks.last_good import last_good_models
from tasks.shards import ShardRequest
from tasks.train import LAST_GOOD, UntrainedError, train_shard, trained_shard
from tests.tasks.markets import REFIT, Night, copy_of, exchange, model_of, request_for

WHY = "training of shard-0000 failed: MemoryError"
NEXT = exchange().offset(REFIT, 5)
"""The next refit, for which nothing is trained."""


def later(night: Night, *instruments: str, session: date = NEXT) -> ShardRequest:
    return request_for(night.store, *instruments, session=session)


def test_the_models_of_the_refit_before_stand_in_and_say_why(night: Night) -> None:
    found = last_good_models(later(night, "ANT", "BEE"), WHY)
    assert [(one.instrument, one.target) for one in found] == [
        (name, target) for name in ("ANT", "BEE") for target in ("log_return", "log_volatility")
    ]
    for one in found:
        before = model_of(night.trained.models, one.instrument, one.target)
        assert replace(one, status=before.status, reason=before.reason) == before
        assert one.status == LAST_GOOD
        assert one.reason == f"{WHY}; so by its last good model, of refit {REFIT}"


def test_without_one_a_baseline_does(night: Night) -> None:
    models = last_good_models(later(night, "FLY", "NOBODY"), WHY)
    assert {(one.instrument, one.status, one.reason, one.checkpoint) for one in models} == {
        ("FLY", "not_trained", WHY, None),
        ("NOBODY", "not_trained", WHY, None),
    }


def test_a_model_of_another_configuration_or_of_later_is_not_good(night: Night) -> None:
    other = replace(later(night, "ANT"), config_hash="other")
    early = later(night, "ANT", session=exchange().offset(REFIT, -1))
    for request in (other, early):
        assert {one.status for one in last_good_models(request, WHY)} == {"not_trained"}


def test_a_model_whose_checkpoint_is_gone_is_not_good(night: Night, tmp_path: Path) -> None:
    store = copy_of(night.store, tmp_path / "store")
    request = replace(later(night, "ANT"), store_url=store.url)
    assert store.local_path is not None
    for file in (store.local_path / "checkpoints").iterdir():
        file.unlink()
    assert {one.status for one in last_good_models(request, WHY)} == {"not_trained"}


def test_a_forecast_by_the_last_good_model_is_marked(night: Night, tmp_path: Path) -> None:
    store = copy_of(night.store, tmp_path / "store")
    request = replace(later(night, "ANT"), store_url=store.url)
    models = last_good_models(request, WHY)
    forecast_shard(request, models, ())
    rows = store.read("forecasts", instruments=["ANT"]).to_pylist()
    own = [row for row in rows if row["as_of"] == request.as_of]
    assert {row["model_id"] for row in own} == {one.model_id for one in models}
    for row in own:
        assert f"({WHY}; so by its last good model, of refit {REFIT})" in row["reason"]
        assert row["lstm_mean"] is not None


def test_what_another_machine_trained_is_read_and_counted(night: Night) -> None:
    train = night.trained
    found = trained_shard(night.request)
    assert found.models == train.models
    assert found.trained == train.trained
    assert trained_shard(replace(night.request, run_id="another")).trained == 0


def test_models_that_are_not_in_this_store_are_told_and_never_trained(
    night: Night, tmp_path: Path
) -> None:
    store = copy_of(night.store, tmp_path / "store")
    request = replace(later(night, "ANT"), store_url=store.url)
    with pytest.raises(UntrainedError, match="2 of its 2 models are not in the store"):
        trained_shard(request)
    assert store.local_path is not None
    train_shard(request)
    assert trained_shard(request).trained == 2
    for file in (store.local_path / "checkpoints").iterdir():
        file.unlink()
    with pytest.raises(UntrainedError, match="use the same store"):
        trained_shard(request)
