"""The end of a backfill on a terminal, and as JSON: the track record, what failed, what it cost.

Owns the wording. Never touches the store: it is given what to show.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.backfilled import Backfill, PastNight
from flows.night import plural
from flows.skill_picture import picture
from tasks.decisions import PUBLISHED
from tasks.live_skill import METHODS, LiveSkill
from tasks.report.live import by_topic
from tasks.report.score_tables import method_name
from tasks.report.topics import topic
from tasks.report.typography import ABSENT, count, percent

MOST_SESSIONS = 10
"""Sessions that failed, on a terminal; JSON has all of them."""
MOST_REASONS = 5

_PICTURE_COLUMNS = 100


def show(console: Console, done: Backfill) -> None:
    """Prints what a backfill came to.

    Args:
        console: standard output.
        done: the account.
    """
    record = done.record
    if record is not None:
        for of in by_topic(record.whole):
            console.print(_table(of, done))
            for line in picture(of, min(console.width, _PICTURE_COLUMNS)):
                console.print(line, soft_wrap=True, highlight=False)
            console.print()
        if not record.whole:
            console.print(
                "Track record: nothing has matured within these sessions yet.", highlight=False
            )
    for line in _lines(done):
        console.print(line, soft_wrap=True, highlight=False)


def as_json(done: Backfill) -> str:
    """The account as one JSON object."""
    account: dict[str, Any] = {"partial": done.partial}
    for field in dataclasses.fields(done):
        account[field.name] = getattr(done, field.name)
    account["record"] = None if done.record is None else _record(done)
    account |= {
        "seconds": done.seconds,
        "seconds_per_session": done.seconds_per_session,
        "overhead": done.overhead,
    }
    return json.dumps(account, default=_plain, indent=2, allow_nan=False)


def _record(done: Backfill) -> dict[str, Any]:
    record = done.record
    if record is None:
        return {}
    periods = [
        {"period": one.name, **_figures(skill)} for one in record.periods for skill in one.skills
    ]
    whole = [
        {**_figures(one), "path": [{"session": day, "skill": value} for day, value in one.path]}
        for one in record.whole
    ]
    return {"grain": record.grain, "whole": whole, "periods": periods}


def _figures(one: LiveSkill) -> dict[str, Any]:
    left_out = {"path", "backtest"}
    return {
        field.name: getattr(one, field.name)
        for field in dataclasses.fields(one)
        if field.name not in left_out
    }


def _table(of: Sequence[LiveSkill], done: Backfill) -> Table:
    """One topic: a row per period, the columns of what was published and of the network."""
    first = of[0]
    table = Table(
        title=f"{topic(first.target, first.kind).heading}: skill against "
        f"{method_name(first.baseline)}",
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column(done.record.grain if done.record else "")
    for name in ("sessions", "pairs", *(method_name(method) for method in METHODS), "coverage"):
        table.add_column(name, justify="right")
    key = (first.target, first.kind, first.baseline)
    for name, skills in _periods(done):
        own = {one.method: one for one in skills if (one.target, one.kind, one.baseline) == key}
        if own:
            table.add_row(name, *_cells(own), style="bold" if name == "all" else "")
    return table


def _periods(done: Backfill) -> Iterable[tuple[str, tuple[LiveSkill, ...]]]:
    record = done.record
    if record is not None:
        yield from ((one.name, one.skills) for one in record.periods)
        yield "all", record.whole


def _cells(own: dict[str, LiveSkill]) -> list[Text]:
    main = own.get(PUBLISHED) or next(iter(own.values()))
    skills = (own[method].skill if method in own else None for method in METHODS)
    held = ABSENT
    if main.coverage is not None and main.level is not None:
        held = f"{percent(main.coverage, 1)} of {percent(main.level, 0)}"
    return [
        Text(count(main.sessions)),
        Text(count(main.pairs)),
        *(
            Text(
                ABSENT if skill is None else percent(skill, 2, signed=True),
                style="" if not skill else "green" if skill > 0 else "red",
            )
            for skill in skills
        ),
        Text(held),
    ]


def _lines(done: Backfill) -> list[Text]:
    finished = [night for night in done.nights if night.status == "finished"]
    failed = [night for night in done.nights if night.status == "failed"]
    lacking = [night for night in finished if night.problem]
    told = [f"{plural(done.asked, 'session')} from {done.start} to {done.end}"]
    if done.every > 1:
        told[0] += f", one of {done.every}"
    told.append(f"{len(finished)} done now")
    if done.left:
        before = {"only-missing": "done before", "failed": "without a failure"}
        told.append(f"{done.left} {before.get(done.which, 'left')}")
    if failed:
        told.append(f"{len(failed)} failed")
    lines = [_line("Backfill", "; ".join(told))]
    written = sum(night.written for night in finished)
    had = sum(night.forecasts for night in finished)
    matured = sum(night.matured for night in finished)
    lines.append(
        _line(
            "Forecasts",
            f"{written:,} of {plural(had, 'forecast')} new, {matured:,} matured and scored, "
            f"{plural(done.trained, 'model')} trained in {plural(done.trainings, 'training')}",
        )
    )
    lines += _missing(finished)
    lines += _problems("Failed", failed) + _problems("Lacking", lacking)
    lines += [_line("Problem", problem, "yellow") for problem in done.problems]
    if failed or lacking:
        lines.append(
            _line("Again", "the same command with --failed goes through these sessions once more")
        )
    lines.append(_line("Time", _time(done)))
    if done.published:
        lines.append(_line("Files", ", ".join(done.published)))
    if done.report is not None:
        lines.append(_line("Report", done.report, "bold"))
    return lines


def _missing(nights: Sequence[PastNight]) -> list[Text]:
    """Per instrument on how many sessions something of it could not be forecast, and why last."""
    found: dict[str, dict[date, str]] = {}
    for night in nights:
        for one in night.missing:
            found.setdefault(one.instrument, {})[night.session] = one.reason
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    lines = []
    for name, reasons in ordered[:MOST_REASONS]:
        last = max(reasons)
        when = f"on {plural(len(reasons), 'session')}, lastly {last}"
        lines.append(_line("Not forecast", f"{name} {when}: {reasons[last]}", "yellow"))
    if len(ordered) > MOST_REASONS:
        more = plural(len(ordered) - MOST_REASONS, "more instrument")
        lines.append(_line("Not forecast", f"{more}: --format json has all of them", "yellow"))
    return lines


def _problems(label: str, nights: Sequence[PastNight]) -> list[Text]:
    lines = [
        _line(label, f"{night.session}: {night.problem}", "yellow")
        for night in nights[:MOST_SESSIONS]
    ]
    if len(nights) > MOST_SESSIONS:
        more = plural(len(nights) - MOST_SESSIONS, "more session")
        lines.append(_line(label, f"{more}: `fleetcast show runs` has all of them", "yellow"))
    return lines


def _time(done: Backfill) -> str:
    parts = ", ".join(f"{part.name} {part.seconds:.1f} s" for part in done.parts)
    told = f"{parts}; {done.seconds:.0f} s in all"
    if done.seconds_per_session is not None and done.overhead is not None:
        told += (
            f", {done.seconds_per_session:.1f} s a session, {percent(done.overhead, 0)} of it "
            "orchestration"
        )
    return told


def _line(label: str, text: str, style: str = "") -> Text:
    return Text.assemble((f"{label:<13}", "dim"), (text, style))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"Expected a value that JSON can hold. Received: {value!r}")
