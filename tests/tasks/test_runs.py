from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from tasks import runs
from tasks.runs import Moment, PinnedRun, RunError, resolve
from tasks.sessions import calendar
from tasks.store import Store

NEW_YORK = calendar("XNYS")
LAG = timedelta(hours=1)
BARS = (date(2000, 3, 1), date(2013, 3, 1))
FRIDAY_NIGHT = datetime(2013, 3, 1, 23, 30, tzinfo=UTC)
LIVE = Moment(date(2013, 3, 1), None, "live")
SHARDS = {"shard-0000": ("AAPL", "IBM")}


def resolved(
    *,
    day: date | None = None,
    archive: bool = False,
    scheduled: datetime = FRIDAY_NIGHT,
    bars: tuple[date, date] = BARS,
) -> Moment:
    return resolve(
        calendar=NEW_YORK, lag=LAG, bars=bars, archive=archive, day=day, scheduled=scheduled
    )


def with_bars(tmp_path: Path, sessions: Sequence[date] = BARS) -> Store:
    store = Store.open(tmp_path / "store")
    count = len(sessions)
    rows = pa.table(
        {
            "instrument": ["AAPL"] * count,
            "session": list(sessions),
            "close": [1.0 + i for i in range(count)],
            "price_basis": ["raw"] * count,
            "source": ["test"] * count,
        }
    )
    store.commit_facts("bars", rows, now=datetime(2013, 3, 1, 22, tzinfo=UTC))
    return store


def pinned(
    store: Store,
    moment: Moment = LIVE,
    *,
    now: datetime = FRIDAY_NIGHT,
    shards: Mapping[str, tuple[str, ...]] = SHARDS,
    config_hash: str = "config",
) -> PinnedRun:
    return runs.pin(store, moment, config_hash=config_hash, shards=shards, now=now)


def test_a_live_run_is_about_the_last_session_published_before_its_scheduled_start() -> None:
    assert resolved() == LIVE
    before_the_lag = datetime(2013, 3, 1, 21, 59, tzinfo=UTC)
    assert resolved(scheduled=before_the_lag).session == date(2013, 2, 28)
    sunday = datetime(2013, 3, 3, 12, tzinfo=UTC)
    assert resolved(scheduled=sunday).session == date(2013, 3, 1)


def test_a_live_run_does_not_ask_which_bars_there_are() -> None:
    assert resolved(bars=(date(2000, 3, 1), date(2012, 1, 3))).session == date(2013, 3, 1)


def test_an_archive_is_about_its_last_session_just_after_that_was_published() -> None:
    moment = resolved(archive=True, scheduled=datetime(2026, 1, 5, tzinfo=UTC))
    assert moment == Moment(date(2013, 3, 1), datetime(2013, 3, 1, 22, tzinfo=UTC), "live")


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize(
    ("day", "session"),
    [
        (date(2012, 7, 3), date(2012, 7, 3)),
        (date(2012, 7, 4), date(2012, 7, 3)),
        (date(2012, 7, 8), date(2012, 7, 6)),
    ],
)
def test_a_day_means_the_last_session_on_or_before_it(
    day: date, session: date, archive: bool
) -> None:
    moment = resolved(day=day, archive=archive)
    assert moment.session == session
    assert moment.as_of == NEW_YORK.close(session) + LAG
    assert moment.origin == "backfill"


def test_a_half_day_is_known_earlier() -> None:
    moment = resolved(day=date(2012, 11, 23))
    assert moment.as_of == datetime(2012, 11, 23, 19, tzinfo=UTC)


def test_a_day_after_the_end_of_an_archive_means_its_last_session() -> None:
    late = datetime(2026, 1, 5, tzinfo=UTC)
    assert resolved(day=date(2020, 6, 1), archive=True, scheduled=late).session == BARS[1]


def test_a_day_before_the_first_bar_is_refused_with_the_dates_there_are() -> None:
    with pytest.raises(RunError) as caught:
        resolved(day=date(1999, 12, 31))
    assert str(caught.value) == (
        "as_of 1999-12-31 lies before the first bar, of 2000-03-01: nothing was known then. "
        "Choose a date from 2000-03-01 to 2013-03-01."
    )


def test_a_day_in_the_future_is_refused_with_the_latest_there_is() -> None:
    with pytest.raises(RunError) as caught:
        resolved(day=date(2013, 3, 4))
    assert str(caught.value) == (
        "as_of 2013-03-04 lies in the future: 2013-03-04 is published at 2013-03-04 22:00 UTC. "
        "Choose a date up to 2013-03-01."
    )
    with pytest.raises(RunError, match=r"as_of 2999-01-01: .*lies outside the calendar"):
        resolved(day=date(2999, 1, 1))


def test_known_sessions_are_those_of_the_instruments(tmp_path: Path) -> None:
    store = with_bars(tmp_path)
    assert runs.known_sessions(store, ["AAPL", "IBM"]) == BARS
    with pytest.raises(RunError, match=r"no bar of any of the 1 instruments \(IBM\)"):
        runs.known_sessions(store, ["IBM"])


