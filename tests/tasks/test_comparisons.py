"""Comparisons against the same figures worked out one pair at a time, and what has no answer."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lstm_models.baselines import DEFAULT_BASELINE
from tasks.comparisons import compare, seed_of, write_comparisons
from tasks.derived_schemas import COMPARISONS, STATISTICS
from tasks.differentials import pair_losses
from tasks.discoveries import benjamini_hochberg, discoveries
from tasks.loss_panel import PUBLISHED, Chosen, loss_panel
from tasks.significance import clark_west, hac_test
from tasks.store import Store
from tests.tasks.markets import HORIZON, request_for

Row = dict[str, Any]
FIRST = date(2020, 1, 6)
NAMES = ("ANT", "BEE", "CAT")
DEFAULT = DEFAULT_BASELINE["log_volatility"]
BETTER = {"har": 1.0, DEFAULT: 1.0, "lstm": 0.8, "combination": 0.9}


def table(rows: list[Row]) -> pa.Table:
    fields = [pa.field(f.name, f.type) for f in STATISTICS if f.name != "known_at"]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def row(name: str, day: int, method: str, *, fold: int, loss: float, apart: float) -> Row:
    return {
        "evaluation_id": f"model of {name}",
        "instrument": name,
        "target": "log_volatility",
        "kind": "many_to_many",
        "method": method,
        "fold": fold,
        "segment": "test",
        "cutoff": FIRST + timedelta(days=day),
        "loss": loss,
        "difference": apart,
    }


def history(names: tuple[str, ...] = NAMES, days: int = 60, seed: int = 0) -> list[Row]:
    """Two folds of `days` / 2 sessions; the LSTM errs less, and BEE's losses are a hundredfold."""
    generator = np.random.default_rng(seed)
    rows = []
    for place, name in enumerate(names):
        for day in range(place, days):
            common = generator.chisquare(1) + 0.5
            for method, factor in BETTER.items():
                loss = 100.0**place * (factor * common + 0.1 * generator.uniform())
                apart = 0.0 if method == DEFAULT else 100.0**place * generator.uniform()
                fold = 1 + (day < days // 2)
                rows.append(row(name, day, method, fold=fold, loss=loss, apart=apart))
    return rows


def compared(rows: list[Row], *, chosen: Chosen | None = None, nested: bool = True) -> list[Row]:
    panel = loss_panel(table(rows), chosen or {})
    return compare(panel, DEFAULT, horizon=2, nested=nested, seed=1)


def one(rows: list[Row], method: str, baseline: str, instrument: str | None = None) -> Row:
    (found,) = (
        row
        for row in rows
        if (row["method"], row["baseline"], row["instrument"]) == (method, baseline, instrument)
    )
    return found


ROWS = history()
FOUND = compared(ROWS)


def test_a_pooled_row_is_the_test_of_the_pooled_differential() -> None:
    pairs = pair_losses(table(ROWS), DEFAULT, "lstm")
    test = hac_test(pairs.pooled(), horizon=2, alternative="two-sided")
    found = one(FOUND, "lstm", DEFAULT)
    assert found["skill"] == pytest.approx(test.mean)
    assert 0.1 < found["skill"] < 0.3
    assert (found["dm_t"], found["dm_p"]) == pytest.approx((test.statistic, test.p_value))
    assert (found["sessions"], found["instruments"]) == (60, 3)
    assert (found["first_cutoff"], found["last_cutoff"]) == (FIRST, FIRST + timedelta(days=59))
    assert found["reason"] is None


def test_clark_west_is_pooled_like_the_losses_and_only_for_what_contains_the_baseline() -> None:
    own = {name: [r for r in ROWS if r["instrument"] == name] for name in NAMES}
    days: dict[date, list[float]] = {}
    for name in NAMES:
        loss = {(r["method"], r["cutoff"]): r for r in own[name]}
        cutoffs = sorted({r["cutoff"] for r in own[name]})
        size = np.mean([loss[DEFAULT, day]["loss"] for day in cutoffs])
        for day in cutoffs:
            first, second = loss[DEFAULT, day], loss["lstm", day]
            adjusted = first["loss"] - (second["loss"] - second["difference"])
            days.setdefault(day, []).append(adjusted / size)
    test = hac_test(np.array([np.mean(days[day]) for day in sorted(days)]), horizon=2)
    found = one(FOUND, "lstm", DEFAULT)
    assert (found["cw_t"], found["cw_p"]) == pytest.approx((test.statistic, test.p_value))
    alone = [
        np.array([r[column] for r in own["ANT"] if r["method"] == method])
        for method, column in ((DEFAULT, "loss"), ("lstm", "loss"), ("lstm", "difference"))
    ]
    ant = one(FOUND, "lstm", DEFAULT, "ANT")
    assert ant["cw_t"] == pytest.approx(clark_west(*alone, horizon=2).statistic)
    tested = {(r["method"], r["baseline"]) for r in FOUND if r["cw_t"] is not None}
    assert tested == {("lstm", DEFAULT), ("combination", DEFAULT)}
    assert {r["cw_t"] for r in compared(ROWS, nested=False)} == {None}


def test_who_is_compared_with_whom() -> None:
    pooled = {(r["method"], r["baseline"]) for r in FOUND if r["instrument"] is None}
    networks = ("lstm", "combination")
    assert pooled == {
        (DEFAULT, DEFAULT),
        ("har", DEFAULT),
        *((method, baseline) for method in networks for baseline in ("har", DEFAULT)),
    }
    own = {(r["instrument"], r["method"], r["baseline"]) for r in FOUND if r["instrument"]}
    assert own == {(name, method, DEFAULT) for name in NAMES for method in networks}
    assert len(FOUND) == len(pooled) + len(own)


def test_q_values_are_adjusted_over_the_instruments() -> None:
    for method in ("lstm", "combination"):
        one_sided = []
        for name in NAMES:
            pairs = pair_losses(table(ROWS), DEFAULT, method).of(name)
            one_sided.append(hac_test(pairs.pooled(), horizon=2).p_value)
        expected = benjamini_hochberg(one_sided)
        found = [one(FOUND, method, DEFAULT, name)["q_value"] for name in NAMES]
        assert found == pytest.approx(list(expected))
    whole = [{"target": "v", "kind": "k", **r} for r in FOUND]
    assert discoveries(whole)["v", "k", "lstm", DEFAULT] == (3, 3)
    weaker = [r | {"q_value": None if r["instrument"] == "ANT" else 0.2} for r in whole]
    assert discoveries(weaker)["v", "k", "lstm", DEFAULT] == (0, 3)


def test_every_pooled_row_has_its_methods_place_in_the_sets() -> None:
    pooled = [r for r in FOUND if r["instrument"] is None]
    by_method = {r["method"]: (r["mcs_p"], r["spa_p"]) for r in pooled}
    assert all((r["mcs_p"], r["spa_p"]) == by_method[r["method"]] for r in pooled)
    assert by_method["lstm"][0] == 1.0
    assert by_method["har"][0] < 0.1
    assert by_method["har"][1] < 0.1 < by_method["lstm"][1]
    assert {r["seed"] for r in pooled} == {1}
    assert all(r.get("mcs_p") is None for r in FOUND if r["instrument"])


def test_a_volatile_instrument_weighs_no_more_in_the_sets_than_a_calm_one() -> None:
    panel = loss_panel(table(ROWS), {})
    pooled = panel.pooled(DEFAULT)
    assert pooled.shape == (60, 4)
    factor = np.array([1.0, 0.01, 7.0])[panel.instrument][:, None]
    louder = replace(panel, losses=panel.losses * factor)
    np.testing.assert_allclose(louder.pooled(DEFAULT), pooled, rtol=1e-12)
    alone = loss_panel(table([r for r in ROWS if r["instrument"] == "CAT"]), {})
    size = alone.losses[:, alone.methods.index(DEFAULT)].mean()
    np.testing.assert_allclose(alone.pooled(DEFAULT), alone.losses / size, rtol=1e-12)


def test_published_is_in_each_fold_what_was_chosen_there() -> None:
    chosen = {("model of ANT", 1): "lstm", ("model of ANT", 2): "har", ("model of BEE", 2): "har"}
    found = compared(ROWS, chosen=chosen)
    same = {("ANT", 1): "lstm", ("ANT", 2): "har", ("BEE", 2): "har"}
    copied = [
        r | {"method": "copy"}
        for r in ROWS
        if same.get((r["instrument"], r["fold"])) == r["method"]
    ]
    pairs = pair_losses(table([*ROWS, *copied]), DEFAULT, "copy")
    row = one(found, PUBLISHED, DEFAULT)
    assert row["skill"] == pytest.approx(pairs.pooled().mean())
    assert row["instruments"] == 2
    assert one(found, PUBLISHED, "har", None)["dm_t"] is not None
    assert row["cw_t"] is None


def test_the_order_of_rows_changes_nothing() -> None:
    order = np.random.default_rng(3).permutation(len(ROWS))
    for left, right in zip(compared([ROWS[i] for i in order]), FOUND, strict=True):
        for name, value in right.items():
            assert left[name] == (pytest.approx(value) if isinstance(value, float) else value)


def finite(rows: list[Row]) -> bool:
    values = [value for r in rows for value in r.values() if isinstance(value, float)]
    return all(math.isfinite(value) for value in values)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r | {"loss": 2.0, "difference": 0.0}, "Diebold-Mariano: identical losses"),
        (
            lambda r: r | {"loss": 0.0},
            f"{DEFAULT} has no error to be measured against on ANT, BEE",
        ),
        (lambda r: r | {"loss": math.nan}, "nothing"),
        (
            lambda r: r | {"loss": math.inf if r["method"] == "lstm" else r["loss"]},
            "nothing of lstm",
        ),
        (lambda r: r | {"difference": None}, "Clark-West: 0 differentials, 8 needed"),
        (
            lambda r: r | {"loss": {DEFAULT: 3.0, "lstm": 2.0}.get(r["method"], r["loss"])},
            "Diebold-Mariano: the losses differ by a constant",
        ),
    ],
)
def test_what_cannot_be_tested_is_said_and_nothing_is_ever_nan(
    change: Callable[[Row], Row], reason: str
) -> None:
    found = compared([change(r) for r in ROWS])
    assert finite(found)
    if reason.startswith("nothing"):
        assert all(r["method"] != "lstm" for r in found)
        return
    row = one(found, "lstm", DEFAULT)
    assert reason in row["reason"]
    assert (row["dm_t"] is None) == (row["dm_p"] is None) == ("Clark" not in reason)


