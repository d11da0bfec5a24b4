"""One thread per operation, as a worker has it, and a night that several tests look at."""

import os

# Before anything here imports Keras.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

from collections.abc import Iterator

import pytest

from tasks.decisions import decide_and_score
from tasks.forecast import forecast_shard
from tasks.storage import places
from tasks.store import Store
from tasks.train import train_shard
from tests.tasks.markets import (
    UNIVERSE,
    Night,
    copy_of,
    request_for,
    store_with,
    universe_bars,
)


@pytest.fixture(scope="session")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The bars of the universe and nothing else; never written to: copy it."""
    return store_with(tmp_path_factory.mktemp("facts"), *universe_bars())


@pytest.fixture(scope="session")
def night(facts: Store, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A finished night over those bars; never written to: copy its store."""
    store = copy_of(facts, tmp_path_factory.mktemp("night"))
    request = request_for(store, *UNIVERSE)
    trained = train_shard(request)
    decisions = decide_and_score(store, trained.models, request)
    return Night(
        store, request, trained, decisions, forecast_shard(request, trained.models, decisions)
    )


@pytest.fixture(scope="session", autouse=True)
def store_on_s3() -> Iterator[None]:
    """With FLEETCAST_TEST_S3 set every store that a test puts into a folder is on S3 instead."""
    if not os.environ.get("FLEETCAST_TEST_S3"):
        yield
        return
    from tests.tasks.object_store import BUCKET, object_store

    with object_store(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "_folder", lambda path: places.Place("s3", f"{BUCKET}{path}"))
        yield
