"""One candidate's case against the default baseline: who takes part, and what the tests say.

Owns what the gate weighs. Never touches what was published before, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tasks.differentials import PairedLosses
from tasks.significance import LossTest, hac_test

TIE = 1e-5
"""Skill up to which two forecasts are the same.

Above what float32 arithmetic does to a mean loss, below any advantage that anyone could use."""


@dataclass(frozen=True)
class Evidence:
    """One candidate's case.

    Attributes:
        candidate: Whose.
        pooled: The test over all that take part.
        members: The losses of those.
        excluded: Instrument → why it takes no part.
        horizon: Sessions that a loss's targets span.
    """

    candidate: str
    pooled: LossTest
    members: PairedLosses
    excluded: Mapping[str, str]
    horizon: int

    def own(self, instrument: str) -> LossTest:
        """The test on one instrument that takes part, alone."""
        return hac_test(self.members.of(instrument).pooled(), horizon=self.horizon)

    @property
    def strength(self) -> float:
        """The pooled t; below every other where there is none."""
        return -np.inf if self.pooled.statistic is None else self.pooled.statistic

    def passes(self, significance: float) -> bool:
        """Whether the candidate is better by more than a tie, at a level."""
        pooled = self.pooled
        enough = pooled.statistic is not None and pooled.p_value <= significance
        return enough and pooled.mean > TIE


def weigh(
    pairs: PairedLosses,
    names: Iterable[str],
    *,
    baseline: str,
    candidate: str,
    min_sessions: int,
    horizon: int,
) -> Evidence:
    """Weigh a candidate on its losses beside the baseline's.

    Args:
        pairs: Of one target and kind.
        names: The instruments that are to be decided about.
        baseline: What to call the one method.
        candidate: What to call the other, which is judged.
        min_sessions: Non-overlapping sessions that an instrument needs to take part.
        horizon: Sessions that a loss's targets span.
    """
    fit = _fit(pairs, min_sessions, horizon)
    reasons = {
        name: _unfit(pairs.of(name), baseline, candidate, min_sessions, horizon)
        for name in names
        if name not in fit
    }
    excluded = {name: reason for name, reason in reasons.items() if reason is not None}
    members = pairs.without(excluded)
    return Evidence(
        candidate=candidate,
        pooled=hac_test(members.pooled(), horizon=horizon),
        members=members,
        excluded=excluded,
        horizon=horizon,
    )


def _fit(pairs: PairedLosses, min_sessions: int, horizon: int) -> set[str]:
    """Those that `_unfit` has nothing to say of, all at once: they are nearly all."""
    count = len(pairs.instruments)
    sessions = np.bincount(pairs.instrument, minlength=count)
    finite = np.isfinite(pairs.baseline) & np.isfinite(pairs.candidate)
    broken = np.bincount(pairs.instrument[~finite], minlength=count)
    errs = np.bincount(pairs.instrument[pairs.baseline > 0.0], minlength=count)
    fit = (broken == 0) & (sessions // horizon >= min_sessions) & (errs > 0)
    return {pairs.instruments[place] for place in np.flatnonzero(fit)}


def _unfit(
    own: PairedLosses, baseline: str, candidate: str, min_sessions: int, horizon: int
) -> str | None:
    """Say why an instrument can take no part in the test of a candidate, or None if it can."""
    sessions = len(own.session)
    if sessions == 0:
        return f"{candidate} and {baseline} have no gate session in common to be compared on"
    for method, losses in ((baseline, own.baseline), (candidate, own.candidate)):
        broken = int((~np.isfinite(losses)).sum())
        if broken:
            return f"{method} has no finite loss on {broken:,} of {sessions:,} gate sessions"
    independent = sessions // horizon
    if independent < min_sessions:
        return (
            f"{sessions:,} gate sessions hold {independent:,} that do not overlap at horizon "
            f"{horizon}, and {candidate} needs {min_sessions:,} to be judged"
        )
    if own.baseline.mean() == 0.0:
        return f"it made no error on {sessions:,} gate sessions, so {candidate} cannot beat it"
    return None
