"""What is odd about bars in a row: prices that stand still, volumes out of all proportion.

Owns these two notes. Never holds a row by itself.
"""

from __future__ import annotations

import numpy as np

from tasks.rules.config import ValidationConfig
from tasks.rules.panel import FEWEST, NOTHING, PAST, Found, Panel, usual_size, words

_LAST_FEW = 6


def stale_runs(panel: Panel, config: ValidationConfig) -> Found:
    """The bar with which a run of equal prices reaches `stale_sessions`; once per run."""
    same = ~panel.first
    for prices in (panel.close, panel.open, panel.high, panel.low):
        if not same.any():
            return NOTHING
        there = np.flatnonzero(same)
        now, before = prices[there], prices[there - 1]
        same[there] = (now == before) | (np.isnan(now) & np.isnan(before))
    position = np.arange(len(panel))
    begin = np.maximum.accumulate(np.where(same, 0, position))
    here = np.flatnonzero(position - begin + 1 == config.stale_sessions)
    told = f" for the {config.stale_sessions}th session in a row"
    return Found(here, words("the close is ", panel.close[here], told))


def absurd_volumes(panel: Panel, config: ValidationConfig) -> Found:
    """Bars whose volume is `volume_ratio` times the mean of the sessions before that traded."""
    volume = panel.volume
    # The mean of the past is at least the sum of its last few volumes over its length: few pass.
    known = np.nan_to_num(volume)
    total = np.zeros(len(volume))
    for lag in range(1, _LAST_FEW + 1):
        total[lag:] += known[:-lag]
    here = np.flatnonzero(volume > config.volume_ratio / PAST * total)
    here = here[here - panel.start[here] >= FEWEST]
    past = panel.past(volume, here, PAST)
    mean = usual_size(past)
    far = volume[here] > config.volume_ratio * mean
    here, mean = here[far], mean[far]
    told = " is far above the usual "
    return Found(here, words("the volume ", volume[here], told, np.round(mean, 1)))
