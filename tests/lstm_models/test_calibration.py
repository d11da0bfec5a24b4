"""Calibration against a loop, merged parts against the whole, and what reliability says."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstm_models.calibration import BINS, Bin, calibration, merged, reliability
from lstm_models.class_scores import brier

Floats = NDArray[np.float64]


def drawn(kind: str, seed: int, rows: int = 300) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    classes = 2 if kind == "direction" else 10
    probabilities = rng.dirichlet(np.full(classes, 5.0), rows)
    labels = rng.integers(0, classes, rows).astype(np.float64)
    labels[rng.random(rows) < 0.1] = np.nan
    return probabilities, labels


@pytest.mark.parametrize("kind", sorted(BINS))
def test_bins_equal_a_loop_over_pairs(kind: str) -> None:
    probabilities, labels = drawn(kind, 1)
    ends = [0.0, *BINS[kind], 1.0]
    for place, found in enumerate(calibration(kind, probabilities, labels)):
        inside = [
            (p, float(label == k))
            for row, label in zip(probabilities, labels, strict=True)
            for k, p in enumerate(row)
            if np.isfinite(label) and (k == 1 or kind != "direction")
            if ends[place] < p <= ends[place + 1]
        ]
        assert found.count == len(inside)
        if inside:
            expected = np.mean(inside, axis=0)
            assert (found.probability, found.came) == pytest.approx(tuple(expected), rel=1e-12)
        else:
            assert found == Bin(0.0, None, None)


@pytest.mark.parametrize("kind", sorted(BINS))
@given(seed=st.integers(0, 2**16), cuts=st.lists(st.integers(0, 300), max_size=4))
@settings(deadline=None, max_examples=25)
def test_merged_parts_are_the_whole(kind: str, seed: int, cuts: list[int]) -> None:
    probabilities, labels = drawn(kind, seed)
    ends = [0, *sorted(cuts), 300]
    parts = [
        calibration(kind, probabilities[first:stop], labels[first:stop])
        for first, stop in pairwise(ends)
    ]
    together, whole = merged(parts), calibration(kind, probabilities, labels)
    for one, other in zip(together, whole, strict=True):
        assert one.count == other.count
        assert (one.probability is None) == (other.probability is None)
        if one.probability is not None:
            assert one.record() == pytest.approx(other.record(), rel=1e-12)
    assert reliability(together) == pytest.approx(reliability(whole), rel=1e-9)


def test_reliability_is_the_part_of_brier_that_recalibrating_would_save() -> None:
    """Murphy's identity, exact where all probabilities of a bin are one number."""
    rng = np.random.default_rng(2)
    levels = np.array([0.37, 0.46, 0.51, 0.58, 0.7])
    p = rng.choice(levels, 4000)
    labels = (rng.random(4000) < p + 0.1).astype(np.float64)
    probabilities = np.column_stack([1 - p, p])
    bins = calibration("direction", probabilities, labels)
    base = labels.mean()
    filled = [one for one in bins if one.came is not None]
    resolution = sum(one.count * (one.came - base) ** 2 for one in filled if one.came) / 4000
    found = reliability(bins)
    assert found is not None
    assert brier(probabilities, labels).mean() == pytest.approx(
        found - resolution + base * (1 - base), rel=1e-9
    )
    assert found == pytest.approx(0.01, abs=0.004)


def test_true_probabilities_are_reliable_and_edges_belong_below() -> None:
    rng = np.random.default_rng(3)
    p = rng.uniform(0.3, 0.7, 50_000)
    labels = (rng.random(50_000) < p).astype(np.float64)
    found = reliability(calibration("direction", np.column_stack([1 - p, p]), labels))
    assert found is not None
    assert found < 1e-4
    at_edge = calibration("direction", np.array([[0.5, 0.5]]), np.array([1.0]))
    assert [one.count for one in at_edge] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]


def test_nothing_known_is_no_reliability_and_a_hole_is_an_error() -> None:
    empty = calibration("direction", np.array([[0.5, 0.5]]), np.array([np.nan]))
    assert reliability(empty) is None
    with pytest.raises(ValueError, match="1 of 1 rows with a label have no probability"):
        calibration("direction", np.array([[0.5, np.nan]]), np.array([1.0]))
