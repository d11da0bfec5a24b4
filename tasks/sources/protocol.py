"""What a source is and what it hands over: bars as numbers, the rows as they came, and actions.

Owns the protocol and its invariants. Never judges a value: `tasks.bars` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Protocol, runtime_checkable

import pyarrow as pa

from tasks.actions import PriceBasis

PRICES = ("open", "high", "low", "close")

BARS = pa.schema(
    [
        pa.field("instrument", pa.string()),
        pa.field("session", pa.date32()),
        *(pa.field(name, pa.float64()) for name in (*PRICES, "volume")),
    ]
)
"""Bars as a source gives them: null is what the row does not tell."""

ACTIONS = pa.schema(
    [
        pa.field("instrument", pa.string(), nullable=False),
        pa.field("session", pa.date32(), nullable=False),
        pa.field("action", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)
"""Splits and dividends as a source gives them, at most one of each per instrument and ex-date."""

DEFECTS = pa.schema([pa.field("rule", pa.string()), pa.field("reason", pa.string())])
"""What the source could not read in a row: a rule of `tasks.bars` and why; null where it could."""


class SourceError(Exception):
    """A source gave nothing at all. The message says why and what to do."""


@dataclass(frozen=True)
class SourceProblem:
    """Something that a person should know, which did not stop the rest.

    Attributes:
        instrument: whom it is about; None where that can't be told.
        message: what is wrong, and what to do.
    """

    instrument: str | None
    message: str


@dataclass(frozen=True)
class Fetched:
    """What one fetch brought. The tables of rows have one row each, in the same order.

    Attributes:
        bars: `BARS`, one row per row that came, whatever is wrong with it.
        original: the row as it came; columns as the provider names them, null where a row's file
            has no such column.
        actions: `ACTIONS`.
        problems: what could not be read.
        provenance: where it came from, in words.
        defects: `DEFECTS`; None where the source read every cell.
        adjusted_close: the provider's own adjusted closes, to check against; None without.
    """

    bars: pa.Table
    original: pa.Table
    actions: pa.Table = field(default_factory=ACTIONS.empty_table)
    problems: tuple[SourceProblem, ...] = ()
    provenance: str = ""
    defects: pa.Table | None = None
    adjusted_close: pa.ChunkedArray | None = None

    def __post_init__(self) -> None:
        rows = self.bars.num_rows
        for name, schema in (("bars", BARS), ("actions", ACTIONS), ("defects", DEFECTS)):
            table = getattr(self, name)
            if table is not None and not table.schema.equals(schema):
                raise ValueError(
                    f"{name} must have the columns {schema.names} of types "
                    f"{[str(kind) for kind in schema.types]}, received:\n{table.schema}"
                )
        for name in ("original", "defects", "adjusted_close"):
            other = getattr(self, name)
            if other is not None and len(other) != rows:
                raise ValueError(
                    f"{name} must have a row for each of the {rows} bars, received {len(other)}"
                )

    def with_actions(self, actions: pa.Table) -> Fetched:
        """The same with other actions."""
        return replace(self, actions=actions)

    def without_adjusted_close(self) -> Fetched:
        """The same without anything to check against."""
        return replace(self, adjusted_close=None)


@runtime_checkable
class Source(Protocol):
    """A provider of daily bars. One bad row, file or instrument never stops the others.

    A third party registers a function `SourceConfig -> Source` under the entry-point group
    `fleetcast.sources`.
    """

    @property
    def name(self) -> str:
        """Written into every row."""

    @property
    def price_basis(self) -> PriceBasis:
        """What the prices are."""

    @property
    def lag(self) -> timedelta:
        """From the close of a session until its bar is published."""

    @property
    def archive(self) -> bool:
        """Whether it is history that does not grow: a run is then about its last session."""

    @property
    def incremental(self) -> bool:
        """Whether asking for a part of the sessions spares work; else all of them are read."""

    @property
    def batch_size(self) -> int | None:
        """How many instruments are best asked for at once; None: all."""

    def instruments(self) -> tuple[str, ...]:
        """All that it offers, sorted.

        Raises:
            SourceError: it can't be reached.
        """

    def fetch(
        self,
        instruments: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> Fetched:
        """The bars of `instruments` (None: all) from session `first` to `last`, both included.

        Rows whose instrument or session can't be told are always among them. A name that the
        source does not have brings nothing.

        Raises:
            SourceError: nothing at all could be read.
        """
