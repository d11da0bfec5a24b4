"""What was not forecast, gathered so that a person can read it.

Owns the gathering. Never touches why something was not forecast.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from tasks.report.topics import TOPICS, topic


class Lack(Protocol):
    """An instrument, target and kind without a forecast, and why."""

    @property
    def instrument(self) -> str:
        """Whose."""

    @property
    def target(self) -> str:
        """Of what."""

    @property
    def kind(self) -> str:
        """By which kind of network."""

    @property
    def reason(self) -> str:
        """Why."""


@dataclass(frozen=True)
class NotForecast:
    """Instruments that lack the same forecasts for the same reason; `topics` as headings."""

    instruments: tuple[str, ...]
    topics: tuple[str, ...]
    reason: str


def by_instrument(missing: Iterable[Lack]) -> tuple[NotForecast, ...]:
    """One entry per instrument and reason, by name, with topics in the order of the page."""
    order = {one.heading: place for place, one in enumerate(TOPICS)}
    found: dict[tuple[str, str], list[str]] = {}
    for one in missing:
        heading = topic(one.target, one.kind).heading
        found.setdefault((one.instrument, one.reason), []).append(heading)
    return tuple(
        NotForecast((name,), tuple(sorted(of, key=lambda h: (order.get(h, len(order)), h))), reason)
        for (name, reason), of in sorted(found.items(), key=lambda item: item[0][0])
    )


def by_reason(missing: Iterable[Lack]) -> tuple[NotForecast, ...]:
    """One entry per reason and topics, those of most instruments first."""
    found: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for one in by_instrument(missing):
        found.setdefault((one.topics, one.reason), []).extend(one.instruments)
    entries = [NotForecast(tuple(of), *key) for key, of in found.items()]
    return tuple(sorted(entries, key=lambda one: (-len(one.instruments), one.instruments)))
