"""Is what was published, or a network, better than each baseline: rows of `comparisons`.

Owns which methods are compared on the test segments, and what a row says. Never touches the tests
themselves, nor decides anything: the gate does, on other segments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.differentials import PairedLosses
from tasks.discoveries import benjamini_hochberg
from tasks.identity import content_id
from tasks.kinds import default_baseline, is_class_kind, leads
from tasks.loss_panel import PUBLISHED, Chosen, LossPanel, loss_panel
from tasks.model_sets import ModelSet, model_set
from tasks.shards import ShardRequest
from tasks.significance import LossTest, hac_test
from tasks.store import Store
from tasks.train import derived_table

Row = dict[str, Any]

COMPARISON_CODE_VERSION = "1"
"""Raised with every change of the code that changes a comparison, and by nothing else."""

NETWORKS = (PUBLISHED, "lstm", "combination")
"""What is compared with every baseline, and per instrument; baselines only with the default one."""

_NESTING = ("lstm", "combination")
"""Methods that contain the default baseline: with their network's output at zero they are it."""


def write_comparisons(
    store: Store,
    statistics: pa.Table,
    chosen: Chosen,
    evaluation_ids: Sequence[str],
    request: ShardRequest,
) -> int:
    """Compare the methods of one company of models, and write what came of it.

    A company whose comparisons are in the store, under the same settings, is done: nothing else
    goes into them.

    Args:
        store: that they are written to.
        statistics: rows of that dataset of these evaluations; only test segments are looked at.
        chosen: what was published in each test.
        evaluation_ids: the company.
        request: whose settings, config hash and run the rows carry.

    Returns:
        How many rows were written.

    Raises:
        StoreError: if the store cannot be read or written.
    """
    if is_compared(store, evaluation_ids, request):
        return 0
    company = company_of(evaluation_ids)
    test = statistics.filter(pc.equal(statistics["segment"], "test"))
    rows: list[Row] = []
    groups = test.group_by(["target", "kind"]).aggregate([]).to_pylist()
    for target, kind in sorted((group["target"], group["kind"]) for group in groups):
        of = test.filter(pc.and_(pc.equal(test["target"], target), pc.equal(test["kind"], kind)))
        found = compare(
            loss_panel(of, chosen),
            default_baseline(kind, target),
            horizon=leads(kind, request.settings.targets.horizon),
            nested=not is_class_kind(kind),
            seed=seed_of(company, target, kind),
        )
        for row in found:
            about = (company, target, kind, row["instrument"], row["method"], row["baseline"])
            stamp = {"company": company, "target": target, "kind": kind}
            identity = content_id(*about, request.config_hash)
            rows.append({"comparison_id": identity, **stamp, **row})
    return store.append_once(
        "comparisons", derived_table("comparisons", rows, request), now=datetime.now(UTC)
    )


def is_compared(store: Store, evaluation_ids: Sequence[str], request: ShardRequest) -> bool:
    """Whether a company's comparisons are in the store, under the request's settings.

    Raises:
        StoreError: if the store cannot be read.
    """
    there = store.scan("comparisons", ["company"], among={"config_hash": [request.config_hash]})
    return bool(pc.any(pc.equal(there["company"], company_of(evaluation_ids))).as_py())


def company_of(evaluation_ids: Iterable[str]) -> str:
    """The id of a company: of the evaluations that were compared together, in any order."""
    return content_id("comparisons", COMPARISON_CODE_VERSION, sorted(evaluation_ids))


def seed_of(company: str, target: str, kind: str) -> int:
    """The seed of the bootstraps of one target and kind, from 0 to 2³² − 1, out of their names."""
    return int(content_id(company, target, kind)[:8], 16)


def compare(panel: LossPanel, default: str, *, horizon: int, nested: bool, seed: int) -> list[Row]:
    """Rows of one target and kind, without the columns that say of which.

    Pooled: every method with the default baseline, and each of `NETWORKS` with every other
    baseline. Per instrument: each of `NETWORKS` with the default baseline.

    Args:
        panel: losses on the test segments.
        default: the default baseline.
        horizon: sessions that a loss's targets span.
        nested: whether losses are squared errors, and networks contain the default baseline.
        seed: of the bootstraps.
    """
    if not len(panel.session):
        return []
    networks = [name for name in NETWORKS if name in panel.methods]
    baselines = [name for name in panel.methods if name not in NETWORKS]
    others = [name for name in baselines if name != default]
    sets = _sets(panel, default, horizon=horizon, seed=seed)
    by_method = {name: place for place, name in enumerate(panel.methods)}
    against = [default] if default in baselines else []
    wanted = [(name, default) for name in (*networks, *others) if against]
    wanted += [(name, baseline) for name in networks for baseline in others]
    rows: list[Row] = []
    for method, baseline in [*((name, name) for name in against), *wanted]:
        contains = nested and method in _NESTING and baseline == default
        one = _Comparison.of(panel, method, baseline, horizon=horizon, contains=contains)
        place = by_method[method]
        why = [*one.reasons(), *([f"model sets: {sets.reason}"] if sets.reason else [])]
        rows.append(
            one.row(panel)
            | {"mcs_p": sets.mcs[place], "spa_p": sets.spa[place], "seed": sets.seed}
            | {"reason": "; ".join(why) or None}
        )
        if baseline == default and method in networks:
            rows += _per_instrument(one, panel, horizon)
    return rows


