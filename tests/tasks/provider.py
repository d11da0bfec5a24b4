"""A source in memory, and ingests from it into a store on the sessions of early 2024."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa

from tasks.actions import PriceBasis
from tasks.ingest import IngestReport, ingest
from tasks.sessions import Calendars, calendar
from tasks.sources import Fetched, Source, SourceError
from tasks.sources.protocol import ACTIONS, BARS
from tasks.store import Store

NYSE = Calendars.load()
SESSIONS = [day.item() for day in calendar("XNYS").sessions(date(2024, 1, 2), date(2024, 3, 28))]
HOUR = timedelta(hours=1)

Row = dict[str, Any]


@dataclass
class Provider:
    """A source in memory."""

    bars: Sequence[Row] = ()
    actions: Sequence[Row] = ()
    offered: tuple[str, ...] = ("A",)
    adjusted: Sequence[float] | None = None
    name: str = "provider"
    price_basis: PriceBasis = "raw"
    lag: timedelta = HOUR
    archive: bool = False
    incremental: bool = False
    batch_size: int | None = None
    down: bool = False
    fails_for: Collection[str] = ()
    fails_again: bool = False
    asked: list[tuple[tuple[str, ...] | None, date | None]] = field(default_factory=list)

    def instruments(self) -> tuple[str, ...]:
        if self.down:
            raise SourceError("down")
        return self.offered

    def fetch(
        self,
        instruments: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> Fetched:
        names = None if instruments is None else tuple(instruments)
        again = any(names is not None and set(names) <= set(was or ()) for was, _ in self.asked)
        self.asked.append((names, first))
        if self.down or set(names or ()) & set(self.fails_for) or (again and self.fails_again):
            raise SourceError("the provider is down")

        def wanted(row: Row) -> bool:
            """Rows that don't say whose or when they are always come."""
            name, session = row["instrument"], row["session"]
            return (names is None or name is None or name in names) and (
                session is None
                or ((first is None or session >= first) and (last is None or session <= last))
            )

        kept = [row for row in self.bars if wanted(row)]
        text = [{"text": json.dumps(row, default=str)} for row in kept]
        adjusted = None if self.adjusted is None else pa.chunked_array([self.adjusted])
        return Fetched(
            bars=pa.Table.from_pylist(kept, schema=BARS),
            original=pa.Table.from_pylist(text, schema=pa.schema([("text", pa.string())])),
            actions=pa.Table.from_pylist(
                [row for row in self.actions if wanted(row)], schema=ACTIONS
            ),
            adjusted_close=adjusted,
        )


def bar(place: int, close: float, instrument: str = "A", **changes: object) -> Row:
    flat = dict.fromkeys(("open", "high", "low", "close"), close)
    session = SESSIONS[place]
    return {"instrument": instrument, "session": session, **flat, "volume": 1.0, **changes}


def action(place: int, kind: str, value: float, instrument: str = "A") -> Row:
    return {
        "instrument": instrument,
        "session": SESSIONS[place],
        "action": kind,
        "value": value,
    }


def night(place: int) -> datetime:
    """Two hours after the close of the session at `place`."""
    return calendar("XNYS").close(SESSIONS[place]) + 2 * HOUR


def published(place: int) -> datetime:
    return calendar("XNYS").close(SESSIONS[place]) + HOUR


def run(
    store: Store,
    source: Source,
    place: int = 50,
    instruments: Sequence[str] | None = None,
    now: datetime | None = None,
    **more: Any,  # noqa: ANN401 - arguments of `ingest`
) -> IngestReport:
    """Ingests two hours after the session at `place`, or at `now`."""
    return ingest(
        store, source, instruments=instruments, calendars=NYSE, now=now or night(place), **more
    )


def messages(report: IngestReport) -> str:
    return "\n".join(problem.message for problem in report.problems)
