"""A retrained network against that of the refit before: which stands, whoever ran what before."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lstm_models import checkpoint as checkpoints
from tasks.champion import CHALLENGER, CHAMPION, champion_stays, judged_id
from tasks.decisions import decide_and_score
from tasks.due import Due, due_models, refit_sessions
from tasks.features import Floats
from tasks.forecast import forecast_shard
from tasks.gate import GateConfig
from tasks.live import key_of
from tasks.settings import ForecastSettings, TargetsConfig
from tasks.significance import hac_test
from tasks.store import Store
from tasks.train import Model, train_shard
from tasks.walkforward import subject
from tests.tasks.class_markets import COLD_EVERY, REFITS, warm, with_kinds
from tests.tasks.markets import (
    ANT,
    CAT,
    HORIZON,
    LAG,
    ROWS,
    bars_table,
    exchange,
    payload,
    request_for,
    series_of,
    store_with,
)

Row = dict[str, Any]
EAGER = GateConfig(min_sessions=8, significance=0.4, keep_significance=0.4)
"""So that champions stay often enough for both answers to be seen."""


def judging(settings: ForecastSettings, rule: GateConfig = EAGER) -> ForecastSettings:
    training = settings.training.model_copy(update={"champion": True})
    evaluation = settings.evaluation.model_copy(update={"gate_rule": rule})
    return settings.model_copy(update={"training": training, "evaluation": evaluation})


SMALL = with_kinds("many_to_many", "direction").model_copy(
    update={"targets": TargetsConfig(names=("log_volatility",), horizon=HORIZON)}
)
JUDGING = judging(SMALL)
NAMES = ("ANT", "CAT")


def bars(place: Path) -> Store:
    return store_with(place, bars_table("ANT", ANT), bars_table("CAT", CAT))


def night(
    store: Store, session: date, settings: ForecastSettings = JUDGING
) -> tuple[Sequence[Model], list[Row]]:
    """The models of a night, and its forecasts."""
    request = request_for(store, *NAMES, session=session, settings=settings)
    models = train_shard(request).models
    forecast_shard(request, models, decide_and_score(store, models, request))
    made = payload(store.read("forecasts"))
    return models, [row for row in made if row["as_of"] == request.as_of]


def due_on(store: Store, session: date, settings: ForecastSettings = JUDGING) -> list[Due]:
    return due_models(store, request_for(store, *NAMES, session=session, settings=settings))


def of_models(store: Store, dataset: str, models: Sequence[Model]) -> list[Row]:
    """All that stands under the models' ids, but for whose night it was and the shared file."""
    column = "model_id" if dataset == "models" else "evaluation_id"
    ids = {model.model_id for model in models}
    rows = payload(store.read(dataset), "checkpoint", "as_of")
    return [row for row in rows if row[column] in ids]


