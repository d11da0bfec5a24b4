"""What the page says as a whole: its title, its first sentences, its sections and their order.

Owns the page's content above a single panel. Never touches HTML or the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from itertools import groupby

from tasks.report.panels import Panel, panels
from tasks.report.run_view import Row, RunView
from tasks.report.score_tables import LEARNED
from tasks.report.typography import count, instant, long_date, percent, plural, short_date

DETAILED = 60
"""Instruments that get charts and score tables of their own; the summary has all of them."""
SAMPLES = 3
"""Rows of quarantine that are shown for each rule."""
TARGETS = ("log_return", "log_volatility")


@dataclass(frozen=True)
class Summary:
    """The table of one target: a panel per instrument, and what its columns are called.

    `single`: every forecast has one lead only, so that first and last are the same.
    """

    name: str
    panels: tuple[Panel, ...]
    single: bool
    first: str
    last: str
    level: str
    against: str


@dataclass(frozen=True)
class Detail:
    """One instrument in full."""

    instrument: str
    anchor: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Rule:
    """The rows that broke one rule: how many, and some of them."""

    name: str
    total: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Content:
    """Everything the page says, in its order."""

    title: str
    lede: tuple[str, ...]
    summaries: tuple[Summary, ...]
    details: tuple[Detail, ...]
    left_out: int
    data: str
    rules: tuple[Rule, ...]


def content(view: RunView) -> Content:
    """Turn one run's rows into what the page says."""
    instruments = sorted({instrument for instrument, _ in view.forecasts})
    anchors = {name: f"instrument-{i + 1}" for i, name in enumerate(instruments[:DETAILED])}
    made = {target: panels(view, target, anchors) for target in TARGETS}
    return Content(
        title=title(view),
        lede=_lede(view),
        summaries=tuple(_summary(name, of) for name, of in made.items() if of),
        details=tuple(
            Detail(
                name, anchor, tuple(p for of in made.values() for p in of if p.instrument == name)
            )
            for name, anchor in anchors.items()
        ),
        left_out=len(instruments) - len(anchors),
        data=_data_sentence(view),
        rules=_by_rule(view),
    )


def title(view: RunView) -> str:
    """Which close the run follows."""
    return f"After the close of {long_date(view.run['session'])}"


def _lede(view: RunView) -> tuple[str, ...]:
    """What was forecast, how much of it the LSTM earned, and what went wrong, if anything."""
    pairs = len(view.forecasts)
    if not pairs:
        return ("No forecast was made.",)
    instruments = {instrument for instrument, _ in view.forecasts}
    rows = [row for rows in view.forecasts.values() for row in rows]
    made = (
        f"{plural(len(rows), 'forecast')} for {plural(len(instruments), 'instrument')}, up to "
        f"{plural(max(row['lead'] for row in rows), 'session')} ahead."
    )
    earned = " ".join(filter(None, (_earned(view.forecasts, target) for target in TARGETS)))
    if not any(made[0]["method"] in LEARNED for made in view.forecasts.values()):
        earned = "A baseline stands for all of them."
    held = len(view.quarantine)
    kept_out = f" {plural(held, 'row')} of data in quarantine." if held else ""
    lede = f"{made} {earned}{kept_out}"
    if not any(target == "log_return" for _, target in view.forecasts):
        return (lede,)
    return (
        lede,
        "On daily returns expect the baseline. Volatility clusters, and that can be forecast.",
    )


def _earned(forecasts: Mapping[tuple[str, str], tuple[Row, ...]], target: str) -> str:
    methods = [rows[0]["method"] for (_, of), rows in forecasts.items() if of == target]
    learned = sum(method in LEARNED for method in methods)
    if not methods:
        return ""
    what = {"log_return": "returns", "log_volatility": "volatility"}[target]
    if learned == 0:
        return f"For {what} the baseline stands everywhere."
    if learned == len(methods):
        return f"For {what} the LSTM is published everywhere."
    return f"For {what} the LSTM is published for {learned} of {len(methods)} instruments."


def _summary(name: str, of: tuple[Panel, ...]) -> Summary:
    """Column heads name a date, or the baseline, only where it is the same for all."""
    baselines = {panel.baseline for panel in of if panel.baseline}
    return Summary(
        name=name,
        panels=of,
        single=all(len(panel.leads) == 1 for panel in of),
        first=_lead_head({panel.leads[0] for panel in of}),
        last=_lead_head({panel.leads[-1] for panel in of}),
        level=percent(of[0].level, 0),
        against=baselines.pop() if len(baselines) == 1 else "",
    )


def _lead_head(ends: set[tuple[int, date | None]]) -> str:
    leads = {lead for lead, _ in ends}
    session = next(iter(ends))[1]
    head = f"Lead {leads.pop()}" if len(leads) == 1 else "Last lead"
    return f"{head}, {short_date(session)}" if len(ends) == 1 and session else head


def _data_sentence(view: RunView) -> str:
    first = not any(run["made_at"] < view.run["made_at"] for run in view.runs)
    new = [health.new for health in view.health if health.new is not None]
    changed = [health.changed for health in view.health if health.changed is not None]
    sessions = sum(health.sessions for health in view.health)
    text = f"{count(sessions)} bars of {plural(len(view.health), 'instrument')}"
    text += f", as known at {instant(view.run['as_of'])}."
    if first and new:
        return text + " All are new: this is the store's first run."
    if not new:
        return text + " What is new since the run before can no longer be told."
    return (
        f"{text} Since the run before this one: {count(sum(new))} new, "
        f"{count(sum(changed))} changed."
    )


def _by_rule(view: RunView) -> tuple[Rule, ...]:
    """Rules by how many rows they hold, most first."""
    rules = [(name, tuple(rows)) for name, rows in groupby(view.quarantine, lambda r: r["rule"])]
    rules.sort(key=lambda rule: (-len(rule[1]), rule[0]))
    return tuple(Rule(name, len(rows), rows[:SAMPLES]) for name, rows in rules)
