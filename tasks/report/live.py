"""What the page says of live skill: per topic a few words and a chart, beside the backtest.

Owns the words. Never touches HTML or the store.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.decisions import PUBLISHED
from tasks.live_skill import METHODS, WINDOW, LiveSkill
from tasks.report.charts import inline_chart
from tasks.report.live_chart import SkillPath
from tasks.report.score_tables import method_name
from tasks.report.topics import TOPICS, Topic, topic
from tasks.report.typography import count, percent, plural

NOTHING = (
    "Nothing has matured yet. A forecast is scored on the first night that knows the close of the "
    "session that it was for."
)

_NAMES = {PUBLISHED: "Published", "lstm": "LSTM before the gate"}


@dataclass(frozen=True)
class LiveTopic:
    """One topic's live skill: what is said of it, its chart, and what stands below the chart."""

    topic: Topic
    words: tuple[str, ...]
    chart: str
    caption: str


def live_topics(live: Sequence[LiveSkill]) -> tuple[LiveTopic, ...]:
    """In the order of the page; none where nothing has matured."""
    return tuple(
        _live_topic(topic(of[0].target, of[0].kind), of, f"live-{number}")
        for number, of in enumerate(by_topic(live))
    )


def skill_paths(live: Sequence[LiveSkill]) -> tuple[SkillPath, ...]:
    """A drawing of skill over time per topic, in the order of the page."""
    return tuple(_path(topic(of[0].target, of[0].kind), of) for of in by_topic(live))


def by_topic(live: Sequence[LiveSkill]) -> list[list[LiveSkill]]:
    """What is of one target, kind and baseline together, in the order of the page."""
    groups: dict[tuple[str, str, str], list[LiveSkill]] = {}
    for one in live:
        groups.setdefault((one.target, one.kind, one.baseline), []).append(one)
    order = [(one.target, one.kind) for one in TOPICS]
    place = {key: i for i, key in enumerate(order)}
    ordered = sorted(groups, key=lambda key: (place.get(key[:2], len(order)), key))
    return [groups[key] for key in ordered]


def _path(about: Topic, of: Sequence[LiveSkill]) -> SkillPath:
    sessions = sorted({session for one in of for session, _ in one.path})
    lines = {}
    for one in of:
        skill = dict(one.path)
        lines[method_name(one.method)] = tuple(
            math.nan if (value := skill.get(session)) is None else value for session in sessions
        )
    backtest = next((one.backtest for one in of if one.method == METHODS[0]), None)
    return SkillPath(
        name=f"{about.heading}: live skill against {method_name(of[0].baseline)}",
        sessions=tuple(sessions),
        lines=lines,
        backtest=math.nan if backtest is None else backtest,
    )


def _live_topic(about: Topic, of: Sequence[LiveSkill], anchor: str) -> LiveTopic:
    drawing = _path(about, of)
    long = len(drawing.sessions) > WINDOW
    over = f"the last {WINDOW} target sessions" if long else "all target sessions so far"
    return LiveTopic(
        topic=about,
        words=tuple(_sentence(one) for one in of),
        chart=inline_chart(drawing, f"{anchor}-chart"),
        caption=f"Skill over {over}, against {method_name(of[0].baseline)}.",
    )


def _sentence(one: LiveSkill) -> str:
    before = "" if one.backtest is None else f" (backtest {percent(one.backtest, 1, signed=True)})"
    text = (
        f"{_NAMES[one.method]}, live: {plural(one.sessions, 'session')}, "
        f"{plural(one.pairs, 'pair')}, skill {percent(one.skill, 1, signed=True)}{before} "
        f"against {method_name(one.baseline)}."
    )
    if one.coverage is not None and one.level is not None:
        text += (
            f" Of the outcomes {percent(one.coverage, 1)} lay inside the interval, which aims at "
            f"{percent(one.level, 0)}."
        )
    if one.backfilled and one.method == PUBLISHED:
        number = "All" if one.backfilled == one.pairs else count(one.backfilled)
        text += f" {number} of the forecasts were made for past nights."
    return text
