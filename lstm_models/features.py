"""The names of the input columns, in their one fixed order, and how to find a column by name.

Owns the order only. Never computes a feature: the tables they come from are not known here.
"""

from __future__ import annotations

from collections.abc import Iterable

FEATURES: tuple[str, ...] = (
    "log_return",
    "abs_return",
    "return_sign",
    "return_5",
    "return_22",
    "log_variance_1",
    "log_variance_5",
    "log_variance_22",
    "log_variance_66",
    "log_variance_126",
    "log_variance_ewma",
    "market_return",
    "market_abs_return",
    "market_return_5",
    "market_log_variance_1",
    "market_log_variance_5",
    "market_log_variance_22",
)
"""Columns of `inputs`, all known at the close of the row's session, in natural units.

`return_k` sums the last k log returns, `log_variance_k` is the log of (the mean daily variance of
the last k sessions + epsilon), and `log_variance_ewma` the same of the RiskMetrics average with
decay 0.94 (J.P. Morgan/Reuters, 1996). The market's are the same of the instruments that share an
exchange: of their mean return, and of the geometric mean of their variances, each in units of its
own.
"""


def columns(names: Iterable[str]) -> tuple[int, ...]:
    """Return the position in `FEATURES` of each name, in the order given.

    Raises:
        ValueError: a name is not a feature.
    """
    positions = {name: position for position, name in enumerate(FEATURES)}
    names = tuple(names)
    unknown = [name for name in names if name not in positions]
    if unknown:
        raise ValueError(f"unknown features {unknown}: expected names among {list(FEATURES)}")
    return tuple(positions[name] for name in names)
