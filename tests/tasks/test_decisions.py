"""Who may speak when: what is published in a test rests on gates that had matured before it.

Most of it on made-up losses, so that what each gate segment says is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.decisions import PUBLISHED, decide_and_score
from tasks.gate import Decision, GateConfig, decide
from tasks.scoreboard import scoreboard
from tasks.shards import ShardRequest
from tasks.store import Store
from tasks.train import Model, derived_table
from tests.tasks.markets import (
    NOW,
    REFIT,
    SETTINGS,
    TONIGHT,
    Night,
    copy_of,
    exchange,
    payload,
    request_for,
    sessions_to,
)

Row = dict[str, Any]
RULE = GateConfig(min_sessions=8, candidates=("lstm",))
JUDGED = SETTINGS.model_copy(
    update={"evaluation": SETTINGS.evaluation.model_copy(update={"gate_rule": RULE})}
)
FOLDS = (0, 1, 2)
GATE, TEST, BETWEEN = 40, 40, 66
"""Rows of a fold's gate and test, and between the two."""
BETTER, WORSE = 0.4, -2.0
NUMBERS = ("count", "mse", "skill", "qlike", "coverage", "interval_score", "level", "baseline")


def fold_sessions(last: date, fold: int, segment: str) -> NDArray[np.datetime64]:
    held = sessions_to(last, 400)
    test = len(held) - TEST * fold
    start = test if segment == "test" else test - BETWEEN - GATE
    return held[start : start + (TEST if segment == "test" else GATE)]


def loss_rows(
    name: str, segment: str, fold: int, advantage: float, last: date = TONIGHT
) -> list[Row]:
    """Losses of zero and of an LSTM that is better by `advantage`, but for noise."""
    random = np.random.default_rng([*name.encode(), fold])
    sessions = fold_sessions(last, fold, segment)
    zero = 3.0 + random.normal(0.0, 0.1, len(sessions))
    lstm = zero - advantage + random.normal(0.0, 0.1, len(sessions))
    return [
        {
            "evaluation_id": f"model of {name}",
            "instrument": name,
            "target": "log_return",
            "kind": "many_to_many",
            "method": method,
            "fold": fold,
            "segment": segment,
            "cutoff": session,
            "loss": float(loss),
        }
        for method, losses in (("zero", zero), ("lstm", lstm))
        for session, loss in zip(sessions.tolist(), losses, strict=True)
    ]


def score_row(name: str, fold: int, method: str, lead: int, last: date = TONIGHT) -> Row:
    sessions = fold_sessions(last, fold, "test").tolist()
    number = fold + 0.1 * lead + (0.01 if method == "lstm" else 0.0)
    return {
        "score_id": f"{name} {fold} {method} {lead}",
        "evaluation_id": f"model of {name}",
        "instrument": name,
        "target": "log_return",
        "kind": "many_to_many",
        "lead": lead,
        "method": method,
        "fold": fold,
        "segment": "test",
        "first_cutoff": sessions[0],
        "last_cutoff": sessions[-1],
        "count": TEST - lead,
        "mse": number,
        "baseline": "zero",
        "skill": None if method == "zero" else 0.01 * number,
        "coverage": 0.5 + 0.01 * number,
        "interval_score": 2.0 * number,
        "level": 0.8,
    }


def model(name: str, status: str = "trained") -> Model:
    return Model(f"model of {name}", name, "log_return", REFIT, status, None, None)


Advantages = Mapping[str, Sequence[float]]
"""Per instrument the LSTM's advantage in the gate of folds 0, 1, 2."""


