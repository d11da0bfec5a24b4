"""What was known when: revisions there and back, jitter, and histories that came in bulk."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.bars import ValidationConfig
from tasks.store import Store
from tests.tasks.provider import SESSIONS, Provider, bar, night, published, run

FIRST = SESSIONS[0]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def provider(*closes: float) -> Provider:
    return Provider([bar(place, close) for place, close in enumerate(closes)], incremental=True)


def ingest_each_night(store: Store, closes: list[float], **more: Any) -> None:  # noqa: ANN401
    """Every night the provider says another close of the first session."""
    for place, close in enumerate(closes):
        run(store, provider(close, 10.1, 10.2), 10 + place, start=FIRST, **more)


def test_there_and_back_are_three_facts_one_after_the_other(store: Store) -> None:
    ingest_each_night(store, [10.0, 11.0, 10.0, 10.0])
    told = store.history("bars").to_pylist()
    mine = [(row["close"], row["known_at"], row["assumed"]) for row in told[:3]]
    assert mine == [
        (10.0, published(0), True),
        (11.0, night(11), False),
        (10.0, night(12), False),
    ]
    assert len(told) == 5

    def close(place: int) -> float:
        found: float = store.read("bars", as_of=night(place))["close"][0].as_py()
        return found

    assert [close(place) for place in (9, 10, 11, 12, 13)] == [10.0, 10.0, 11.0, 10.0, 10.0]


def test_revisions_have_known_at_in_their_order_even_if_the_clock_goes_back(store: Store) -> None:
    for place, close in ((20, 10.0), (21, 11.0), (19, 12.0)):
        run(store, provider(close), place, start=FIRST)
    told = store.history("bars").to_pylist()
    assert [row["close"] for row in told] == [10.0, 11.0, 12.0]
    assert told[1]["known_at"] < told[2]["known_at"]


def test_jitter_is_no_revision_and_drift_is_caught_against_what_is_stored(store: Store) -> None:
    """Six steps of 4e-7: each is below the tolerance of 1e-6, and the third is 1.2e-6 away."""
    ingest_each_night(store, [10.0 * (1 + 4e-7 * step) for step in range(7)])
    mine = [row["close"] for row in store.history("bars").to_pylist() if row["session"] == FIRST]
    assert mine == pytest.approx([10.0, 10.0 * (1 + 12e-7), 10.0 * (1 + 24e-7)], rel=1e-9)


def test_the_tolerance_is_what_the_configuration_says(store: Store) -> None:
    strict = ValidationConfig(revision_tolerance=0.0)
    ingest_each_night(store, [10.0, 10.0 * (1 + 1e-12), 10.0], validation=strict)
    assert store.history("bars").num_rows == 5
    loose = ValidationConfig(revision_tolerance=0.01)
    report = run(store, provider(10.05, 10.1, 10.2), 20, start=FIRST, validation=loose)
    assert (report.changed, report.unchanged) == (0, 3)
    assert store.history("bars").num_rows == 5


@settings(max_examples=6)
@given(
    nights=st.lists(
        st.dictionaries(st.integers(0, 8), st.sampled_from([10.0, 10.5, 11.0]), min_size=1),
        min_size=1,
        max_size=5,
    )
)
def test_an_as_of_read_is_the_world_as_it_was_known(
    tmp_path_factory: pytest.TempPathFactory, nights: list[dict[int, float]]
) -> None:
    """Whatever the provider says night after night, in parts, against a plain dictionary."""
    store = Store.open(tmp_path_factory.mktemp("store"))
    world: dict[date, float] = {}
    worlds = []
    for place, said in enumerate(nights):
        source = Provider([bar(where, close) for where, close in said.items()])
        run(store, source, 20 + place)
        world = {**world, **{SESSIONS[where]: close for where, close in said.items()}}
        worlds.append(world)
    # What is older than the first bar is assumed to have been known all along: not a revision.
    for place, expected in enumerate(worlds):
        bars = store.read("bars", as_of=night(20 + place)).to_pylist()
        found = {row["session"]: row["close"] for row in bars}
        late = {
            row["session"]
            for row in store.history("bars").to_pylist()
            if row["assumed"] and row["session"] not in expected
        }
        assert {day: close for day, close in found.items() if day not in late} == expected
    assert len({row["session"] for row in store.read("bars").to_pylist()}) == len(world)
