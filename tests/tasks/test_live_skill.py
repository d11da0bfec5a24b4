"""Live skill against sums over the pairs, and which of several forecasts of one outcome counts."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.live_skill import WINDOW, LiveSkill, live_skill
from tasks.pooled_skill import PooledSkill, pooled_skill
from tasks.scoreboard import pool, scoreboard
from tasks.store import Store
from tasks.train import derived_table
from tests.tasks.markets import NOW, exchange, request_for

START = date(2023, 6, 1)
AS_OF = datetime(2024, 6, 20, 22, tzinfo=NOW.tzinfo)
LONG = WINDOW + 5

Row = dict[str, Any]


def live_row(
    method: str,
    loss: float,
    *,
    session: int = 1,
    instrument: str = "ANT",
    **changes: Any,  # noqa: ANN401
) -> Row:
    cutoff = exchange().offset(exchange().session_on_or_before(START), session - 1)
    forecast = changes.pop("forecast_id", f"{instrument} {session}")
    baseline = changes.get("baseline", "zero")
    return {
        "score_id": f"{forecast} {method} {changes.get('kind', '')}{changes.get('lead', '')}",
        "forecast_id": forecast,
        "evaluation_id": "model",
        "instrument": instrument,
        "target": "log_return",
        "kind": "many_to_many",
        "lead": 1,
        "method": method,
        "fold": 0,
        "segment": "live",
        "first_cutoff": cutoff,
        "last_cutoff": cutoff,
        "target_session": exchange().offset(cutoff, 1),
        "count": 1,
        "mse": loss,
        "baseline": baseline,
        "coverage": float(loss < 0.5) if method == "published" else None,
        "level": 0.8 if method == "published" else None,
        "as_of": AS_OF,
        "config_hash": "config",
        "origin": "live",
    } | changes


def three(published: float, lstm: float, zero: float, **more: Any) -> list[Row]:  # noqa: ANN401
    losses = {"published": published, "lstm": lstm, more.get("baseline", "zero"): zero}
    return [live_row(method, loss, **more) for method, loss in losses.items()]


def put(place: Path, rows: list[Row]) -> Store:
    store = Store.open(place)
    table = derived_table("scores", rows, request_for(store))
    store.append_once("scores", table, now=NOW)
    return store


def skills(store: Store, **more: Any) -> dict[str, LiveSkill]:  # noqa: ANN401
    wanted: dict[str, Any] = {"config_hash": "config", "as_of": AS_OF} | more
    return {one.method: one for one in live_skill(store, **wanted)}


def test_skill_is_one_less_the_ratio_of_summed_losses_and_its_path_that_of_a_quarter(
    tmp_path: Path,
) -> None:
    losses = np.random.default_rng(1).uniform(0.1, 1.0, (LONG, 2, 3))
    rows = [
        row
        for session in range(LONG)
        for i, name in enumerate(("ANT", "BEE"))
        for row in three(*losses[session, i], session=session + 1, instrument=name)
    ]
    found = skills(put(tmp_path, rows))
    assert list(found) == ["published", "lstm"]
    for place, one in enumerate(found.values()):
        ours, theirs = losses[..., place], losses[..., 2]
        assert (one.sessions, one.pairs, one.instruments) == (LONG, 2 * LONG, 2)
        assert one.skill == pytest.approx(1 - ours.sum() / theirs.sum(), rel=1e-12)
        for n, (session, skill) in enumerate(one.path):
            assert session == exchange().offset(exchange().session_on_or_before(START), n + 1)
            window = slice(max(0, n + 1 - WINDOW), n + 1)
            expected = 1 - ours[window].sum() / theirs[window].sum()
            assert skill == pytest.approx(expected, rel=1e-9)
        assert (one.first, one.last) == (one.path[0][0], one.path[-1][0])
    assert found["published"].coverage == pytest.approx((losses[..., 0] < 0.5).mean())
    assert found["published"].level == 0.8
    assert (found["lstm"].coverage, found["lstm"].level) == (None, None)


def test_a_forecast_without_a_network_counts_for_what_was_published_only(tmp_path: Path) -> None:
    young = [row for row in three(1.0, 0.0, 2.0, session=2) if row["method"] != "lstm"]
    alone = [live_row("published", 9.0, session=3)]  # no baseline stood beside it
    found = skills(put(tmp_path, [*three(1.0, 3.0, 4.0), *young, *alone]))
    assert (found["published"].pairs, found["published"].skill) == (2, 1 - 2 / 6)
    assert (found["lstm"].pairs, found["lstm"].skill) == (1, 0.25)


def test_an_outcome_counts_once(tmp_path: Path) -> None:
    """Of a model before a stand-in, then live before filled in, then the least id."""
    rows = [
        *three(9.0, 9.0, 10.0, forecast_id="a", evaluation_id=""),
        *three(8.0, 8.0, 10.0, forecast_id="b", origin="backfill"),
        *three(5.0, 6.0, 10.0, forecast_id="c"),
        *three(7.0, 7.0, 10.0, forecast_id="d"),
        *three(1.0, 1.0, 2.0, session=2, forecast_id="e", origin="backfill"),
        *three(9.0, 9.0, 2.0, session=2, forecast_id="e0", evaluation_id=""),
    ]
    for order, place in ((1, "forwards"), (-1, "backwards")):
        found = skills(put(tmp_path / place, rows[::order]))
        assert (found["published"].pairs, found["published"].backfilled) == (2, 1)
        assert found["published"].skill == pytest.approx(1 - 6 / 12)
        assert found["lstm"].skill == pytest.approx(1 - 7 / 12)


def test_other_settings_and_later_knowledge_are_left_out(tmp_path: Path) -> None:
    later = AS_OF + timedelta(microseconds=1)
    other = three(9.0, 9.0, 1.0, session=2, config_hash="other", forecast_id="other")
    late = three(9.0, 9.0, 1.0, session=3, as_of=later)
    store = put(tmp_path, [*three(1.0, 1.0, 2.0), *other, *late])
    assert skills(store)["published"].pairs == 1
    assert skills(store, as_of=later)["published"].pairs == 2
    assert skills(store, config_hash="other")["published"].skill == -8.0
    assert skills(store, config_hash="a third") == {}


def test_class_kinds_pool_their_log_loss_and_stand_apart(tmp_path: Path) -> None:
    losses = {"published": 0.6, "lstm": 0.7, "frequencies": 0.8}
    classes = [
        live_row(method, 99.0, kind="direction", baseline="frequencies", log_loss=loss,
                 forecast_id="class")
        for method, loss in losses.items()
    ]  # fmt: skip
    before = PooledSkill("log_return", "direction", "lstm", "frequencies", 1, 5, 1.0, 0.6, 0.12)
    store = put(tmp_path, [*classes, *three(1.0, 3.0, 2.0)])
    found = live_skill(store, "config", AS_OF, [before])
    assert [(one.kind, one.method, one.backtest) for one in found] == [
        ("many_to_many", "published", None),
        ("many_to_many", "lstm", None),
        ("direction", "published", None),
        ("direction", "lstm", 0.12),
    ]
    expected = [0.5, -0.5, 1 - 0.6 / 0.8, 1 - 0.7 / 0.8]
    assert [one.skill for one in found] == pytest.approx(expected)


def test_a_backtest_takes_no_live_row(tmp_path: Path) -> None:
    rows = three(1.0, 3.0, 2.0)
    assert pool(rows) == []
    assert pooled_skill(rows) == ()
    tested = live_row("lstm", 5.0, segment="test", forecast_id=None, target_session=None)
    store = put(tmp_path, [*rows, tested | {"score_id": "test"}])
    shown = scoreboard(store, ["model"], "config")
    assert [(row["segment"], row["mse"]) for row in shown] == [("test", 5.0)]
