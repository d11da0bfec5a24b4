"""What is said of intervals that hold, and of those that no longer do.

Owns the words. Never touches the store, nor how coverage is tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.coverage import Coverage
from tasks.report.run_view import Key, Row
from tasks.report.topics import TOPICS
from tasks.report.typography import NO_BREAK, percent


@dataclass(frozen=True)
class Drifted:
    """The instruments of one topic whose intervals have drifted."""

    target: str
    kind: str
    heading: str
    instruments: tuple[str, ...]
    made: int

    @property
    def text(self) -> str:
        """How many of how many."""
        return (
            f"recent intervals held too seldom, {len(self.instruments)} of {self.made} forecast; "
            "a few of many instruments are chance"
        )


def drifted(forecasts: Mapping[Key, tuple[Row, ...]]) -> tuple[Drifted, ...]:
    """By topic, those with a raised flag; a topic without one is left out."""
    found = []
    for one in TOPICS:
        of = {key[0]: rows for key, rows in forecasts.items() if key[1:] == (one.target, one.kind)}
        flagged = tuple(sorted(name for name, rows in of.items() if rows[0].get("drift")))
        if flagged:
            found.append(Drifted(one.target, one.kind, one.heading, flagged, len(of)))
    return tuple(found)


def coverage_text(one: Coverage) -> str:
    """A share with its standard error, for example "79.6 % ± 0.8 %"."""
    error = "" if one.error is None else f"{NO_BREAK}±{NO_BREAK}{percent(one.error, 1)}"
    return f"{percent(one.share, 1)}{error}"


def drift_note(row: Row) -> str | None:
    """What a flagged forecast's row says; None without a flag."""
    if not row.get("drift"):
        return None
    level, recent = percent(row["level"], 0), percent(row["recent_coverage"], 0)
    return f"Drift: its recent {level} intervals held only {recent} of outcomes."


def held_sentence(level: str, one: Coverage | None) -> str:
    """How often the published intervals of a topic held in the tests; empty where none was."""
    if one is None:
        return ""
    return (
        f"Out of sample, the published {level} intervals held {coverage_text(one)} of outcomes "
        f"(standard error over {one.sessions:,} sessions)."
    )
