"""How often a provider may be asked, over all requests of this process.

Owns the waiting. Never touches the network.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_LOG = logging.getLogger(__name__)
_WORTH_TELLING = 60.0


@dataclass(frozen=True)
class Clock:
    """Time, so that a test need not wait.

    Attributes:
        now: seconds that only grow.
        sleep: waits for so many seconds.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Rate:
    """At most `requests` within any `seconds`.

    Attributes:
        requests: how many; 1 spaces them evenly.
        seconds: length of the window.
    """

    requests: int
    seconds: float

    @classmethod
    def per_minute(cls, requests: float) -> Rate:
        """Evenly spaced, `requests` a minute."""
        return cls(1, 60 / requests)


_LOCK = threading.Lock()
_TURNS: dict[tuple[Clock, str], deque[float]] = {}


def wait_for_turn(server: str, rate: Rate, clock: Clock) -> None:
    """Returns when `server` may be asked again, and counts that it is asked.

    Each call takes its turn at once and sleeps until it, so that threads and sources that ask the
    same server keep the limit together.
    """
    with _LOCK:
        turns = _TURNS.setdefault((clock, server), deque())
        now = clock.now()
        turn = now
        if turns:
            turn = max(turn, turns[-1])
        if len(turns) >= rate.requests:
            turn = max(turn, turns[-rate.requests] + rate.seconds)
        turns.append(turn)
        while len(turns) > rate.requests:
            turns.popleft()
    if turn - now >= _WORTH_TELLING:
        _LOG.warning(
            "Waiting %.0f s: %s is asked at most %d times in %.0f s.",
            turn - now,
            server,
            rate.requests,
            rate.seconds,
        )
    if turn > now:
        clock.sleep(turn - now)
