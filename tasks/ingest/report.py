"""What an ingest did, row by row: counts that add up, or an error.

Owns the account and its invariant. Never counts: `tasks.ingest.counts` does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime

import pyarrow as pa

from tasks.identity import content_id
from tasks.schemas import DATASETS
from tasks.sources.protocol import SourceProblem
from tasks.store import FactCounts

_ADD_UP = ("new", "changed", "unchanged", "quarantined", "agreed_duplicates")


class InvariantError(AssertionError):
    """The account of an ingest does not add up: a row was lost or counted twice. A bug."""


@dataclass(frozen=True)
class InstrumentCounts:
    """What came of one instrument's rows.

    Attributes:
        instrument: its name.
        fetched: rows that came: the sum of new, changed, unchanged, quarantined and agreed.
        new: sessions that the store has no bar of.
        changed: sessions whose bar differs from the store's.
        unchanged: sessions that bring no news.
        quarantined: rows held.
        agreed_duplicates: rows that say again what another row says.
        retracted: stored bars that turned out to be bad ticks, or that a restated history no
            longer has, and no longer hold.
        actions: splits and dividends that came.
        first_session: the first one with a bar that came; None without any.
        last_session: the last one.
        flagged: bars that came and are kept, but doubtful.
        missing: sessions that the calendar has and the store, after this, has no bar of: from the
            last stored bar before `first_session` to `last_session`.

    Raises:
        InvariantError: the rows that came are not all accounted for.
    """

    instrument: str
    fetched: int
    new: int
    changed: int
    unchanged: int
    quarantined: int
    agreed_duplicates: int
    retracted: int
    actions: int
    first_session: date | None
    last_session: date | None
    flagged: int = 0
    missing: int = 0

    def __post_init__(self) -> None:
        parts = {name: getattr(self, name) for name in _ADD_UP}
        if self.fetched != sum(parts.values()):
            raise InvariantError(
                f"Of {self.instrument} {self.fetched} rows came, but what is known to have come "
                f"of them is {sum(parts.values())}: {parts}. Nothing of this may be trusted; "
                "report it as a bug."
            )

    def __add__(self, other: InstrumentCounts) -> InstrumentCounts:
        """The counts of two batches that both brought rows of the instrument."""
        ends = ("first_session", "last_session")
        first = [one.first_session for one in (self, other) if one.first_session is not None]
        last = [one.last_session for one in (self, other) if one.last_session is not None]
        return InstrumentCounts(
            instrument=self.instrument,
            first_session=min(first, default=None),
            last_session=max(last, default=None),
            **{
                one.name: getattr(self, one.name) + getattr(other, one.name)
                for one in fields(self)
                if one.name not in ("instrument", *ends)
            },
        )


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        source: the source's name.
        provenance: where the rows came from.
        instruments: counts by instrument, sorted by name.
        unattributed: rows held that do not say whose they are.
        rules: rule → rows and actions that it holds.
        actions: splits and dividends: new, changed and unchanged.
        held_actions: splits and dividends that are held.
        problems: what a person should know.
        unknown: names asked for that the source does not have → similar ones that it has.
        known_at: the latest `known_at` written, None where nothing was. A run that must see this
            ingest has an `as_of` no earlier.
        flags: rule → bars and actions that it marks as doubtful.
    """

    source: str
    provenance: str
    instruments: tuple[InstrumentCounts, ...]
    unattributed: int
    rules: Mapping[str, int]
    actions: FactCounts
    held_actions: int
    problems: tuple[SourceProblem, ...]
    unknown: Mapping[str, tuple[str, ...]]
    known_at: datetime | None
    flags: Mapping[str, int]

    @property
    def fetched(self) -> int:
        """Rows that came: new, changed, unchanged, quarantined and agreed duplicates."""
        return self._sum("fetched") + self.unattributed

    @property
    def new(self) -> int:
        """Bars that the store did not have."""
        return self._sum("new")

    @property
    def changed(self) -> int:
        """Bars that differ from the store's."""
        return self._sum("changed")

    @property
    def unchanged(self) -> int:
        """Bars that bring no news."""
        return self._sum("unchanged")

    @property
    def quarantined(self) -> int:
        """Rows held."""
        return self._sum("quarantined") + self.unattributed

    @property
    def agreed_duplicates(self) -> int:
        """Rows that say again what another row says."""
        return self._sum("agreed_duplicates")

    @property
    def flagged(self) -> int:
        """Bars that are kept, but doubtful."""
        return self._sum("flagged")

    @property
    def retracted(self) -> int:
        """Stored bars that no longer hold."""
        return self._sum("retracted")

    @property
    def missing(self) -> int:
        """Sessions without a bar, see `InstrumentCounts.missing`."""
        return self._sum("missing")

    def __post_init__(self) -> None:
        held = self.quarantined + self.held_actions
        if held != sum(self.rules.values()):
            raise InvariantError(
                f"{held} rows and actions are held, but the rules hold {dict(self.rules)}. Nothing "
                "of this may be trusted; report it as a bug."
            )

    def _sum(self, name: str) -> int:
        return sum(getattr(one, name) for one in self.instruments)

    def row(self, now: datetime, redact: Callable[[str], str] = str) -> pa.Table:
        """The row of the dataset `ingests`, in one table.

        Args:
            now: the instant of the ingest.
            redact: masks secrets in what is told.
        """
        told = [problem.message for problem in self.problems]
        told += [f"the source {self.source} does not have {name}" for name in sorted(self.unknown)]
        counted = [*_ADD_UP, "fetched", "flagged", "retracted"]
        rules = Counter(self.rules) + Counter(self.flags)
        schema = DATASETS["ingests"].schema
        row = {
            "ingest_id": content_id("ingest", self.source, now, self.provenance),
            "source": self.source,
            "provenance": redact(self.provenance),
            "made_at": now,
            **{name: getattr(self, name) for name in counted},
            "rules": json.dumps(rules, sort_keys=True),
            "problems": json.dumps([redact(one) for one in told], ensure_ascii=False),
        }
        wanted = pa.schema([field for field in schema if field.name != "known_at"])
        return pa.Table.from_pylist([row], schema=wanted)


def merged(counts: Iterable[InstrumentCounts]) -> tuple[InstrumentCounts, ...]:
    """One per instrument, sorted by name."""
    found: dict[str, InstrumentCounts] = {}
    for one in counts:
        known = found.get(one.instrument)
        found[one.instrument] = one if known is None else known + one
    return tuple(found[name] for name in sorted(found))
