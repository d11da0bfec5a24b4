"""The market that instruments of one exchange share: how much it moved, and where, per session.

Owns which instruments stand for it, and their mean. Never touches the store or a feature.

Volatilities move together: what the others did says more about an instrument's next weeks than its
own noisy variance does. The market is that of a calendar, since two exchanges' sessions of one date
end at different hours. It is causal: a value at a session uses that session and earlier ones only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.features import Floats, Series
from tasks.identity import content_id
from tasks.sessions import Calendars

SAMPLE = 50
"""Instruments of a calendar that stand for its market, at most: their mean hardly changes after."""

JOINING = 63
"""Sessions with a move after which an instrument joins the market; their mean variance is its unit.

Half the warm-up of the features, so that it costs no session of anybody's."""

RECENT = np.timedelta64(10, "D")
"""An instrument without a bar for longer no longer trades; one without tonight's alone is late."""

FLOOR = 0.05
"""Added to a variance in its unit before the logarithm: a price that stood still has none."""


@dataclass(frozen=True)
class Market:
    """The market of one calendar.

    Attributes:
        sessions: `(row,)` in order, those on which at least half of the instruments had a bar that
            had joined and still traded: a few that are punctual are no market.
        variance: `(row,)` geometric mean of the instruments' variances, each in its own unit.
        log_return: `(row,)` mean of their log returns.
    """

    sessions: NDArray[np.datetime64]
    variance: Floats
    log_return: Floats


def market_sample(instruments: Iterable[str], calendars: Calendars) -> tuple[str, ...]:
    """The instruments that stand for the market of each calendar, sorted.

    Those whose hashes are the smallest, so that one more instrument in the universe changes one of
    them at most.
    """
    by_hash = sorted(set(instruments), key=content_id)
    groups = calendars.grouped(by_hash).values()
    return tuple(sorted(by_hash[place] for places in groups for place in places[:SAMPLE]))


def market_of(members: Sequence[Series]) -> Market:
    """The market of some instruments of one calendar, in any order."""
    joined = [one for one in map(_in_units, sorted(members, key=lambda s: s.instrument)) if one]
    if not joined:
        return Market(np.empty(0, "datetime64[D]"), np.empty(0), np.empty(0))
    sessions, place = np.unique(
        np.concatenate([sessions for sessions, _, _ in joined]), return_inverse=True
    )
    count = np.bincount(place)
    logs = np.bincount(place, np.concatenate([log for _, log, _ in joined]))
    returns = np.bincount(place, np.concatenate([own for _, _, own in joined]))
    trading = np.sum([_trades(own, sessions) for own, _, _ in joined], axis=0)
    held = 2 * count >= trading
    return Market(sessions[held], np.exp(logs / count)[held], (returns / count)[held])


def with_market(
    series: Mapping[str, Series], sample: Mapping[str, Series], calendars: Calendars
) -> dict[str, Series]:
    """Each series with the market of its calendar at its sessions.

    Where there is no market, it is as variable as at its last session, and does not move; before
    its first it is at rest: variance 1 in its unit.
    """
    members = list(sample.values())
    groups = calendars.grouped(sample)
    markets = {
        calendar: market_of([members[place] for place in places])
        for calendar, places in groups.items()
    }
    empty = market_of(())
    return {
        name: _beside(one, markets.get(calendars.of(name), empty)) for name, one in series.items()
    }


def _in_units(one: Series) -> tuple[NDArray[np.datetime64], Floats, Floats] | None:
    """Sessions, log variances in its unit, and log returns since it joined; None: it has not."""
    moved = np.flatnonzero(one.variance > 0.0)[:JOINING]
    if len(moved) < JOINING:
        return None
    since = int(moved[-1]) + 1
    unit = one.variance[moved].mean()
    logs = np.log(one.variance[since:] / unit + FLOOR)
    return one.sessions[since:], logs, one.log_return[since:]


def _beside(one: Series, market: Market) -> Series:
    last = np.searchsorted(market.sessions, one.sessions, side="right") - 1
    variance, log_return = np.ones(len(one)), np.zeros(len(one))
    begun = last >= 0
    variance[begun] = market.variance[last[begun]]
    same = begun.copy()
    same[begun] = market.sessions[last[begun]] == one.sessions[begun]
    log_return[same] = market.log_return[last[same]]
    return replace(one, market_variance=variance, market_return=log_return)


def _trades(own: NDArray[np.datetime64], sessions: NDArray[np.datetime64]) -> NDArray[np.bool_]:
    """At which of `sessions` an instrument with these bars has one that is recent."""
    last = np.searchsorted(own, sessions, side="right") - 1
    return (last >= 0) & (sessions - own[np.maximum(last, 0)] <= RECENT)
