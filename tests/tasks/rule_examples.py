"""Rows shaped as real defects, each beside a look-alike that must pass.

A quiet instrument, then the defect. Numbers are made up after the cases that the comments name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np

from tasks.actions import PriceBasis
from tasks.sessions import calendar

SESSIONS = [day.item() for day in calendar("XNYS").sessions(date(2023, 1, 3), date(2023, 12, 29))]
LENGTH = 100
AT = 80

Row = dict[str, Any]
Rows = list[Row]


def quiet(
    moves: float = 0.005, *, price: float = 20.0, length: int = LENGTH, seed: int = 1
) -> Rows:
    """`length` ordinary bars whose closes move by about `moves` a session."""
    random = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(random.normal(0, moves, length)))
    opened = close * np.exp(random.normal(0, moves / 4, length))
    high = np.maximum(opened, close) * np.exp(moves / 2)
    low = np.minimum(opened, close) * np.exp(-moves / 2)
    volume = np.round(np.exp(random.normal(12, 0.4, length)))
    columns = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
    return [
        {"instrument": "A", "session": SESSIONS[place]}
        | {name: float(values[place]) for name, values in columns.items()}
        for place in range(length)
    ]


PRICES = ("open", "high", "low", "close")


def scaled(rows: Rows, factor: float, first: int, last: int) -> Rows:
    """The same with the prices from bar `first` to `last`, both included, times `factor`."""
    return [
        row | ({n: row[n] * factor for n in PRICES} if first <= place <= last else {})
        for place, row in enumerate(rows)
    ]


def closes_only(rows: Rows) -> Rows:
    return [row | dict.fromkeys(("open", "high", "low")) for row in rows]


def changed(rows: Rows, at: int, **values: float) -> Rows:
    """The same with some values of bar `at` times a factor."""
    return [
        row | {n: row[n] * f for n, f in values.items()} if place == at else row
        for place, row in enumerate(rows)
    ]


def action(kind: str, at: int, value: float) -> Row:
    return {"instrument": "A", "session": SESSIONS[at], "action": kind, "value": value}


def quarterly(value: float = 0.1) -> Rows:
    return [action("dividend", at, value) for at in (10, 32, 54)]


@dataclass(frozen=True)
class Example:
    """One case.

    Attributes:
        rule: what it is about.
        shape: the real case that it is shaped after.
        rows: the bars.
        breaks: the bars, or the actions of `actions`, that break the rule; none: a look-alike.
        actions: splits and dividends.
        adjusted: the provider's adjusted closes over the closes, axis (bar).
        basis: what the prices are.
    """

    rule: str
    shape: str
    rows: Rows
    breaks: Sequence[int] = ()
    actions: Rows = field(default_factory=list)
    adjusted: Sequence[float] | None = None
    basis: PriceBasis = "raw"

    def __str__(self) -> str:
        return f"{self.rule}: {self.shape}"


def _fallen(at: int, cash: float) -> Rows:
    """Prices that fall by `cash` at bar `at` and stay so."""
    rows = quiet()
    lower = 1 - cash / rows[at - 1]["close"]
    return scaled(rows, lower, at, LENGTH)


def _restless(since: int, once: float) -> Rows:
    """Closes that move ten times as much since bar `since`, and by `once` more at AT."""
    rows = scaled(quiet(0.004), once, AT, AT)
    swing = [1 + 0.03 * (-1) ** place if place > since else 1.0 for place in range(LENGTH)]
    return closes_only(
        [row | {"close": row["close"] * f} for row, f in zip(rows, swing, strict=True)]
    )


def _factor(at: int, cash: float, rows: Rows) -> list[float]:
    """Adjusted closes over closes that imply a dividend of `cash` at bar `at`."""
    less = 1 - cash / rows[at - 1]["close"]
    return [less if place < at else 1.0 for place in range(len(rows))]


_FLASH = ("2015-08-24: a low 22 % below open and close", 0.78)
SPLIT: PriceBasis = "split_adjusted"

EXAMPLES = [
    Example(
        "bad_tick",
        "exchange_rate 3589: +10 % and back",
        closes_only(scaled(quiet(), 1.1, AT, AT)),
        [AT],
    ),
    Example(
        "bad_tick",
        "exchange_rate 4135: -5.8 % and back",
        closes_only(scaled(quiet(0.004), 0.943, AT, AT)),
        [AT],
    ),
    Example(
        "bad_tick",
        "MRK 2017-09-14: -14 % for a day, traded at one price",
        scaled(quiet(0.011), 0.86, AT, AT),
        [AT],
    ),
    Example("bad_tick", "a devaluation stays", closes_only(scaled(quiet(0.001), 0.67, AT, LENGTH))),
    Example(
        "bad_tick",
        "exchange_rate 4793: a step of a crisis that half reverts",
        closes_only(scaled(scaled(quiet(0.006), 0.91, AT, LENGTH), 1.05, AT + 1, LENGTH)),
    ),
    Example(
        "bad_tick", "an earnings whipsaw trades its way", changed(quiet(), AT, close=1.09, high=1.1)
    ),
    Example("bad_tick", "2020-03-12: one wild day of a wild month", _restless(AT - 6, 1.04)),
    Example(
        "bad_range",
        "TSLA 2010-11-19: a low of 0.54 beside 2.0",
        changed(quiet(), AT, low=0.27),
        [AT],
    ),
    Example("bad_range", "a high in pence", changed(quiet(), AT, high=100.0), [AT]),
    Example("bad_range", _FLASH[0], changed(quiet(), AT, low=_FLASH[1])),
    Example(
        "bad_range",
        "a crash to a third trades through it",
        scaled(changed(quiet(), AT, low=0.3, close=0.32), 0.32, AT + 1, LENGTH),
    ),
    Example(
        "wide_range", "AME 2013-10-29: a high 30 % above all", changed(quiet(), AT, high=1.3), [AT]
    ),
    Example("wide_range", "Bitcoin: days that wide are usual", changed(quiet(0.05), AT, low=0.79)),
    Example("unit_switch", "one row in pence", scaled(quiet(), 100.0, AT, AT), [AT]),
    Example(
        "unit_switch", "AET.L: a block in pounds", scaled(quiet(), 0.01, 40, 52), range(40, 53)
    ),
    Example(
        "unit_switch",
        "SSW.JO: from cents to rands for good",
        scaled(quiet(), 0.01, AT, LENGTH),
        range(AT, LENGTH),
    ),
    Example("unit_switch", "the first rows in thousands", scaled(quiet(), 0.001, 0, 9), range(10)),
    Example(
        "unit_switch",
        "the newest row in pence",
        scaled(quiet(), 100.0, LENGTH - 1, LENGTH - 1),
        [LENGTH - 1],
    ),
    Example(
        "unit_switch",
        "a 1 for 100 reverse split",
        scaled(quiet(price=0.3), 100.0, AT, LENGTH),
        actions=[action("split", AT, 0.01)],
    ),
    Example("unit_switch", "a bankruptcy to a tenth", scaled(quiet(), 0.1, AT, LENGTH)),
    Example(
        "unit_switch",
        "a penny stock from 0.0001 to 0.01",
        [
            row | dict.fromkeys(PRICES, 0.0001 if place < AT else 0.01)
            for place, row in enumerate(quiet())
        ],
    ),
    Example(
        "split_misadjusted",
        "4063.T: the bars before a 5 for 1 split are not adjusted",
        scaled(quiet(), 5.0, 0, AT - 2),
        range(AT - 1),
        [action("split", AT, 5.0)],
        basis=SPLIT,
    ),
    Example(
        "split_misadjusted",
        "DEX.AX: nor those before 7 sessions earlier",
        scaled(quiet(), 0.44, 0, AT - 8),
        range(AT - 7),
        [action("split", AT, 0.44)],
        basis=SPLIT,
    ),
    Example(
        "split_misadjusted",
        "LA.V: one row is adjusted twice",
        scaled(quiet(), 0.1, AT, AT),
        [AT],
        [action("split", AT, 0.1)],
        basis=SPLIT,
    ),
    Example(
        "split_misadjusted",
        "a block is not adjusted",
        scaled(quiet(), 2.0, AT - 20, AT - 6),
        range(AT - 20, AT - 5),
        [action("split", AT, 2.0)],
        basis=SPLIT,
    ),
    Example(
        "split_misadjusted",
        "raw prices adjusted two sessions early",
        scaled(quiet(), 0.25, AT - 2, LENGTH),
        [AT - 2, AT - 1],
        [action("split", AT, 4.0)],
    ),
    Example(
        "split_misadjusted",
        "AAPL 2014-06-09: a 7 for 1 split in raw prices",
        scaled(quiet(), 1 / 7, AT, LENGTH),
        actions=[action("split", AT, 7.0)],
    ),
    Example(
        "split_misadjusted",
        "a split in adjusted prices",
        quiet(),
        actions=[action("split", AT, 7.0)],
        basis=SPLIT,
    ),
    Example(
        "split_misadjusted",
        "a crash weeks before a 3 for 2 split",
        scaled(quiet(), 0.67, AT - 12, LENGTH),
        actions=[action("split", AT, 1.5)],
        basis=SPLIT,
    ),
    Example(
        "unfelt_split",
        "csvdir AAPL: adjusted prices said to be raw",
        quiet(),
        [0],
        [action("split", AT, 7.0)],
    ),
    Example(
        "unfelt_split",
        "a split that shows",
        scaled(quiet(), 0.5, AT, LENGTH),
        actions=[action("split", AT, 2.0)],
    ),
    Example(
        "absurd_dividend",
        "TEM.L: 2.8 for 0.028, twice the price",
        quiet(),
        [3],
        [*quarterly(0.2), action("dividend", AT, 28.0)],
    ),
    Example(
        "absurd_dividend",
        "4063.T: 275 for 55, as of before the split",
        quiet(),
        [3],
        [*quarterly(0.25), action("dividend", AT, 1.3)],
        adjusted=_factor(AT, 0.26, quiet()),
    ),
    Example(
        "absurd_dividend",
        "KEN.TA: told again the day after",
        _fallen(AT, 1.0),
        [3],
        [*quarterly(1.0), action("dividend", AT - 1, 1.0), action("dividend", AT, 1.0)],
    ),
    Example(
        "absurd_dividend",
        "ADIG.L: a special dividend of half the price",
        _fallen(AT, 9.0),
        actions=[*quarterly(), action("dividend", AT, 9.0)],
        adjusted=_factor(AT, 0.09, quiet()),
    ),
    Example(
        "absurd_dividend",
        "CALM: variable dividends",
        _fallen(AT, 0.4),
        actions=[*quarterly(), action("dividend", AT, 0.4)],
    ),
    Example(
        "absurd_dividend",
        "EWG: a dividend of next to nothing",
        quiet(),
        actions=[*quarterly(), action("dividend", AT, 0.001)],
    ),
    Example(
        "absurd_dividend",
        "a weekly payer",
        quiet(),
        actions=[action("dividend", at, 0.02) for at in range(30, 80, 5)],
    ),
    Example("impossible_action", "a split of 0", quiet(), [0], [action("split", AT, 0.0)]),
    Example(
        "contradicted_action",
        "CLC.L: adjusted closes a hundredfold too small",
        _fallen(AT, 0.8),
        [0],
        [action("dividend", AT, 0.8)],
        adjusted=_factor(AT, 0.008, quiet()),
    ),
    Example(
        "contradicted_action",
        "8TRA.DE: adjusted closes that left it out",
        _fallen(AT, 0.8),
        [0],
        [action("dividend", AT, 0.8)],
        adjusted=[1.0] * LENGTH,
    ),
    Example(
        "contradicted_action",
        "adjusted closes that agree",
        _fallen(AT, 0.8),
        actions=[action("dividend", AT, 0.8)],
        adjusted=_factor(AT, 0.8, quiet()),
    ),
    Example(
        "stale_run",
        "MSFT 1986: twelve equal bars",
        [
            row | {n: quiet()[50][n] for n in PRICES} if 50 <= place < 62 else row
            for place, row in enumerate(quiet())
        ],
        [59],
    ),
    Example(
        "stale_run",
        "closes that repeat while the day moves",
        [
            bar | {"close": 20.0, "open": 20.0, "high": 20.5 + at % 3, "low": 19.5}
            for at, bar in enumerate(quiet())
        ],
    ),
    Example("absurd_volume", "a volume in another unit", changed(quiet(), AT, volume=1000.0), [AT]),
    Example("absurd_volume", "an index change", changed(quiet(), AT, volume=30.0)),
]

BROKEN_BY_EXAMPLES = {example.rule for example in EXAMPLES if example.breaks}
