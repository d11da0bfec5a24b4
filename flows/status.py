"""`fleetcast status`: the last night in five lines, as JSON, or as OpenMetrics.

Owns the wording. Never decides how things stand: `flows.standing` does.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Literal

from rich.table import Table
from rich.text import Text

from flows import console
from flows.config import FleetcastConfig
from flows.failures import Exit
from flows.night import listed, plural
from flows.standing import Standing, Verdict, standing
from flows.starts import Start
from tasks.last_night import LastNight, Recent
from tasks.old_bars import OldBar
from tasks.report.topics import topic
from tasks.report.typography import THIN, percent
from tasks.store import Store

_NAMES = 3
"""Instruments that a line names."""

_STYLES = {Verdict.COMPLETE: "green", Verdict.PARTIAL: "yellow"}


def run(
    config: FleetcastConfig, store: Store, answer: Literal["table", "json", "openmetrics"]
) -> Exit:
    """Shows how the last night stands; the exit code says whether somebody should look.

    Raises:
        StoreError: the store can't be read.
        SourceError: there is no such source.
    """
    found = standing(config, store, datetime.now(UTC))
    out = console.answers()
    if answer == "openmetrics":
        from flows import metrics

        out.file.write(metrics.text(config, found))
    elif answer == "json":
        out.file.write(as_json(found) + "\n")
    elif found.night is None:
        out.print(_nothing(found, store), soft_wrap=True)
    else:
        out.print(lines(found, found.night))
    return found.exit_code


def lines(found: Standing, night: LastNight) -> Table:
    """The five lines for people."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for label, line in (
        ("Night", _night(found, night)),
        ("Forecasts", _forecasts(night)),
        ("Data", _data(night)),
        ("Skill", _skill(night)),
        ("Next", Text(_next(found))),
    ):
        table.add_row(label, line)
    return table


def as_json(found: Standing) -> str:
    """How things stand as one JSON object, whose keys docs/monitoring.md explains."""
    night = found.night
    told: dict[str, object] = {
        "verdict": found.verdict,
        "exit_code": found.exit_code,
        "now": found.now,
        "night": None,
        "forecasts": [],
        "data": None,
        "scores": None,
        "sinks": [],
        "due": _start(found.due),
        "next": _start(found.next),
    }
    if night is not None:
        told["night"] = {
            **{
                name: getattr(night.run, name)
                for name in ("run_id", "session", "origin", "as_of", "message")
            },
            **{name: getattr(night, name) for name in ("state", "started", "ended", "seconds")},
            "last_written": night.seen,
            "instruments": sum(len(names) for names in night.run.shards.values()),
        }
        told["forecasts"] = [dataclasses.asdict(one) for one in night.published]
        told["data"] = {
            "ingest": None if night.ingest is None else dataclasses.asdict(night.ingest),
            "old": [dataclasses.asdict(one) for one in night.old],
        }
        told["scores"] = {
            "matured": night.matured,
            "recent": [dataclasses.asdict(one) for one in night.recent],
        }
        told["sinks"] = [dataclasses.asdict(one) for one in night.sinks]
    return json.dumps(told, indent=2, default=_plain, ensure_ascii=False)


def _nothing(found: Standing, store: Store) -> str:
    of = "of this configuration and version" if found.others else "yet"
    told = f"The store {store.url} holds no night {of}. Start one with `fleetcast nightly`."
    if found.others:
        told += " Those of others: `fleetcast show runs`."
    return told if found.next is None else f"{told} By the schedule: {_next(found)}."