class Bench:
    """A store with losses and scores, and what the gate makes of them."""

    def __init__(
        self,
        place: Path,
        advantages: Advantages,
        *,
        ends: Mapping[str, date] | None = None,
        test_advantage: float = 0.0,
        without_gate: Sequence[str] = (),
    ) -> None:
        self.store = Store.open(place)
        self.request = request_for(self.store, *advantages, settings=JUDGED)
        self.models = [model(name) for name in advantages]
        ends = ends or {}
        losses: list[Row] = []
        scores: list[Row] = []
        for name, by_fold in advantages.items():
            last = ends.get(name, TONIGHT)
            for fold in FOLDS:
                if name not in without_gate:
                    losses += loss_rows(name, "gate", fold, by_fold[fold], last)
                if fold:
                    losses += loss_rows(name, "test", fold, test_advantage, last)
                    scores += [
                        score_row(name, fold, method, lead, last)
                        for method in ("zero", "lstm")
                        for lead in (1, 2, 3)
                    ]
        for dataset, rows in (("statistics", losses), ("scores", scores)):
            self.store.append_once(dataset, derived_table(dataset, rows, self.request), now=NOW)

    def decide(self, request: ShardRequest | None = None) -> tuple[Decision, ...]:
        return decide_and_score(self.store, self.models, request or self.request)

    def published(self) -> list[Row]:
        rows = payload(self.store.read("scores"))
        return [row for row in rows if row["method"] == PUBLISHED]

    def published_methods(self) -> dict[tuple[str, int], str]:
        """By instrument and fold the method whose numbers "published" has, at every lead."""
        found: dict[tuple[str, int], set[str]] = {}
        others = {
            (row["instrument"], row["fold"], row["lead"], row["mse"]): row["method"]
            for row in payload(self.store.read("scores"))
            if row["method"] != PUBLISHED
        }
        for row in self.published():
            method = others[row["instrument"], row["fold"], row["lead"], row["mse"]]
            found.setdefault((row["instrument"], row["fold"]), set()).add(method)
        return {key: method for key, (method,) in found.items()}


def tonight(decisions: Sequence[Decision]) -> dict[str, str]:
    return {d.instrument: d.method for d in decisions}


def test_each_fold_publishes_what_the_gates_before_it_had_shown(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"ANT": (WORSE, BETTER, BETTER), "BEE": (WORSE, BETTER, BETTER)})
    assert tonight(bench.decide()) == {"ANT": "zero", "BEE": "zero"}
    assert bench.published_methods() == {
        ("ANT", 1): "lstm",
        ("ANT", 2): "lstm",
        ("BEE", 1): "lstm",
        ("BEE", 2): "lstm",
    }


def test_a_fold_changes_its_mind_when_its_own_gate_does(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"ANT": (BETTER, WORSE, BETTER)})
    bench.decide()
    assert bench.published_methods() == {("ANT", 1): "zero", ("ANT", 2): "lstm"}


@pytest.mark.parametrize("oldest", [BETTER, WORSE])
def test_younger_gates_say_nothing_in_an_older_fold(oldest: float, tmp_path: Path) -> None:
    honest = Bench(tmp_path / "honest", {"ANT": (0.1, 0.1, oldest)})
    honest.decide()
    expected = [row for row in honest.published() if row["fold"] == 2]
    for place, younger in enumerate((30.0, -30.0)):
        corrupt = Bench(tmp_path / f"corrupt {place}", {"ANT": (younger, younger, oldest)})
        corrupt.decide()
        assert [row for row in corrupt.published() if row["fold"] == 2] == expected
    assert {row["mse"] for row in expected} == {
        score_row("ANT", 2, "lstm" if oldest == BETTER else "zero", lead)["mse"]
        for lead in (1, 2, 3)
    }


def test_an_instrument_that_stopped_trading_is_not_judged_by_what_others_did_later(
    tmp_path: Path,
) -> None:
    """Folds are numbered from each history's own end: the number says nothing of the date."""
    ends = {"PIG": exchange().offset(TONIGHT, -200)}
    outcomes = []
    for place, later in enumerate((30.0, -30.0)):
        bench = Bench(
            tmp_path / str(place),
            {"PIG": (BETTER, BETTER, BETTER), "ANT": (later, later, later)},
            ends=ends,
        )
        bench.decide()
        outcomes.append([row for row in bench.published() if row["instrument"] == "PIG"])
        assert bench.published_methods()["PIG", 1] == "lstm"
    assert outcomes[0] == outcomes[1]


def test_losses_of_test_segments_never_speak(tmp_path: Path) -> None:
    outcomes = []
    for place, advantage in enumerate((30.0, -30.0)):
        bench = Bench(
            tmp_path / str(place), {"ANT": (0.0, WORSE, BETTER)}, test_advantage=advantage
        )
        outcomes.append((bench.decide(), bench.published()))
    assert outcomes[0] == outcomes[1]


