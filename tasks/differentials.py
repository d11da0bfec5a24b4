"""Two methods' losses on the same instruments, folds and sessions, side by side.

Owns the pairing, the counting of shared sessions once, and the pooling. Never tests or decides.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
_PLACE = ["instrument", "cutoff", "fold"]


@dataclass(frozen=True)
class PairedLosses:
    """Losses of a baseline and a candidate, one row per instrument and session, sorted by both.

    Attributes:
        instruments: Sorted names of those that have a pair.
        instrument: `(row,)` position in `instruments`.
        session: `(row,)` the cutoff, as datetime64[D].
        baseline: `(row,)` loss of the baseline, target units squared.
        candidate: `(row,)` loss of the candidate.
    """

    instruments: tuple[str, ...]
    instrument: Codes
    session: NDArray[np.datetime64]
    baseline: Floats
    candidate: Floats

    def of(self, name: str) -> PairedLosses:
        """Return one instrument's rows; none where it has no pair."""
        place = bisect_left(self.instruments, name)
        known = place < len(self.instruments) and self.instruments[place] == name
        start, stop = np.searchsorted(self.instrument, [place, place + known])
        return PairedLosses(
            instruments=(name,) if known else (),
            instrument=np.zeros(stop - start, dtype=np.int64),
            session=self.session[start:stop],
            baseline=self.baseline[start:stop],
            candidate=self.candidate[start:stop],
        )

    def without(self, names: Collection[str]) -> PairedLosses:
        """Return the rows of the other instruments."""
        wanted = np.array([name not in names for name in self.instruments], dtype=np.bool_)
        rows = wanted[self.instrument]
        position = np.cumsum(wanted) - 1
        return PairedLosses(
            instruments=tuple(name for name in self.instruments if name not in names),
            instrument=position[self.instrument[rows]],
            session=self.session[rows],
            baseline=self.baseline[rows],
            candidate=self.candidate[rows],
        )

    def until(self, day: date) -> PairedLosses:
        """Return the rows whose cutoff is no later than `day`."""
        rows = self.session <= np.datetime64(day, "D")
        names, codes = np.unique(self.instrument[rows], return_inverse=True)
        return PairedLosses(
            instruments=tuple(self.instruments[place] for place in names),
            instrument=codes.astype(np.int64),
            session=self.session[rows],
            baseline=self.baseline[rows],
            candidate=self.candidate[rows],
        )

    def pooled(self) -> Floats:
        """Return dₜ, `(session,)` in time order: the mean over the instruments of that session.

        Each instrument's baseline loss − candidate loss is first divided by its own mean baseline
        loss, so that a volatile one weighs no more than a calm one, and the mean of the series of
        one instrument is its skill score. That mean loss must be above zero.
        """
        pairs = np.bincount(self.instrument, minlength=len(self.instruments))
        totals = np.bincount(self.instrument, self.baseline, minlength=len(self.instruments))
        scaled = (self.baseline - self.candidate) / (totals / pairs)[self.instrument]
        if not len(scaled):
            return scaled
        day = self.session.astype(np.int64)
        day -= day.min()
        count = np.bincount(day)
        return np.asarray(np.bincount(day, scaled)[count > 0] / count[count > 0])


def pair_losses(rows: pa.Table, baseline: str, candidate: str) -> PairedLosses:
    """Pair two methods' losses on the same instrument, fold and cutoff.

    A cutoff that several folds share becomes one row with the mean of its losses over those folds:
    it is one session of the world however many models were scored on it.

    Args:
        rows: Rows of the `statistics` dataset of one target, kind and segment, in any order.
        baseline: Method to compare with.
        candidate: Method to judge.

    Raises:
        ValueError: a method has two losses at one instrument, fold and cutoff.
    """
    left = _losses_of(rows, baseline).rename_columns([*_PLACE, "baseline"])
    right = _losses_of(rows, candidate).rename_columns([*_PLACE, "candidate"])
    paired = left.join(right, keys=_PLACE, join_type="inner").sort_by(
        [(name, "ascending") for name in _PLACE]
    )
    # One thread, after a sort: a mean must not depend on the order in which rows came.
    means = (
        paired.group_by(["instrument", "cutoff"], use_threads=False)
        .aggregate([("baseline", "mean"), ("candidate", "mean")])
        .sort_by([("instrument", "ascending"), ("cutoff", "ascending")])
    )
    names, codes = np.unique(np.asarray(means["instrument"].to_pylist(), str), return_inverse=True)
    return PairedLosses(
        instruments=tuple(str(name) for name in names),
        instrument=codes.astype(np.int64),
        session=_numbers(means["cutoff"], "datetime64[D]"),
        baseline=_numbers(means["baseline_mean"], "float64"),
        candidate=_numbers(means["candidate_mean"], "float64"),
    )


def _losses_of(rows: pa.Table, method: str) -> pa.Table:
    found = rows.filter(pc.equal(rows["method"], method)).select([*_PLACE, "loss"])
    counts = found.group_by(_PLACE).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    if len(repeated):
        first = repeated.slice(0, 1).to_pylist()[0]
        raise ValueError(
            f"{method} has {first['count_all']} losses for {first['instrument']} at cutoff "
            f"{first['cutoff']} of fold {first['fold']}, expected one: pass the rows of one "
            "evaluation, target, kind and segment"
        )
    return found


def _numbers(column: pa.ChunkedArray, dtype: str) -> NDArray[Any]:
    return np.asarray(column.to_numpy()).astype(dtype)
