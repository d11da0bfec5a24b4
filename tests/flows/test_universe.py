"""A universe that changes, through the steps of a night: who is asked for, pinned and forecast."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from flows import steps
from flows.config import FleetcastConfig, check
from flows.config_errors import ConfigError
from tasks.forecast import forecast_shard
from tasks.members import MembershipError
from tasks.run_forecasts import forecasts_of
from tasks.runs import PinnedRun, RunError
from tasks.sessions import calendar
from tasks.store import Store

END = {"OLD": date(2019, 3, 29)}
"""OLD was delisted; the others go on."""
BEGIN = {"NEW": date(2019, 6, 3)}
STAYS = ("OLD,2018-01-02,2019-03-29", "KEPT,2018-01-02,", "NEW,2019-06-03,")
BEFORE, AFTER = date(2019, 3, 1), date(2019, 12, 2)
NIGHT = datetime(2020, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def config(tmp_path: Path) -> FleetcastConfig:
    (tmp_path / "bars").mkdir()
    random = np.random.default_rng(3)
    for name in ("OLD", "KEPT", "NEW"):
        first, last = BEGIN.get(name, date(2018, 1, 2)), END.get(name, date(2019, 12, 31))
        days = calendar("XNYS").sessions(first, last)
        closes = 100 * np.exp(np.cumsum(random.normal(0, 0.01, len(days))))
        rows = (f"{day},{close}" for day, close in zip(days, closes, strict=True))
        (tmp_path / "bars" / f"{name}.csv").write_text("\n".join(["date,close", *rows]) + "\n")
    write(tmp_path, *STAYS)
    return of(tmp_path, {"membership": str(tmp_path / "members.csv")})


def write(tmp_path: Path, *stays: str) -> None:
    lines = ["instrument,first,last", *stays]
    (tmp_path / "members.csv").write_text("\n".join(lines) + "\n")


def of(tmp_path: Path, universe: dict[str, object]) -> FleetcastConfig:
    return check(
        {
            "universe": universe,
            "source": {"name": "files", "path": str(tmp_path / "bars")},
            "store": {"url": str(tmp_path / "store")},
        },
        "test",
    )


def pinned(config: FleetcastConfig, day: date | None) -> PinnedRun:
    ingested = steps.ingest_bars(config)
    return steps.pin_run(config, ingested.instruments, day, NIGHT)


def names_of(run: PinnedRun) -> list[str]:
    return sorted(name for names in run.shards.values() for name in names)


def test_a_backfill_forecasts_who_belonged_then_and_has_left_since(config: FleetcastConfig) -> None:
    ingested = steps.ingest_bars(config)
    assert ingested.instruments == ("KEPT", "NEW", "OLD")
    assert ingested.report is not None
    assert [one.instrument for one in ingested.report.instruments] == ["KEPT", "NEW", "OLD"]
    then = steps.pin_run(config, ingested.instruments, BEFORE, NIGHT)
    assert names_of(then) == ["KEPT", "OLD"]
    (request,) = steps.requests_of(config, then)
    result = forecast_shard(request, (), ())
    assert result.not_forecast == ()
    assert {
        row["instrument"] for row in forecasts_of(Store.open(config.store.url), then).to_pylist()
    } == {"KEPT", "OLD"}
    later = steps.pin_run(config, ingested.instruments, AFTER, NIGHT)
    assert names_of(later) == ["KEPT", "NEW"]


def test_who_left_still_stands_for_the_market_and_who_is_to_come_does_not(
    config: FleetcastConfig, tmp_path: Path
) -> None:
    (later,) = steps.requests_of(config, pinned(config, AFTER))
    assert later.market == ("KEPT", "NEW", "OLD")
    (then,) = steps.requests_of(config, pinned(config, BEFORE))
    assert then.market == ("KEPT", "OLD")
    write(tmp_path, *STAYS, "SOON,2100-01-04,")
    (tonight,) = steps.requests_of(config, pinned(config, None))
    assert tonight.market == ("KEPT", "NEW", "OLD")


def test_a_change_that_is_learned_later_changes_no_earlier_night(
    config: FleetcastConfig, tmp_path: Path
) -> None:
    before = pinned(config, BEFORE)
    write(tmp_path, "KEPT,2018-01-02,", "NEW,2018-01-02,")
    ingested = steps.ingest_bars(config)
    assert ingested.instruments == ("KEPT", "NEW")
    assert any("1 stays" in problem for problem in ingested.problems)
    again = steps.pin_run(config, ingested.instruments, BEFORE, NIGHT)
    assert names_of(before) == ["KEPT", "OLD"]
    assert names_of(again) == names_of(before)
    assert again.run_id == before.run_id
    assert names_of(steps.pin_run(config, ingested.instruments, None, NIGHT)) == ["KEPT", "NEW"]


def test_a_session_without_members_is_refused(config: FleetcastConfig, tmp_path: Path) -> None:
    write(tmp_path, "OLD,2018-01-02,2019-03-29")
    with pytest.raises(RunError, match=r"Nobody belongs to the universe on 2019-12-02, as known"):
        pinned(config, AFTER)


def test_a_member_whose_bars_ended_says_so_and_the_others_go_on(
    config: FleetcastConfig, tmp_path: Path
) -> None:
    write(tmp_path, "OLD,2018-01-02,", "KEPT,2018-01-02,")
    run = pinned(config, AFTER)
    (request,) = steps.requests_of(config, run)
    result = forecast_shard(request, (), ())
    reasons = {(one.instrument, one.reason) for one in result.not_forecast}
    assert len(reasons) == 1
    assert reasons.pop() == (
        "OLD",
        "stale: its bars ended, the last bar is of 2019-03-29, 171 sessions before 2019-12-02. Was "
        "it delisted or renamed? Its history is kept; to name it no more, leave it out of the "
        "universe",
    )


def test_without_a_membership_all_that_the_source_offers_is_forecast(
    config: FleetcastConfig, tmp_path: Path
) -> None:
    del config
    everyone = of(tmp_path, {})
    run = pinned(everyone, BEFORE)
    assert names_of(run) == ["KEPT", "NEW", "OLD"]
    (request,) = steps.requests_of(everyone, run)
    assert request.market == ("KEPT", "NEW", "OLD")


def test_where_the_source_is_down_the_members_that_are_known_are_forecast(
    config: FleetcastConfig, tmp_path: Path
) -> None:
    (tmp_path / "bars" / "OTHER.csv").write_text("date,close\n2019-03-01,5\n")
    steps.ingest_bars(of(tmp_path, {"instruments": ["OTHER"]}))
    steps.ingest_bars(config)
    (tmp_path / "bars").rename(tmp_path / "away")
    ingested = steps.ingest_bars(config)
    assert ingested.report is None
    assert ingested.instruments == ("KEPT", "NEW", "OLD")
    assert names_of(steps.pin_run(config, ingested.instruments, BEFORE, NIGHT)) == ["KEPT", "OLD"]


def test_a_membership_file_that_is_gone_is_named(config: FleetcastConfig, tmp_path: Path) -> None:
    (tmp_path / "members.csv").unlink()
    with pytest.raises(MembershipError, match="There is no membership file"):
        steps.ingest_bars(config)


def test_a_universe_is_said_in_one_way(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="instruments and membership are both stated"):
        of(tmp_path, {"instruments": ["KEPT"], "membership": "members.csv"})


def test_where_the_file_lies_decides_no_forecast(tmp_path: Path) -> None:
    one, other = (of(tmp_path, {"membership": name}) for name in ("a.csv", "b/a.csv"))
    assert one.config_hash == other.config_hash != of(tmp_path, {}).config_hash


def test_a_plan_is_of_those_who_belong(config: FleetcastConfig) -> None:
    from flows.plan_command import find

    steps.ingest_bars(config)
    planned = find(config, None, now=NIGHT + timedelta(hours=11))
    assert [plan.instrument for plan in planned.plans] == ["KEPT", "NEW"]
    one = find(config, "OLD", now=NIGHT + timedelta(hours=11))
    assert [plan.instrument for plan in one.plans] == ["OLD"]
