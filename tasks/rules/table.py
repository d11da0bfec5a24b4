"""Every rule by name: what it means, what it does unless configured, and whether it can be eased.

Owns the names. Never touches a row or a threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Severity = Literal["quarantine", "flag", "off"]
"""What a rule does: hold the row, let it in with a note, or nothing."""


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        meaning: what a row that breaks it is like, in one line.
        severity: what it does unless `ValidationConfig.severity` says otherwise.
        firm: whether a row that breaks it can't be a bar at all, so that it is always held.
    """

    meaning: str
    severity: Severity = "quarantine"
    firm: bool = False


def _firm(meaning: str) -> Rule:
    return Rule(meaning, firm=True)


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "malformed_line": _firm(
            "the line's cells can't be told apart: too many of them, or an open quote"
        ),
        "not_a_date": _firm("the session is missing or no date"),
        "not_a_number": _firm("a price or the volume is text or infinite"),
        "missing_instrument": _firm("the row does not say whose it is"),
        "missing_price": _firm("the close is missing, or one, but not all, of open, high and low"),
        "nonpositive_price": _firm("a price is zero or negative"),
        "high_below_low": Rule("the high is below the low"),
        "outside_range": Rule("the open or the close lies outside of low to high"),
        "negative_volume": Rule("the volume is negative"),
        "not_a_session": _firm("the exchange did not hold this session"),
        "not_closed_yet": _firm(
            "the session is not closed, or the source's lag since then has not passed"
        ),
        "duplicate_session": _firm(
            "rows of one instrument and session disagree: all of them are held"
        ),
        "split_misadjusted": Rule(
            "prices beside a stated split are not in the shares that the price basis promises"
        ),
        "unit_switch": Rule("the prices are 100 or 1000 times those of most other bars, or they"),
        "absurd_jump": Rule(
            "the close jumps for one row and comes back, and no action explains it"
        ),
        "bad_tick": Rule(
            "the close leaves for one row, small as the step is, far beyond its usual moves"
        ),
        "bad_range": Rule("the high or the low alone is far from every price beside it"),
        "wide_range": Rule("the high or the low alone is oddly far from prices beside it", "flag"),
        "stale_run": Rule("the same bar is repeated for many sessions", "flag"),
        "absurd_volume": Rule("the volume is a large multiple of what is usual", "flag"),
        "impossible_action": _firm("a split or dividend is not a positive number"),
        "unfelt_split": Rule("raw prices do not show the split: they are adjusted already"),
        "absurd_dividend": Rule("a dividend that neither the price nor other dividends confirm"),
        "contradicted_action": Rule(
            "the provider's own adjusted closes say otherwise than its action", "flag"
        ),
    }
)
"""In the order in which they are asked. A row is held by the first that it breaks."""
