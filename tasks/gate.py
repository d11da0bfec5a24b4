"""The gate: which forecast of an instrument is published, as a rule anyone can recompute.

Owns the rule, its configuration and the sentence that explains a decision. Never reads a store
and never sees a forecast: it is a pure function of rows of the `statistics` dataset.

The rule, per target and kind, on the rows whose segment is "gate" (docs/scores.md has it in full):

1. Pair the candidate's losses with the default baseline's, on the same instrument, fold and
   cutoff; a cutoff that several folds share counts once, with the mean of its losses.
2. dₜ = the mean over instruments of (baseline loss − candidate loss) / the instrument's mean
   baseline loss. An instrument takes part with enough sessions, finite losses and a baseline that
   errs at all.
3. Of the candidates whose dₜ passes the one-sided HAC test, the one with the largest t is chosen.
4. An instrument on which the chosen candidate did not do better itself keeps the baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.differentials import PairedLosses, pair_losses
from tasks.kinds import default_baseline, leads
from tasks.significance import LossTest, hac_test

Candidate = Literal["lstm", "combination"]

TIE = 1e-5
"""Skill up to which a candidate and the baseline are the same forecast.

Above what float32 arithmetic does to a mean loss, below any advantage that anyone could use."""


class GateConfig(BaseModel):
    """When a candidate replaces the default baseline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    significance: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="Level of the pooled one-sided test: how often noise may be published.",
    )
    keep_significance: float = Field(
        default=0.2,
        gt=0,
        lt=0.5,
        description="Level at which what was published a fold ago stays published.",
    )
    min_sessions: int = Field(
        default=40,
        ge=8,
        description="Non-overlapping gate sessions (sessions / horizon) an instrument needs.",
    )
    veto_t: float = Field(
        default=0.0,
        ge=-3,
        le=3,
        description="The instrument's own t must be above this; at 0 its own mean must be better.",
    )
    candidates: tuple[Candidate, ...] = Field(
        default=("lstm", "combination"),
        min_length=1,
        description="The methods that may replace the default baseline.",
    )

    @model_validator(mode="after")
    def _candidates_are_distinct(self) -> Self:
        if len(set(self.candidates)) != len(self.candidates):
            raise ValueError(f"candidates must be distinct, received {list(self.candidates)}")
        return self


@dataclass(frozen=True)
class Decision:
    """What is published for one instrument, target and kind, and why.

    Attributes:
        instrument: Whose forecast.
        target: Of what.
        kind: By which network.
        method: What is published: `candidate` or `baseline`.
        baseline: The default that the candidate was judged against.
        reason: A sentence with the figures.
        t_statistic: The candidate's pooled t, or None where the instrument took no part in a test.
        p_value: Its p value, or None.
        candidate: The candidate that was judged: the chosen one, or the one with the largest t.
    """

    instrument: str
    target: str
    kind: str
    method: str
    baseline: str
    reason: str
    t_statistic: float | None
    p_value: float | None
    candidate: str | None


@dataclass(frozen=True)
class _Evidence:
    """One candidate's case: the pooled test, each member's own, and who was left out and why."""

    candidate: str
    pooled: LossTest
    own: Mapping[str, LossTest]
    excluded: Mapping[str, str]

    @property
    def strength(self) -> float:
        return -np.inf if self.pooled.statistic is None else self.pooled.statistic

    def passes(self, significance: float) -> bool:
        pooled = self.pooled
        enough = pooled.statistic is not None and pooled.p_value <= significance
        return enough and pooled.mean > TIE


def decide(
    statistics: pa.Table,
    config: GateConfig,
    *,
    horizon: int,
) -> tuple[Decision, ...]:
    """Decide what is published for every instrument, target and kind that has gate rows.

    Args:
        statistics: Rows of the `statistics` dataset: one evaluation per instrument, target and
            kind, and only folds whose gate had matured where the decision is to apply. Rows of
            other segments are ignored, and the order of rows changes nothing.
        config: Levels and candidates.
        horizon: Sessions that a loss's targets span; of a class kind it is the next one alone.

    Returns:
        Decisions, sorted by target, kind and instrument.

    Raises:
        ValueError: a target without a default baseline, two evaluations of one instrument, or two
            losses of one method at one cutoff of a fold.
    """
    gate = statistics.filter(pc.equal(statistics["segment"], "gate"))
    _check_one_evaluation(gate)
    groups = gate.group_by(["target", "kind"]).aggregate([]).to_pylist()
    decisions: list[Decision] = []
    for target, kind in sorted((group["target"], group["kind"]) for group in groups):
        baseline = default_baseline(kind, target)
        in_group = pc.and_(pc.equal(gate["target"], target), pc.equal(gate["kind"], kind))
        rows = gate.filter(in_group)
        cases = [
            _weigh(rows, baseline, candidate, config=config, horizon=leads(kind, horizon))
            for candidate in config.candidates
        ]
        passing = [case for case in cases if case.passes(config.significance)]
        # A tie goes to the candidate that the configuration names first.
        best = max(passing or cases, key=lambda case: case.strength)
        for name in sorted(rows["instrument"].unique().to_pylist()):
            method, reason = _verdict(name, baseline, best, config, proven=bool(passing))
            tested = name not in best.excluded and best.pooled.statistic is not None
            decisions.append(
                Decision(
                    instrument=name,
                    target=target,
                    kind=kind,
                    method=method,
                    baseline=baseline,
                    reason=reason,
                    t_statistic=best.pooled.statistic if tested else None,
                    p_value=best.pooled.p_value if tested else None,
                    candidate=None if name in best.excluded else best.candidate,
                )
            )
    return tuple(decisions)


