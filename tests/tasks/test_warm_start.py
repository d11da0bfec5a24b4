"""Refits that start from the refit before: a chain that is the same whichever nights were run."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_models import checkpoint as checkpoints
from tasks.decisions import decide_and_score
from tasks.due import data_fingerprint, due_models
from tasks.forecast import forecast_shard
from tasks.shards import ShardRequest
from tasks.store import Store
from tasks.train import Model, train_shard
from tests.tasks.class_markets import (
    COLD_EVERY,
    REFIT_EVERY,
    REFITS,
    WARM,
    warm,
    with_kinds,
)
from tests.tasks.markets import (
    ANT,
    BEE,
    LAG,
    NOW,
    ROWS,
    bars_table,
    exchange,
    payload,
    request_for,
    row_counts,
    series_of,
    store_with,
)


def bars(store_at: Path) -> Store:
    return store_with(store_at, bars_table("ANT", ANT), bars_table("BEE", BEE))


def night(store: Store, session: date, *names: str) -> tuple[ShardRequest, tuple[Model, ...]]:
    request = request_for(store, *(names or ("ANT",)), session=session, settings=WARM)
    models = train_shard(request).models
    decisions = decide_and_score(store, models, request)
    forecast_shard(request, models, decisions)
    return request, models


def rows_of(store: Store, dataset: str, *instruments: str) -> list[dict[str, Any]]:
    """All that training wrote, but for whose night it was and which file it shares with others."""
    rows = payload(store.read(dataset, instruments=instruments or None), "checkpoint", "as_of")
    return [row for row in rows if row.get("method") != "published"]


def weights(store: Store) -> dict[tuple[str, str, str], bytes]:
    """The bits of every network in every file, by refit, kind and member."""
    found = {}
    for row in store.read("models").to_pylist():
        fleet, extra, notes = checkpoints.load(store.read_file(row["checkpoint"]))
        for name in fleet.names:
            if name.startswith(f"{row['instrument']}/"):
                one = fleet.select([name])
                bits = one.recurrence.tobytes() + one.head.tobytes() + one.skip.tobytes()
                found[str(row["refit_session"]), row["kind"], name] = bits
        assert notes["models"][row["model_id"]]["member"] in fleet.names
        assert extra
    return found


@pytest.fixture(scope="module")
def nightly(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store in which every refit was trained on its own night; never written to: copy it."""
    store = bars(tmp_path_factory.mktemp("nightly"))
    for session in REFITS:
        night(store, session)
    return store


def test_a_chain_trained_at_once_equals_the_one_trained_night_by_night(
    nightly: Store, tmp_path: Path
) -> None:
    store = bars(tmp_path)
    request = request_for(store, "ANT", session=REFITS[-1], settings=WARM)
    trained = train_shard(request)
    models = trained.models
    assert trained.trained == len(WARM.forecasts) * COLD_EVERY
    for dataset in ("models", "statistics", "scores"):
        assert rows_of(store, dataset) == rows_of(nightly, dataset)
    assert weights(store) == weights(nightly)
    forecast_shard(request, models, decide_and_score(store, models, request))
    tonight = [row for row in payload(nightly.read("forecasts")) if row["as_of"] == request.as_of]
    assert payload(store.read("forecasts")) == tonight != []


def test_the_last_link_is_trained_on_what_the_others_left(nightly: Store, tmp_path: Path) -> None:
    """A night was missed: only what is not there is trained, and the rest is as it was."""
    store = bars(tmp_path)
    night(store, REFITS[0])
    before = row_counts(store)["models"]
    trained = train_shard(request_for(store, "ANT", session=REFITS[2], settings=WARM))
    assert trained.trained == len(WARM.forecasts) * 2
    assert row_counts(store)["models"] == before + trained.trained
    assert rows_of(store, "models") == rows_of(nightly, "models")
    assert weights(store) == weights(nightly)


def test_a_models_row_names_the_one_that_it_started_from(nightly: Store) -> None:
    rows = nightly.read("models").to_pylist()
    assert len(rows) == len(WARM.forecasts) * COLD_EVERY
    ids = {(row["refit_session"], row["kind"], row["target"]): row["model_id"] for row in rows}
    for row in rows:
        place = REFITS.index(row["refit_session"])
        before = ids[REFITS[place - 1], row["kind"], row["target"]] if place else None
        assert row["start_model_id"] == before


