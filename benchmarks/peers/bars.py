"""Where the instruments come from: drawn from a seeded model, or read from a folder of files.

Owns the synthetic market and the choice of instruments. Never touches the split or any model.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks.peers.problem import Floats, inputs_of
from tasks.features import Series, daily_variance
from tasks.sources.config import SourceConfig
from tasks.sources.files import open_files
from tasks.sources.protocol import PRICES

STEPS = 78
"""Five-minute returns in a session of six and a half hours: what makes a range."""


def series_of(name: str, prices: Floats, closes: Floats) -> Series:
    """An instrument from `prices (row, 4)`: open, high, low, close; returns come from `closes`."""
    log_return = np.diff(np.log(closes), prepend=np.nan)
    open_, high, low, close = prices.T
    variance, has_range = daily_variance(open_, high, low, close, log_return)
    rows = np.arange(len(prices))
    return Series(
        instrument=name,
        sessions=np.datetime64("2000-01-03", "D") + rows,
        ordinals=rows,
        close=close,
        log_return=log_return,
        variance=variance,
        has_range=has_range,
    )


def synthetic(instruments: int, sessions: int, seed: int = 0) -> tuple[list[str], list[Floats]]:
    """Instruments whose daily variance follows a GJR-GARCH(1,1) with a common market shock.

    Their parameters are drawn too, around those usual for stocks: α 0.03–0.08, γ 0.06–0.16,
    β 0.84–0.90, 1 to 2.5 % a day. A third of the variance of daily shocks is common. A session is
    a random walk of five-minute returns, so that open, high, low and close agree.

    Returns:
        Names and complete feature rows `(row, feature)` per instrument.

    Source: Glosten, Jagannathan & Runkle (1993), with the news impact α + γ below zero.
    """
    random = np.random.default_rng(seed)
    names = [f"S{index:03}" for index in range(instruments)]
    alpha = random.uniform(0.03, 0.08, instruments)
    gamma = random.uniform(0.06, 0.16, instruments)
    beta = np.minimum(random.uniform(0.84, 0.90, instruments), 0.985 - alpha - gamma / 2)
    level = random.uniform(0.010, 0.025, instruments) ** 2
    variance = level.copy()
    price = np.full(instruments, 100.0)
    bars = np.empty((sessions, instruments, 4))
    for session in range(sessions):
        own = random.normal(size=(STEPS, instruments))
        market = random.normal(size=(STEPS, 1))
        shocks = np.sqrt(1 / 3) * market + np.sqrt(2 / 3) * own
        path = np.cumsum(shocks * np.sqrt(variance / STEPS), axis=0)
        path = price * np.exp(np.concatenate([np.zeros((1, instruments)), path]))
        bars[session] = np.stack([path[0], path.max(axis=0), path.min(axis=0), path[-1]], axis=-1)
        shock = np.log(path[-1] / price)
        price = path[-1]
        news = (alpha + gamma * (shock < 0)) * shock**2
        variance = level * (1 - alpha - gamma / 2 - beta) + news + beta * variance
    rows = [inputs_of(series_of(n, bars[:, i], bars[:, i, 3])) for i, n in enumerate(names)]
    return names, rows


def from_folder(
    folder: Path, instruments: int, sessions: int, date_format: str | None = None
) -> tuple[list[str], list[Floats]]:
    """The first instruments, by name, with `sessions` whole bars on end; their newest ones.

    A bar is whole if it has four prices, and if open and close lie between low and high. Prices
    must be adjusted for splits, or an adjusted close must stand beside them.

    Returns:
        Names and complete feature rows `(row, feature)` per instrument.

    Raises:
        SourceError: no file could be read.
        ValueError: fewer instruments qualify than asked for.
    """
    config = SourceConfig(name="files", path=str(folder), date_format=date_format)
    fetched = open_files(config).fetch()
    order = pc.sort_indices(fetched.bars, [("instrument", "ascending"), ("session", "ascending")])
    bars = fetched.bars.take(order)
    prices = np.stack([_numbers(bars[name]) for name in PRICES], axis=1)
    closes = prices[:, 3]
    if fetched.adjusted_close is not None:
        closes = _numbers(fetched.adjusted_close.take(order))
    owners = np.asarray(bars["instrument"].to_pylist(), dtype=object)
    names: list[str] = []
    arrays: list[Floats] = []
    for name in sorted(set(owners) - {None}):
        rows = np.flatnonzero(owners == name)
        broken = np.flatnonzero(~_whole(prices[rows], closes[rows]))
        start = max(int(broken[-1]) + 1 if len(broken) else 0, len(rows) - sessions)
        newest = rows[start:]
        if len(newest) == sessions and len(names) < instruments:
            names.append(name)
            arrays.append(inputs_of(series_of(name, prices[newest], closes[newest])))
    if len(names) < instruments:
        raise ValueError(
            f"{folder} holds {len(names)} instruments with {sessions} whole sessions on end, asked "
            f"for {instruments}: lower --instruments or --sessions"
        )
    return names, arrays


def _whole(prices: Floats, closes: Floats) -> NDArray[np.bool_]:
    """Which bars are, `(row,)`, from `prices (row, 4)`; a NaN compares as false."""
    open_, high, low, close = prices.T
    tolerance = 1.001
    below = np.maximum(open_, close) <= high * tolerance
    above = np.minimum(open_, close) * tolerance >= low
    whole: NDArray[np.bool_] = below & above & (low > 0) & (closes > 0)
    return whole


def _numbers(column: pa.ChunkedArray) -> Floats:
    values: Floats = column.to_numpy(zero_copy_only=False).astype(np.float64)
    return values
