"""One instrument and target on the page: what is published and why, its chart and its numbers.

Owns the words and cells of a panel. Never touches HTML or the store.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from tasks.report.charts import fan_chart, range_mark
from tasks.report.fan import Fan
from tasks.report.forecast_fans import annual_bound, annual_volatility, price_fan, volatility_fan
from tasks.report.run_view import Pair, Row, RunView
from tasks.report.score_tables import (
    LEARNED,
    LSTM,
    Cell,
    Group,
    Leads,
    Line,
    mean_mse,
    method_name,
    score_groups,
    skill_cell,
)
from tasks.report.typography import ABSENT, count, percent, plural, price, short_date

HEADINGS = {"log_return": "Return", "log_volatility": "Volatility"}


@dataclass(frozen=True)
class Span:
    """A mean and its interval, as the summary writes them."""

    mean: Cell
    lower: Cell
    upper: Cell
    mark: str = ""


@dataclass(frozen=True)
class Panel:
    """One instrument and target: what is published and why, its chart, its numbers by lead."""

    instrument: str
    target: str
    heading: str
    method: str
    learned: bool
    reason: str
    baseline: str
    level: float
    first: Span
    last: Span
    skill: Cell
    chart: str
    caption: str
    leads: tuple[tuple[int, date | None], ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...]
    anchor: str


def panels(view: RunView, target: str, anchors: Mapping[str, str]) -> tuple[Panel, ...]:
    """Every forecast of one target, by instrument, with interval marks on one common scale.

    Args:
        view: The run.
        target: Which target.
        anchors: Where on the page an instrument is shown in full; one that is not in it gets
            neither chart nor score table.
    """
    pairs = [pair for pair in view.forecasts if pair[1] == target]
    made = [_panel(view, pair, anchors.get(pair[0], "")) for pair in pairs]
    return _with_marks(made, zero=0.0 if target == "log_return" else None)


def fans(view: RunView, *, limit: int) -> list[list[Fan]]:
    """The fans of the first `limit` instruments, one row each."""
    instruments = sorted({instrument for instrument, _ in view.forecasts})[:limit]
    drawn = ([_fan(view, (name, target)) for target in _FANS] for name in instruments)
    rows = [[fan for fan in row if fan is not None] for row in drawn]
    return [row for row in rows if row]


_FANS = {"log_return": price_fan, "log_volatility": volatility_fan}


def _fan(view: RunView, pair: Pair) -> Fan | None:
    instrument, target = pair
    rows, prices = view.forecasts.get(pair), view.prices.get(instrument)
    if target not in _FANS or not rows or prices is None:
        return None
    return _FANS[target](instrument, prices, rows)


def _panel(view: RunView, pair: Pair, anchor: str) -> Panel:
    instrument, target = pair
    rows = view.forecasts[pair]
    scores = view.scores.get(pair, ())
    fan = _fan(view, pair) if anchor else None
    leads = _leads(rows, scores)
    baseline = scores[0]["baseline"] if scores else ""
    return Panel(
        instrument=instrument,
        target=target,
        heading=HEADINGS.get(target, target),
        method=method_name(rows[0]["method"]),
        learned=rows[0]["method"] in LEARNED,
        reason=rows[0]["reason"],
        baseline=method_name(baseline),
        level=rows[0]["level"],
        first=_span(rows[0]),
        last=_span(rows[-1]),
        skill=skill_cell(mean_mse(scores, LSTM), mean_mse(scores, baseline)),
        chart=fan_chart(fan, f"{anchor}-{target}-chart") if fan else "",
        caption=_caption(fan),
        leads=leads,
        groups=(_forecast_group(rows, leads), *score_groups(scores, leads)) if anchor else (),
        notes=_notes(view.models.get(pair), scores),
        anchor=anchor,
    )


def _caption(fan: Fan | None) -> str:
    if fan is None:
        return ""
    last = fan.write(fan.history[-1])
    on = short_date(fan.sessions[-1])
    if fan.unit:
        length = plural(len(fan.targets), "session")
        return f"Realised {last} over {length} to {on}; dots are single sessions"
    return f"Closed at {price(fan.history[-1])} on {on}"


def _leads(rows: Sequence[Row], scores: Sequence[Row]) -> tuple[tuple[int, date | None], ...]:
    sessions: dict[int, date | None] = {row["lead"]: None for row in scores}
    sessions |= {row["lead"]: row["target_session"] for row in rows}
    return tuple(sorted(sessions.items()))


def _written(row: Row) -> tuple[Cell, Cell, Cell]:
    """Mean, lower and upper as people read them: returns in per cent, volatility a year."""
    if row["target"] == "log_return":
        values = (row["mean"], row["lower"], row["upper"])
        mean, lower, upper = (Cell(percent(v, signed=True), v) for v in values)
        return mean, lower, upper
    values = (annual_volatility(row), annual_bound(row["lower"]), annual_bound(row["upper"]))
    mean, lower, upper = (Cell(percent(v, 1), v) for v in values)
    return mean, lower, upper


def _span(row: Row) -> Span:
    return Span(*_written(row))


def _with_marks(made: Sequence[Panel], zero: float | None) -> tuple[Panel, ...]:
    """The panels with an interval mark for the last lead, all on one scale."""
    ends = [c.value for p in made for c in (p.last.lower, p.last.upper) if c.value is not None]
    finite = [v for v in ends if math.isfinite(v)] + ([] if zero is None else [zero])
    if not finite:
        return tuple(made)
    scale = (min(finite), max(finite))

    def marked(span: Span) -> Span:
        mean, lower, upper = (c.value or 0.0 for c in (span.mean, span.lower, span.upper))
        return replace(span, mark=range_mark(mean, lower, upper, scale, zero))

    return tuple(replace(p, last=marked(p.last)) for p in made)


def _forecast_group(rows: Sequence[Row], leads: Leads) -> Group:
    written = {row["lead"]: _written(row) for row in rows}
    none = (Cell(ABSENT),) * 3

    def line(label: str, position: int) -> Line:
        return Line(label, tuple(written.get(lead, none)[position] for lead, _ in leads))

    unit = "log return" if rows[0]["target"] == "log_return" else "volatility a year"
    return Group(
        f"Forecast, {unit}, with {percent(rows[0]['level'], 0)} interval",
        (line("Upper", 2), line("Mean", 0), line("Lower", 1)),
    )


def _notes(model: Row | None, scores: Sequence[Row]) -> tuple[str, ...]:
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
    if model["best_update"] == 0:
        text += "; no update was better than its linear start"
    elif model["best_update"] is not None:
        text += f"; best update {count(model['best_update'])}"
        if model["early_stop_mse"] is not None and model["initial_early_stop_mse"] is not None:
            text += (
                f", early-stopping MSE {model['early_stop_mse']:.4g} "
                f"after {model['initial_early_stop_mse']:.4g} at its linear start"
            )
    return (*notes, text + ".")