def _weigh(
    rows: pa.Table, baseline: str, candidate: str, *, config: GateConfig, horizon: int
) -> _Evidence:
    pairs = pair_losses(rows, baseline, candidate)
    reasons = {
        name: _unfit(pairs.of(name), baseline, candidate, config, horizon)
        for name in rows["instrument"].unique().to_pylist()
    }
    excluded = {name: reason for name, reason in reasons.items() if reason is not None}
    members = pairs.without(excluded)
    return _Evidence(
        candidate=candidate,
        pooled=hac_test(members.pooled(), horizon=horizon),
        own={
            name: hac_test(members.of(name).pooled(), horizon=horizon)
            for name in members.instruments
        },
        excluded=excluded,
    )


def _unfit(
    own: PairedLosses, baseline: str, candidate: str, config: GateConfig, horizon: int
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
    if independent < config.min_sessions:
        return (
            f"{sessions:,} gate sessions hold {independent:,} that do not overlap at horizon "
            f"{horizon}, and {candidate} needs {config.min_sessions:,} to be judged"
        )
    if own.baseline.mean() == 0.0:
        return f"it made no error on {sessions:,} gate sessions, so {candidate} cannot beat it"
    return None


def _verdict(
    instrument: str, baseline: str, best: _Evidence, config: GateConfig, *, proven: bool
) -> tuple[str, str]:
    """Return the method and the reason for one instrument."""
    if instrument in best.excluded:
        return baseline, f"baseline {baseline}: {best.excluded[instrument]}"
    pooled, own, candidate = best.pooled, best.own[instrument], best.candidate
    if pooled.statistic is None:
        return baseline, f"baseline {baseline}: {candidate} is level with it ({pooled.reason})"
    figures = f"t = {pooled.statistic:.2f}, p {_probability(pooled.p_value)}"
    if not proven:
        if pooled.p_value <= config.significance:
            failed = f"{candidate} is level with it (pooled skill below {100 * TIE:g} %)"
        else:
            needed = f"needed p ≤ {config.significance:g}"
            failed = f"{candidate} did not beat it (pooled {figures}, {needed})"
        return baseline, f"baseline {baseline}: {failed}"
    scope = f"on {pooled.count:,} gate sessions pooled over {_instruments(len(best.own))}"
    skill = f"own gate skill {100 * own.mean:+.1f} %"
    if own.statistic is not None and own.mean > TIE and own.statistic > config.veto_t:
        return candidate, f"{candidate} beats {baseline} {scope}: {figures}; {skill}"
    if own.statistic is not None and config.veto_t != 0.0:
        skill += f", own t = {own.statistic:.2f}, needed > {config.veto_t:g}"
    vetoed = f"{candidate} beats it {scope} ({figures}) but not on {instrument}: {skill}"
    return baseline, f"baseline {baseline}: {vetoed}"


def _check_one_evaluation(gate: pa.Table) -> None:
    of = ["instrument", "target", "kind"]
    counts = gate.group_by(of).aggregate([("evaluation_id", "count_distinct")])
    several = counts.filter(pc.greater(counts["evaluation_id_count_distinct"], 1)).to_pylist()
    if several:
        first = min(several, key=lambda row: tuple(row[name] for name in of))
        raise ValueError(
            f"{first['instrument']} {first['target']} {first['kind']} has gate rows of "
            f"{first['evaluation_id_count_distinct']} evaluations, expected one: filter "
            "`statistics` by evaluation_id"
        )


def _probability(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3g}"


def _instruments(count: int) -> str:
    return "1 instrument" if count == 1 else f"{count:,} instruments"