@dataclass(frozen=True)
class _Comparison:
    """One method beside one baseline: where both have losses, and what the tests say.

    Attributes:
        pairs: their losses, without the instruments that were left out.
        adjusted: the same as Clark–West takes them; None: the method does not contain the baseline.
        left_out: instruments on which the baseline does not err at all.
        accuracy: Diebold–Mariano, two-sided, with the long-run variance of `hac_test`.
        adds: Clark–West.
    """

    method: str
    baseline: str
    pairs: PairedLosses
    adjusted: PairedLosses | None
    left_out: tuple[str, ...]
    accuracy: LossTest
    adds: LossTest | None

    @classmethod
    def of(
        cls, panel: LossPanel, method: str, baseline: str, *, horizon: int, contains: bool
    ) -> _Comparison:
        pairs = panel.pairs(baseline, method)
        still = _without_error(pairs)
        adjusted = panel.pairs(baseline, method, adjusted=True).without(still) if contains else None
        return cls._tested(
            method, baseline, pairs.without(still), adjusted, left_out=still, horizon=horizon
        )

    @classmethod
    def _tested(
        cls,
        method: str,
        baseline: str,
        pairs: PairedLosses,
        adjusted: PairedLosses | None,
        *,
        left_out: tuple[str, ...],
        horizon: int,
    ) -> _Comparison:
        accuracy = hac_test(pairs.pooled(), horizon=horizon, alternative="two-sided")
        adds = None if adjusted is None else hac_test(adjusted.pooled(), horizon=horizon)
        return cls(method, baseline, pairs, adjusted, left_out, accuracy, adds)

    def member(self, name: str, horizon: int) -> _Comparison:
        """The same of one instrument."""
        adjusted = None if self.adjusted is None else self.adjusted.of(name)
        out = tuple(one for one in self.left_out if one == name)
        return self._tested(
            self.method,
            self.baseline,
            self.pairs.of(name),
            adjusted,
            left_out=out,
            horizon=horizon,
        )

    def better(self) -> float | None:
        """The one-sided p value that the method is better; None without a test."""
        if self.accuracy.statistic is None:
            return None
        half = 0.5 * self.accuracy.p_value
        return half if self.accuracy.statistic > 0.0 else 1.0 - half

    def reasons(self) -> list[str]:
        """Why a test has no answer, and who was left out."""
        said = []
        if self.method == self.baseline:
            said.append("the baseline itself")
        elif self.accuracy.reason is not None:
            said.append(f"Diebold-Mariano: {self.accuracy.reason}")
        if self.adds is not None and self.adds.reason is not None:
            said.append(f"Clark-West: {self.adds.reason}")
        if self.left_out:
            more = len(self.left_out) - 3
            names = ", ".join(self.left_out[:3]) + (f" and {more} more" if more > 0 else "")
            said.append(f"{self.baseline} has no error to be measured against on {names}")
        return said

    def row(self, panel: LossPanel) -> Row:
        """The columns that pooled rows and those of an instrument share."""
        span = self.pairs.session if len(self.pairs.session) else panel.session
        dm_t, dm_p = _known(self.accuracy)
        cw_t, cw_p = (None, None) if self.adds is None else _known(self.adds)
        return {
            "instrument": None,
            "method": self.method,
            "baseline": self.baseline,
            "first_cutoff": span.min().item(),
            "last_cutoff": span.max().item(),
            "sessions": self.accuracy.count,
            "instruments": len(self.pairs.instruments),
            "skill": self.accuracy.mean if self.accuracy.count else None,
            "dm_t": dm_t,
            "dm_p": dm_p,
            "cw_t": cw_t,
            "cw_p": cw_p,
            "reason": "; ".join(self.reasons()) or None,
        }


def _known(test: LossTest) -> tuple[float | None, float | None]:
    return (None, None) if test.statistic is None else (test.statistic, test.p_value)


def _per_instrument(pooled: _Comparison, panel: LossPanel, horizon: int) -> list[Row]:
    names = sorted((*pooled.pairs.instruments, *pooled.left_out))
    members = [pooled.member(name, horizon) for name in names]
    adjusted = benjamini_hochberg([one.better() for one in members])
    return [
        one.row(panel) | {"instrument": name, "q_value": q}
        for name, one, q in zip(names, members, adjusted, strict=True)
    ]


def _without_error(pairs: PairedLosses) -> tuple[str, ...]:
    """Instruments on which the baseline does not err at all: nothing can be measured against it."""
    totals = np.bincount(pairs.instrument, pairs.baseline, minlength=len(pairs.instruments))
    return tuple(
        name for name, total in zip(pairs.instruments, totals, strict=True) if not total > 0.0
    )


def _sets(panel: LossPanel, default: str, *, horizon: int, seed: int) -> ModelSet:
    if default not in panel.methods:
        none = (None,) * len(panel.methods)
        return ModelSet(none, none, 0, seed, f"{default} has no loss")
    return model_set(panel.pooled(default), horizon=horizon, seed=seed)
