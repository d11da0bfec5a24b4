"""Figures of one panel: pooled ratios with their intervals, tests, coverage. NumPy only.

Owns the arithmetic of benchmarks/QUALITY.md. Never fits anything and never prints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks.quality.study import CONSTANT, Panel, complete
from tasks.decisions import PUBLISHED
from tasks.directional import pesaran_timmermann
from tasks.features import Floats
from tasks.identity import content_id
from tasks.model_sets import model_set
from tasks.significance import hac_lags, hac_test, long_run_variance


@dataclass(frozen=True)
class Ratio:
    """One method's total loss over another's, on the same pairs.

    Attributes:
        value: the ratio; below 1 the first is better.
        low: lower end of its 95 % interval.
        high: upper end.
        t: of the mean difference; above 0 the first is better; NaN where nothing differs.
    """

    value: float
    low: float
    high: float
    t: float


def ratio(own: Floats, other: Floats, horizon: int) -> Ratio:
    """Pool `(instrument, session)` losses and compare, sessions being the units that vary.

    With A and B the sums over instruments of a session, the ratio is R = ΣA / ΣB, and its standard
    error that of the mean of (A − R B) / mean B (delta method), HAC as in `tasks.significance`.
    """
    both = np.isfinite(own) & np.isfinite(other)
    held = both.any(axis=0)
    a = np.where(both, own, 0.0).sum(axis=0)[held]
    b = np.where(both, other, 0.0).sum(axis=0)[held]
    value = float(a.sum() / b.sum())
    linear = (a - value * b) / b.mean()
    if np.ptp(linear) <= 1e-12:
        return Ratio(value, value, value, math.nan)
    count = len(linear)
    lags = hac_lags(count, horizon)
    share = (lags + 1) / count
    variance = long_run_variance(linear, lags) / (1.0 - share + share**2 / 3.0)
    half = float(stats.t.ppf(0.975, 1.5 / share)) * math.sqrt(variance / count)
    found = hac_test(b - a, horizon=horizon)
    t = math.nan if found.statistic is None else found.statistic
    return Ratio(value, value - half, value + half, t)


def in_confidence_set(panel: Panel, methods: Sequence[str], place: int) -> dict[str, bool]:
    """Whether each method is in the 90 % Model Confidence Set at one lead.

    Of sums over instruments per session; the seed is the panel's own: see `seed_of`.
    """
    pairs = complete(panel, methods).all(axis=0)
    losses = np.stack(
        [panel.losses[method][:, pairs, place].sum(axis=0) for method in methods], axis=1
    )
    found = model_set(losses, horizon=place + 1, seed=seed_of(panel))
    return {method: p is not None and p > 0.1 for method, p in zip(methods, found.mcs, strict=True)}


def seed_of(panel: Panel) -> int:
    """Of the bootstrap: from the names of what is compared."""
    return int(content_id(panel.kind, panel.target, list(panel.instruments))[:8], 16)


def skills(panel: Panel, method: str) -> dict[str, float]:
    """Skill over all leads against the default baseline, by instrument."""
    found = {}
    for place, name in enumerate(panel.instruments):
        own, base = panel.losses[method][place], panel.losses[panel.baseline][place]
        both = np.isfinite(own) & np.isfinite(base)
        if both.any():
            found[name] = float(1.0 - own[both].sum() / base[both].sum())
    return found


@dataclass(frozen=True)
class Coverage:
    """How often an interval held at one lead.

    Attributes:
        share: pooled.
        error: its standard error, sessions being the units that vary.
        lowest: of an instrument.
        highest: of an instrument.
        near: share of instruments within 5 points of the level.
        against_constant: interval score over that of constant width; below 1 is better.
    """

    share: float
    error: float
    lowest: float
    highest: float
    near: float
    against_constant: float


def coverage(panel: Panel, place: int, level: float) -> Coverage:
    """Of what is published, at the lead `place + 1`."""
    held = panel.covered[PUBLISHED][:, :, place]
    known = np.isfinite(held).any(axis=0)
    by_session = np.nanmean(held[:, known], axis=0)
    lags = hac_lags(len(by_session), place + 1)
    error = math.sqrt(long_run_variance(by_session, lags) / len(by_session))
    each = np.nanmean(held, axis=1)
    own, other = panel.widths[PUBLISHED][:, :, place], panel.widths[CONSTANT][:, :, place]
    both = np.isfinite(own) & np.isfinite(other)
    return Coverage(
        share=float(np.nanmean(held)),
        error=error,
        lowest=float(each.min()),
        highest=float(each.max()),
        near=float((np.abs(each - level) <= 0.05).mean()),
        against_constant=float(own[both].sum() / other[both].sum()),
    )


def direction_tests(panel: Panel, method: str) -> Mapping[str, float]:
    """Pesaran–Timmermann z by instrument; those whose calls never vary are left out."""
    found = {}
    for place, name in enumerate(panel.instruments):
        called, came = panel.called[method][place], panel.rises[place]
        both = np.isfinite(called) & np.isfinite(came)
        if not both.any():
            continue
        test = pesaran_timmermann(
            int(both.sum()),
            float((called[both] == came[both]).mean()),
            float(came[both].mean()),
            float(called[both].mean()),
        )
        if test.statistic is not None:
            found[name] = test.statistic
    return found
