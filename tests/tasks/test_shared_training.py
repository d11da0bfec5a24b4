"""Folds that share a training, and windows that roll: one network, used where it may be."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_models import checkpoint as checkpoints
from lstm_models.fleet_config import KINDS, Kind
from tasks.folds import trainings
from tasks.methods import fit_beside
from tasks.settings import ForecastSettings
from tasks.store import Store
from tasks.train import train_shard
from tasks.walkforward import Subject, fit_fleet, predict_fold, subject
from tests.tasks.class_markets import REFITS, WARM
from tests.tasks.markets import ANT, SETTINGS, bars_table, request_for, series_of, store_with


def with_evaluation(settings: ForecastSettings, **changed: int) -> ForecastSettings:
    evaluation = settings.evaluation.model_copy(update=changed)
    return settings.model_copy(update={"evaluation": evaluation})


SHARED = with_evaluation(SETTINGS, folds_per_refit=2)
ROLLING = with_evaluation(SETTINGS, fit_sessions=130)


def one_of(settings: ForecastSettings, kind: Kind = "many_to_many") -> Subject:
    target = "log_volatility" if kind == "many_to_many" else "log_return"
    return subject(series_of(ANT), target, settings, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_folds_of_a_group_have_one_name_the_same_edges_and_the_same_baselines(kind: Kind) -> None:
    one, alone = one_of(SHARED, kind), one_of(SETTINGS, kind)
    tonight, newer, older = one.folds
    assert one.member(newer) == one.member(older) == alone.member(alone.folds[2])
    assert one.member(tonight) == alone.member(alone.folds[0])
    assert trainings(one.folds) == 2
    if kind != "many_to_many":
        assert one.edges[1] == one.edges[2] == alone.edges[2]
    first, second = (fit_beside(one, fold).tensors() for fold in (newer, older))
    assert {name: array.tobytes() for name, array in first.items()} == {
        name: array.tobytes() for name, array in second.items()
    }


def test_what_a_group_shares_is_the_network_of_its_oldest_fold() -> None:
    one, alone = one_of(SHARED), one_of(SETTINGS)
    tonight, newer, older = one.folds
    fleet = fit_fleet([one], SHARED)
    assert fleet.names == (one.member(tonight), one.member(older))
    separate = fit_fleet([alone], SETTINGS).select(fleet.names)
    for part in ("center", "spread", "skip", "scale", "edges", "recurrence", "head"):
        assert getattr(fleet, part).tobytes() == getattr(separate, part).tobytes()
    spans = [(fold.gate[0], fold.test[1]) for fold in (newer, older)]
    later, earlier = predict_fold(fleet, [one.member(newer)] * 2, [one] * 2, spans)
    shared = spans[1][1] - spans[0][0]
    assert shared > 0
    assert later[:shared].tobytes() == earlier[-shared:].tobytes()


def test_a_rolling_window_is_all_that_its_network_and_baselines_have_seen() -> None:
    one = one_of(ROLLING)
    for fold in one.folds[:2]:
        assert fold.fit[1] - fold.fit[0] == 130
        assert np.flatnonzero(one.used(fold))[0] == fold.fit[0] > one.folds[2].fit[0]
    fleet = fit_fleet([one], ROLLING)
    wild = one_of(ROLLING)
    wild.inputs[: wild.folds[0].fit[0]] = 1e6
    wild.targets[: wild.folds[0].fit[0]] = -1e6
    after = fit_fleet([wild], ROLLING)
    same = [
        a.tobytes() == b.tobytes() for a, b in zip(fleet.recurrence, after.recurrence, strict=True)
    ]
    assert same == [True, False, False]


def trained(place: Path, settings: ForecastSettings, *sessions: date) -> tuple[Store, list[Any]]:
    store = store_with(place, bars_table("ANT", ANT))
    told: list[Any] = []
    for session in sessions:
        request = request_for(store, "ANT", session=session, settings=settings)
        train_shard(request, lambda *progress: told.append(progress))
    return store, told


def test_a_shard_scores_every_fold_and_trains_every_network_once(tmp_path: Path) -> None:
    store, told = trained(tmp_path, SHARED, REFITS[0])
    scores = store.read("scores").to_pylist()
    assert {row["fold"] for row in scores} == {0, 1, 2}
    networks = 2 * len(SHARED.forecasts) * SHARED.model.seeds
    assert {total for step, _, total in told if step == "train"} == {networks}
    assert max(done for step, done, _ in told if step == "train") == networks
    assert max(done for step, done, _ in told if step == "score") == 3 * len(SHARED.forecasts)


def test_a_shared_network_is_kept_once_and_the_next_refit_starts_from_it(tmp_path: Path) -> None:
    settings = with_evaluation(WARM, folds_per_refit=2)
    store, _ = trained(tmp_path, settings, *REFITS[:2])
    rows = store.read("models").to_pylist()
    assert len(rows) == 2 * len(settings.forecasts)
    for row in rows:
        assert (row["start_model_id"] is None) == (row["refit_session"] == REFITS[0])
        fleet, _, _ = checkpoints.load(store.read_file(row["checkpoint"]))
        targets = 1 if row["kind"] != "many_to_many" else len(settings.targets.names)
        assert len(fleet.names) == len(set(fleet.names)) == 2 * targets
