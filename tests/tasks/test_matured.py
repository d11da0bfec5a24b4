"""Live scores against a slow, obvious reference, and what must not change them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.kinds import default_baseline
from tasks.matured import Matured, score_matured
from tasks.shards import ShardRequest
from tasks.store import Store, StoreError
from tasks.train import derived_table
from tests.tasks.markets import (
    ANT,
    BEE,
    NOW,
    ROWS,
    SETTINGS,
    TONIGHT,
    Night,
    Prices,
    bars_table,
    copy_of,
    exchange,
    garch,
    payload,
    request_for,
    series_of,
    store_with,
)
from tests.tasks.markets import sessions_to as held_to

EPSILON = 3e-6
EDGES = {"direction": [0.0], "quantile_class": [-0.012, -0.002, 0.001, 0.009]}
KINDS = (
    ("many_to_many", "log_return", (1, 2, 3)),
    ("many_to_many", "log_volatility", (1, 2, 3)),
    ("direction", "log_return", (1,)),
    ("quantile_class", "log_return", (1,)),
)
BASELINES = {
    ("many_to_many", "log_return"): "zero",
    ("many_to_many", "log_volatility"): "harx_market",
    ("direction", "log_return"): "frequencies",
    ("quantile_class", "log_return"): "climatology",
}
OF_A_NIGHT = sum(len(leads) for *_, leads in KINDS)
"""Forecasts of one instrument and night."""

Row = dict[str, Any]


def night_before(n: int) -> date:
    return exchange().offset(TONIGHT, -n)


def forecast(
    instrument: str, cutoff: date, kind: str, target: str, lead: int, **changes: object
) -> Row:
    """A forecast with made-up numbers, which its own place decides."""
    random = np.random.default_rng([*f"{instrument}{cutoff}{kind}{target}{lead}".encode()])
    middle, scale = (-9.0, 1.0) if target == "log_volatility" else (0.0, 0.02)
    mean = middle + scale * random.normal()
    row: Row = {
        "forecast_id": f"{instrument} {cutoff} {kind} {target} {lead}",
        "instrument": instrument,
        "cutoff": cutoff,
        "target": target,
        "kind": kind,
        "lead": lead,
        "target_session": exchange().offset(cutoff, lead),
        "mean": mean,
        "lower": mean - scale,
        "upper": mean + scale,
        "level": 0.8,
        "intervals": [
            {"level": level, "lower": mean - width * scale, "upper": mean + width * scale}
            for level, width in ((0.8, 1.0), (0.95, 1.5))
        ],
        "method": "combination",
        "reason": "made up",
        "model_id": f"model of {instrument}",
        "baseline": BASELINES[kind, target],
        "baseline_mean": middle + scale * random.normal(),
        "lstm_mean": middle + scale * random.normal(),
        "as_of": exchange().close(cutoff) + timedelta(hours=1),
        "config_hash": "config",
        "origin": "live",
    }
    if target == "log_volatility":
        row |= {"epsilon": EPSILON, "volatility": 0.011}
    if kind in EDGES:
        row["edges"] = EDGES[kind]
        for name in ("probabilities", "lstm_probabilities", "baseline_probabilities"):
            row[name] = random.dirichlet(np.ones(len(EDGES[kind]) + 1)).tolist()
    return row | changes


def night_of(instrument: str, cutoff: date, **changes: object) -> list[Row]:
    return [
        forecast(instrument, cutoff, kind, target, lead, **changes)
        for kind, target, leads in KINDS
        for lead in leads
    ]


def put(store: Store, rows: Iterable[Row]) -> None:
    request = request_for(store)
    store.append_once("forecasts", derived_table("forecasts", list(rows), request), now=NOW)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Bars of ANT, with ranges, and of BEE, closes only; forecasts of the six nights to tonight."""
    store = store_with(tmp_path / "store", bars_table("ANT", ANT), bars_table("BEE", BEE))
    put(
        store,
        [
            row
            for name in ("ANT", "BEE")
            for n in range(6)
            for row in night_of(name, night_before(n))
        ],
    )
    return store


