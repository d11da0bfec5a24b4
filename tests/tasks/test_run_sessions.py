"""A run's session is one of the default calendar: what it may know of the other exchanges."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.forecast import forecast_shard
from tasks.history import load_series
from tasks.known_at import propose
from tasks.runs import Moment, resolve
from tasks.sessions import CalendarConfig, Calendars
from tasks.shards import Shard, ShardRequest
from tasks.store import Store
from tests.tasks.markets import SETTINGS

LAG = timedelta(hours=1)
CONFIG = CalendarConfig(
    overrides={
        "*.T": "XTKS",
        "*.AX": "XASX",
        "*.L": "XLON",
        "*.TA": "XTAE",
        "*-USD": "24/7",
        "EUR*": "24/5",
    }
)
CALENDARS = Calendars.load(CONFIG)
NAMES = ("AAPL", "7203.T", "BHP.AX", "VOD.L", "KEN.TA", "BTC-USD", "EURUSD")
FIRST, LAST = date(2024, 1, 2), date(2024, 12, 31)
NOW = datetime(2025, 2, 3, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A bar at every session of every exchange, known as ingest proposes."""
    tables = []
    random = np.random.default_rng(11)
    for name in NAMES:
        sessions = CALENDARS.of(name).sessions(FIRST, LAST)
        tables.append(
            pa.table(
                {
                    "instrument": [name] * len(sessions),
                    "session": sessions,
                    "close": 50 * np.exp(np.cumsum(random.normal(0, 0.01, len(sessions)))),
                    "price_basis": ["raw"] * len(sessions),
                    "source": ["test"] * len(sessions),
                }
            )
        )
    rows = pa.concat_tables(tables)
    nothing = rows.select(["instrument", "session"]).slice(0, 0)
    found = Store.open(tmp_path_factory.mktemp("store"))
    found.commit_facts("bars", propose(rows, nothing, CALENDARS, now=NOW, lag=LAG), now=NOW)
    return found


def moment_of(day: date) -> Moment:
    return resolve(
        calendar=CALENDARS.default,
        lag=LAG,
        bars=(FIRST, LAST),
        archive=False,
        day=day,
        scheduled=NOW,
    )


def newest(store: Store, day: date) -> dict[str, str]:
    """The last session that a run about `day` knows of each instrument."""
    moment = moment_of(day)
    assert moment.as_of is not None
    series = load_series(store, NAMES, CALENDARS, as_of=moment.as_of, last=moment.session)
    return {name: str(one.sessions[-1]) for name, one in series.items()}


@given(st.dates(date(2024, 1, 10), LAST))
def test_no_bar_is_used_whose_session_had_not_closed_at_the_runs_moment(
    store: Store, day: date
) -> None:
    moment = moment_of(day)
    assert moment.as_of is not None
    for name, last in newest(store, day).items():
        exchange = CALENDARS.of(name)
        session = date.fromisoformat(last)
        assert exchange.close(session) + LAG <= moment.as_of
        assert session <= moment.session
        following = exchange.offset(session, 1)
        assert following > moment.session or exchange.close(following) + LAG > moment.as_of


@pytest.mark.parametrize(
    ("day", "known"),
    [
        (  # a half day in New York: it closes at 17:00 UTC, before the day of currencies ends
            date(2024, 7, 3),
            {
                "AAPL": "2024-07-03",
                "7203.T": "2024-07-03",
                "BHP.AX": "2024-07-03",
                "VOD.L": "2024-07-03",
                "KEN.TA": "2024-07-03",
                "BTC-USD": "2024-07-02",
                "EURUSD": "2024-07-02",
            },
        ),
        (  # New York is closed on Thursday: nobody else's Thursday is known before Friday's run
            date(2024, 7, 4),
            {
                "AAPL": "2024-07-03",
                "7203.T": "2024-07-03",
                "BHP.AX": "2024-07-03",
                "VOD.L": "2024-07-03",
                "KEN.TA": "2024-07-03",
                "BTC-USD": "2024-07-02",
                "EURUSD": "2024-07-02",
            },
        ),
        (  # a Monday: Tel Aviv's Sunday and what traded on the weekend are in
            date(2024, 7, 8),
            {
                "AAPL": "2024-07-08",
                "7203.T": "2024-07-08",
                "BHP.AX": "2024-07-08",
                "VOD.L": "2024-07-08",
                "KEN.TA": "2024-07-08",
                "BTC-USD": "2024-07-07",
                "EURUSD": "2024-07-05",
            },
        ),
        (  # clocks have changed in New York, in London not yet
            date(2024, 3, 11),
            {
                "AAPL": "2024-03-11",
                "7203.T": "2024-03-11",
                "BHP.AX": "2024-03-11",
                "VOD.L": "2024-03-11",
                "KEN.TA": "2024-03-11",
                "BTC-USD": "2024-03-10",
                "EURUSD": "2024-03-08",
            },
        ),
    ],
)
def test_what_a_night_of_new_york_knows_of_the_world(
    store: Store, day: date, known: dict[str, str]
) -> None:
    assert newest(store, day) == known


def test_an_instrument_is_not_stale_while_its_own_session_is_not_over(store: Store) -> None:
    moment = moment_of(date(2024, 7, 8))
    assert moment.as_of is not None
    request = ShardRequest(
        store_url=store.url,
        shard=Shard("shard-0000", NAMES),
        session=moment.session,
        as_of=moment.as_of,
        lag=LAG,
        calendars=CONFIG,
        settings=SETTINGS,
        config_hash="config",
        run_id="run",
        origin="backfill",
    )
    result = forecast_shard(request, (), ())
    assert result.not_forecast == ()
    assert result.stale == ()
    rows = store.read("forecasts").to_pylist()
    ahead = {row["instrument"]: row["target_session"] for row in rows if row["lead"] == 2}
    assert ahead == {
        "AAPL": date(2024, 7, 10),
        "7203.T": date(2024, 7, 10),
        "BHP.AX": date(2024, 7, 10),
        "VOD.L": date(2024, 7, 10),
        "KEN.TA": date(2024, 7, 10),
        "BTC-USD": date(2024, 7, 9),
        "EURUSD": date(2024, 7, 9),
    }
