"""Which sessions a backfill goes through, by which runs, and which trainings they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import get_args

import pytest

from tasks.backfill_plan import Which, is_wanted, sessions_asked, standing, training_key, waves
from tasks.runs import Origin, PinnedRun, RunError, Status
from tasks.sessions import CalendarConfig, Calendars
from tasks.settings import TrainingConfig
from tasks.shards import Shard, ShardRequest
from tests.tasks.markets import LAG, REFIT, SETTINGS, TONIGHT, exchange, sessions_to

FIRST, LAST = date(2024, 1, 2), TONIGHT
DAYS: tuple[date, ...] = tuple(sessions_to(TONIGHT, 8).tolist())
CALENDARS = Calendars(exchange())


def run_of(
    status: Status, *, message: str | None = None, origin: Origin = "backfill", names: str = "AB"
) -> PinnedRun:
    return PinnedRun(
        run_id=f"{status}-{origin}-{names}",
        run_key="key",
        session=TONIGHT,
        as_of=exchange().close(TONIGHT) + LAG,
        origin=origin,
        status=status,
        config_hash="config",
        code_version="code",
        table_versions={},
        shards={"shard-0000": tuple(names)},
        made_at=datetime(2024, 7, 1, tzinfo=UTC),
        message=message,
    )


def request_of(
    session: date, *names: str, shard: str = "shard-0000", bars: int = 3
) -> ShardRequest:
    return ShardRequest(
        store_url="store",
        shard=Shard(shard, names),
        session=session,
        as_of=exchange().close(session) + LAG,
        lag=LAG,
        calendars=CalendarConfig(),
        settings=SETTINGS,
        config_hash="config",
        run_id=f"run of {session}",
        origin="backfill",
        versions=(("bars", bars), ("forecasts", session.day)),
    )


def asked(start: date, end: date, every: int = 1) -> tuple[date, ...]:
    return sessions_asked(exchange(), start, end, every, first=FIRST, last=LAST)


def test_sessions_are_those_of_the_calendar_every_so_many() -> None:
    days = asked(date(2024, 6, 14), date(2024, 6, 20))
    assert days == tuple(date(2024, 6, day) for day in (14, 17, 18, 20)), "a weekend, a holiday"
    assert asked(date(2024, 6, 15), date(2024, 6, 20), 2) == (date(2024, 6, 17), date(2024, 6, 20))
    assert asked(TONIGHT, TONIGHT + timedelta(days=90)) == (TONIGHT,)


@pytest.mark.parametrize(
    ("start", "end", "every", "why"),
    [
        (DAYS[1], DAYS[0], 1, f"START {DAYS[1]} lies after END {DAYS[0]}"),
        (date(2001, 1, 2), DAYS[0], 1, "lies before the first bar, of 2024-01-02"),
        (date(2024, 6, 21), date(2024, 6, 28), 1, "lies after the last session"),
        (date(2024, 6, 15), date(2024, 6, 16), 1, "There is no session from 2024-06-15"),
        (DAYS[0], DAYS[1], 0, "every is 0"),
    ],
)
def test_dates_that_can_not_be_gone_through_are_refused(
    start: date, end: date, every: int, why: str
) -> None:
    with pytest.raises(RunError, match=why):
        asked(start, end, every)


def test_the_run_that_stands_for_a_session_is_finished_live_and_about_everybody() -> None:
    failed, pinned = run_of("failed", origin="live"), run_of("pinned")
    finished, live = run_of("finished"), run_of("finished", origin="live")
    few = run_of("finished", origin="live", names="A")
    assert standing([], "AB") is None
    assert standing([few], "AB") is None
    assert standing([failed, few], "AB") is failed
    assert standing([failed, pinned], "AB") is pinned
    assert standing([failed, finished, pinned], "AB") is finished
    assert standing([finished, live, failed], "AB") is live
    earlier = replace(live, made_at=live.made_at - timedelta(days=1))
    assert standing([live, earlier], "A") is earlier


@pytest.mark.parametrize(
    ("run", "wanted"),
    [
        (None, {"only-missing", "all"}),
        (run_of("pinned"), {"only-missing", "all"}),
        (run_of("failed", message="broken off"), {"only-missing", "failed", "all"}),
        (run_of("finished", message="training of shard-0000 failed"), {"failed", "all"}),
        (run_of("finished"), {"all"}),
    ],
)
def test_what_is_wanted_of_a_session(run: PinnedRun | None, wanted: set[str]) -> None:
    assert {which for which in get_args(Which) if is_wanted(run, which)} == wanted


def test_sessions_up_to_the_next_refit_share_a_training() -> None:
    keys = [training_key(request_of(day, "A", "B"), CALENDARS) for day in DAYS]
    after = [day >= REFIT for day in DAYS]
    assert 0 < sum(after) < len(DAYS)
    assert [key == keys[-1] for key in keys] == after


def test_other_instruments_or_other_bars_are_another_training() -> None:
    key = training_key(request_of(TONIGHT, "A", "B"), CALENDARS)
    assert training_key(request_of(TONIGHT, "A"), CALENDARS) != key
    assert training_key(request_of(TONIGHT, "A", "B", bars=4), CALENDARS) != key
    market = replace(request_of(TONIGHT, "A", "B"), market=("C",))
    assert training_key(market, CALENDARS) != key
    assert training_key(replace(request_of(TONIGHT, "A", "B"), run_id="other"), CALENDARS) == key


def names_of(training: TrainingConfig) -> list[list[tuple[str, date]]]:
    requests = [
        request_of(day, name, shard=shard)
        for day in DAYS
        for shard, name in (("shard-0000", "A"), ("shard-0001", "B"))
    ]
    keyed: Sequence[tuple[tuple[object, ...], ShardRequest]] = [
        (training_key(request, CALENDARS), request) for request in requests
    ]
    found = waves(keyed, training)
    return [[(one.request.shard.name, one.request.session) for one in wave] for wave in found]


def test_refits_that_hang_together_are_trained_one_after_another() -> None:
    early, late = DAYS[0], REFIT
    everything = [("shard-0000", early), ("shard-0001", early)]
    later = [("shard-0000", late), ("shard-0001", late)]
    cold = SETTINGS.training
    assert names_of(cold) == [everything + later]
    for chained in ({"cold_every": 2}, {"champion": True}):
        assert names_of(cold.model_copy(update=chained)) == [everything, later]
    assert waves([], cold) == []
