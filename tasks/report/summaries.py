"""The tables above the instruments: one per topic, with a row per instrument.

Owns what their columns are called. Never touches HTML or the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from tasks.report.class_figures import DecileFigures, with_columns
from tasks.report.panels import Figures, Panel
from tasks.report.path_figures import PathFigures, with_marks
from tasks.report.topics import Topic
from tasks.report.typography import percent, short_date


@dataclass(frozen=True)
class Summary:
    """The table of one topic, and what its columns are called.

    `against`: the default baseline, where it is the same for all. `first`, `last`: the leads that
    are shown, with their session where it is the same for all but those whose bars are old.
    `single`: every forecast has one lead only, so that first and last are the same.
    """

    topic: Topic
    panels: tuple[Panel, ...]
    against: str
    level: str
    first: str
    last: str
    single: bool


def summary(topic: Topic, panels: Sequence[Panel]) -> Summary:
    """The table of at least one panel; marks of all rows are on one scale."""
    panels = _on_one_scale(topic, panels)
    baselines = {panel.baseline for panel in panels if panel.baseline}
    fresh = [panel for panel in panels if panel.since is None] or panels
    leads = [panel.figures.leads for panel in fresh]
    every = [panel.figures.leads for panel in panels]
    return Summary(
        topic=topic,
        panels=tuple(panels),
        against=baselines.pop() if len(baselines) == 1 else "",
        level=percent(panels[0].figures.level, 0),
        first=_lead_head({of[0] for of in leads}, topic),
        last=_lead_head({of[-1] for of in leads}, topic),
        single=all(len(of) == 1 for of in every),
    )


def _on_one_scale(topic: Topic, panels: Sequence[Panel]) -> list[Panel]:
    paths = [one.figures for one in panels if isinstance(one.figures, PathFigures)]
    deciles = [one.figures for one in panels if isinstance(one.figures, DecileFigures)]
    zero = 0.0 if topic.target == "log_return" else None
    marked: list[Figures] = [*with_marks(paths, zero), *with_columns(deciles)]
    if not marked:
        return list(panels)
    return [replace(panel, figures=figures) for panel, figures in zip(panels, marked, strict=True)]


def _lead_head(ends: set[tuple[int, date | None]], topic: Topic) -> str:
    leads = {lead for lead, _ in ends}
    session = next(iter(ends))[1]
    if topic.classes:
        head = "Next session"
    else:
        head = f"Lead {leads.pop()}" if len(leads) == 1 else "Last lead"
    return f"{head}, {short_date(session)}" if len(ends) == 1 and session else head