@pytest.mark.parametrize("count", [1, 2])
def test_few_instruments_and_few_sessions_have_an_answer(count: int) -> None:
    found = compared(history(NAMES[:count]))
    assert finite(found)
    q_values = [r["q_value"] for r in found if r["instrument"] and r["method"] == "lstm"]
    assert len(q_values) == count
    assert None not in q_values
    short = compared(history(NAMES[:count], days=5))
    assert finite(short)
    assert "5 differentials, 8 needed" in one(short, "lstm", DEFAULT)["reason"]
    assert (
        {r["dm_t"] for r in short} == {r["mcs_p"] for r in short if not r["instrument"]} == {None}
    )
    assert compared([]) == []


def test_without_the_default_baseline_the_networks_are_compared_with_the_others() -> None:
    found = compared([r for r in ROWS if r["method"] != DEFAULT])
    assert {(r["method"], r["baseline"]) for r in found} == {
        ("lstm", "har"),
        ("combination", "har"),
    }
    assert all(f"model sets: {DEFAULT} has no loss" in r["reason"] for r in found)
    assert all(r["dm_t"] is not None for r in found)


def test_a_company_is_compared_once_and_again_under_other_settings(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    request = request_for(store, *NAMES)
    ids = [f"model of {name}" for name in NAMES]
    gate = [r | {"segment": "gate", "loss": 5.0} for r in ROWS]
    written = write_comparisons(store, table([*ROWS, *gate]), {}, ids, request)
    rows = store.read("comparisons")
    assert written == rows.num_rows == len(FOUND)
    assert rows.schema.names == COMPARISONS.names
    (company,) = set(rows["company"].to_pylist())
    expected = compare(
        loss_panel(table(ROWS), {}),
        DEFAULT,
        horizon=HORIZON,
        nested=True,
        seed=rows["seed"][0].as_py(),
    )
    pooled = one(rows.to_pylist(), "lstm", DEFAULT)
    for name, value in one(expected, "lstm", DEFAULT).items():
        assert pooled[name] == (pytest.approx(value) if isinstance(value, float) else value)
    assert set(rows["seed"].to_pylist()) - {None} == {
        seed_of(company, "log_volatility", "many_to_many")
    }
    again = replace(request, run_id="another")
    assert write_comparisons(store, table(ROWS), {}, ids[::-1], again) == 0
    assert write_comparisons(store, table(ROWS), {}, ids, replace(request, config_hash="x")) > 0
    assert write_comparisons(store, table(ROWS), {}, ids[:2], request) > 0