def tonight(store: Store, before: int = 0, **changes: Any) -> ShardRequest:  # noqa: ANN401
    return replace(request_for(store, "ANT", session=night_before(before)), **changes)


def live(store: Store, *without: str) -> list[Row]:
    rows = payload(store.read("scores"), *without)
    return [row for row in rows if row["segment"] == "live"]


def outcome(prices: Prices, row: Row, epsilon: float) -> float | None:
    """From the prices, by the definitions in docs/scores.md; None where a bar is not there yet."""
    place = held_to(TONIGHT, ROWS).tolist().index(row["cutoff"])
    ahead = range(place + 1, place + row["lead"] + 1)
    if ahead[-1] >= ROWS:
        return None
    returns = [math.log(prices.close[i] / prices.close[i - 1]) for i in ahead]
    if row["target"] == "log_return":
        return sum(returns)
    variances = [squared * squared for squared in returns]
    if not np.isnan(prices.high[place]):
        variances = [
            0.5 * math.log(prices.high[i] / prices.low[i]) ** 2
            - (2 * math.log(2) - 1) * math.log(prices.close[i] / prices.open[i]) ** 2
            for i in ahead
        ]
    return math.log(sum(variances) / len(variances) + epsilon)


def graded(row: Row, said: str, truth: float) -> Row:
    """The scores that one method of a forecast should have."""
    mean, probabilities = row[f"{said}mean"], row.get(f"{said}probabilities")
    found: Row = {"mse": (mean - truth) ** 2}
    if said == "":

        def interval(one: Row) -> Row:
            below, above = max(one["lower"] - truth, 0), max(truth - one["upper"], 0)
            price = one["upper"] - one["lower"] + 2 / (1 - one["level"]) * (below + above)
            return {"coverage": float(below == above == 0), "interval_score": price}

        found |= interval(row)
        found["intervals"] = [{"level": one["level"], **interval(one)} for one in row["intervals"]]
        if row["target"] == "log_volatility":
            difference = truth - math.log(row["volatility"] ** 2 + EPSILON)
            found["qlike"] = math.exp(difference) - difference - 1
    if probabilities is not None:
        came = sum(truth > edge for edge in row["edges"])
        hits = [float(k == came) for k in range(len(probabilities))]
        found["log_loss"] = -math.log(probabilities[came])
        found["accuracy"] = float(probabilities.index(max(probabilities)) == came)
        squares = [(p - hit) ** 2 for p, hit in zip(probabilities, hits, strict=True)]
        if row["kind"] == "direction":
            found |= {"brier": squares[1], "rises": hits[1]}
            found["called_rises"] = float(probabilities[1] > 0.5)
        else:
            found["brier"] = sum(squares)
            found["rps"] = np.mean((np.cumsum(probabilities) - np.cumsum(hits))[:-1] ** 2)
    return found


SCORES = (
    "mse qlike coverage interval_score log_loss brier accuracy auc rps rises called_rises intervals"
)


