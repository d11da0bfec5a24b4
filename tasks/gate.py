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
5. All this is done in order of time, at the end of each fold's gate segment. What was published at
   the step before stays on easier terms than it came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.differentials import pair_losses
from tasks.evidence import TIE, Evidence, weigh
from tasks.kinds import default_baseline, leads

Candidate = Literal["lstm", "combination"]


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
        default=0.1,
        gt=0,
        lt=0.5,
        description="Level at which what was published a fold ago stays published; at least "
        "significance.",
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

    @model_validator(mode="after")
    def _staying_is_no_harder_than_coming(self) -> Self:
        if self.keep_significance < self.significance:
            raise ValueError(
                f"keep_significance must be at least significance ({self.significance:g}), or what "
                f"has just been proved would not stay; received {self.keep_significance:g}"
            )
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
        kept: Whether it is published only because it was at the step before.
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
    kept: bool = False


def decide(statistics: pa.Table, config: GateConfig, *, horizon: int) -> tuple[Decision, ...]:
    """Decide what is published tonight for every instrument, target and kind that has gate rows.

    Args:
        statistics: Rows of the `statistics` dataset: one evaluation per instrument, target and
            kind. Rows of other segments are ignored, and the order of rows changes nothing.
        config: Levels and candidates.
        horizon: Sessions that a loss's targets span; of a class kind it is the next one alone.

    Returns:
        Decisions, sorted by target, kind and instrument.

    Raises:
        ValueError: a target without a default baseline, two evaluations of one instrument, or two
            losses of one method at one cutoff of a fold.
    """
    gate = statistics.filter(pc.equal(statistics["segment"], "gate"))
    if not len(gate):
        return ()
    newest: date = pc.max(gate["cutoff"]).as_py()
    return decide_at(gate, config, horizon=horizon, limits=[newest])[newest]


def decide_at(
    statistics: pa.Table,
    config: GateConfig,
    *,
    horizon: int,
    limits: Collection[date],
    wanted: Mapping[date, Collection[str]] | None = None,
) -> dict[date, tuple[Decision, ...]]:
    """Decide as of each of several days: only rows whose cutoff is no later than it may speak.

    What was published before a day is what was decided, by the same rule, at the last step before
    it. The steps are the ends of the gate segments of folds 1, 2, …: of each fold the day on which
    it ends for most instruments of the target and kind, at equal counts the later day.

    Args:
        statistics: See `decide`; those of all folds, as their dates give the steps.
        config: See `decide`.
        horizon: See `decide`.
        limits: The days.
        wanted: On some of the days the instruments that are decided about; all rows speak even so.

    Returns:
        Decisions of each day, as of `decide`.

    Raises:
        ValueError: see `decide`.
    """
    gate = statistics.filter(pc.equal(statistics["segment"], "gate"))
    _check_one_evaluation(gate)
    found: dict[date, list[Decision]] = {limit: [] for limit in limits}
    groups = gate.group_by(["target", "kind"]).aggregate([]).to_pylist()
    for target, kind in sorted((group["target"], group["kind"]) for group in groups):
        in_group = pc.and_(pc.equal(gate["target"], target), pc.equal(gate["kind"], kind))
        rows = gate.filter(in_group)
        group = _Group(rows, target, kind, config, leads(kind, horizon))
        steps = _steps(rows)
        published: dict[str, str] = {}
        for moment in sorted({*steps, *found}):
            only = None if moment in steps else (wanted or {}).get(moment)
            made = group.decide(moment, published, only)
            if moment in found:
                found[moment] += made
            if moment in steps:
                published = {d.instrument: d.method for d in made if d.method != d.baseline}
    return {limit: tuple(decisions) for limit, decisions in found.items()}


def _steps(rows: pa.Table) -> set[date]:
    """The days on which the gate segments of the older folds end for most evaluations."""
    ends = rows.group_by(["evaluation_id", "fold"]).aggregate([("cutoff", "max")]).to_pylist()
    days: dict[int, Counter[date]] = {}
    for end in ends:
        if end["fold"]:
            days.setdefault(end["fold"], Counter())[end["cutoff_max"]] += 1
    return {max(of, key=lambda day: (of[day], day)) for of in days.values()}


