"""Processes that write into one store at once, and what must be there when they are done.

Every write is one commit of three facts: a key of the writer's own, a key that all writers write
alike, and a key that they all write and never agree on.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

from tasks.storage import turns
from tasks.store import Store
from tests.tasks.store_rows import NIGHT, SESSION, bar, bars


def rival(writer: int, number: int) -> float:
    """What a write says of the key that nobody agrees on: a value of its own."""
    return 1.0 + writer + number / 1_000


def write(url: str, writer: int, writes: int, patience: float) -> None:
    """One process, which waits so long for its turn."""
    turns.PATIENCE = patience
    store = Store.open(url)
    for number in range(writes):
        session = SESSION + timedelta(days=number)
        counts = store.commit_facts(
            "bars",
            bars(
                bar(float(writer + 1), instrument=f"own {writer}", session=session),
                bar(5.0, instrument="shared", session=session),
                bar(rival(writer, number), instrument="rival"),
            ),
            now=NIGHT,
        )
        if counts.new + counts.changed + counts.unchanged != 3 or counts.new < 1:
            raise AssertionError(f"write {number} of writer {writer} came to {counts}")


def run_writers(
    url: str, writers: int, writes: int, patience: float = turns.PATIENCE
) -> list[int | None]:
    """All processes at once; their exit codes. Without `patience` they take no turns, but race."""
    return run_all([(write, (url, writer, writes, patience)) for writer in range(writers)])


def run_all(calls: Sequence[tuple[Callable[..., None], tuple[Any, ...]]]) -> list[int | None]:
    """Every call in a process of its own, all at once; their exit codes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "tests.tasks.provider"])
    processes = [context.Process(target=call, args=given) for call, given in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def check(store: Store, writers: int, writes: int) -> None:
    """Raises AssertionError where a write was lost, or is there twice."""
    sessions = [SESSION + timedelta(days=number) for number in range(writes)]
    facts = store.history("bars", columns=["instrument", "session", "close", "known_at"])
    told = Counter(
        (row["instrument"], row["session"], row["close"])
        for row in facts.to_pylist()
        if row["instrument"] != "rival"
    )
    expected = {
        (f"own {writer}", session, float(writer + 1))
        for writer in range(writers)
        for session in sessions
    } | {("shared", session, 5.0) for session in sessions}
    assert told == Counter(expected), "a key of one's own, or of all, is lost or there twice"
    rivals = [row for row in facts.to_pylist() if row["instrument"] == "rival"]
    said = sorted(rival(writer, number) for writer in range(writers) for number in range(writes))
    assert sorted(row["close"] for row in rivals) == said, "a revision is lost or there twice"
    assert all(one["known_at"] < other["known_at"] for one, other in pairwise(rivals)), (
        "two revisions of one key became known at once: which holds is left to chance"
    )
    held = store.read("bars", columns=["instrument", "session", "close"]).to_pylist()
    assert len(held) == len(expected) + 1, "an as-of read has a key twice"
    middle = rivals[len(rivals) // 2]
    then = store.read("bars", instruments=["rival"], as_of=middle["known_at"]).to_pylist()
    assert [row["close"] for row in then] == [middle["close"]]