def _night(found: Standing, night: LastNight) -> Text:
    style = _STYLES.get(found.verdict, "red")
    session = night.run.session
    line = Text()
    if found.verdict is Verdict.MISSING and found.due is not None:
        at = found.due.at
        line.append(
            f"{found.due.session} is missing, due since {at:%Y-%m-%d %H:%M} {at.tzinfo}. "
            "The last: ",
            style,
        )
        style = ""
    line.append(f"{session} ")
    if night.state == "finished" and night.ended is not None and night.seconds is not None:
        line.append(f"finished {_instant(night.ended)}, {_span(night.seconds)}")
        line.append(", complete" if night.complete else ", not complete", style)
    elif night.state == "going_on":
        line.append(f"goes on since {_instant(night.started)}, wrote {_ago(found, night)} ago")
        line.append(", late" if found.verdict is Verdict.LATE else "", style)
        if found.verdict is Verdict.MISSING and found.due is None:
            line.append("; none is finished yet", style)
    elif night.ended is not None:
        line.append(f"broke off {_instant(night.ended)}", style)
    else:
        line.append(
            f"is not finished, and wrote nothing for {_ago(found, night)}: it broke off", style
        )
    if night.run.message:
        line.append(f": {night.run.message}")
    if night.state == "broken_off":
        line.append(". The same command again goes on")
    return line


def _forecasts(night: LastNight) -> Text:
    planned = sum(one.planned for one in night.published)
    missing = sum(len(one.missing) for one in night.published)
    learned = sum(one.learned for one in night.published)
    so_far = " so far" if missing and night.state == "going_on" else ""
    line = Text(
        f"{planned - missing:,} of {planned:,} published{so_far}, LSTM earned in {learned:,}"
    )
    if missing and not so_far:
        names = sorted({name for one in night.published for name in one.missing})
        line.append(f"; missing: {listed(names, _NAMES)}", "yellow")
    for one in night.sinks:
        if one.waiting:
            line.append(f"; {one.sink}: {plural(one.waiting, 'night')} waiting", "yellow")
        elif one.status == "refused":
            line.append(f"; {one.sink} refused it", "yellow")
    done = sum(one.status in ("delivered", "superseded") for one in night.sinks)
    if done:
        all_of_them = done == len(night.sinks)
        line.append(
            "; delivered" if all_of_them else f"; delivered to {done} of {len(night.sinks)}"
        )
    return line


def _data(night: LastNight) -> Text:
    ingest = night.ingest
    line = Text("no ingest is known")
    if ingest is not None:
        line = Text(f"{ingest.new:,} new, {ingest.changed:,} changed, ")
        line.append(
            plural(ingest.quarantined, "quarantined row"), "yellow" if ingest.quarantined else ""
        )
    if night.old:
        line.append(f"; old bars: {listed([_old(one) for one in night.old], _NAMES)}", "yellow")
    else:
        line.append("; no old bars")
    if ingest is not None and ingest.problems:
        more = len(ingest.problems) - 1
        line.append(f"; {ingest.problems[0]}", "yellow")
        line.append(f" and {plural(more, 'more problem')}" if more else "", "yellow")
    return line


def _old(one: OldBar) -> str:
    return f"{one.instrument} ({one.newest or 'none for a month'})"


def _skill(night: LastNight) -> Text:
    told = ", ".join(_recent(one) for one in night.recent)
    line = Text(f"{night.matured:,} matured; {told or 'none known so far'}")
    drifted = sorted({name for one in night.published for name in one.drifted})
    if drifted:
        line.append(f"; drift: {listed(drifted, _NAMES)}", "yellow")
    return line


def _recent(one: Recent) -> str:
    noun = topic(one.target, one.kind).noun
    told = f"{noun} {_percent(one.skill, 1, signed=True)}"
    if one.coverage is None:
        return told
    return f"{told} ({_percent(one.coverage)} in {_percent(one.level)})"


def _percent(share: float | None, decimals: int = 0, *, signed: bool = False) -> str:
    """Without a space in it, at which a line could break."""
    return percent(share, decimals, signed=signed).replace(THIN, "")


def _next(found: Standing) -> str:
    if found.next is None:
        return "an archive has no schedule: `fleetcast nightly` looks at what it holds"
    at = found.next.at
    return f"session {found.next.session}, starts {at:%Y-%m-%d %H:%M} {at.tzinfo}"


def _instant(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _ago(found: Standing, night: LastNight) -> str:
    return _span((found.now - night.seen).total_seconds())


def _span(seconds: float) -> str:
    """A time in its two largest units: "41 s", "12 min", "3 h 20 min"."""
    if seconds < 100:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min"
    if hours >= 48:
        return f"{hours // 24} days"
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def _start(one: Start | None) -> dict[str, object] | None:
    return None if one is None else {"start": one.at, "session": one.session}


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)
