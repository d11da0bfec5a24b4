"""Which models are due and what they start from: sessions, folds, and no future along a chain."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lstm_models.fleet import Fleet
from tasks.due import Due, due_models, refit_sessions
from tasks.sessions import CalendarConfig
from tasks.shards import Shard, ShardRequest
from tasks.train import train_shard
from tasks.walkforward import fit_fleet, subject
from tests.tasks.class_markets import REFIT_EVERY, REFITS, WARM
from tests.tasks.markets import (
    ANT,
    LAG,
    REFIT,
    ROWS,
    SETTINGS,
    Prices,
    bars_table,
    exchange,
    request_for,
    series_of,
    store_with,
)


@given(st.dates(date(1995, 1, 3), date(2026, 1, 2)), st.integers(1, 40), st.integers(1, 5))
def test_refits_go_back_to_one_that_starts_from_nothing(
    day: date, every: int, cold_every: int
) -> None:
    calendar = exchange()
    session = calendar.session_on_or_before(day)
    training = SETTINGS.training.model_copy(update={"refit_every": every, "cold_every": cold_every})
    settings = SETTINGS.model_copy(update={"training": training})
    request = ShardRequest(
        store_url="",
        shard=Shard("shard-0000", ("ANT",)),
        session=session,
        as_of=calendar.close(session) + LAG,
        lag=LAG,
        calendars=CalendarConfig(),
        settings=settings,
        config_hash="config",
        run_id="run",
        origin="live",
    )
    found = refit_sessions(request, calendar)
    numbers = [calendar.ordinal(each) // every for each in found]
    assert numbers == list(range(numbers[0], numbers[-1] - 1, -1))
    assert [number % cold_every == 0 for number in numbers] == [False] * (len(found) - 1) + [True]
    assert calendar.count(found[0], session) - 1 < every


def due(prices: Prices, last: date, start: Due | None = None) -> Due:
    """A model of ANT on these prices up to `last`, made without a store."""
    one = subject(series_of(prices, last=last), "log_return", WARM, "direction")
    return Due(f"model of {last}", one, last, start)


def chain(prices: Prices) -> Due:
    """A model of the last refit on all these prices, that starts from the refit before."""
    return due(
        prices,
        REFIT,
        due(prices.head(len(prices) - REFIT_EVERY), exchange().offset(REFIT, -REFIT_EVERY)),
    )


def test_every_fold_starts_from_the_fold_of_its_index_whose_data_ended_earlier() -> None:
    link = chain(ANT)
    assert link.start is not None
    before = link.start.one
    assert len(link.one.folds) == len(before.folds) == 3
    assert link.starts() == {
        link.one.member(new): before.member(old)
        for new, old in zip(link.one.folds, before.folds, strict=True)
    }
    for new, old in zip(link.one.folds, before.folds, strict=True):
        last = link.one.series.sessions[new.early_stop[1] - 1]
        assert before.series.sessions[old.early_stop[1] - 1] < last
        assert last < link.one.series.sessions[new.gate[0]]


def test_a_fold_that_was_not_there_before_starts_from_nothing() -> None:
    rows = next(n for n in range(300, ROWS) if len(chain(ANT.head(n)).one.folds) == 2)
    link = chain(ANT.head(rows))
    assert link.start is not None
    assert (len(link.start.one.folds), len(link.one.folds)) == (1, 2)
    assert set(link.starts()) == {link.one.member(link.one.folds[0])}


def test_a_fold_whose_data_ended_later_is_no_start() -> None:
    """As after a retraction of many bars: the same index is then about other sessions."""
    later = due(ANT, REFIT)
    rows = ROWS - 40
    shorter = due(ANT.head(rows), exchange().offset(REFIT, -40), later)
    assert shorter.starts() == {}


def test_after_a_refit_that_was_too_short_the_next_starts_from_nothing(tmp_path: Path) -> None:
    rows = next(n for n in range(300, ROWS) if chain(ANT.head(n)).one.too_short is None)
    store = store_with(tmp_path, bars_table("ANT", ANT.head(rows), last=REFITS[1]))
    request = request_for(store, "ANT", session=REFITS[1], settings=WARM)
    assert {one.start for one in due_models(store, request)} == {None}
    assert {model.status for model in train_shard(request).models} == {"trained"}


def bits(fleet: Fleet, names: Sequence[str]) -> list[bytes]:
    chosen = fleet.select(names)
    return [
        getattr(chosen, part).tobytes()
        for part in ("center", "spread", "skip", "recurrence", "head", "edges")
    ]


def fitted(prices: Prices) -> tuple[Due, Fleet]:
    link = chain(prices)
    assert link.start is not None
    before = fit_fleet([link.start.one], WARM)
    return link, fit_fleet([link.one], WARM, start=before, starts=link.starts())


def test_the_canary_is_silent_along_a_chain() -> None:
    """All prices from a fold's gate on are others: what it started from had not seen them."""
    link, fleet = fitted(ANT)
    for fold in link.one.folds[:2]:
        wild, other = fitted(ANT.corrupted(fold.gate[0]))
        older = [link.one.member(each) for each in link.one.folds[fold.index :]]
        assert bits(other, older) == bits(fleet, older)
        assert [wild.one.member(each) for each in wild.one.folds[fold.index :]] == older
    _, sings = fitted(ANT.corrupted(link.one.folds[0].early_stop[0]))
    newest = [link.one.member(link.one.folds[0])]
    assert bits(sings, newest) != bits(fleet, newest)


def test_a_warm_fleet_starts_where_the_old_one_stopped() -> None:
    """Without an update it is the old network, but for the constant that is its linear path."""
    link = chain(ANT)
    assert link.start is not None
    before = fit_fleet([link.start.one], WARM)
    still = WARM.model_copy(
        update={"training": WARM.training.model_copy(update={"learning_rate": 1e-12})}
    )
    after = fit_fleet([link.one], still, start=before, starts=link.starts())
    fresh = fit_fleet([link.one], still)
    rows = np.arange(300, 320)[None]
    inputs = link.one.inputs[None]
    new, old = link.one.member(link.one.folds[0]), link.start.one.member(link.start.one.folds[0])
    kept = after.select([new]).predict(inputs, [0], rows)
    np.testing.assert_allclose(kept, before.select([old]).predict(inputs, [0], rows), atol=0.02)
    assert np.ptp(kept) > 10 * np.ptp(fresh.select([new]).predict(inputs, [0], rows))
