from __future__ import annotations

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.sources import Fetched, SourceConfig, SourceError
from tasks.sources.answers import Answer, ProviderError, RequestError, TryAgainError
from tasks.sources.provider import ProviderSource, Wanted
from tasks.sources.rate_limit import Clock
from tasks.sources.tiingo import open_tiingo, read_tiingo
from tests.tasks.sources.provider_server import FakeClock, ProviderServer, Reply

WANTED = Wanted("ACME", "acme", date(1990, 1, 1), None)


def row(day: str, **more: object) -> dict[str, object]:
    cells = {"close": 10.0, "high": 12.0, "low": 9.0, "open": 11.0, "volume": 1000}
    adjusted = {"adjClose": 5.0, "adjHigh": 6.0, "adjLow": 4.5, "adjOpen": 5.5, "adjVolume": 2000}
    stamp = {"date": f"{day}T00:00:00.000Z"}
    return {**stamp, **cells, **adjusted, "divCash": 0.0, "splitFactor": 1.0, **more}


def read(told: object) -> Fetched:
    return read_tiingo(Answer(json.dumps(told).encode(), measured=True), WANTED)


def opened(server: ProviderServer, time: FakeClock, **more: object) -> ProviderSource:
    fields = {"name": "tiingo", "base_url": server.url, "attempts": 2, "timeout_seconds": 2.0}
    return open_tiingo(SourceConfig.model_validate(fields | more), Clock(time.now, time.sleep))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIINGO_API_KEY", "a-key-of-mine")


def test_raw_prices_adjusted_closes_and_actions() -> None:
    fetched = read([row("2024-01-02", divCash=0.25), row("2024-01-03", splitFactor=2.0)])
    assert [tuple(bar.values()) for bar in fetched.bars.to_pylist()] == [
        ("ACME", date(2024, 1, 2), 11.0, 12.0, 9.0, 10.0, 1000.0),
        ("ACME", date(2024, 1, 3), 11.0, 12.0, 9.0, 10.0, 1000.0),
    ]
    assert [tuple(action.values()) for action in fetched.actions.to_pylist()] == [
        ("ACME", date(2024, 1, 2), "dividend", 0.25),
        ("ACME", date(2024, 1, 3), "split", 2.0),
    ]
    assert fetched.adjusted_close is not None
    assert fetched.adjusted_close.to_pylist() == [5.0, 5.0]
    assert fetched.original.to_pylist()[0] == {
        name: str(cell) for name, cell in row("2024-01-02", divCash=0.25).items()
    }


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        (row("2024-01-02", close="cheap"), "not_a_number"),
        (row("2024-01-02", close=[1]), "not_a_number"),
        (row("2024-01-02", high={"a": 1}), "not_a_number"),
        (row("2024-01-02", volume=True), "not_a_number"),
        (row("2024-01-02", close=float("inf")), "not_a_number"),
        (row("2024-01-02", close=10**400), "not_a_number"),
        (row("2024-01-02", close="\ud800"), "not_a_number"),
        (row("2024-13-02"), "not_a_date"),
        (row("2024-01-02", date=1704153600), "not_a_date"),
        (row("2024-01-02", date=["2024-01-02"]), "not_a_date"),
        ([1, 2], "malformed_line"),
        (7, "malformed_line"),
        (None, None),
        ("row", "malformed_line"),
    ],
)
def test_a_row_that_can_t_be_read_is_marked_and_kept(bad: object, rule: str | None) -> None:
    fetched = read([row("2024-01-03"), bad])
    assert fetched.bars.num_rows == 2
    assert fetched.defects is not None
    assert fetched.defects["rule"].to_pylist() == [None, rule]


def test_what_a_row_does_not_tell_is_nothing() -> None:
    fetched = read([{"date": "2024-01-02", "close": float("nan"), "more": [1]}, {}, {"close": 1}])
    assert fetched.bars["close"].to_pylist() == [None, None, 1.0]
    assert fetched.bars["session"].to_pylist() == [date(2024, 1, 2), None, None]
    assert fetched.defects is not None
    assert fetched.defects["rule"].null_count == 3
    assert fetched.original["more"].to_pylist() == ["[1]", None, None]
    assert fetched.actions.num_rows == 0


