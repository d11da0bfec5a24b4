"""Daily bars of Yahoo Finance, through the package yfinance.

Owns what yfinance is asked, and what its failures mean. Never repairs a price: `tasks.bars` judges.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.actions import PriceBasis
from tasks.sources.config import SourceConfig
from tasks.sources.configured import Configured
from tasks.sources.headers import recognise
from tasks.sources.merge import between, merge
from tasks.sources.protocol import Fetched, SourceError, SourceProblem
from tasks.sources.rate_limit import Clock, Rate, wait_for_turn
from tasks.sources.tables import Table, TableError, implied_actions, read_table

_GIVE_UP = 3
"""Instruments in a row that can't be reached: the network is down, not the instrument."""

_NOISY = ("yfinance", "bs4.dammit")
"""Loggers that tell of each failed request what the problems say better."""

_COLUMNS = ("Open", "High", "Low", "Close", "Adj Close", "Volume", "Dividends", "Stock Splits")


class _RefusedError(Exception):
    """Yahoo answers nobody for now. The message says why."""


def open_yahoo(config: SourceConfig) -> YahooSource:
    """Yahoo Finance; nothing is asked yet.

    Raises:
        SourceError: yfinance is not installed, or can't work in this process any more.
    """
    if "tensorflow" in sys.modules and "curl_cffi" not in sys.modules:
        raise SourceError(
            "The source 'yahoo' can't be used in a process that has loaded TensorFlow, whose curl "
            "library is in the way of its own. Import curl_cffi before tensorflow, or ingest in a "
            "process without it: fleetcast ingest."
        )
    _yfinance()
    return YahooSource(config)


