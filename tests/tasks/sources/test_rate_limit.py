from __future__ import annotations

import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.sources.rate_limit import Clock, Rate, wait_for_turn
from tests.tasks.sources.provider_server import FakeClock


def test_requests_are_spaced_evenly() -> None:
    time = FakeClock()
    for _ in range(4):
        wait_for_turn("a", Rate.per_minute(30), Clock(time.now, time.sleep))
    assert time.slept == [2, 2, 2]


@given(st.integers(1, 5), st.floats(0.5, 100), st.lists(st.floats(0, 50), min_size=1, max_size=40))
def test_no_window_holds_more_than_allowed(
    requests: int, seconds: float, pauses: list[float]
) -> None:
    time = FakeClock()
    clock, sent = Clock(time.now, time.sleep), []
    for pause in pauses:
        time.seconds += pause
        wait_for_turn("a", Rate(requests, seconds), clock)
        sent.append(time.seconds)
    for first, last in zip(sent, sent[requests:], strict=False):
        assert last - first >= seconds * (1 - 1e-9)


def test_nobody_waits_without_need() -> None:
    time = FakeClock()
    clock = Clock(time.now, time.sleep)
    for _ in range(50):
        wait_for_turn("a", Rate(50, 3600), clock)
    for other in ("b", "c"):
        wait_for_turn(other, Rate(1, 3600), clock)
    assert time.slept == []


def test_threads_keep_the_limit_together() -> None:
    slept: list[float] = []
    clock = Clock(lambda: 0.0, slept.append)
    threads = [
        threading.Thread(target=wait_for_turn, args=("a", Rate(1, 2.0), clock)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(slept) == [2, 4, 6, 8, 10, 12, 14]


def test_a_long_wait_is_told(caplog: pytest.LogCaptureFixture) -> None:
    time = FakeClock()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            wait_for_turn("https://a", Rate(1, 3600), Clock(time.now, time.sleep))
    assert "Waiting 3600 s: https://a is asked at most 1 times in 3600 s." in caplog.text
