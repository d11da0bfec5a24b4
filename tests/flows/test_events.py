"""The events of a night, before any server: their payloads, their bounds and their ids."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import pytest

from flows import automations, deployments, events
from flows.events import DRIFT, GATE, MOST, PUBLISHED, STALE, Told, event_id, events_of
from tasks.last_night import Published
from tasks.news import Changed, Drifted, News
from tasks.old_bars import OldBar
from tasks.runs import PinnedRun

pytestmark = pytest.mark.filterwarnings("ignore")  # Prefect's and its libraries' own

AS_OF = datetime(2024, 6, 28, 22, 30, tzinfo=UTC)
RUN = PinnedRun(
    run_id="run",
    run_key="key",
    session=date(2024, 6, 28),
    as_of=AS_OF,
    origin="live",
    status="finished",
    config_hash="config",
    code_version="1",
    table_versions={},
    shards={"shard-0000": ("A", "B")},
    made_at=AS_OF,
)
QUIET = News(
    before="2024-06-27",
    edition="edition",
    forecasts=20,
    published=(Published("log_return", "many_to_many", 2, 1, 0, ("B",), ()),),
    changed=(),
    old=(),
    still_old=0,
    drifted=(),
    still_drifted=0,
)


def told(found: News) -> dict[str, Told]:
    return {one.event: one for one in events_of(RUN, found)}


def test_a_night_without_news_only_says_what_it_published() -> None:
    (one,) = events_of(RUN, QUIET)
    assert (one.event, one.instruments) == (PUBLISHED, ())
    assert one.payload == {
        "run_id": "run",
        "session": "2024-06-28",
        "origin": "live",
        "planned": 2,
        "published": 1,
        "missing": 1,
        "learned": 1,
        "forecasts": 20,
        "summary": "Session 2024-06-28: 1 of 2 published, 1 by a network that earned it",
    }
    assert told(replace(QUIET, forecasts=0)) == {}


def test_each_kind_of_news_is_one_event_that_names_whom_it_is_about() -> None:
    found = told(
        replace(
            QUIET,
            old=(OldBar("A", date(2024, 6, 25)), OldBar("B", None)),
            still_old=4,
            drifted=(Drifted("A", "log_return", "direction"), Drifted("A", "x", "y")),
            changed=(Changed("B", "log_volatility", "many_to_many", "lstm", "har"),),
        )
    )
    assert set(found) == {PUBLISHED, STALE, DRIFT, GATE}
    stale = found[STALE]
    assert stale.instruments == ("A", "B")
    assert (stale.payload["count"], stale.payload["still"]) == (2, 4)
    assert stale.payload["listed"] == [
        {"instrument": "A", "newest": "2024-06-25"},
        {"instrument": "B", "newest": None},
    ]
    assert found[DRIFT].instruments == ("A",)
    assert found[GATE].payload["since"] == "2024-06-27"
    assert "B's log_volatility: lstm → har" in found[GATE].payload["summary"]


def test_a_source_that_is_away_is_one_event_however_many_it_has() -> None:
    many = tuple(OldBar(f"N{place:04}", date(2024, 6, 27)) for place in range(5000))
    found = told(replace(QUIET, old=many))[STALE]
    assert (found.payload["count"], len(found.payload["listed"])) == (5000, MOST)
    assert len(found.instruments) == MOST < 100
    assert len(json.dumps(found.payload)) < 5000
    assert "N0000, N0001, N0002, N0003, N0004 and 4995 more" in found.payload["summary"]


def test_an_id_is_that_of_what_is_told_of_which_run() -> None:
    found = replace(QUIET, old=(OldBar("A", None),))
    ids = {name: event_id(RUN, one) for name, one in told(found).items()}
    assert {name: event_id(RUN, one) for name, one in told(found).items()} == ids
    assert len(set(ids.values())) == 2
    other = replace(RUN, run_id="other")
    assert {event_id(other, one) for one in told(found).values()}.isdisjoint(ids.values())
    more = told(replace(found, old=(OldBar("A", None), OldBar("B", None))))
    assert event_id(RUN, more[STALE]) != ids[STALE]
    assert event_id(RUN, more[PUBLISHED]) == ids[PUBLISHED]


def test_every_event_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "monitoring.md").read_text()
    found = replace(
        QUIET,
        old=(OldBar("A", None),),
        drifted=(Drifted("A", "x", "y"),),
        changed=(Changed("B", "x", "y", "lstm", "har"),),
    )
    assert {name for name in vars(events).values() if str(name).startswith("fleetcast.")} == {
        *told(found)
    }
    for one in events_of(RUN, found):
        for name in (one.event, *one.payload):
            assert f"`{name}`" in page, name


def test_the_examples_name_one_block_of_each_type_and_every_event() -> None:
    asked: list[str] = []

    def block_id(name: str) -> UUID:
        asked.append(name)
        return UUID(int=len(asked))

    found = automations.read(deployments.file("notifications.yaml"), block_id)
    assert set(asked) == {
        "slack-webhook/fleetcast",
        "sendgrid-email/fleetcast",
        "webhook/fleetcast",
    }
    expected = {name for one in found for name in one.trigger.expect}  # type: ignore[union-attr]
    assert {events.PUBLISHED, events.STALE, events.DRIFT, events.GATE} <= expected
    assert len({one.name for one in found}) == len(found)