def test_an_action_that_can_t_be_one_is_told() -> None:
    fetched = read([row("2024-01-02", divCash=-1, splitFactor="two"), row("2024-01-03")])
    assert fetched.actions.num_rows == 0
    assert [problem.message for problem in fetched.problems] == [
        f"ACME: 1 cells of its {kind}s are no positive number (the first on 2024-01-02); "
        "these say nothing."
        for kind in ("dividend", "split")
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from([*row("2024-01-02"), "row", "line", "", "x"])


@given(st.lists(st.dictionaries(NAMES, JSON | st.just("2024-01-02")) | JSON, max_size=5) | JSON)
def test_no_answer_breaks_the_reading(told: object) -> None:
    try:
        fetched = read(told)
    except (RequestError, TryAgainError):
        assert not isinstance(told, list)
    else:
        assert isinstance(told, list)
        assert fetched.bars.num_rows == len(told) == len(fetched.original)


def test_rows_of_too_many_names_are_no_table() -> None:
    with pytest.raises(TryAgainError, match="rows of 101 names"):
        read([{f"{name}": 1 for name in range(101)}])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"detail": "Not found."}', RequestError),
        ("Error: Ticker 'XYZ' not found", RequestError),
        ('{"detail": "Error: You have run over your hourly request allocation."}', ProviderError),
        ('{"rows": []}', TryAgainError),
        ("null", TryAgainError),
    ],
)
def test_errors_with_http_200(text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as error:
        read_tiingo(Answer(text.encode(), measured=True), WANTED)
    assert type(error.value) is kind


def test_what_tiingo_is_asked(server: ProviderServer, time: FakeClock) -> None:
    server.replies(Reply(json.dumps([row("2024-01-02")])))
    source = opened(server, time, symbols={"BRK.B": "brk/b"})
    source.fetch(["BRK.B"], date(2024, 1, 2), date(2024, 1, 3))
    (asked,) = server.asked
    assert asked.path == "/tiingo/daily/brk%2Fb/prices"
    assert asked.query == {
        "startDate": "2024-01-02",
        "endDate": "2024-01-03",
        "resampleFreq": "daily",
        "format": "json",
    }
    assert asked.headers["Authorization"] == "Token a-key-of-mine"
    assert source.price_basis == "raw"


def test_a_refused_key_stops_at_once(server: ProviderServer, time: FakeClock) -> None:
    server.replies(Reply('{"detail": "Invalid token."}', status=401))
    with pytest.raises(SourceError, match="HTTP 401.*Invalid token"):
        opened(server, time).fetch(["A", "B"])
    assert len(server.asked) == 1


def test_fifty_requests_an_hour(server: ProviderServer, time: FakeClock) -> None:
    server.replies(Reply(json.dumps([row("2024-01-02")])))
    opened(server, time).fetch([f"I{number}" for number in range(51)])
    assert time.slept == [3600]


@pytest.mark.parametrize(("use", "adjusted"), [(None, True), ("check", True), ("ignore", False)])
def test_what_adjusted_closes_are_for(
    server: ProviderServer, time: FakeClock, use: str | None, adjusted: bool
) -> None:
    server.replies(Reply(json.dumps([row("2024-01-02")])))
    fetched = opened(server, time, adjusted_close=use).fetch(["A"])
    assert (fetched.adjusted_close is not None) is adjusted


def test_actions_that_adjusted_closes_imply(server: ProviderServer, time: FakeClock) -> None:
    rows = [row("2024-01-02", adjClose=5.0), row("2024-01-03", close=5.0, adjClose=5.0)]
    server.replies(Reply(json.dumps(rows)))
    fetched = opened(server, time, adjusted_close="derive").fetch(["A"])
    assert [tuple(action.values()) for action in fetched.actions.to_pylist()] == [
        ("A", date(2024, 1, 3), "split", 2.0)
    ]
