"""The newest models that a shard still has where its training failed: old, but better than none.

Owns that choice. Never trains, and never touches a forecast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.shards import ShardRequest
from tasks.store import Store
from tasks.train import LAST_GOOD, Model


def last_good_models(request: ShardRequest, reason: str) -> tuple[Model, ...]:
    """A model per instrument, kind and target: the last good one, else a stand-in for a baseline.

    Good is a model of the same configuration that is no newer than the run, and whose checkpoint is
    there. With `training.champion`, what stood after a comparison goes before what was compared.

    Args:
        request: the run's pinned world.
        reason: why training failed, free of secrets; every model carries it.

    Raises:
        StoreError: the store can't be read.
    """
    store = Store.open(request.store_url)
    newest: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    there: dict[str, bool] = {}
    rows = store.read("models", instruments=request.shard.instruments).to_pylist()
    for row in sorted(rows, key=_age):
        path = row["checkpoint"]
        if path is None or row["config_hash"] != request.config_hash:
            continue
        if row["refit_session"] > request.session or row["as_of"] > request.as_of:
            continue
        if there.setdefault(path, store.exists(path)):
            newest[row["instrument"], row["kind"], row["target"]] = row
    return tuple(
        _last_good(newest[name, kind, target], reason)
        if (name, kind, target) in newest
        else stand_in(request, name, kind, target, reason)
        for name in request.shard.instruments
        for kind, target in request.settings.forecasts
    )


def stand_in(request: ShardRequest, name: str, kind: str, target: str, reason: str) -> Model:
    """What stands for a model that there is not: a baseline forecasts, and says why."""
    return Model("", name, target, request.session, "not_trained", reason, None, kind)


def _age(row: Mapping[str, Any]) -> tuple[object, ...]:
    judged = row["champion_model_id"] is not None
    return row["refit_session"], judged, row["made_at"], row["model_id"]


def _last_good(row: Mapping[str, Any], reason: str) -> Model:
    model = Model(**{name: row[name] for name in Model.__dataclass_fields__})
    told = f"{reason}; so by its last good model, of refit {model.refit_session}"
    return Model(**{**vars(model), "status": LAST_GOOD, "reason": told})