class _Group:
    """One target and kind, whose losses are paired once for all steps."""

    def __init__(
        self, rows: pa.Table, target: str, kind: str, config: GateConfig, horizon: int
    ) -> None:
        self.target, self.kind, self.config, self.horizon = target, kind, config, horizon
        self.baseline = default_baseline(kind, target)
        self.pairs = {one: pair_losses(rows, self.baseline, one) for one in config.candidates}
        begun = rows.group_by("instrument").aggregate([("cutoff", "min")]).to_pylist()
        self.begun = {row["instrument"]: row["cutoff_min"] for row in begun}

    def decide(
        self, moment: date, published: Mapping[str, str], only: Collection[str] | None
    ) -> list[Decision]:
        """One step; `published` holds what was not the baseline at the last, by instrument.

        About those in `only`, or about all.
        """
        names = sorted(name for name, first in self.begun.items() if first <= moment)
        cases = [
            weigh(
                pairs.until(moment),
                names,
                baseline=self.baseline,
                candidate=candidate,
                min_sessions=self.config.min_sessions,
                horizon=self.horizon,
            )
            for candidate, pairs in self.pairs.items()
        ]
        about = names if only is None else [name for name in names if name in only]
        return _decisions(cases, about, self, published)


def _decisions(
    cases: Sequence[Evidence], names: Sequence[str], group: _Group, published: Mapping[str, str]
) -> list[Decision]:
    config, baseline = group.config, group.baseline
    proven = {case.candidate for case in cases if case.passes(config.significance)}
    standing = {case.candidate for case in cases if case.passes(config.keep_significance)}
    eligible = proven | (standing & set(published.values()))
    # A tie goes to the candidate that the configuration names first.
    best = max([c for c in cases if c.candidate in eligible] or cases, key=lambda c: c.strength)
    decisions = []
    for name in names:
        verdict = _verdict(
            name,
            baseline,
            best,
            config,
            proven=best.candidate in proven,
            was=published.get(name) == best.candidate,
        )
        tested = name not in best.excluded and best.pooled.statistic is not None
        decisions.append(
            Decision(
                instrument=name,
                target=group.target,
                kind=group.kind,
                method=verdict.method,
                baseline=baseline,
                reason=verdict.reason,
                t_statistic=best.pooled.statistic if tested else None,
                p_value=best.pooled.p_value if tested else None,
                candidate=None if name in best.excluded else best.candidate,
                kept=verdict.kept,
            )
        )
    return decisions


@dataclass(frozen=True)
class _Verdict:
    method: str
    reason: str
    kept: bool = False


def _verdict(
    instrument: str,
    baseline: str,
    best: Evidence,
    config: GateConfig,
    *,
    proven: bool,
    was: bool,
) -> _Verdict:
    """One instrument's method and reason; `was`: it published this candidate at the last step."""
    if instrument in best.excluded:
        return _Verdict(baseline, f"baseline {baseline}: {best.excluded[instrument]}")
    pooled, candidate = best.pooled, best.candidate
    if pooled.statistic is None:
        level = f"{candidate} is level with it ({pooled.reason})"
        return _Verdict(baseline, f"baseline {baseline}: {level}")
    figures = f"t = {pooled.statistic:.2f}, p {_probability(pooled.p_value)}"
    if not proven and not (was and best.passes(config.keep_significance)):
        if pooled.p_value <= config.significance:
            failed = f"{candidate} is level with it (pooled skill below {100 * TIE:g} %)"
        else:
            needed = f"needed p ≤ {config.significance:g}"
            failed = f"{candidate} did not beat it (pooled {figures}, {needed})"
        return _Verdict(baseline, f"baseline {baseline}: {failed}")
    own, members = best.own(instrument), len(best.members.instruments)
    scope = f"on {pooled.count:,} gate sessions pooled over {_instruments(members)}"
    skill = f"own gate skill {100 * own.mean:+.1f} %"
    if own.statistic is not None and own.mean > TIE and own.statistic > config.veto_t:
        if proven:
            return _Verdict(candidate, f"{candidate} beats {baseline} {scope}: {figures}; {skill}")
        needed = f"needed p ≤ {config.keep_significance:g} to stay"
        kept = f"{candidate} kept in place of {baseline} {scope}: {figures}, {needed}; {skill}"
        return _Verdict(candidate, kept, kept=True)
    if own.statistic is not None and config.veto_t != 0.0:
        skill += f", own t = {own.statistic:.2f}, needed > {config.veto_t:g}"
    beats = "beats it" if proven else "may stay"
    vetoed = f"{candidate} {beats} {scope} ({figures}) but not on {instrument}: {skill}"
    return _Verdict(baseline, f"baseline {baseline}: {vetoed}")


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
