"""What the page says as a whole: its title, its first sentences, its sections and their order.

Owns the page's content above a single panel. Never touches HTML or the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from tasks.report.evidence import evidence_table
from tasks.report.live import LiveTopic, live_topics
from tasks.report.panels import Panel, panels
from tasks.report.run_view import Key, Row, RunView
from tasks.report.score_tables import LEARNED, Table
from tasks.report.summaries import Summary, summary
from tasks.report.topics import TOPICS, Topic
from tasks.report.typography import count, instant, long_date, plural

DETAILED = 60
"""Instruments that get charts and score tables of their own; the summary has all of them."""
SAMPLES = 3
"""Rows of quarantine that are shown for each rule."""
_HOPELESS = ("log_return", "direction")


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
    evidence: Mapping[str, Table]
    live: tuple[LiveTopic, ...]
    details: tuple[Detail, ...]
    left_out: int
    data: str
    rules: tuple[Rule, ...]


def content(view: RunView) -> Content:
    """Turn one run's rows into what the page says."""
    instruments = sorted({instrument for instrument, *_ in view.forecasts})
    anchors = {name: f"instrument-{i + 1}" for i, name in enumerate(instruments[:DETAILED])}
    made = {topic: panels(view, topic, anchors) for topic in TOPICS}
    shown = [panel for of in made.values() for panel in of]
    return Content(
        title=title(view),
        lede=_lede(view),
        summaries=tuple(
            summary(
                topic, of, view.coverage.get((topic.target, topic.kind)), _scores_of(view, topic)
            )
            for topic, of in made.items()
            if of
        ),
        evidence=_evidence(view),
        live=live_topics(view.live),
        details=tuple(
            Detail(name, anchor, tuple(panel for panel in shown if panel.instrument == name))
            for name, anchor in anchors.items()
        ),
        left_out=len(instruments) - len(anchors),
        data=_data_sentence(view),
        rules=_by_rule(view),
    )


def _evidence(view: RunView) -> dict[str, Table]:
    """What the comparisons say of each topic, by its slug."""
    tables = {
        topic.slug: evidence_table(view.comparisons.get((topic.target, topic.kind), ()))
        for topic in TOPICS
    }
    return {slug: table for slug, table in tables.items() if table is not None}


def _scores_of(view: RunView, topic: Topic) -> list[tuple[Row, ...]]:
    return [of for key, of in view.scores.items() if key[1:] == (topic.target, topic.kind)]


def title(view: RunView) -> str:
    """Which close the run follows."""
    return f"After the close of {long_date(view.run['session'])}"


def _lede(view: RunView) -> tuple[str, ...]:
    """What was forecast, how much of it the LSTM earned, and what went wrong, if anything."""
    if not view.forecasts:
        return ("No forecast was made.",)
    instruments = {instrument for instrument, *_ in view.forecasts}
    rows = [row for rows in view.forecasts.values() for row in rows]
    made = (
        f"{plural(len(rows), 'forecast')} for {plural(len(instruments), 'instrument')}, up to "
        f"{plural(max(row['lead'] for row in rows), 'session')} ahead."
    )
    held = len(view.quarantine)
    kept_out = f" {plural(held, 'row')} of data in quarantine." if held else ""
    lede = f"{made} {_earned(view.forecasts)}{kept_out}"
    hopeless = [one.noun for one in _topics(view.forecasts) if one.slug in _HOPELESS]
    if not hopeless:
        return (lede,)
    return (
        lede,
        f"On daily {_and(hopeless)} expect the baseline. Volatility clusters, and that can "
        "be forecast.",
    )


_NAMES = {"lstm": "LSTM", "combination": "combination"}


def _topics(forecasts: Mapping[Key, tuple[Row, ...]]) -> list[Topic]:
    made = {key[1:] for key in forecasts}
    return [one for one in TOPICS if (one.target, one.kind) in made]


def _earned(forecasts: Mapping[Key, tuple[Row, ...]]) -> str:
    """For each topic whether a network's forecast or a baseline is published; alike ones in one.

    The combination is named as what it is: the mean of the LSTM and a baseline.
    """
    verdicts: dict[str, list[str]] = {}
    for one in _topics(forecasts):
        of = [rows[0] for key, rows in forecasts.items() if key[1:] == (one.target, one.kind)]
        learned = [row["method"] for row in of if row["method"] in LEARNED]
        names = [f"the {_NAMES[method]}" for method in LEARNED if method in learned]
        who = " or ".join(names)
        if not learned:
            verdict = "the baseline stands everywhere."
        elif len(learned) == len(of):
            verdict = f"{who} is published everywhere."
        else:
            verdict = f"{who} is published for {len(learned)} of {len(of)} instruments."
        verdicts.setdefault(verdict, []).append(one.noun)
    if list(verdicts) == ["the baseline stands everywhere."]:
        return "A baseline stands for all of them."
    return " ".join(f"For {_and(nouns)} {verdict}" for verdict, nouns in verdicts.items())


def _and(nouns: list[str]) -> str:
    *most, last = nouns
    return f"{', '.join(most)} and {last}" if most else last


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
