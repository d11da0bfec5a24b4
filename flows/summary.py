"""The end of a night on a terminal, and as JSON: forecasts, skill, what happened, what comes next.

Owns the wording. Never touches the store: it is given what to show.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.night import Night, listed, plural
from flows.prefect_home import Prefect
from tasks.pooled_skill import PooledSkill, pooled_skill
from tasks.report.forecast_fans import annual_bound, annual_volatility
from tasks.report.panels import HEADINGS
from tasks.report.run_view import Pair, Row, RunView
from tasks.report.score_tables import LSTM, mean_mse, method_name, skill_cell
from tasks.report.typography import count, number, percent

MOST_INSTRUMENTS = 40
"""Instruments in the table on a terminal; the report has all of them."""

_HEADINGS = {**HEADINGS, "log_volatility": "Volatility, a year"}


def show(
    console: Console,
    night: Night,
    view: RunView,
    prefect: Prefect,
) -> None:
    """Prints what a night came to.

    Args:
        console: standard output.
        night: the account.
        view: the run's rows in the store.
        prefect: where the run is recorded.
    """
    console.print(_forecast_table(night, view.forecasts, view.scores))
    skills = pooled_skill(row for rows in view.scores.values() for row in rows)
    if skills:
        console.print(_skill_table(skills))
    for line in _lines(night, prefect):
        console.print(line, soft_wrap=True, highlight=False)


def as_json(night: Night, view: RunView) -> str:
    """The account and the rows of `forecasts` as one JSON object."""
    account = {field.name: getattr(night, field.name) for field in dataclasses.fields(night)}
    rows = [dict(row) for pair in sorted(view.forecasts) for row in view.forecasts[pair]]
    return json.dumps({"partial": night.partial, **account, "rows": rows}, default=_plain, indent=2)


def _forecast_table(
    night: Night,
    forecasts: Mapping[Pair, Sequence[Row]],
    scores: Mapping[Pair, Sequence[Row]],
) -> Table:
    leads = sorted({row["lead"] for rows in forecasts.values() for row in rows})
    horizon = leads[-1] if leads else 0
    level = next((rows[0]["level"] for rows in forecasts.values() if rows), None)
    title = f"Forecasts from session {night.session}"
    if level is not None:
        title += f", with {percent(level, 0)} intervals"
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in ("instrument", "target", "method"):
        table.add_column(name)
    for lead in sorted({1, horizon} - {0}) if leads else ():
        table.add_column(f"{lead} session{'s' if lead > 1 else ''} ahead", justify="right")
    table.add_column("LSTM's skill", justify="right")
    names = sorted({instrument for instrument, _ in forecasts})
    for (instrument, target), rows in sorted(forecasts.items()):
        if instrument in names[:MOST_INSTRUMENTS]:
            ends = [row for row in rows if row["lead"] in {1, horizon}]
            table.add_row(
                instrument,
                _HEADINGS.get(target, target),
                method_name(rows[0]["method"]),
                *(_span(row) for row in ends),
                _skill(scores.get((instrument, target), ())),
            )
    if len(names) > MOST_INSTRUMENTS:
        table.caption = f"the first {MOST_INSTRUMENTS} of {len(names):,} instruments"
    return table


def _skill(scores: Sequence[Row]) -> Text:
    """The LSTM's skill against the default baseline, before the gate."""
    baseline = scores[0]["baseline"] if scores else ""
    cell = skill_cell(mean_mse(scores, LSTM), mean_mse(scores, baseline))
    return Text(cell.text, style=_TONES.get(cell.tone, ""))


_TONES = {"better": "green", "worse": "red"}


def _span(row: Row) -> str:
    """Mean and interval: a return in per cent, or a volatility in per cent a year."""
    if row["target"] == "log_return":
        mean, low, high = (percent(row[name], signed=True) for name in ("mean", "lower", "upper"))
    else:
        bounds = (annual_bound(row[name]) for name in ("lower", "upper"))
        mean, low, high = (percent(value, 1) for value in (annual_volatility(row), *bounds))
    return f"{mean} ({low} to {high})"


def _skill_table(skills: Sequence[PooledSkill]) -> Table:
    table = Table(
        title="Out-of-sample skill, pooled over the universe",
        title_justify="left",
        header_style="bold",
    )
    for name, justify in _SKILL_COLUMNS.items():
        table.add_column(name, justify="right" if justify else "left")
    for one in skills:
        style = "" if not one.skill else "green" if one.skill > 0 else "red"
        table.add_row(
            one.target,
            method_name(one.method),
            number(one.mse, 6 if one.mse < 0.01 else 4),
            "baseline"
            if one.method == one.baseline
            else Text(percent(one.skill, 2, signed=True), style=style),
            method_name(one.baseline),
            count(one.pairs),
        )
    return table


_SKILL_COLUMNS = {
    "target": False,
    "method": False,
    "mean squared error": True,
    "skill": True,
    "against": False,
    "pairs": True,
}


def _lines(night: Night, prefect: Prefect) -> list[Text]:
    lines: list[Text] = []
    lines.append(
        _line(
            "Data",
            f"{night.counts} of {plural(len(night.instruments), 'instrument')}",
        )
    )
    done = (
        "this night was finished before: nothing was left to do"
        if night.repeated
        else f"{plural(night.trained, 'model')} trained, {night.written:,} of "
        f"{plural(night.forecasts, 'forecast')} new"
    )
    lines.append(_line("Run", f"{night.run_id}: {done}"))
    if night.stale:
        lines.append(_line("Stale", f"{listed(night.stale)}: their newest bar is old", "yellow"))
    for one in night.missing[:10]:
        lines.append(
            _line("Not forecast", f"{one.instrument} {one.target}: {one.reason}", "yellow")
        )
    if len(night.missing) > 10:
        lines.append(_line("Not forecast", f"and {len(night.missing) - 10:,} more", "yellow"))
    lines += [_line("Problem", problem, "yellow") for problem in night.problems]
    parts = ", ".join(f"{part.name} {part.seconds:.1f} s" for part in night.parts)
    lines.append(_line("Time", f"{parts}; {sum(p.seconds for p in night.parts):.0f} s in all"))
    if night.published:
        lines.append(_line("Files", ", ".join(_short(path) for path in night.published)))
    if night.report is not None:
        lines.append(_line("Report", _short(night.report), "bold"))
    lines.append(_line("Live", _how_to_watch(prefect)))
    return lines


def _line(label: str, text: str, style: str = "") -> Text:
    return Text.assemble((f"{label:<13}", "dim"), (text, style))


def _how_to_watch(prefect: Prefect) -> str:
    if not prefect.own:
        return f"the run is in the Prefect UI of {prefect.api_url or 'your profile'}"
    program = Path(sys.executable).with_name("prefect")
    start = (
        f"{shlex.quote(_short(str(program)))} server start"
        if program.exists()
        else "prefect server start"
    )
    return (
        f"start a server with `{start}`, then run with "
        "PREFECT_API_URL=http://127.0.0.1:4200/api and open http://127.0.0.1:4200"
    )


def _short(path: str) -> str:
    """A path as it is seen from here, where that is shorter."""
    if "://" in path:
        return path
    relative = os.path.relpath(path)
    return relative if len(relative) < len(path) else path


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"Expected a value that JSON can hold. Received: {value!r}")