def test_a_live_run_knows_what_was_ingested_before_it_even_by_another_clock(tmp_path: Path) -> None:
    store = with_bars(tmp_path)
    assert pinned(store).as_of == FRIDAY_NIGHT
    slow_clock = datetime(2013, 3, 1, 21, tzinfo=UTC)
    behind = pinned(store, now=slow_clock, config_hash="other")
    assert behind.as_of >= datetime(2013, 3, 1, 22, tzinfo=UTC)


def test_a_run_writes_down_its_world(tmp_path: Path) -> None:
    store = with_bars(tmp_path)
    run = pinned(store)
    (row,) = store.read("runs").to_pylist()
    assert row["run_id"] == run.run_id
    assert row["status"] == "pinned"
    assert row["session"] == date(2013, 3, 1)
    assert row["as_of"] == run.as_of
    assert run.table_versions["bars"] == store.versions()["bars"]
    assert run.shards == SHARDS
    assert not run.reused


def test_the_same_night_again_is_the_same_run_and_adds_no_row(tmp_path: Path) -> None:
    store = with_bars(tmp_path)
    first = pinned(store)
    again = pinned(store, now=FRIDAY_NIGHT + timedelta(hours=3))
    assert again == replace(first, reused=True)
    assert store.history("runs").num_rows == 1


def test_the_same_night_again_keeps_the_versions_that_were_pinned(tmp_path: Path) -> None:
    store = with_bars(tmp_path)
    first = pinned(store)
    with_bars(tmp_path, [date(2013, 2, 28)])
    assert store.versions()["bars"] != first.table_versions["bars"]
    assert pinned(store).table_versions == first.table_versions


@pytest.mark.parametrize(
    "change",
    [
        {"moment": Moment(date(2013, 2, 28), None, "live")},
        {"moment": Moment(date(2013, 3, 1), FRIDAY_NIGHT, "backfill")},
        {"config_hash": "other"},
        {"shards": {"shard-0000": ("AAPL", "IBM", "MSFT")}},
    ],
)
def test_another_session_origin_configuration_or_universe_is_another_run(
    tmp_path: Path, change: Mapping[str, object]
) -> None:
    store = with_bars(tmp_path)
    assert pinned(store).run_id != pinned(store, **change).run_id  # type: ignore[arg-type]


def test_of_two_runs_pinned_at_once_the_first_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = with_bars(tmp_path)
    real, seen = runs._first_of, []

    def blind_once(store: Store, run_key: str) -> PinnedRun | None:
        seen.append(run_key)
        return None if len(seen) == 1 else real(store, run_key)

    first = pinned(store)
    monkeypatch.setattr(runs, "_first_of", blind_once)
    second = pinned(store, now=FRIDAY_NIGHT + timedelta(seconds=1))
    assert second == replace(first, reused=True)
    (lost,) = (row for row in store.read("runs").to_pylist() if row["run_id"] != first.run_id)
    assert lost["status"] == "failed"
    assert lost["message"] == f"{first.run_id} had pinned the same night first"


def test_an_end_is_written_once(tmp_path: Path) -> None:
    store = with_bars(tmp_path)
    run = pinned(store)
    for hours in (1, 2):
        runs.close(store, run, now=FRIDAY_NIGHT + timedelta(hours=hours))
    assert [row["status"] for row in store.history("runs").to_pylist()] == ["pinned", "finished"]
    assert pinned(store).status == "finished"


def test_a_failed_run_says_why_and_may_still_finish(tmp_path: Path) -> None:
    store = with_bars(tmp_path)
    run = pinned(store)
    runs.close(store, run, now=FRIDAY_NIGHT, failure="the disk is full")
    again = pinned(store)
    assert (again.status, again.message) == ("failed", "the disk is full")
    assert (again.as_of, again.run_id) == (run.as_of, run.run_id)
    runs.close(store, again, now=FRIDAY_NIGHT + timedelta(hours=1))
    (row,) = store.read("runs").to_pylist()
    assert (row["status"], row["message"]) == ("finished", None)


@pytest.mark.parametrize("ended", [{"failure": "broken off"}, {"remark": "a shard failed"}])
def test_who_was_thought_dead_does_not_undo_what_another_process_finished(
    tmp_path: Path, ended: dict[str, str]
) -> None:
    store = with_bars(tmp_path)
    lost = pinned(store)
    runs.close(store, pinned(store), now=FRIDAY_NIGHT + timedelta(hours=1))
    assert runs.close(store, lost, now=FRIDAY_NIGHT + timedelta(hours=2), **ended).message is None
    done = pinned(store)
    assert (done.status, done.message) == ("finished", None)
    # Who knew that it was finished, and went through it again, says how that ended.
    runs.close(store, done, now=FRIDAY_NIGHT + timedelta(hours=3), **ended)
    assert pinned(store).message is not None


def test_runs_of_a_configuration_newest_first(tmp_path: Path) -> None:
    store = with_bars(tmp_path)
    old = pinned(store, Moment(date(2013, 2, 28), None, "live"), now=FRIDAY_NIGHT)
    new = pinned(store, LIVE, now=FRIDAY_NIGHT + timedelta(hours=1))
    pinned(store, LIVE, config_hash="other")
    assert runs.runs_of(store, "config") == (new, old)
