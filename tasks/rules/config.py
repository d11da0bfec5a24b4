"""The thresholds of the rules, and what each rule does.

Owns defaults and their refusal when they make no sense. Never touches a row.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tasks.rules.table import RULES, Severity


class ValidationConfig(BaseModel):
    """When a row is too strange to be a bar."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    severity: Mapping[str, Severity] = Field(
        default={},
        description="Rule = quarantine, flag or off, where it is not to do what it usually does: "
        '{stale_run = "off"}.',
    )
    revision_tolerance: float = Field(
        default=1e-6,
        ge=0,
        le=0.01,
        description="Prices and volumes that differ by less, relatively, are no revision: "
        "providers recompute theirs in single precision.",
    )
    range_tolerance: float = Field(
        default=1e-4,
        ge=0,
        le=0.1,
        description="How far, relatively, open and close may lie outside of low to high.",
    )
    jump_ratio: float = Field(
        default=1.5,
        gt=1,
        description="A close that is this many times the one before, or the one before this many "
        "times it, is a jump.",
    )
    jump_ratio_in_range: float = Field(
        default=5.0,
        gt=1,
        description="The same where the row's own high and low reach back to the close before or "
        "span half the jump: wild days do that, bad ticks seldom do.",
    )
    jump_reverts: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="How near, relatively, the close after a jump must be to the one before it.",
    )
    tick_moves: float = Field(
        default=12.0,
        gt=1,
        description="A close that leaves and comes back by this many times the mean move of the "
        "60 sessions before is a bad tick; two thirds of it where the row traded at one price "
        "nearly, which says that nothing was traded in between.",
    )
    tick_floor: float = Field(
        default=0.03,
        gt=0,
        lt=1,
        description="No smaller move is a bad tick, relatively.",
    )
    unit_tolerance: float = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="How near, relatively, a step must be to 100 or 1000 to be one of units.",
    )
    range_ratio: float = Field(
        default=2.0,
        gt=1,
        description="A low this many times below open, close and the closes beside, or a high so "
        "far above, is bad.",
    )
    wide_ratio: float = Field(
        default=1.2,
        gt=1,
        description="The same, but only told, for instruments whose days are narrow.",
    )
    split_smallest: float = Field(
        default=1.25,
        gt=1,
        description="Splits below this many new shares for an old one, or the other way round, "
        "can't be told from a day's move.",
    )
    dividend_ratio: float = Field(
        default=3.0,
        gt=1,
        description="A dividend this many times the median of the others needs a price that falls "
        "with it.",
    )
    stale_sessions: int = Field(
        default=10, ge=2, description="How many equal bars in a row are told as a stale run."
    )
    volume_ratio: float = Field(
        default=500.0,
        gt=1,
        description="A volume this many times the mean of the 60 sessions before is told.",
    )

    @field_validator("severity")
    @classmethod
    def _of_known_rules(cls, severity: Mapping[str, Severity]) -> Mapping[str, Severity]:
        for name, wanted in severity.items():
            if name not in RULES:
                near = difflib.get_close_matches(name, RULES, n=1)
                hint = f"Did you mean {near[0]!r}? " if near else ""
                raise ValueError(f"There is no rule {name!r}. {hint}Rules are {', '.join(RULES)}.")
            if RULES[name].firm and wanted != "quarantine":
                eased = ", ".join(one for one, rule in RULES.items() if not rule.firm)
                raise ValueError(
                    f"The rule {name!r} can't be {wanted!r}: what breaks it is no bar. Rules that "
                    f"can be eased are {eased}."
                )
        return severity

    def does(self, rule: str) -> Severity:
        """What `rule` does."""
        return self.severity.get(rule, RULES[rule].severity)
