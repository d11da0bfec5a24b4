"""The store against a slow, obvious replay in dictionaries."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.store import Store
from tests.tasks.store_rows import NIGHT, bar, bars, losses

TICK = timedelta(microseconds=1)

Key = tuple[str, date]
Value = tuple[float, float | None, str]

# Few keys and values, so that most commits meet rows that are there; clocks that run backwards.
KEYS = st.tuples(st.sampled_from(["A", "B", "C"]), st.sampled_from([date(2024, 1, 2)]))
VALUES = st.tuples(
    st.sampled_from([1.0, 1.0 + 1e-12, 2.0]),
    st.sampled_from([None, 0.0, 5.0]),
    st.sampled_from(["upsert", "upsert", "retract"]),
)
HOURS = st.integers(-3, 3).map(lambda hours: NIGHT + timedelta(hours=hours))
COMMITS = st.lists(
    st.tuples(HOURS, st.dictionaries(KEYS, st.tuples(VALUES, HOURS), min_size=1)),
    min_size=1,
    max_size=6,
)


@dataclass
class Replay:
    """Every fact per key, in the order of its commits."""

    facts: dict[Key, list[tuple[datetime, Value]]] = field(default_factory=dict)

    def commit(
        self, now: datetime, rows: dict[Key, tuple[Value, datetime]]
    ) -> tuple[int, int, int]:
        new = changed = unchanged = 0
        for key, (value, proposed) in rows.items():
            known = self.facts.setdefault(key, [])
            if not known:
                known.append((proposed, value))
                new += 1
            elif same(known[-1][1], value):
                unchanged += 1
            else:
                known.append((max(now, known[-1][0] + TICK), value))
                changed += 1
        return new, changed, unchanged

    def read(self, as_of: datetime | None) -> dict[Key, Value]:
        found = {}
        for key, known in self.facts.items():
            seen = [value for known_at, value in known if as_of is None or known_at <= as_of]
            if seen and seen[-1][2] != "retract":
                found[key] = seen[-1]
        return found


def same(one: Value, other: Value) -> bool:
    return math.isclose(one[0], other[0], rel_tol=1e-9) and one[1:] == other[1:]


def read(store: Store, as_of: datetime | None, instruments: list[str] | None) -> dict[Key, Value]:
    rows = store.read("bars", as_of=as_of, instruments=instruments).to_pylist()
    assert [row["instrument"] for row in rows] == sorted(row["instrument"] for row in rows)
    return {
        (row["instrument"], row["session"]): (row["close"], row["volume"], row["op"])
        for row in rows
    }


@settings(max_examples=25)
@given(COMMITS, st.randoms(use_true_random=False))
def test_an_as_of_read_is_a_replay_of_all_commits(
    commits: list[tuple[datetime, dict[Key, tuple[Value, datetime]]]], random: Random
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, replay = Store.open(folder), Replay()
        for now, rows in commits:
            batch = [
                bar(
                    close,
                    instrument=instrument,
                    session=session,
                    volume=volume,
                    op=op,
                    known_at=proposed,
                )
                for (instrument, session), ((close, volume, op), proposed) in rows.items()
            ]
            random.shuffle(batch)
            counts = store.commit_facts("bars", bars(*batch), now=now)
            assert (counts.new, counts.changed, counts.unchanged) == replay.commit(now, rows)
        instants = {known_at for known in replay.facts.values() for known_at, _ in known}
        for as_of in [None, *instants, *(instant - TICK for instant in instants)]:
            expected = replay.read(as_of)
            assert read(store, as_of, None) == expected
            only = {key: value for key, value in expected.items() if key[0] in "AC"}
            assert read(store, as_of, ["C", "A"]) == only
        assert store.history("bars").num_rows == sum(map(len, replay.facts.values()))
        assert store.latest_known_at() == max(instants)


def test_a_replay_that_forgets_to_correct_would_be_noticed() -> None:
    replay = Replay()
    key = ("A", date(2024, 1, 2))
    first: Value = (1.0, None, "upsert")
    assert replay.commit(NIGHT, {key: (first, NIGHT)}) == (1, 0, 0)
    assert replay.commit(NIGHT, {key: ((2.0, None, "upsert"), NIGHT)}) == (0, 1, 0)
    assert replay.read(NIGHT) == {key: first}
    assert replay.read(NIGHT + TICK) == {key: (2.0, None, "upsert")}


@settings(max_examples=25)
@given(st.lists(st.tuples(HOURS, st.lists(st.sampled_from("abcde"), max_size=4)), max_size=5))
def test_derived_rows_are_the_first_ever_given(
    commits: list[tuple[datetime, list[str]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(folder)
        first: dict[str, tuple[float, datetime]] = {}
        for number, (now, ids) in enumerate(commits):
            fresh = set(ids) - set(first)
            first.update(dict.fromkeys(fresh, (float(number), now)))
            rows = losses(ids, loss=float(number))
            assert store.append_once("statistics", rows, now=now) == len(fresh)
        found = store.read("statistics").to_pylist()
        assert {row["evaluation_id"]: (row["loss"], row["known_at"]) for row in found} == first
        assert len(found) == len(first) == store.history("statistics").num_rows