def test_a_warm_model_is_another_than_one_from_nothing(nightly: Store, tmp_path: Path) -> None:
    store = bars(tmp_path)
    settings = with_kinds("many_to_many", "direction")
    train_shard(request_for(store, "ANT", session=REFITS[1], settings=settings))
    cold = store.read("models").to_pylist()
    chain = nightly.read("models").to_pylist()
    moved = set()
    for row in cold:
        (other,) = (
            each
            for each in chain
            if all(each[n] == row[n] for n in ("refit_session", "kind", "target"))
        )
        assert other["model_id"] != row["model_id"]
        assert other["data_fingerprint"] == row["data_fingerprint"]
        moved.add(other["initial_early_stop_mse"] != row["initial_early_stop_mse"])
    assert True in moved  # a network whose best was update 0 starts as one from nothing does


def test_what_was_known_at_the_refit_before_is_a_part_of_what_a_model_is(tmp_path: Path) -> None:
    """A correction that became known between the two refits, or before both."""
    ids = []
    for place, known_by in enumerate(REFITS[:2]):
        store = bars(tmp_path / str(place))
        known_at = exchange().close(known_by) + LAG
        corrected = replace(ANT, close=np.where(np.arange(ROWS) == 200, ANT.low, ANT.close))
        bar = bars_table("ANT", corrected, rows=slice(200, 201), known_at=known_at)
        store.commit_facts("bars", bar, now=known_at)
        request = request_for(store, "ANT", session=REFITS[1], settings=WARM)
        found = due_models(store, request)
        ids.append([one.model_id for one in found])
        assert {data_fingerprint(one.one.series) for one in found} == {
            data_fingerprint(series_of(corrected.head(len(found[0].one.series)), last=REFITS[1]))
        }
    assert not set(ids[0]) & set(ids[1])


def test_the_gate_judges_a_warm_model_as_any_other(nightly: Store, tmp_path: Path) -> None:
    request = replace(
        request_for(nightly, "ANT", session=REFITS[-1], settings=WARM), store_url=str(tmp_path)
    )
    models = [
        Model(**{name: row[name] for name in Model.__dataclass_fields__})
        for row in nightly.read("models").to_pylist()
        if row["refit_session"] == REFITS[-1]
    ]
    store = Store.open(tmp_path)
    for dataset in ("statistics", "scores"):
        store.append_once(dataset, nightly.read(dataset), now=NOW)
    decisions = decide_and_score(store, models, request)
    assert {(d.kind, d.target) for d in decisions} == set(WARM.forecasts)
    assert {d.candidate for d in decisions} <= {"lstm", "combination"}


def test_a_lost_file_that_another_starts_from_is_written_again(
    nightly: Store, tmp_path: Path
) -> None:
    store = bars(tmp_path)
    night(store, REFITS[0])
    for row in store.read("models").to_pylist():
        (tmp_path / row["checkpoint"]).unlink(missing_ok=True)
    trained = train_shard(request_for(store, "ANT", session=REFITS[1], settings=WARM))
    assert trained.trained == 2 * len(WARM.forecasts)
    expected = weights(nightly)
    assert weights(store).items() <= expected.items()


def test_company_changes_no_link_of_a_chain(nightly: Store, tmp_path: Path) -> None:
    """A newcomer's first link lies in another file than the others'."""
    store = bars(tmp_path)
    night(store, REFITS[0], "ANT")
    night(store, REFITS[1], "ANT", "BEE")
    files = {row["checkpoint"] for row in store.read("models").to_pylist()}
    night(store, REFITS[2], "ANT", "BEE")
    assert len(files) > 2 * len(WARM.model.kinds)
    for dataset in ("models", "statistics", "scores"):
        assert rows_of(store, dataset, "ANT") == rows_of(nightly, dataset, "ANT")


@pytest.mark.parametrize("cold_every", [1, 2])
def test_the_older_folds_are_kept_only_where_a_refit_is_to_start_from_them(
    cold_every: int, tmp_path: Path
) -> None:
    store = bars(tmp_path)
    settings = warm(with_kinds("direction"), cold_every)
    cold = next(s for s in REFITS if exchange().ordinal(s) // REFIT_EVERY % 2 == 0)
    (model,) = train_shard(request_for(store, "ANT", session=cold, settings=settings)).models
    assert model.checkpoint is not None
    fleet, _, _ = checkpoints.load(store.read_file(model.checkpoint))
    assert len(fleet.names) == (1 if cold_every == 1 else 3)