@pytest.mark.parametrize("before", [0, 2])
def test_live_scores_are_those_of_a_slow_reference(store: Store, before: int) -> None:
    assert score_matured(tonight(store, before)).waiting == 0
    expected = {}
    for row in store.read("forecasts").to_pylist():
        prices = ANT if row["instrument"] == "ANT" else BEE
        truth = outcome(prices, row, EPSILON)
        if truth is not None and row["target_session"] <= night_before(before):
            for said, method in (("", "published"), ("lstm_", "lstm"), ("baseline_", "")):
                name = method or BASELINES[row["kind"], row["target"]]
                expected[row["forecast_id"], name] = (row, graded(row, said, truth))
    found = {(row["forecast_id"], row["method"]): row for row in live(store)}
    assert found.keys() == expected.keys()
    assert len(found) == 3 * 2 * _matured(before)
    for key, (row, scores) in expected.items():
        own = found[key]
        for name in SCORES.split():
            if name == "intervals" and own[name] is not None:
                for one, other in zip(own[name], scores[name], strict=True):
                    assert one == pytest.approx(other, rel=1e-9), key
            elif name not in scores:
                assert own[name] is None, (key, name)
            else:
                assert own[name] == pytest.approx(scores[name], rel=1e-9, abs=1e-15), (key, name)
        assert own["first_cutoff"] == own["last_cutoff"] == row["cutoff"]
        assert (own["count"], own["fold"], own["skill"]) == (1, 0, None)
        assert own["evaluation_id"] == row["model_id"]
        assert own["baseline"] == row["baseline"]
        assert own["level"] == (0.8 if key[1] == "published" else None)
        for name in ("instrument", "target", "kind", "lead", "target_session"):
            assert own[name] == row[name]


def _matured(before: int) -> int:
    """Forecasts of one instrument whose target session is no later, of nights 5 … 0 before."""
    return sum(
        lead <= cutoff - before for cutoff in range(6) for *_, leads in KINDS for lead in leads
    )


def test_a_score_says_whose_forecast_it_is_of_and_which_run_scored_it(store: Store) -> None:
    put(store, night_of("ANT", night_before(8), config_hash="another", origin="backfill"))
    request = tonight(store, run_id="scoring run")
    score_matured(request)
    for row in store.read("scores").to_pylist():
        old = row["first_cutoff"] == night_before(8)
        assert (row["config_hash"], row["origin"]) == (
            ("another", "backfill") if old else ("config", "live")
        )
        assert (row["as_of"], row["run_id"]) == (request.as_of, "scoring run")


def test_scoring_again_writes_nothing(store: Store) -> None:
    first = score_matured(tonight(store))
    assert first == Matured(forecasts=2 * _matured(0), waiting=0)
    before = store.history("scores")
    assert score_matured(tonight(store, run_id="another")) == Matured(0, 0)
    assert store.history("scores").equals(before)


def test_the_order_of_nights_changes_nothing(store: Store, tmp_path: Path) -> None:
    other = copy_of(store, tmp_path / "other")
    for before in (4, 3, 2, 1, 0):
        score_matured(tonight(store, before))
    for before in (0, 3, 1, 4, 2):
        score_matured(tonight(other, before))
    assert len(live(store)) == 6 * _matured(0)
    assert live(store, "as_of") == live(other, "as_of")
    # Every night scored what it was the first to know.
    for row in store.read("scores").to_pylist():
        expected = max(row["target_session"], night_before(4))
        assert row["as_of"] == exchange().close(expected) + timedelta(hours=1)


