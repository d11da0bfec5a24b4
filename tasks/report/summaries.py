"""The tables above the instruments: one per topic, with a row per instrument.

Owns what their columns are called. Never touches HTML or the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from tasks.coverage import Coverage
from tasks.report.class_figures import DecileFigures, with_columns
from tasks.report.drift import held_sentence
from tasks.report.panels import Figures, Panel
from tasks.report.path_figures import PathFigures, with_marks
from tasks.report.reliability_chart import pooled_bins, reliability_svg
from tasks.report.run_view import Row
from tasks.report.score_tables import method_name
from tasks.report.topics import Topic
from tasks.report.typography import percent, short_date


@dataclass(frozen=True)
class Summary:
    """The table of one topic, and what its columns are called.

    `against`: the default baseline, where it is the same for all. `first`, `last`: the leads
    that are shown, with their session where it is the same for all but those whose bars are
    old. `held`: how often the intervals held, in a sentence. `single`: every forecast has one
    lead only, so that first and last are the same.
    """

    topic: Topic
    panels: tuple[Panel, ...]
    against: str
    level: str
    held: str
    reliability: str
    first: str
    last: str
    single: bool


def summary(
    topic: Topic,
    panels: Sequence[Panel],
    coverage: Coverage | None = None,
    scores: Sequence[Sequence[Row]] = (),
) -> Summary:
    """The table of at least one panel; marks of all rows are on one scale.

    Args:
        topic: What is forecast.
        panels: One per instrument.
        coverage: Of the intervals that were published in the tests.
        scores: Pooled scores of the topic, by instrument.
    """
    panels = _on_one_scale(topic, panels)
    baselines = {panel.baseline for panel in panels if panel.baseline}
    fresh = [panel for panel in panels if panel.since is None] or panels
    leads = [panel.figures.leads for panel in fresh]
    every = [panel.figures.leads for panel in panels]
    bins = pooled_bins(scores) if topic.classes else None
    drawn = ""
    if bins is not None:
        of = f"{topic.heading}: what the {method_name(bins[0])} forecast gave, and what came"
        drawn = reliability_svg(bins[1], f"{topic.slug}-reliability", of)
    return Summary(
        topic=topic,
        panels=tuple(panels),
        against=baselines.pop() if len(baselines) == 1 else "",
        level=percent(panels[0].figures.level, 0),
        held=held_sentence(percent(panels[0].figures.level, 0), coverage),
        reliability=drawn,
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
