"""Which pairs count as published, and their coverage out of a night's store."""

from typing import Any

import numpy as np
import pytest

from tasks.coverage import mean_error
from tasks.held import held, published_methods
from tests.tasks.markets import HORIZON, Night


def test_coverage_of_what_was_published_is_that_of_its_own_pairs(night: Night) -> None:
    ids = sorted({model.model_id for model in night.trained.models if model.model_id})
    config = night.request.config_hash
    found = held(night.store, ids, config)
    scores = [row for row in night.store.read("scores").to_pylist() if row["segment"] == "test"]
    methods = published_methods(scores, config)
    assert {key[0] for target, key in [(0, key) for key in methods]} <= set(ids)
    statistics = night.store.read("statistics").to_pylist()
    for (target, kind), one in found.items():
        own = [
            row
            for row in statistics
            if (row["target"], row["kind"], row["segment"]) == (target, kind, "test")
            and methods.get((row["evaluation_id"], row["fold"])) == row["method"]
            and row["covered"] is not None
        ]
        assert one.share == pytest.approx(np.mean([row["covered"] for row in own]))
        days = sorted({row["cutoff"] for row in own})
        sums = [sum(r["covered"] - one.share for r in own if r["cutoff"] == day) for day in days]
        error = mean_error(np.array(sums) * len(days) / len(own), HORIZON)
        assert one.error == pytest.approx(error)
    assert set(found) == {("log_return", "many_to_many"), ("log_volatility", "many_to_many")}
    assert held(night.store, ids, "another config") == {}
    assert held(night.store, [], config) == {}


def test_published_rows_are_told_by_their_figures() -> None:
    def row(method: str, mse: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - columns
        figures = {"mse": mse, "coverage": 0.8, "interval_score": 1.0}
        place = {"evaluation_id": "a", "fold": 1, "lead": 1, "config_hash": "config"}
        return {**place, "method": method, **figures, **more}

    rows = [row("zero", 1.0), row("lstm", 0.9), row("published", 0.9)]
    assert published_methods(rows, "config") == {("a", 1): "lstm"}
    assert published_methods(rows, "other") == {}