def test_a_run_that_was_killed_before_its_commit_is_completed_by_the_next(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = copy_of(store, tmp_path / "other")
    write = Store.append_once

    def killed(self: Store, dataset: str, rows: Any, **more: Any) -> int:  # noqa: ANN401
        if rows["instrument"][0].as_py() == "BEE":
            raise KeyboardInterrupt
        return write(self, dataset, rows, **more)

    monkeypatch.setattr("tasks.matured._TOGETHER", 1)
    with monkeypatch.context() as cut:
        cut.setattr(Store, "append_once", killed)
        with pytest.raises(KeyboardInterrupt):
            score_matured(tonight(store))
    assert {row["instrument"] for row in live(store)} == {"ANT"}
    assert score_matured(tonight(store)) == Matured(_matured(0), 0)
    score_matured(tonight(other))
    assert live(store) == live(other)
    assert store.history("scores").num_rows == 6 * _matured(0)


def revise(store: Store, name: str, prices: Prices, row: int, factor: float) -> None:
    """Corrects one bar, after tonight."""
    changed = Prices(*(np.array(column) for column in vars(prices).values()))
    for column in vars(changed).values():
        column[row] *= factor
    later = exchange().close(TONIGHT) + timedelta(hours=2)
    store.commit_facts(
        "bars", bars_table(name, changed, rows=slice(row, row + 1), known_at=later), now=later
    )


def test_the_first_known_outcome_stands(store: Store, tmp_path: Path) -> None:
    other = copy_of(store, tmp_path / "other")
    score_matured(tonight(store))
    before = live(store)
    revise(store, "ANT", ANT, ROWS - 2, 1.1)
    late = tonight(store, as_of=exchange().close(TONIGHT) + timedelta(hours=3))
    assert score_matured(late) == Matured(0, 0)
    assert live(store) == before
    revise(other, "ANT", ANT, ROWS - 2, 1.1)
    score_matured(tonight(other))
    assert live(other) == before, "the revision was not known by the run"


def test_what_was_forecast_or_known_after_the_run_takes_no_part(store: Store) -> None:
    early = tonight(store, 3)
    matured = score_matured(early).forecasts
    assert matured == 2 * _matured(3)
    assert {row["target_session"] for row in live(store)} <= {night_before(n) for n in range(3, 6)}
    late = forecast("ANT", night_before(5), "direction", "log_return", 1, forecast_id="late")
    put(store, [late | {"as_of": early.as_of + timedelta(microseconds=1)}])
    assert score_matured(early) == Matured(0, 0)
    assert score_matured(tonight(store, 2)).forecasts == 2 * (_matured(2) - _matured(3)) + 1


def test_a_bar_that_is_not_there_is_waited_for(store: Store) -> None:
    """CAT has no bar two nights before tonight, YAK no bar at all, GNU none of its cutoff."""
    cat = garch(3)
    without = [slice(0, ROWS - 3), slice(ROWS - 2, None)]
    for rows in without:
        store.commit_facts("bars", bars_table("CAT", cat, rows=rows), now=NOW)
    store.commit_facts("bars", bars_table("GNU", garch(4), rows=slice(ROWS - 2, None)), now=NOW)
    missing = night_before(2)
    put(store, night_of("CAT", night_before(3)) + night_of("CAT", missing))
    put(store, night_of("YAK", night_before(3)) + night_of("GNU", night_before(2)))
    found = score_matured(tonight(store))
    # CAT's returns over two and three sessions are known, its volatility over them is not.
    scored = [row for row in live(store) if row["instrument"] not in ("ANT", "BEE")]
    assert {(row["instrument"], row["target"], row["lead"]) for row in scored} == {
        ("CAT", "log_return", 2),
        ("CAT", "log_return", 3),
    }
    assert found == Matured(forecasts=2 * _matured(0) + 2, waiting=4 * OF_A_NIGHT - 2 - 2 * 2)
    late = exchange().close(TONIGHT) + timedelta(hours=2)
    bar = bars_table("CAT", cat, rows=slice(ROWS - 3, ROWS - 2), known_at=late)
    store.commit_facts("bars", bar, now=late)
    assert score_matured(tonight(store)).forecasts == 0, "not known by then"
    assert score_matured(tonight(store, as_of=late)).forecasts == 2 * OF_A_NIGHT - 2 - 2


def test_a_bar_that_was_retracted_is_no_outcome(store: Store) -> None:
    known = exchange().close(TONIGHT) + timedelta(minutes=61)
    bar = bars_table("ANT", ANT, rows=slice(ROWS - 1, None), known_at=known)
    store.commit_facts("bars", bar.append_column("op", [["retract"]]), now=known)
    due = sum(lead == n for n in range(6) for *_, leads in KINDS for lead in leads)
    assert score_matured(tonight(store, as_of=known)).waiting == due


def test_rows_of_before_there_was_a_baseline_are_scored_by_what_they_have(store: Store) -> None:
    names = ("baseline", "epsilon", "intervals", *(f"{who}_{what}" for who in ("lstm", "baseline")
             for what in ("mean", "probabilities")))  # fmt: skip
    cutoff = night_before(9)
    put(store, [row | dict.fromkeys(names) for row in night_of("ANT", cutoff)])
    score_matured(tonight(store))
    old = [row for row in live(store) if row["first_cutoff"] == cutoff]
    assert len(old) == OF_A_NIGHT
    assert {row["method"] for row in old} == {"published"}
    floor = 0.001 * series_of(ANT).variance[: SETTINGS.evaluation.min_fit]
    for row in old:
        assert row["baseline"] == default_baseline(row["kind"], row["target"])
        assert (row["intervals"], row["qlike"]) == (None, None)
        made = forecast("ANT", cutoff, row["kind"], row["target"], row["lead"])
        truth = outcome(ANT, made, float(np.nanmean(floor)))
        assert truth is not None
        assert row["mse"] == pytest.approx((made["mean"] - truth) ** 2, rel=1e-9)


def test_a_forecast_from_old_bars_counts_its_sessions_from_them(store: Store) -> None:
    """Tonight's forecast of a stale instrument is for sessions that follow its newest bar."""
    known = exchange().close(night_before(1)) + timedelta(hours=1)
    stale = night_of("ANT", night_before(3), as_of=known)
    put(store, [row | {"forecast_id": f"{row['forecast_id']} stale"} for row in stale])
    score_matured(tonight(store))
    rows = {(row["forecast_id"], row["method"]): row for row in live(store)}
    again = {key: row for key, row in rows.items() if key[0].endswith(" stale")}
    assert len(again) == 3 * OF_A_NIGHT
    for (name, method), row in again.items():
        fresh = rows[name.removesuffix(" stale"), method]
        assert (row["mse"], row["target_session"]) == (fresh["mse"], fresh["target_session"])


def test_outcomes_are_the_targets_that_the_network_is_trained_on(
    night: Night, tmp_path: Path
) -> None:
    """A night's own forecasts, to the bit, once tomorrow's bar is there."""
    from tasks.walkforward import subject

    store = copy_of(night.store, tmp_path)
    more = Prices(*(np.append(column, column[-1] * 1.01) for column in vars(ANT).values()))
    tomorrow = exchange().offset(TONIGHT, 1)
    bars = bars_table("ANT", more, last=tomorrow, rows=slice(-1, None))
    store.commit_facts("bars", bars, now=NOW)
    result = score_matured(request_for(store, session=tomorrow))
    assert result.forecasts == 2
    assert result.waiting > 0
    made = {row["forecast_id"]: row for row in store.read("forecasts").to_pylist()}
    for row in live(store):
        one = subject(series_of(more, last=tomorrow), row["target"], SETTINGS)
        truth = one.targets[-2, 0]
        said = {"published": "mean", "lstm": "lstm_mean"}.get(row["method"], "baseline_mean")
        assert row["mse"] == (made[row["forecast_id"]][said] - truth) ** 2
    methods: Sequence[str] = [row["method"] for row in live(store)]
    volatility = default_baseline("many_to_many", "log_volatility")
    assert sorted(methods) == sorted(["zero", volatility, *["lstm", "published"] * 2])


def test_rows_are_looked_through_by_their_values_but_not_facts(store: Store) -> None:
    with pytest.raises(StoreError, match="bars holds facts"):
        store.scan("bars", ["close"], between={"session": (TONIGHT, TONIGHT)})
    with pytest.raises(StoreError, match="no column 'colour'"):
        store.scan("scores", ["mse"], among={"colour": ["red"]})
    found = store.scan(
        "forecasts",
        ["target_session", "instrument"],
        among={"kind": ["direction"]},
        between={"target_session": (TONIGHT, TONIGHT)},
    )
    assert sorted(found.to_pylist(), key=lambda row: row["instrument"]) == [
        {"target_session": TONIGHT, "instrument": name} for name in ("ANT", "BEE")
    ]
