"""One instrument's forecast of one topic on the page: what is published, why, and how it scored.

Owns what every panel says, whatever is forecast. Never touches HTML or the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from tasks.report.class_figures import DecileFigures, DirectionFigures
from tasks.report.drift import drift_note
from tasks.report.path_figures import PathFigures
from tasks.report.run_view import Key, Row, RunView
from tasks.report.score_tables import LEARNED, Cell, Table, lstm_skill, method_name
from tasks.report.topics import Topic
from tasks.report.typography import count, prose

Figures = PathFigures | DirectionFigures | DecileFigures


@dataclass(frozen=True)
class Panel:
    """What is published and why, its chart, its tables.

    `drift`: what is said of intervals that no longer hold; empty where they do.

    `since`: the session that its leads count from, where that is not the run's.
    """

    topic: Topic
    instrument: str
    method: str
    learned: bool
    reason: str
    drift: str
    since: date | None
    baseline: str
    skill: Cell
    figures: Figures
    chart: str
    caption: str
    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    anchor: str


def panels(view: RunView, topic: Topic, anchors: Mapping[str, str]) -> tuple[Panel, ...]:
    """Every forecast of one topic, by instrument.

    Args:
        view: The run.
        topic: What is forecast.
        anchors: Where on the page an instrument is shown in full; one that is not in it gets
            neither chart nor tables.
    """
    keys = [key for key in view.forecasts if key[1:] == (topic.target, topic.kind)]
    return tuple(_panel(view, key, topic, anchors.get(key[0], "")) for key in keys)


def _panel(view: RunView, key: Key, topic: Topic, anchor: str) -> Panel:
    rows, scores = view.forecasts[key], view.scores.get(key, ())
    if topic.kind == "direction":
        figures: Figures = DirectionFigures.of(rows[0], scores, view.rises.get(key[0]))
    elif topic.kind == "quantile_class":
        figures = DecileFigures.of(rows[0], scores)
    else:
        figures = PathFigures.of(rows, scores, view.prices.get(key[0]))
    chart_id = f"{anchor}-{topic.slug}-chart"
    return Panel(
        topic=topic,
        instrument=key[0],
        method=method_name(rows[0]["method"]),
        learned=rows[0]["method"] in LEARNED,
        reason=prose(rows[0]["reason"]),
        drift=drift_note(rows[0]) or "",
        since=None if rows[0]["cutoff"] == view.run["session"] else rows[0]["cutoff"],
        baseline=method_name(scores[0]["baseline"]) if scores else "",
        skill=lstm_skill(scores),
        figures=figures,
        chart=figures.chart(chart_id) if anchor else "",
        caption=figures.caption() if anchor else "",
        tables=figures.tables() if anchor else (),
        notes=(*figures.notes(), *_notes(view.models.get(key), scores, topic)) if anchor else (),
        anchor=anchor,
    )


def _notes(model: Row | None, scores: Sequence[Row], topic: Topic) -> tuple[str, ...]:
    """The dates behind the scores, and how the LSTM of this instrument came out."""
    notes = []
    if scores:
        first = min(row["first_cutoff"] for row in scores)
        last = max(row["last_cutoff"] for row in scores)
        text = f"Scored on cutoffs from {first.isoformat()} to {last.isoformat()}"
        if scores[0]["segment"] == "test":
            notes.append(f"{text}, out of sample.")
        else:
            notes.append(
                f"{text}, the segment that the gate decides on: the history is too short for a "
                "test segment after it."
            )
    else:
        notes.append("No out-of-sample score.")
    if model is None:
        return tuple(notes)
    if model["status"] != "trained":
        notes.append(f"LSTM {model['status'].replace('_', ' ')}: {model['reason'] or 'no reason'}.")
        return tuple(notes)
    text = (
        f"LSTM trained on sessions to {model['cutoff'].isoformat()}"
        if model["cutoff"]
        else "LSTM trained"
    )
    start = "start" if topic.classes else "linear start"
    if model["best_update"] == 0:
        text += f"; no update was better than its {start}"
    elif model["best_update"] is not None:
        text += f"; best update {count(model['best_update'])}"
        if model["early_stop_mse"] is not None and model["initial_early_stop_mse"] is not None:
            loss = "log loss" if topic.classes else "MSE"
            text += (
                f", early-stopping {loss} {model['early_stop_mse']:.4g} "
                f"after {model['initial_early_stop_mse']:.4g} at its {start}"
            )
    return (*notes, text + ".")
