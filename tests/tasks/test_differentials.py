"""Pairing against a slow loop over dictionaries."""

import datetime as dt
from collections import defaultdict
from random import Random
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.differentials import pair_losses

START = dt.date(2012, 1, 3)
Row = tuple[str, int, int, str, float]


def table(rows: list[Row]) -> pa.Table:
    columns: dict[str, list[Any]] = {
        "instrument": [row[0] for row in rows],
        "fold": [row[1] for row in rows],
        "cutoff": [START + dt.timedelta(days=row[2]) for row in rows],
        "method": [row[3] for row in rows],
        "loss": [row[4] for row in rows],
    }
    kinds = {"fold": pa.int32(), "cutoff": pa.date32(), "loss": pa.float64()}
    return pa.table(
        {name: pa.array(v, kinds.get(name, pa.string())) for name, v in columns.items()}
    )


def slow_pairs(rows: list[Row]) -> dict[tuple[str, dt.date], tuple[float, float]]:
    losses = {(name, fold, day, method): loss for name, fold, day, method, loss in rows}
    found = defaultdict(list)
    for (name, fold, day, method), loss in losses.items():
        if method == "zero" and (name, fold, day, "lstm") in losses:
            found[name, START + dt.timedelta(days=day)].append(
                (loss, losses[name, fold, day, "lstm"])
            )
    return {
        key: (fmean(pair[0] for pair in pairs), fmean(pair[1] for pair in pairs))
        for key, pairs in found.items()
    }


places = st.tuples(
    st.sampled_from(["AAPL", "IBM", "MSFT"]),
    st.integers(0, 2),
    st.integers(0, 4),
    st.sampled_from(["zero", "lstm", "drift"]),
)


@given(st.dictionaries(places, st.floats(0.1, 9.0), max_size=60), st.randoms())
def test_pairs_equal_a_slow_loop_in_any_order(losses: dict[Any, float], random: Random) -> None:
    rows: list[Row] = [(*place, loss) for place, loss in losses.items()]
    pairs = pair_losses(table(rows), "zero", "lstm")
    expected = slow_pairs(rows)
    keys = [
        (pairs.instruments[code], session.item())
        for code, session in zip(pairs.instrument, pairs.session, strict=True)
    ]
    assert keys == sorted(expected)
    got = np.stack([pairs.baseline, pairs.candidate], axis=1)
    np.testing.assert_allclose(got, np.array([expected[key] for key in keys]).reshape(-1, 2))
    random.shuffle(rows)
    again = pair_losses(table(rows), "zero", "lstm")
    assert again.baseline.tobytes() == pairs.baseline.tobytes()
    assert again.candidate.tobytes() == pairs.candidate.tobytes()


@given(st.dictionaries(places, st.floats(0.1, 9.0), min_size=1, max_size=60))
def test_pooled_equals_a_slow_loop(losses: dict[Any, float]) -> None:
    rows: list[Row] = [(*place, loss) for place, loss in losses.items()]
    pairs = slow_pairs(rows)
    names = {name for name, _ in pairs}
    scale = {name: fmean(pairs[key][0] for key in pairs if key[0] == name) for name in names}
    expected = [
        fmean((pairs[key][0] - pairs[key][1]) / scale[key[0]] for key in pairs if key[1] == day)
        for day in sorted({day for _, day in pairs})
    ]
    got = pair_losses(table(rows), "zero", "lstm").pooled()
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_the_mean_of_one_instrument_is_its_skill() -> None:
    generator = np.random.default_rng(0)
    zero, lstm = generator.chisquare(1, size=(2, 30))
    rows: list[Row] = [("IBM", 0, day, "zero", zero[day]) for day in range(30)]
    rows += [("IBM", 0, day, "lstm", lstm[day]) for day in range(30)]
    pairs = pair_losses(table(rows), "zero", "lstm")
    assert pairs.pooled().mean() == pytest.approx(1 - lstm.mean() / zero.mean())


def test_instruments_can_be_taken_out() -> None:
    rows: list[Row] = [
        (name, 0, day, method, 1.0 + position + day)
        for position, name in enumerate(["AAPL", "IBM", "MSFT"])
        for day in range(3)
        for method in ("zero", "lstm")
    ]
    pairs = pair_losses(table(rows), "zero", "lstm")
    rest = pairs.without({"IBM"})
    assert rest.instruments == ("AAPL", "MSFT")
    assert rest.instrument.tolist() == [0, 0, 0, 1, 1, 1]
    assert rest.baseline.tolist() == [1.0, 2.0, 3.0, 3.0, 4.0, 5.0]
    assert pairs.of("IBM").baseline.tolist() == [2.0, 3.0, 4.0]
    assert pairs.of("IBM").instruments == ("IBM",)
    for unknown in ("A", "HP", "ZZ"):
        assert pairs.of(unknown).instruments == ()
        assert len(pairs.of(unknown).session) == 0


def test_nothing_to_pair_is_empty() -> None:
    pairs = pair_losses(table([("IBM", 0, 0, "zero", 1.0)]), "zero", "lstm")
    assert pairs.instruments == ()
    assert pairs.pooled().shape == (0,)


def test_two_losses_in_one_place_are_refused() -> None:
    rows: list[Row] = [("IBM", 2, 1, "lstm", 1.0), ("IBM", 2, 1, "lstm", 2.0)]
    with pytest.raises(
        ValueError, match="lstm has 2 losses for IBM at cutoff 2012-01-04 of fold 2, expected one"
    ):
        pair_losses(table(rows), "zero", "lstm")
