"""The end of a night on a terminal, and as JSON: forecasts, skill, what happened, what comes next.

Owns the wording. Never touches the store: it is given what to show.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.night import Night, listed, plural
from flows.prefect_home import Prefect
from tasks.pooled_skill import PooledSkill, pooled_skill
from tasks.report.class_tables import edge_texts
from tasks.report.drift import coverage_text, drifted
from tasks.report.forecast_fans import annual_bound, annual_volatility
from tasks.report.missing import by_reason
from tasks.report.run_view import Key, Row, RunView
from tasks.report.score_tables import LEARNED, lstm_skill, method_name
from tasks.report.topics import TOPICS, topic
from tasks.report.typography import THIN, count, number, percent

MOST_ROWS = 80
"""Rows in the table on a terminal, of whole instruments; the report has all of them."""
MOST_REASONS = 10
"""Lines on what was not forecast; the report has all of them."""


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
    for line in (*_why(view.forecasts), *_coverage(view), *_drift(view), *_lines(night, prefect)):
        console.print(line, soft_wrap=True, highlight=False)


def as_json(night: Night, view: RunView) -> str:
    """The account and the rows of `forecasts` as one JSON object."""
    account = {field.name: getattr(night, field.name) for field in dataclasses.fields(night)}
    rows = [dict(row) for key in sorted(view.forecasts) for row in view.forecasts[key]]
    told = {
        "coverage": [
            {"target": target, "kind": kind, **dataclasses.asdict(one)}
            for (target, kind), one in sorted(view.coverage.items())
        ],
        "drift": [
            {"target": one.target, "kind": one.kind, "instruments": one.instruments}
            for one in drifted(view.forecasts)
        ],
    }
    return json.dumps(
        {"partial": night.partial, **account, **told, "rows": rows}, default=_plain, indent=2
    )


def _forecast_table(
    night: Night,
    forecasts: Mapping[Key, Sequence[Row]],
    scores: Mapping[Key, Sequence[Row]],
) -> Table:
    leads = sorted({row["lead"] for rows in forecasts.values() for row in rows})
    shown = sorted({1, leads[-1]}) if leads else []
    level = next((rows[0]["level"] for rows in forecasts.values() if rows), None)
    title = f"Forecasts from session {night.session}"
    if level is not None:
        title += f", with {percent(level, 0)} intervals"
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in ("instrument", "forecast", "method"):
        table.add_column(name)
    for lead in shown:
        table.add_column(f"{lead} session{'s' if lead > 1 else ''} ahead", justify="right")
    table.add_column("LSTM's skill", justify="right")
    names = sorted({instrument for instrument, *_ in forecasts})
    most = max(MOST_ROWS // max(len({key[1:] for key in forecasts}), 1), 1)
    for key, rows in sorted(forecasts.items(), key=lambda item: _place(item[0])):
        if key[0] in names[:most]:
            by_lead = {row["lead"]: row for row in rows}
            skill = lstm_skill(scores.get(key, ()))
            table.add_row(
                _dated(rows[0], night.session),
                _heading(*key[1:]),
                method_name(rows[0]["method"]),
                *(_written(by_lead[lead]) if lead in by_lead else "" for lead in shown),
                Text(skill.text, style=_TONES.get(skill.tone, "")),
            )
    if len(names) > most:
        table.caption = f"the first {most} of {len(names):,} instruments"
    return table


_TONES = {"better": "green", "worse": "red"}


def _place(key: Key) -> tuple[str, int]:
    """By instrument, then in the order of the report."""
    order = [(one.target, one.kind) for one in TOPICS]
    return key[0], order.index(key[1:]) if key[1:] in order else len(order)


def _heading(target: str, kind: str) -> str:
    if target == "log_volatility" and kind == "many_to_many":
        return "Volatility, a year"
    return topic(target, kind).heading


def _dated(row: Row, session: date) -> Text:
    """The instrument, and where its leads count from if that is not the night's session."""
    if row["cutoff"] == session:
        return Text(row["instrument"])
    return Text.assemble(row["instrument"], (f" from {row['cutoff']}", "yellow"))


