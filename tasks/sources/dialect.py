"""How a provider writes its tables, as far as it is stated; the rest is found.

Owns the values. Never touches a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.sources.config import SourceConfig


@dataclass(frozen=True)
class Dialect:
    """What is stated of a table's cells; see `SourceConfig` for each.

    Attributes:
        date_format: how dates are written.
        timezone: the zone in which the date of an instant counts.
        decimal: the decimal mark.
        thousands: what groups digits.
        returns: what the returns of a table of returns are.
    """

    date_format: str | None = None
    timezone: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    returns: Literal["log", "log_percent", "simple", "simple_percent"] | None = None

    @classmethod
    def of(cls, config: SourceConfig) -> Dialect:
        """What `config` states."""
        return cls(
            config.date_format, config.timezone, config.decimal, config.thousands, config.returns
        )
