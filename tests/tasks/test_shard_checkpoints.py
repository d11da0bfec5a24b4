"""The file of a shard's fleet: what it holds, and what happens when it is lost or damaged."""

from pathlib import Path

import pytest

from lstm_models import checkpoint as checkpoints
from lstm_models.checkpoint import CheckpointError
from tasks.forecast import forecast_shard
from tasks.store import Store
from tasks.train import train_shard
from tests.tasks.markets import UNIVERSE, Night, copy_of, request_for, row_counts


@pytest.fixture
def fresh(facts: Store, tmp_path: Path) -> Store:
    """The bars of the universe, nothing trained."""
    return copy_of(facts, tmp_path / "store")


def test_a_lost_checkpoint_is_trained_again_to_the_same_bytes(night: Night, tmp_path: Path) -> None:
    store = copy_of(night.store, tmp_path)
    (path,) = {m.checkpoint for m in night.trained.models if m.checkpoint is not None}
    data = store.read_file(path)
    (tmp_path / path).unlink()
    before = row_counts(store)
    result = train_shard(request_for(store, *UNIVERSE))
    assert result.models == night.trained.models
    assert result.trained == sum(model.checkpoint is not None for model in result.models)
    assert store.read_file(path) == data
    assert row_counts(store) == before


def test_a_lost_checkpoint_comes_back_where_its_models_expect_it(fresh: Store) -> None:
    """Also when a newcomer is trained beside them, and the fleet's own file is another."""
    (first, *_) = train_shard(request_for(fresh, "ANT")).models
    assert first.checkpoint is not None
    assert fresh.local_path is not None
    (fresh.local_path / first.checkpoint).unlink()
    result = train_shard(request_for(fresh, "ANT", "BEE"))
    assert result.trained == 4
    for model in result.models:
        assert model.checkpoint is not None
        _, _, notes = checkpoints.load(fresh.read_file(model.checkpoint))
        assert model.model_id in notes["models"]
    assert len({model.checkpoint for model in result.models}) == 2


def test_a_checkpoint_holds_the_models_of_tonight_and_no_others(night: Night) -> None:
    (path,) = {m.checkpoint for m in night.trained.models if m.checkpoint is not None}
    fleet, extra, notes = checkpoints.load(night.store.read_file(path))
    trained = {m.model_id for m in night.trained.models if m.checkpoint is not None}
    assert set(notes["models"]) == trained
    assert {about["member"] for about in notes["models"].values()} == set(fleet.names)
    assert len(fleet.names) == len(trained)
    assert {name.split("/")[0] for name in extra} == trained


def test_a_damaged_checkpoint_is_named_and_nothing_is_written(night: Night, tmp_path: Path) -> None:
    store = copy_of(night.store, tmp_path)
    (path,) = {m.checkpoint for m in night.trained.models if m.checkpoint is not None}
    store.write_file(path, store.read_file(path)[:-100])
    request = request_for(store, "ANT", config_hash="another config")
    with pytest.raises(CheckpointError, match=path):
        forecast_shard(request, night.trained.models, night.decisions)
    assert store.history("forecasts").num_rows == night.forecast.written
