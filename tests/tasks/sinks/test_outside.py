"""The order of deliveries, and what is remembered of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tasks.runs import PinnedRun
from tasks.sinks.config import FolderSinkConfig, SqlSinkConfig, WebhookSinkConfig
from tasks.sinks.configured import open_sinks
from tasks.sinks.deliveries import account
from tasks.sinks.outside import catch_up, publish_outside
from tasks.sinks.sink import Edition, RefusedError, SinkError
from tasks.store import Store
from tests.tasks.sinks.nights import edition, later, night


@dataclass
class Memory:
    """A sink in memory."""

    name: str = "memory"
    newest_only: bool = False
    down: bool = False
    refuses: Collection[str] = ()
    newer: Collection[str] = ()
    forgets: Collection[str] = ()
    not_for_it: Collection[str] = ()
    got: list[tuple[str, str]] = field(default_factory=list)

    def takes(self, run: PinnedRun) -> bool:
        return run.run_id not in self.not_for_it

    def lost(self, editions: Collection[str]) -> frozenset[str]:
        return frozenset(editions) & frozenset(self.forgets)

    def deliver(self, edition: Edition) -> bool:
        if self.down:
            raise SinkError("it is down")
        if edition.run.run_id in self.refuses:
            raise RefusedError("not this one")
        if edition.run.run_id in self.newer:
            return False
        self.got.append((edition.run.run_id, edition.edition_id))
        return True

    @property
    def runs(self) -> list[str]:
        return [run_id for run_id, _ in self.got]


def statuses(store: Store) -> dict[tuple[str, str], str]:
    return {key: one.status for key, one in account(store).items()}


def test_a_night_is_delivered_once(store: Store) -> None:
    sink = Memory()
    run = night(store)
    (outcome,) = publish_outside(store, run, [sink], later(0))
    assert (outcome.delivered, outcome.waiting, outcome.problem) == ((run.run_id,), (), None)
    (outcome,) = publish_outside(store, run, [sink], later(1))
    assert outcome.delivered == ()
    assert sink.runs == [run.run_id]


def test_what_the_same_night_forecast_anew_is_news(store: Store) -> None:
    sink = Memory()
    publish_outside(store, night(store), [sink], later(0))
    publish_outside(store, night(store, made=5, shift=0.5), [sink], later(0))
    (first, one), (second, two) = sink.got
    assert first == second
    assert one != two


def test_a_sink_that_was_down_is_caught_up_in_order_and_holds_nobody_up(store: Store) -> None:
    down, up = Memory("down", down=True), Memory("up")
    for day in (1, 0, 2):
        told, other = publish_outside(store, night(store, day), [down, up], later(day))
        assert other.problem is None
        assert told.problem is not None
        assert "down: it is down" in told.problem
    assert told.waiting == ("run-00-live", "run-01-live", "run-02-live")
    assert told.problem is not None
    assert "3 nights wait since 2013-03-01 22:00 UTC" in told.problem
    assert up.runs == ["run-01-live", "run-00-live", "run-02-live"]
    down.down = False
    told, other = publish_outside(store, night(store, 3), [down, up], later(3))
    assert (told.waiting, told.problem) == ((), None)
    assert down.runs == [f"run-0{day}-live" for day in range(4)]
    assert up.runs[3:] == ["run-03-live"]
    assert set(statuses(store).values()) == {"delivered"}


def test_catching_up_needs_no_new_night(store: Store) -> None:
    sink = Memory(down=True)
    publish_outside(store, night(store), [sink], later(0))
    sink.down = False
    (outcome,) = catch_up(store, [sink], later(1))
    assert outcome.delivered == ("run-00-live",)


def test_a_night_that_is_refused_stands_in_nobodys_way(store: Store) -> None:
    sink = Memory(down=True, refuses=["run-00-live"])
    publish_outside(store, night(store, 0), [sink], later(0))
    sink.down = False
    (outcome,) = publish_outside(store, night(store, 1), [sink], later(1))
    assert sink.runs == ["run-01-live"]
    assert outcome.problem == "memory refused the night 2013-03-01: not this one"
    assert statuses(store)["memory", "run-00-live"] == "refused"
    (outcome,) = catch_up(store, [sink], later(2))
    assert (outcome.delivered, outcome.problem) == ((), None)


def test_where_each_night_replaces_the_one_before_only_the_newest_is_caught_up(
    store: Store,
) -> None:
    sink = Memory(newest_only=True, down=True)
    for day in range(3):
        (told,) = publish_outside(store, night(store, day), [sink], later(day))
    assert told.waiting == ("run-02-live",)
    assert told.problem is not None
    assert "1 night waits since 2013-03-03 22:00 UTC" in told.problem
    sink.down = False
    catch_up(store, [sink], later(3))
    assert sink.runs == ["run-02-live"]
    assert set(statuses(store).values()) == {"delivered", "superseded"}


def test_a_sink_that_has_newer_ones_is_left_with_them(store: Store) -> None:
    sink = Memory(newer=["run-00-live"])
    (outcome,) = publish_outside(store, night(store), [sink], later(0))
    assert (outcome.delivered, outcome.waiting, outcome.problem) == ((), (), None)
    assert statuses(store) == {("memory", "run-00-live"): "superseded"}


def test_a_sink_that_lost_nights_gets_them_again(store: Store) -> None:
    """A database that was restored from a backup."""
    sink = Memory()
    for day in range(3):
        publish_outside(store, night(store, day), [sink], later(day))
    sink.forgets = [edition_id for _, edition_id in sink.got[1:]]
    (outcome,) = catch_up(store, [sink], later(3))
    assert outcome.delivered == ("run-01-live", "run-02-live")


def test_two_runs_of_one_night_with_the_same_forecasts_are_one_edition(store: Store) -> None:
    """Else a database, which has one row a night, would lose the one to the other for ever."""
    run = night(store)
    other = replace(run, run_id="another", origin="backfill")
    assert edition(store, run).edition_id == edition(store, other).edition_id


def test_a_new_sink_gets_no_history_and_some_runs_are_not_for_it(store: Store) -> None:
    publish_outside(store, night(store, 0), [Memory("old")], later(0))
    new = Memory("new", not_for_it=["run-02-live"])
    for day in (1, 2):
        publish_outside(store, night(store, day), [new], later(day))
    assert new.runs == ["run-01-live"]


def test_a_night_without_forecasts_is_no_news(store: Store) -> None:
    run = night(store)
    bare = Store.open(Path(store.url).parent / "bare")
    sink = Memory()
    publish_outside(bare, run, [sink], later(0))
    assert sink.got == []
    assert statuses(bare) == {}


def test_forecasts_that_were_erased_are_not_delivered_any_more(store: Store) -> None:
    sink = Memory(down=True)
    publish_outside(store, night(store), [sink], later(0))
    store.erase(["AAPL", "IBM"])
    sink.down = False
    (outcome,) = catch_up(store, [sink], later(1))
    assert (outcome.delivered, outcome.problem, sink.got) == ((), None, [])


def test_sinks_are_on_where_their_url_is_set(tmp_path: Path) -> None:
    off = SqlSinkConfig(), FolderSinkConfig(), WebhookSinkConfig()
    assert open_sinks(*off) == ()
    on = open_sinks(
        SqlSinkConfig(url="postgresql+psycopg://me@db:5433/market?sslmode=require"),
        FolderSinkConfig(url=str(tmp_path)),
        WebhookSinkConfig(url="https://example.com/x"),
    )
    assert [sink.name for sink in on] == [
        "sql postgresql://db:5433/market (fleetcast)",
        f"folder {tmp_path}",
        "webhook https://example.com (54cef8f4)",
    ]


@pytest.mark.parametrize("failing", ["first", "second"])
def test_the_store_remembers_before_and_after_every_delivery(
    store: Store, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of our own in the middle: what was delivered before it is not delivered again."""
    one, two = Memory("first"), Memory("second")

    def bug(_: Edition) -> bool:
        raise RuntimeError("a bug")

    run = night(store)
    with monkeypatch.context() as patch:
        patch.setattr(one if failing == "first" else two, "deliver", bug)
        with pytest.raises(RuntimeError):
            publish_outside(store, run, [one, two], later(0))
    publish_outside(store, run, [one, two], later(0))
    assert (one.runs, two.runs) == ([run.run_id], [run.run_id])
