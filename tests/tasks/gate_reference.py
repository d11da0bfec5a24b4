"""The gate's rule as docs/scores.md states it, once more, in plain and slow Python.

Owns a reading of the rule that shares no code with it, but for the Student distribution.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date
from statistics import fmean
from typing import Any

from scipy import stats

from tasks.gate import GateConfig
from tasks.kinds import default_baseline

Row = Mapping[str, Any]
Answer = dict[str, tuple[str, bool]]
Test = tuple[float, float, float]
"""Mean, t and p."""


def student(series: Sequence[float], horizon: int) -> Test | None:
    """Step 4; None where there is nothing to test."""
    n, mean = len(series), fmean(series) if series else 0.0
    if n < 8 or max(series) - min(series) <= 1e-12 * max(abs(each) for each in series):
        return None
    m = min(max(horizon, math.ceil(1.3 * math.sqrt(n))), n)
    b = m / n
    apart = [each - mean for each in series]
    v = sum(each * each for each in apart) / n
    for lag in range(1, m):
        gamma = sum(apart[t] * apart[t - lag] for t in range(lag, n)) / n
        v += 2 * (1 - lag / m) * gamma
    t = mean / math.sqrt(v / (1 - b + b * b / 3) / n)
    return mean, t, float(stats.t.sf(t, 1.5 / b))


def reference(rows: Sequence[Row], rule: GateConfig, horizon: int) -> Answer:
    """Instrument → what is published tonight, and whether only because it was."""
    gate = [row for row in rows if row["segment"] == "gate"]
    ends: dict[tuple[int, str], date] = {}
    for row in gate:
        place = (row["fold"], row["evaluation_id"])
        ends[place] = max(row["cutoff"], ends.get(place, row["cutoff"]))
    steps = set()
    for fold in {fold for fold, _ in ends if fold > 0}:
        days = [end for (of, _), end in ends.items() if of == fold]
        steps.add(max(days, key=lambda day: (days.count(day), day)))
    tonight = max(row["cutoff"] for row in gate)
    answer: Answer = {}
    for step in sorted(steps | {tonight}):
        known = [row for row in gate if row["cutoff"] <= step]
        answer = one_step(
            known, rule, horizon, {name: method for name, (method, _) in answer.items()}
        )
    return answer


def one_step(
    rows: Sequence[Row], rule: GateConfig, horizon: int, before: Mapping[str, str]
) -> Answer:
    baseline = default_baseline(rows[0]["kind"], rows[0]["target"])
    names = sorted({row["instrument"] for row in rows})
    scaled: dict[str, dict[str, dict[date, float]]] = {}
    tests: dict[str, Test] = {}
    for candidate in rule.candidates:
        scaled[candidate] = {}
        for name in names:
            pairs = paired([row for row in rows if row["instrument"] == name], baseline, candidate)
            enough = len(pairs) // horizon >= rule.min_sessions
            level = fmean(left for left, _ in pairs.values()) if pairs else 0.0
            if enough and level != 0.0 and math.isfinite(sum(a + b for a, b in pairs.values())):
                scaled[candidate][name] = {day: (a - b) / level for day, (a, b) in pairs.items()}
        days = sorted({day for each in scaled[candidate].values() for day in each})
        found = student(
            [
                fmean(each[day] for each in scaled[candidate].values() if day in each)
                for day in days
            ],
            horizon,
        )
        if found is not None:
            tests[candidate] = found

    def passes(candidate: str, level: float) -> bool:
        return candidate in tests and tests[candidate][2] <= level and tests[candidate][0] > 1e-5

    allowed = [
        one
        for one in rule.candidates
        if passes(one, rule.significance)
        or (one in before.values() and passes(one, rule.keep_significance))
    ]
    if not allowed:
        return dict.fromkeys(names, (baseline, False))
    best = max(allowed, key=lambda one: tests[one][1])
    proved = passes(best, rule.significance)
    answer: Answer = {}
    for name in names:
        own = student(list(scaled[best].get(name, {}).values()), horizon)
        good = own is not None and own[0] > 1e-5 and own[1] > rule.veto_t
        if good and (proved or before.get(name) == best):
            answer[name] = (best, not proved)
        else:
            answer[name] = (baseline, False)
    return answer


def paired(rows: Sequence[Row], baseline: str, candidate: str) -> dict[date, tuple[float, float]]:
    """Step 1: by cutoff the two losses, each the mean over the folds that have both."""
    losses = {(row["method"], row["fold"], row["cutoff"]): row["loss"] for row in rows}
    folds: dict[date, list[tuple[float, float]]] = {}
    for method, fold, cutoff in losses:
        if method == baseline and (candidate, fold, cutoff) in losses:
            both = (losses[baseline, fold, cutoff], losses[candidate, fold, cutoff])
            folds.setdefault(cutoff, []).append(both)
    return {
        day: (fmean(a for a, _ in found), fmean(b for _, b in found))
        for day, found in sorted(folds.items())
    }