def _written(row: Row) -> str:
    """A return in per cent, a volatility in per cent a year, or probabilities."""
    if row["kind"] == "direction":
        return f"{percent(row['probability_up'], 1)} for a rise"
    if row["kind"] == "quantile_class":
        low, *_, high = (percent(value, 1) for value in row["probabilities"])
        first, *_, last = (f"{text}{THIN}%" for text in edge_texts(row["edges"]))
        return f"≤ {first}: {low}, > {last}: {high}"
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
    for one in sorted(skills, key=lambda one: _place(("", one.target, one.kind))):
        style = "" if not one.skill else "green" if one.skill > 0 else "red"
        loss, name = (one.mse, "MSE") if one.log_loss is None else (one.log_loss, "log loss")
        table.add_row(
            topic(one.target, one.kind).heading,
            method_name(one.method),
            f"{name} {number(loss, 6 if loss < 0.01 else 4)}",
            "baseline"
            if one.method == one.baseline
            else Text(percent(one.skill, 2, signed=True), style=style),
            method_name(one.baseline),
            count(one.pairs),
        )
    return table


_SKILL_COLUMNS = {
    "forecast": False,
    "method": False,
    "score": True,
    "skill": True,
    "against": False,
    "pairs": True,
}


def _why(forecasts: Mapping[Key, Sequence[Row]]) -> list[Text]:
    """Per topic a line: how many instruments each method is published for, and why a baseline is.

    Of several reasons that of most instruments is told, and who has another.
    """
    lines = []
    for target, kind in sorted({key[1:] for key in forecasts}, key=lambda of: _place(("", *of))):
        rows = [made[0] for key, made in forecasts.items() if key[1:] == (target, kind)]
        methods = Counter(method_name(row["method"]) for row in rows).most_common()
        told = ", ".join(f"{name} for {number_of:,}" for name, number_of in methods)
        reasons = {
            row["instrument"]: _BASELINE.sub("", row["reason"])
            for row in rows
            if row["method"] not in LEARNED
        }
        if reasons:
            main = Counter(reasons.values()).most_common(1)[0][0]
            others = [name for name, reason in reasons.items() if reason != main]
            told += f". Why a baseline: {main}"
            told += f"; other reasons for {listed(others)}" if others else ""
        lines.append(_line("Published", f"{topic(target, kind).heading}: {told}"))
    return lines


_BASELINE = re.compile(r"^baseline( \w+)?: ")
"""What a reason begins with where the method is named beside it."""


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
        else (f"{plural(night.matured, 'forecast')} matured, " if night.matured else "")
        + f"{plural(night.trained, 'model')} trained, {night.written:,} of "
        f"{plural(night.forecasts, 'forecast')} new"
    )
    lines.append(_line("Run", f"{night.run_id}: {done}"))
    if night.stale:
        lines.append(_line("Stale", f"{listed(night.stale)}: their newest bar is old", "yellow"))
    gathered = by_reason(night.missing)
    for lack in gathered[:MOST_REASONS]:
        what = f"{listed(lack.instruments)} ({', '.join(lack.topics)}): {lack.reason}"
        lines.append(_line("Not forecast", what, "yellow"))
    rest = {name for lack in gathered[MOST_REASONS:] for name in lack.instruments}
    if rest:
        more = f"{plural(len(rest), 'more instrument')}: the report has all of them"
        lines.append(_line("Not forecast", more, "yellow"))
    lines += [_line("Problem", problem, "yellow") for problem in night.problems]
    parts = ", ".join(f"{part.name} {part.seconds:.1f} s" for part in night.parts)
    lines.append(_line("Time", f"{parts}; {sum(p.seconds for p in night.parts):.0f} s in all"))
    if night.published:
        lines.append(_line("Files", ", ".join(_short(path) for path in night.published)))
    if night.report is not None:
        lines.append(_line("Report", _short(night.report), "bold"))
    lines.append(_line("Live", _how_to_watch(prefect)))
    return lines


def _coverage(view: RunView) -> list[Text]:
    """How often the published intervals held in the tests, with the standard error."""
    level = next((rows[0]["level"] for rows in view.forecasts.values()), None)
    if level is None:
        return []
    told = [
        f"{_heading(*key)} {coverage_text(one)}"
        for key, one in sorted(view.coverage.items(), key=lambda item: _place(("", *item[0])))
    ]
    return [_line("Coverage", f"{percent(level, 0)} intervals held {', '.join(told)}")] * bool(told)


def _drift(view: RunView) -> list[Text]:
    """Whose recent intervals held significantly less often than they should have."""
    return [
        _line("Drift", f"{listed(one.instruments, 10)} ({one.heading}): {one.text}", "yellow")
        for one in drifted(view.forecasts)
    ]


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