def corrupted_after(rows: Sequence[Row], fold: int, *, leak: bool) -> list[list[Row]]:
    """Two worlds with other outcomes after a fold's gate; `leak`: its test rows are gate rows."""
    last = fold_sessions(TONIGHT, fold, "gate")[-1].item()
    worlds = []
    for wild in (-30.0, 30.0):
        world = [
            row | {"loss": row["loss"] + (wild if row["method"] == "lstm" else 0.0)}
            if row["cutoff"] > last
            else row
            for row in rows
        ]
        tested = [r["fold"] == fold and r["segment"] == "test" for r in world]
        worlds.append(
            [
                r | {"segment": "gate"} if leak and t else r
                for r, t in zip(world, tested, strict=True)
            ]
        )
    return worlds


@pytest.mark.parametrize("fold", [1, 2])
def test_a_gate_on_the_test_segment_would_be_noticed(fold: int, tmp_path: Path) -> None:
    """The canary: no outcome after a fold's gate changes what it publishes, memory included."""
    rows = [
        row
        for each in FOLDS
        for segment in (("gate", "test") if each else ("gate",))
        for row in loss_rows("ANT", segment, each, 0.02)
    ]
    scores = [score_row("ANT", each, m, 1) for each in (1, 2) for m in ("zero", "lstm")]
    for leak in (False, True):
        published = []
        for place, world in enumerate(corrupted_after(rows, fold, leak=leak)):
            bench = Bench(tmp_path / f"{leak} {place}", {})
            bench.request = request_for(bench.store, "ANT", settings=JUDGED)
            for dataset, of in (("statistics", world), ("scores", scores)):
                table = derived_table(dataset, of, bench.request)
                bench.store.append_once(dataset, table, now=NOW)
            decide_and_score(bench.store, [model("ANT")], bench.request)
            published.append([row for row in bench.published() if row["fold"] == fold])
        assert (published[0] == published[1]) != leak
        assert published[0]


def test_published_rows_copy_the_numbers_of_what_was_chosen(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"ANT": (BETTER, WORSE, BETTER)})
    bench.decide()
    rows = bench.published()
    assert len(rows) == 6
    for row in rows:
        chosen = score_row("ANT", row["fold"], {1: "zero", 2: "lstm"}[row["fold"]], row["lead"])
        for name in chosen.keys() - {"score_id", "method"}:
            assert row[name] == chosen[name], name
        assert row["config_hash"] == bench.request.config_hash
        assert row["as_of"] == bench.request.as_of


def test_deciding_twice_adds_no_row_and_another_configuration_its_own(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"ANT": (BETTER, BETTER, BETTER)})
    first = bench.decide()
    rows = bench.store.history("scores").num_rows
    assert bench.decide(replace(bench.request, run_id="another run")) == first
    assert bench.store.history("scores").num_rows == rows
    bench.decide(replace(bench.request, config_hash="another config"))
    assert len(bench.published()) == 12
    assert len({row["score_id"] for row in bench.published()}) == 12


def test_where_the_gate_has_nothing_to_judge_by_the_baseline_is_published(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        {"ANT": (BETTER, BETTER, BETTER), "EMU": (BETTER, BETTER, BETTER)},
        without_gate=["EMU"],
    )
    assert tonight(bench.decide()) == {"ANT": "lstm"}
    assert bench.published_methods()["EMU", 1] == "zero"
    assert bench.published_methods()["ANT", 1] == "lstm"


def test_models_that_were_not_trained_take_no_part(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"ANT": (BETTER, BETTER, BETTER)})
    expected = bench.decide()
    again = decide_and_score(
        bench.store, [*bench.models, model("FLY", "not_trained")], bench.request
    )
    assert again == expected
    assert decide_and_score(bench.store, [model("FLY", "not_trained")], bench.request) == ()
    assert len(bench.published()) == 6


def test_evaluations_that_were_not_asked_about_say_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"ANT": (BETTER,) * 3, "BEE": (-30.0,) * 3})
    only = decide_and_score(bench.store, [model("ANT")], bench.request)
    assert tonight(only) == {"ANT": "lstm"}
    assert {row["instrument"] for row in bench.published()} == {"ANT"}


