"""Shards: the instruments whose fleets are one unit of work, and what a worker is asked of them.

Owns the shard plan and the request. Never touches what a worker does with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from tasks.sessions import CalendarConfig
from tasks.settings import ForecastSettings


@dataclass(frozen=True)
class Shard:
    """Instruments whose fleet is one unit of work."""

    name: str
    instruments: tuple[str, ...]


@dataclass(frozen=True)
class ShardRequest:
    """All that a worker needs to train or forecast a shard; small, and safe to send."""

    store_url: str
    shard: Shard
    session: date
    as_of: datetime
    lag: timedelta
    calendars: CalendarConfig
    settings: ForecastSettings
    config_hash: str
    run_id: str
    origin: str
    versions: tuple[tuple[str, int], ...] = ()
    market: tuple[str, ...] = ()
    """The instruments, of any shard, that stand for the markets: see `tasks.market`."""


def plan_shards(instruments: Sequence[str], shard_size: int) -> tuple[Shard, ...]:
    """Contiguous shards of the sorted names: a function of names and config alone."""
    names = sorted(set(instruments))
    groups = [tuple(names[i : i + shard_size]) for i in range(0, len(names), shard_size)]
    return tuple(Shard(f"shard-{i:04d}", group) for i, group in enumerate(groups))