@dataclass(frozen=True)
class YahooSource(Configured):
    """A `Source` that asks Yahoo, instrument after instrument.

    What Yahoo calls unadjusted is adjusted for splits, but not for dividends. Prices stay in the
    currency that they come in, pence (GBp) too; `provenance` names the currencies. A session is the
    exchange's own date.

    Attributes:
        config: symbols, first session, time-out and attempts.
    """

    @property
    def price_basis(self) -> PriceBasis:
        """What the prices are."""
        return self.config.price_basis or "split_adjusted"

    @property
    def batch_size(self) -> int | None:
        """So many are stored before the next ones are asked for: a limit may end it any time."""
        return 50

    def instruments(self) -> tuple[str, ...]:
        """Those that `config.symbols` names: Yahoo has no list of all.

        Raises:
            SourceError: it names none.
        """
        if not self.config.symbols:
            raise SourceError(
                "Yahoo gives no list of what it has. Name what you want: universe.instruments = "
                '["AAPL", "MSFT"], as Yahoo spells it, or source.symbols = {SPX = "^GSPC"}.'
            )
        return tuple(sorted(self.config.symbols))

    def fetch(
        self,
        instruments: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> Fetched:
        """The bars of `instruments` (None: all) from session `first` to `last`, both included.

        One that fails is among the problems. Where Yahoo limits requests or can't be reached, the
        rest are not asked any more, and are told as problems.

        Raises:
            SourceError: no instrument brought anything.
        """
        wanted = list(self.instruments() if instruments is None else instruments)
        first = max(first or self.config.start, self.config.start)
        parts: list[Fetched] = []
        problems: list[SourceProblem] = []
        currencies: set[str] = set()
        unreachable = 0
        yfinance = _yfinance()
        with _told_not_swallowed(yfinance, self.config.attempts):
            for place, name in enumerate(wanted):
                if self.config.requests_per_minute is not None:
                    wait_for_turn(
                        "yahoo", Rate.per_minute(self.config.requests_per_minute), Clock()
                    )
                try:
                    frame, currency = self._history(yfinance, name, first, last)
                    parts.append(self._read(frame, name))
                    currencies.add(currency)
                    unreachable = 0
                except _RefusedError as error:
                    problems += _not_asked(wanted[place:], str(error))
                    break
                except OSError as error:  # curl's errors are
                    problems.append(_failed(name, f"could not be reached ({_short(error)})"))
                    unreachable += 1
                    if unreachable == _GIVE_UP:
                        why = f"{_GIVE_UP} requests in a row could not be sent"
                        problems += _not_asked(wanted[place + 1 :], why)
                        break
                except (TableError, LookupError, TypeError, ValueError, AttributeError) as error:
                    said = f"{type(error).__name__}: {_short(error)}"
                    problems.append(_failed(name, f"gave an answer that can't be read ({said})"))
                except _absent(yfinance) as error:
                    problems.append(_failed(name, f"has no bars of it from {first} on: {error}"))
        if problems and not parts:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise SourceError(f"Yahoo gave nothing. {problems[0].message}{more}")
        told = f" in {', '.join(sorted(currencies))}" if currencies else ""
        provenance = f"Yahoo Finance, yfinance {yfinance.__version__}{told}"
        return between(merge(parts, problems, provenance), frozenset(wanted), first, last)

    def _history(
        self, yfinance: ModuleType, name: str, first: date, last: date | None
    ) -> tuple[pd.DataFrame, str]:
        """What yfinance makes of Yahoo's answer, and the prices' currency."""
        ticker = yfinance.Ticker(self.config.symbols.get(name, name))
        try:
            frame = ticker.history(
                interval="1d",
                start=first,
                end=None if last is None else last + timedelta(days=1),
                auto_adjust=False,
                actions=True,
                repair=False,
                keepna=True,
                timeout=self.config.timeout_seconds,
            )
            return frame, str(ticker.get_history_metadata().get("currency") or "no currency")
        except yfinance.exceptions.YFRateLimitError:
            raise _RefusedError(
                "Yahoo answers that there were too many requests. Try again in an hour, with a "
                "lower source.requests_per_minute"
            ) from None

    def _read(self, frame: pd.DataFrame, name: str) -> Fetched:
        columns: dict[str, Any] = {
            column: pa.array(frame[column].to_numpy(dtype=np.float64), from_pandas=True)
            for column in _COLUMNS
            if column in frame
        }
        # yfinance writes 0 for a volume that is not there: in a row without a close there is none.
        empty = pc.is_null(columns["Close"])
        columns["Volume"] = pc.if_else(empty, pa.scalar(None, pa.float64()), columns["Volume"])
        # Midnights of the exchange's zone: their own date is the session.
        midnights = pd.DatetimeIndex(frame.index).tz_localize(None)
        dates = midnights.to_numpy().astype("datetime64[D]")
        rows = pa.table({"Date": pa.array(dates), **columns})
        meaning = recognise(rows.column_names, self.config.columns).columns
        malformed = np.zeros(rows.num_rows, dtype=bool)
        table = Table(rows, meaning, name, malformed, f"Yahoo's {name}")
        fetched = read_table(table)
        if self.config.adjusted_close == "derive":
            fetched = fetched.with_actions(implied_actions(fetched, self.price_basis))
        if self.config.adjusted_close == "ignore":
            fetched = fetched.without_adjusted_close()
        return fetched


def _yfinance() -> ModuleType:
    try:
        import yfinance  # noqa: PLC0415 - an extra, and half a second
    except ImportError as error:
        raise SourceError(
            f"Source 'yahoo' needs the package yfinance, which can't be imported ({error}). "
            "Install it: pip install 'fleetcast[yahoo]'"
        ) from error
    module: ModuleType = yfinance
    return module


@contextmanager
def _told_not_swallowed(yfinance: ModuleType, attempts: int) -> Iterator[None]:
    """Lets yfinance raise what it would log, and log nothing; afterwards it is as it was."""
    debug, network = yfinance.config.debug, yfinance.config.network
    loggers = [logging.getLogger(name) for name in _NOISY]
    before = debug.hide_exceptions, network.retries, [logger.level for logger in loggers]
    debug.hide_exceptions, network.retries = False, attempts - 1
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas' and curl's, about yfinance's own code
            yield
    finally:
        debug.hide_exceptions, network.retries = before[:2]
        for logger, level in zip(loggers, before[2], strict=True):
            logger.setLevel(level)


def _absent(yfinance: ModuleType) -> type[Exception]:
    absent: type[Exception] = yfinance.exceptions.YFException
    return absent


def _failed(name: str, what: str) -> SourceProblem:
    return SourceProblem(name, f"{name}: Yahoo {what}.")


def _not_asked(names: Sequence[str], why: str) -> list[SourceProblem]:
    return [SourceProblem(name, f"{name} was not asked for: {why}.") for name in names]


def _short(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]