def of_direction(rows: Sequence[Row]) -> list[Row]:
    """The same rows as if a direction network had left them, beside its own baseline."""
    own = {"zero": "frequencies", "lstm": "lstm"}
    changed = [
        row
        | {
            "evaluation_id": f"direction {row['evaluation_id']}",
            "kind": "direction",
            "method": own[row["method"]],
        }
        for row in rows
    ]
    return [
        row | ({"score_id": f"direction {row['score_id']}", "baseline": "frequencies"})
        if "score_id" in row
        else row
        for row in changed
    ]


def test_each_kind_publishes_what_its_own_gate_chose(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"ANT": (WORSE, WORSE, WORSE)})
    losses = [row for fold in FOLDS for row in loss_rows("ANT", "gate", fold, BETTER)]
    scores = [score_row("ANT", fold, m, 1) for fold in (1, 2) for m in ("zero", "lstm")]
    for dataset, rows in (("statistics", losses), ("scores", scores)):
        table = derived_table(dataset, of_direction(rows), bench.request)
        bench.store.append_once(dataset, table, now=NOW)
    other = replace(model("ANT"), model_id="direction model of ANT", kind="direction")
    decisions = decide_and_score(bench.store, [*bench.models, other], bench.request)
    assert {d.kind: d.method for d in decisions} == {"many_to_many": "zero", "direction": "lstm"}
    published = {(row["kind"], row["fold"], row["lead"]): row["mse"] for row in bench.published()}
    for fold in (1, 2):
        assert published["direction", fold, 1] == score_row("ANT", fold, "lstm", 1)["mse"]
        assert published["many_to_many", fold, 1] == score_row("ANT", fold, "zero", 1)["mse"]


def test_a_night_decides_over_all_of_its_gate_rows(night: Night) -> None:
    statistics = night.store.read("statistics")
    expected = decide(statistics, SETTINGS.evaluation.gate_rule, horizon=3)
    assert night.decisions == expected
    assert {d.instrument for d in expected} == {"ANT", "BEE", "CAT", "OWL", "PIG"}


def test_a_night_scores_what_it_would_have_published_once_per_test_row(
    night: Night, tmp_path: Path
) -> None:
    rows = payload(night.store.read("scores"))
    tested = {
        tuple(row[name] for name in ("instrument", "target", "fold", "lead"))
        for row in rows
        if row["segment"] == "test" and row["method"] == row["baseline"]
    }
    published = [row for row in rows if row["method"] == PUBLISHED]
    keys = [
        tuple(row[name] for name in ("instrument", "target", "fold", "lead")) for row in published
    ]
    assert sorted(keys) == sorted(tested)
    methods = {
        (row["evaluation_id"], row["fold"], row["lead"], *(row[name] for name in NUMBERS))
        for row in rows
        if row["method"] in ("lstm", "combination", row["baseline"]) and row["segment"] == "test"
    }
    for row in published:
        numbers = tuple(row[name] for name in NUMBERS)
        assert (row["evaluation_id"], row["fold"], row["lead"], *numbers) in methods
    store = copy_of(night.store, tmp_path)
    assert decide_and_score(store, night.trained.models, night.request) == night.decisions
    assert store.history("scores").num_rows == len(rows)


def test_the_board_shows_what_this_company_published_whoever_decided_last(tmp_path: Path) -> None:
    """A night without one shard is a company of its own: the next whole night is not shown its."""
    bench = Bench(tmp_path, {"ANT": (BETTER,) * 3, "BEE": (-5.0,) * 3})
    config = bench.request.config_hash
    for models, expected in ((bench.models, "zero"), (bench.models[:1], "lstm")) * 2:
        decide_and_score(bench.store, models, bench.request)
        shown = scoreboard(bench.store, [one.model_id for one in models], config)
        mse = {(row["instrument"], row["method"], row["lead"]): row["mse"] for row in shown}
        assert mse["ANT", PUBLISHED, 1] == mse["ANT", expected, 1]
    # A company that never decided, as where a forecast is missing, is shown the newest.
    shown = scoreboard(bench.store, ["model of BEE"], config)
    assert PUBLISHED in {row["method"] for row in shown}
