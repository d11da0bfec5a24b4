"""Losses of many methods side by side: instruments and sessions down, methods across.

Owns the pivot of `statistics` rows, and the pairs and pooled series taken from it. Never tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.differentials import Codes, Floats, PairedLosses

PUBLISHED = "published"

Chosen = Mapping[tuple[str, int], str]
"""The method that was published in the test segment of an evaluation's fold."""


@dataclass(frozen=True)
class LossPanel:
    """Losses by place, which is an instrument and a session; sorted by both.

    Attributes:
        instruments: Sorted names.
        instrument: `(place,)` position in `instruments`.
        session: `(place,)` the cutoff, as datetime64[D].
        methods: Sorted names.
        losses: `(place, method)`, NaN where a method has none.
        differences: `(place, method)` squared difference from the default baseline's forecast,
            NaN where it is not known.
    """

    instruments: tuple[str, ...]
    instrument: Codes
    session: NDArray[np.datetime64]
    methods: tuple[str, ...]
    losses: Floats
    differences: Floats

    def pairs(self, baseline: str, candidate: str, *, adjusted: bool = False) -> PairedLosses:
        """Two methods' losses where both have one.

        Args:
            baseline: to compare with; a name of `methods`.
            candidate: to judge; likewise.
            adjusted: the candidate's losses less its squared differences, as the test of Clark and
                West takes them; only places where these are known.
        """
        left, right = (self.losses[:, self.methods.index(name)] for name in (baseline, candidate))
        if adjusted:
            right = right - self.differences[:, self.methods.index(candidate)]
        rows = np.isfinite(left) & np.isfinite(right)
        present, codes = np.unique(self.instrument[rows], return_inverse=True)
        return PairedLosses(
            instruments=tuple(self.instruments[place] for place in present),
            instrument=codes.astype(np.int64),
            session=self.session[rows],
            baseline=left[rows],
            candidate=right[rows],
        )

    def pooled(self, baseline: str) -> Floats:
        """Losses of every method per session in time order, `(session, method)`.

        Over places where all methods have a loss. Each instrument's losses are first divided by its
        mean loss of `baseline`, as `PairedLosses.pooled` does; where that is not above zero the
        instrument is left out.
        """
        rows = np.isfinite(self.losses).all(axis=1)
        losses, instrument = self.losses[rows], self.instrument[rows]
        size = _means(instrument, losses[:, self.methods.index(baseline)], len(self.instruments))
        usable = (size > 0.0)[instrument]
        scaled = losses[usable] / size[instrument[usable]][:, None]
        sessions, code = np.unique(self.session[rows][usable], return_inverse=True)
        columns = [_means(code, column, len(sessions)) for column in scaled.T]
        return np.stack(columns, axis=1)


def loss_panel(rows: pa.Table, chosen: Chosen) -> LossPanel:
    """Pivot rows of `statistics` of one target, kind and segment.

    A cutoff that several folds of an instrument share becomes one place with the mean of their
    losses. Losses that are not finite count as missing.

    Args:
        rows: In any order; one evaluation per instrument.
        chosen: What was published: its losses become those of one more method, "published".
    """
    finite = pc.is_finite(rows["loss"])
    rows = rows.filter(finite)
    instruments, instrument = _coded(rows["instrument"])
    methods, method = _coded(rows["method"])
    session = np.asarray(rows["cutoff"].to_numpy()).astype("datetime64[D]")
    loss = np.asarray(rows["loss"].to_numpy(), dtype=np.float64)
    difference = np.asarray(pc.fill_null(rows["difference"], np.nan).to_numpy(), dtype=np.float64)
    days = session.astype(np.int64)
    first, span = (int(days.min()), int(np.ptp(days)) + 1) if len(days) else (0, 1)
    found, place = np.unique(instrument * span + (days - first), return_inverse=True)
    published = _published(rows, methods, method, chosen)
    if published.any():
        place = np.concatenate([place, place[published]])
        method = np.concatenate([method, np.full(int(published.sum()), len(methods))])
        loss = np.concatenate([loss, loss[published]])
        difference = np.concatenate([difference, difference[published]])
        methods = (*methods, PUBLISHED)
    shape = (len(found), len(methods))
    cell = place * len(methods) + method
    return LossPanel(
        instruments=instruments,
        instrument=found // span,
        session=(first + found % span).astype("datetime64[D]"),
        methods=methods,
        losses=_means(cell, loss, shape[0] * shape[1]).reshape(shape),
        differences=_means(cell, difference, shape[0] * shape[1]).reshape(shape),
    )


def _published(
    rows: pa.Table, methods: tuple[str, ...], method: Codes, chosen: Chosen
) -> NDArray[np.bool_]:
    """Which rows are losses of what was published, `(row,)`."""
    evaluations, evaluation = _coded(rows["evaluation_id"])
    fold = np.asarray(rows["fold"].to_numpy(), dtype=np.int64)
    folds = int(fold.max(initial=0)) + 1
    wanted = np.full((len(evaluations), folds), -1)
    place = {name: code for code, name in enumerate(evaluations)}
    known = {name: code for code, name in enumerate(methods)}
    for (name, number), which in chosen.items():
        if name in place and number < folds:
            wanted[place[name], number] = known.get(which, -1)
    return np.asarray(wanted[evaluation, fold] == method)


def _coded(column: pa.ChunkedArray) -> tuple[tuple[str, ...], Codes]:
    """The distinct texts of a column, sorted, and the position of each row's among them."""
    encoded = pc.dictionary_encode(column).unify_dictionaries().combine_chunks()
    words = encoded.dictionary.to_pylist()
    order = sorted(range(len(words)), key=words.__getitem__)
    rank = np.empty(len(words), dtype=np.int64)
    rank[order] = np.arange(len(words))
    indices: NDArray[Any] = np.asarray(encoded.indices.to_numpy(zero_copy_only=False))
    return tuple(words[place] for place in order), rank[indices.astype(np.int64)]


def _means(codes: NDArray[np.int64], values: Floats, length: int) -> Floats:
    """The mean of the values of each code, `(length,)`; NaN of a code without one."""
    counts = np.bincount(codes, minlength=length)
    sums = np.bincount(codes, values, minlength=length)
    return np.asarray(np.divide(sums, counts, out=np.full(length, np.nan), where=counts > 0))
