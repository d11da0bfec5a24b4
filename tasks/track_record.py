"""How forecasts of a range of sessions did over time: skill and coverage by month, quarter or year.

Owns the periods. Never touches how scores pool: `tasks.live_skill` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from tasks.live_skill import LiveSkill, live_rows, pooled_live
from tasks.store import Store

Grain = Literal["month", "quarter", "year"]

MOST_MONTHS = 18
MOST_QUARTERS = 24


@dataclass(frozen=True)
class Period:
    """One period's skill, of the outcomes whose sessions lie in it.

    Attributes:
        name: such as 2012-12, 2012 Q4 or 2012.
        skills: per target, kind and method.
    """

    name: str
    skills: tuple[LiveSkill, ...]


@dataclass(frozen=True)
class TrackRecord:
    """Skill and coverage of what a configuration forecast, over time.

    Attributes:
        grain: how long a period is.
        whole: over all of it, per target, kind and method.
        periods: oldest first; one without any outcome is left out.
    """

    grain: Grain
    whole: tuple[LiveSkill, ...]
    periods: tuple[Period, ...]


def track_record(store: Store, config_hash: str, first: date, last: date) -> TrackRecord:
    """What came of the forecasts made from `first` on whose outcome is of a session up to `last`.

    Whether a night was live or filled in later makes no difference here; an outcome counts once.

    Args:
        store: holds `scores`.
        config_hash: whose forecasts.
        first: the first session that counts as a cutoff.
        last: the last target session.

    Raises:
        StoreError: the store can't be read.
    """
    rows = live_rows(store, config_hash, (first, last))
    rows = rows.filter(pc.greater_equal(rows["first_cutoff"], pa.scalar(first, pa.date32())))
    grain = _grain(first, last)
    days = rows["target_session"].to_pylist()
    names = pa.array([_name(day, grain) for day in days], pa.string())
    periods = [
        Period(name, pooled_live(rows.filter(pc.equal(names, name))))
        for name in sorted(set(names.to_pylist()))
    ]
    return TrackRecord(grain, pooled_live(rows), tuple(periods))


def _grain(first: date, last: date) -> Grain:
    """The finest that gives a table a person reads to its end."""
    months = 12 * (last.year - first.year) + last.month - first.month + 1
    if months <= MOST_MONTHS:
        return "month"
    return "quarter" if months <= 3 * MOST_QUARTERS else "year"


def _name(day: date, grain: Grain) -> str:
    if grain == "month":
        return f"{day:%Y-%m}"
    return f"{day.year} Q{(day.month + 2) // 3}" if grain == "quarter" else str(day.year)
