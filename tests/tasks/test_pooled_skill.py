from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tasks.pooled_skill import pooled_skill


def score(instrument: str, method: str, mse: float, **more: object) -> dict[str, Any]:
    return {
        "instrument": instrument,
        "target": "log_return",
        "kind": "many_to_many",
        "evaluation_id": instrument,
        "segment": "test",
        "fold": 0,
        "lead": 1,
        "method": method,
        "baseline": "zero",
        "count": 100,
        "mse": mse,
        **more,
    }


def test_every_pair_has_the_same_weight() -> None:
    rows = [
        score("A", "zero", 4.0, count=10),
        score("A", "lstm", 3.0, count=10),
        score("B", "zero", 1.0, count=30),
        score("B", "lstm", 1.5, count=30),
    ]
    lstm, zero = pooled_skill(rows)
    assert (lstm.method, lstm.pairs, lstm.instruments) == ("lstm", 40, 2)
    assert lstm.mse == pytest.approx((30 + 45) / 40)
    assert lstm.skill == pytest.approx(1 - 75 / 70)
    assert zero.skill == 0.0


def test_it_equals_the_mean_over_all_errors_put_together() -> None:
    made = np.random.default_rng(3)
    errors: dict[str, list[float]] = {"lstm": [], "zero": []}
    rows = []
    for name in "ABC":
        for fold in range(3):
            for lead in (1, 2):
                count = int(made.integers(1, 10))
                for method in errors:
                    own = made.random(count).tolist()
                    errors[method] += own
                    of = {"fold": fold, "lead": lead, "count": count}
                    rows.append(score(name, method, sum(own) / count, **of))
    rows.reverse()
    found = {one.method: one for one in pooled_skill(rows)}
    means = {method: sum(every) / len(every) for method, every in errors.items()}
    assert found["lstm"].mse == pytest.approx(means["lstm"])
    assert found["lstm"].skill == pytest.approx(1 - means["lstm"] / means["zero"])


def test_only_pairs_that_the_baseline_was_scored_on_count() -> None:
    rows = [
        score("A", "zero", 1.0),
        score("A", "lstm", 0.5),
        score("B", "lstm", 9.0),
        score("C", "zero", 1.0, count=99),
        score("C", "lstm", 9.0),
    ]
    lstm = pooled_skill(rows)[0]
    assert (lstm.instruments, lstm.mse, lstm.skill) == (1, 0.5, 0.5)


def test_only_the_test_segment_counts() -> None:
    rows = [score("A", method, 1.0, segment="gate") for method in ("zero", "lstm")]
    assert pooled_skill(rows) == ()


def test_rows_that_are_pooled_over_folds_already_stay_apart_by_instrument() -> None:
    rows = [
        {k: v for k, v in row.items() if k not in {"fold", "evaluation_id"}}
        for name in "AB"
        for row in (score(name, "zero", 2.0), score(name, "lstm", 1.0))
    ]
    assert pooled_skill(rows)[0].instruments == 2


def test_a_baseline_without_error_has_no_skill_against_it() -> None:
    rows = [score("A", "zero", 0.0), score("A", "lstm", 1.0)]
    assert pooled_skill(rows)[0].skill is None


def test_what_is_published_and_the_networks_come_first_then_the_best() -> None:
    errors = {"zero": 2.0, "drift": 3.0, "ar": 1.0, "combination": 5.0, "lstm": 4.0}
    rows = [score("A", method, mse) for method, mse in (errors | {"published": 6.0}).items()]
    found = [one.method for one in pooled_skill(rows)]
    assert found == ["published", "lstm", "combination", "ar", "zero", "drift"]


def test_a_class_kind_is_pooled_by_its_log_loss() -> None:
    of_classes = {"kind": "direction", "baseline": "frequencies"}
    rows = [
        score("A", "frequencies", 1.0, log_loss=0.7, **of_classes),
        score("A", "lstm", 9.0, log_loss=0.6, **of_classes),
        score("A", "logit", 0.1, log_loss=0.65, **of_classes),
        score("A", "zero", 1.0),
    ]
    zero, lstm, logit, frequencies = pooled_skill(rows)
    assert (zero.kind, zero.log_loss) == ("many_to_many", None)
    assert [one.kind for one in (lstm, logit, frequencies)] == ["direction"] * 3
    assert lstm.log_loss == pytest.approx(0.6)
    assert lstm.skill == pytest.approx(1 - 0.6 / 0.7)
    assert lstm.mse == pytest.approx(9.0)
    assert frequencies.skill == 0.0
