"""What a night brought that the night before had not: methods, old bars, intervals that drifted.

Owns the comparison of two nights. Never tells anybody: `flows.events` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from tasks.identity import content_id
from tasks.last_night import Published, nights_of, published
from tasks.old_bars import OldBar, old_bars
from tasks.run_forecasts import forecasts_of
from tasks.runs import PinnedRun
from tasks.sessions import Calendars
from tasks.store import Store

_Key = tuple[str, str, str]
"""(instrument, target, kind)"""


@dataclass(frozen=True)
class Changed:
    """Another method is published for an instrument's target than on the night before."""

    instrument: str
    target: str
    kind: str
    before: str
    now: str


@dataclass(frozen=True)
class Drifted:
    """An instrument whose intervals have begun to hold too seldom."""

    instrument: str
    target: str
    kind: str


@dataclass(frozen=True)
class News:
    """What a night came to, and what is new of it.

    Attributes:
        before: the session of the night that it is compared with; None: it is the first.
        edition: hash of the ids of its forecasts.
        forecasts: rows, all leads together.
        published: by target and kind, as `tasks.last_night` counts them.
        changed: whose method changed. The first night has none.
        old: whose newest bar is old, but was not on the night before.
        still_old: how many others have old bars.
        drifted: whose intervals have drifted, but had not on the night before.
        still_drifted: how many others have.
    """

    before: str | None
    edition: str
    forecasts: int
    published: tuple[Published, ...]
    changed: tuple[Changed, ...]
    old: tuple[OldBar, ...]
    still_old: int
    drifted: tuple[Drifted, ...]
    still_drifted: int

    @property
    def learned(self) -> int:
        """Instruments and targets for which a network earned its place."""
        return sum(one.learned for one in self.published)


def news(
    store: Store,
    run: PinnedRun,
    *,
    forecasts: Sequence[tuple[str, str]],
    calendars: Calendars,
    lag: timedelta,
) -> News:
    """What is new with a night, against the last finished one of an earlier session.

    Args:
        store: holds both.
        run: the night's.
        forecasts: kinds and targets that each instrument is to have.
        calendars: of the instruments.
        lag: from a session's close to its publication.

    Raises:
        StoreError: the store can't be read.
    """
    earlier = (
        one
        for one in nights_of(store, run.config_hash)
        if one.session < run.session and one.status == "finished"
    )
    before = next(earlier, None)
    rows = forecasts_of(store, run)
    there = published(rows, run, forecasts)
    old = old_bars(store, run, calendars, lag)
    methods = _methods(rows.select([*_KEY, "method"]).to_pylist())
    drifted = _drifted(there)
    then_methods: dict[_Key, str] = {}
    then_old: frozenset[str] = frozenset()
    then_drifted: frozenset[Drifted] = frozenset()
    if before is not None:
        then_rows = forecasts_of(store, before)
        then_methods = _methods(then_rows.select([*_KEY, "method"]).to_pylist())
        then_old = frozenset(one.instrument for one in old_bars(store, before, calendars, lag))
        then_drifted = frozenset(_drifted(published(then_rows, before, forecasts)))
    fresh_old = tuple(one for one in old if one.instrument not in then_old)
    fresh_drifted = tuple(one for one in drifted if one not in then_drifted)
    return News(
        before=None if before is None else str(before.session),
        edition=content_id("edition", sorted(rows["forecast_id"].to_pylist())),
        forecasts=rows.num_rows,
        published=there,
        changed=tuple(
            Changed(*key, then_methods[key], method)
            for key, method in sorted(methods.items())
            if key in then_methods and then_methods[key] != method
        ),
        old=fresh_old,
        still_old=len(old) - len(fresh_old),
        drifted=fresh_drifted,
        still_drifted=len(drifted) - len(fresh_drifted),
    )


_KEY = ("instrument", "target", "kind")


def _methods(rows: Sequence[dict[str, str]]) -> dict[_Key, str]:
    return {(row["instrument"], row["target"], row["kind"]): row["method"] for row in rows}


def _drifted(there: Sequence[Published]) -> tuple[Drifted, ...]:
    found = (Drifted(name, one.target, one.kind) for one in there for name in one.drifted)
    return tuple(sorted(found, key=lambda one: (one.instrument, one.target, one.kind)))
