"""One thread per operation, as a worker has it, and a night that several tests look at."""

import os

# Before anything here imports Keras.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import pytest  # noqa: E402 - after the environment is set

from tasks.decisions import decide_and_score  # noqa: E402
from tasks.forecast import forecast_shard  # noqa: E402
from tasks.store import Store  # noqa: E402
from tasks.train import train_shard  # noqa: E402
from tests.tasks.markets import (  # noqa: E402
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