Told = tuple[Store, Sequence[Model], list[Row]]


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A night before which nothing had run; never written to."""
    store = bars(tmp_path_factory.mktemp("at_once"))
    return store, *night(store, REFITS[-1])


def test_a_night_after_others_equals_one_before_which_nothing_ran(
    at_once: Told, tmp_path: Path
) -> None:
    store = bars(tmp_path)
    for session in REFITS[:-1]:
        night(store, session)
    models, forecasts = night(store, REFITS[-1])
    alone, expected, tonight = at_once
    assert [model.model_id for model in models] == [model.model_id for model in expected]
    for dataset in ("models", "statistics", "scores"):
        assert of_models(store, dataset, models) == of_models(alone, dataset, expected) != []
    assert forecasts == tonight != []


def test_the_champion_had_seen_no_row_of_the_gate(at_once: Told) -> None:
    for due in due_on(at_once[0], REFITS[-1]):
        assert due.champion is not None
        before = due.champion.one
        assert set(due.champions()) == {fold.index for fold in due.one.folds} == {0, 1, 2}
        for fold in due.one.folds:
            old = next(f for f in before.folds if before.member(f) == due.champions()[fold.index])
            used = np.flatnonzero(before.used(old))
            gate = due.one.series.sessions[slice(*fold.gate)]
            assert before.series.sessions[used[-1]] < gate[0]
            # Nor is a target of what it used known only inside the gate.
            last = before.series.sessions[used[-1]].item()
            assert exchange().count(last, gate[0].item()) > 1 + HORIZON


def test_deciles_have_no_champion_as_their_classes_move(at_once: Told) -> None:
    settings = judging(with_kinds("quantile_class"))
    for due in due_on(at_once[0], REFITS[-1], settings):
        assert due.champion is None
        assert judged_id(due, settings) == due.model_id


def slow_choice(rows: Sequence[Row], horizon: int, rule: GateConfig) -> bool:
    """The rule in plain words, for one model and fold."""
    losses: dict[str, dict[date, float]] = {CHAMPION: {}, CHALLENGER: {}}
    for row in rows:
        losses[row["method"]][row["cutoff"]] = row["loss"]
    days = sorted(losses[CHAMPION].keys() & losses[CHALLENGER].keys())
    mean = sum(losses[CHALLENGER][day] for day in days) / len(days)
    series = [(losses[CHALLENGER][day] - losses[CHAMPION][day]) / mean for day in days]
    test = hac_test(np.array(series), horizon=horizon)
    enough = len(days) // horizon >= rule.min_sessions
    return enough and test.p_value <= rule.significance and test.mean > 1e-5


def test_who_stands_can_be_recomputed_and_is_what_the_gate_judges(at_once: Told) -> None:
    store, models, _ = at_once
    statistics = store.read("statistics")
    answers = set()
    for model in models:
        own = statistics.filter(pc.equal(statistics["evaluation_id"], model.model_id))
        horizon = HORIZON if model.kind == "many_to_many" else 1
        found = champion_stays(own, EAGER, horizon=HORIZON)
        rows = own.filter(pc.equal(own["segment"], "gate")).to_pylist()
        for fold, stays in found.items():
            of_fold = [row for row in rows if row["fold"] == fold]
            both = [row for row in of_fold if row["method"] in (CHAMPION, CHALLENGER)]
            assert slow_choice(both, horizon, EAGER) == stays
            standing = CHAMPION if stays else CHALLENGER
            published = {r["cutoff"]: r["loss"] for r in of_fold if r["method"] == "lstm"}
            assert published == {r["cutoff"]: r["loss"] for r in of_fold if r["method"] == standing}
            answers.add((fold == 0, stays))
        assert set(found) == {0, 1, 2}
    assert answers == {(True, True), (True, False), (False, True), (False, False)}


def test_the_file_holds_what_stands(at_once: Told) -> None:
    store, models, forecasts = at_once
    rows = {row["model_id"]: row for row in store.read("models").to_pylist()}
    statistics = store.read("statistics")
    due = {key_of(one.one): one for one in due_on(store, REFITS[-1])}
    kept = 0
    for model in models:
        own = due[model.instrument, model.kind, model.target]
        assert model.model_id == judged_id(own, JUDGING)
        row = rows[model.model_id]
        assert own.champion is not None
        assert row["champion_model_id"] == own.champion.model_id
        of_it = statistics.filter(pc.equal(statistics["evaluation_id"], model.model_id))
        stays = champion_stays(of_it, EAGER, horizon=HORIZON)[0]
        standing = own.champion if stays else own
        assert row["cutoff"] == rows[standing.model_id]["cutoff"]
        assert row["best_update"] == rows[standing.model_id]["best_update"]
        assert model.checkpoint is not None
        fleet, _, notes = checkpoints.load(store.read_file(model.checkpoint))
        name = standing.one.member(standing.one.folds[0])
        assert notes["models"][model.model_id]["member"] == name
        path = rows[standing.model_id]["checkpoint"]
        original = checkpoints.load(store.read_file(path))[0].select([name])
        one = fleet.select([name])
        for part in ("center", "spread", "skip", "recurrence", "head"):
            np.testing.assert_array_equal(getattr(one, part), getattr(original, part))
        kept += stays
    assert kept
    assert {row["model_id"] for row in forecasts} == {model.model_id for model in models}


def test_without_champions_nothing_is_compared(tmp_path: Path) -> None:
    store = bars(tmp_path)
    settings = with_kinds("direction")
    models, _ = night(store, REFITS[-1], settings)
    assert {row["champion_model_id"] for row in store.read("models").to_pylist()} == {None}
    assert store.read("models").num_rows == len(models) == len(NAMES)
    assert not {CHAMPION, CHALLENGER} & set(store.read("statistics")["method"].to_pylist())


def test_after_a_refit_that_was_too_short_the_challenger_stands(tmp_path: Path) -> None:
    settings = judging(with_kinds("direction"))

    def too_short(rows: int) -> str | None:
        one = series_of(ANT.head(rows), last=REFITS[1])
        return subject(one, "log_return", settings, "direction").too_short

    rows = next(count for count in range(280, ROWS) if too_short(count) is None)
    store = store_with(tmp_path, bars_table("ANT", ANT.head(rows), last=REFITS[1]))
    request = request_for(store, "ANT", session=REFITS[1], settings=settings)
    (due,) = due_models(store, request)
    assert due.champion is None
    (model,) = train_shard(request).models
    assert (model.model_id, model.status) == (due.model_id, "trained")


def test_a_lost_file_is_made_again(tmp_path: Path) -> None:
    store = bars(tmp_path)
    settings = judging(with_kinds("direction"))
    models, forecasts = night(store, REFITS[1], settings)
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()
    again, told = night(store, REFITS[1], settings)
    assert (again, told) == (models, forecasts)
    assert all(model.checkpoint and store.exists(model.checkpoint) for model in again)
    done = train_shard(request_for(store, *NAMES, session=REFITS[1], settings=settings))
    assert done.trained == 0


def test_a_chain_of_warm_starts_goes_back_as_far_as_its_champion_needs(tmp_path: Path) -> None:
    store = bars(tmp_path)
    settings = judging(warm(with_kinds("direction"), COLD_EVERY))
    request = request_for(store, "ANT", session=REFITS[0], settings=settings)
    assert len(refit_sessions(request, exchange())) == 1 + COLD_EVERY
    (cold,) = due_models(store, request)
    assert cold.start is None
    assert cold.champion is not None
    link, links = cold.champion, 0
    while link.start is not None:
        link, links = link.start, links + 1
        assert link.champion is None
    assert links == COLD_EVERY - 1
    (warm_one,) = due_models(store, replace(request, session=REFITS[1], as_of=known(REFITS[1])))
    assert warm_one.start == warm_one.champion is not None


def known(session: date) -> datetime:
    return exchange().close(session) + LAG


def test_what_the_champion_knew_is_a_part_of_what_stands(tmp_path: Path) -> None:
    """The level, the champion's facts and the switch itself decide; a correction is seen."""
    store = bars(tmp_path / "plain")
    (one, *_) = due_on(store, REFITS[1], judging(with_kinds("direction")))
    stricter = judging(with_kinds("direction"), GateConfig(min_sessions=8))
    assert judged_id(one, stricter) != judged_id(one, JUDGING) != one.model_id
    known_at = known(REFITS[0])
    corrected = replace(ANT, close=np.where(np.arange(ROWS) == 200, ANT.low, ANT.close))
    later = bars(tmp_path / "later")
    bar = bars_table("ANT", corrected, rows=slice(200, 201), known_at=known(REFITS[1]))
    later.commit_facts("bars", bar, now=known(REFITS[1]))
    both = bars(tmp_path / "both")
    bar = bars_table("ANT", corrected, rows=slice(200, 201), known_at=known_at)
    both.commit_facts("bars", bar, now=known_at)
    settings = judging(with_kinds("direction"))
    first, second = due_on(later, REFITS[1], settings)[0], due_on(both, REFITS[1], settings)[0]
    assert first.model_id == second.model_id
    assert judged_id(first, settings) != judged_id(second, settings)


def table(challenger: Floats, champion: Floats) -> pa.Table:
    count = len(challenger)
    first = np.datetime64("2020-01-01", "D")
    return pa.table(
        {
            "instrument": ["ANT"] * 2 * count,
            "kind": ["many_to_many"] * 2 * count,
            "method": [CHALLENGER] * count + [CHAMPION] * count,
            "fold": pa.array([0] * 2 * count, pa.int32()),
            "segment": ["gate"] * 2 * count,
            "cutoff": pa.array(np.tile(first + np.arange(count), 2), pa.date32()),
            "loss": np.concatenate([challenger, champion]),
        }
    )


def test_only_a_champion_that_was_better_stays() -> None:
    random = np.random.default_rng(0)
    base = 1.0 + random.random(120)
    noise = random.normal(0.0, 0.02, 120)
    broken = base - 0.1 + noise
    broken[3] = np.nan
    rule = GateConfig(min_sessions=20)
    for champion, stays in (
        (base - 0.1 + noise, True),
        (base + 0.1 + noise, False),
        (base, False),
        (base * (1 - 1e-7 * random.random(120)), False),
        (broken, False),
    ):
        assert champion_stays(table(base, champion), rule, horizon=5) == {0: stays}
    # A constant difference has nothing that a test could be made of.
    constant = np.ones(120)
    assert champion_stays(table(constant, constant - 0.1), rule, horizon=5) == {0: False}
    few = slice(0, 99)
    assert champion_stays(table(base[few], (base - 0.1 + noise)[few]), rule, horizon=5) == {
        0: False
    }
    assert champion_stays(table(base, base).slice(0, 0), rule, horizon=5) == {}
    test_rows = table(base, base - 0.1 + noise)
    place = test_rows.schema.get_field_index("segment")
    test_rows = test_rows.set_column(place, "segment", pa.array(["test"] * len(test_rows)))
    assert champion_stays(test_rows, rule, horizon=5) == {}
