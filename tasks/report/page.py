"""The report page: one self-contained HTML file per run, and a picture of its forecasts.

Owns rendering and where the page lies in the store. Never touches a forecast or decides a word.
"""

from __future__ import annotations

import json
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from tasks.publish import published
from tasks.report.charts import forecast_picture
from tasks.report.content import content, title
from tasks.report.live import NOTHING
from tasks.report.missing import by_instrument
from tasks.report.panels import panels
from tasks.report.run_view import RunView
from tasks.report.topics import TOPICS
from tasks.report.typography import ABSENT, NO_BREAK, count, instant, plural, short_date
from tasks.store import Store

LATEST = "latest/report.html"
PICTURED = 8
"""Instruments in the picture of a run."""
_RUNS_SHOWN = 12


def write_report(store: Store, view: RunView) -> str:
    """Write a run's page to `reports/`, and to `latest/report.html` unless a newer run is there.

    Args:
        store: The store that holds the run; the page is written into it.
        view: The run, see `view_run`.

    Returns:
        The path or URL of the page to open: the latest one if it was written.

    Raises:
        StoreError: The store can't be read or written.
    """
    page = render_report(view, store_url=store.url).encode()
    run = view.run
    written = store.write_file(f"reports/{run['session']}-{run['config_hash'][:8]}.html", page)
    newest = published(store)
    if newest is None or (newest.cutoff, newest.as_of) <= (run["session"], run["as_of"]):
        return store.write_file(LATEST, page)
    return written


def run_picture(view: RunView) -> bytes:
    """The charts of a run's first instruments as one standalone SVG, for a Prefect artifact.

    They are below each other: Prefect's page of an artifact is as wide as one.
    """
    instruments = sorted({instrument for instrument, *_ in view.forecasts})
    heading = title(view)
    if len(instruments) > PICTURED:
        heading += f" (the first {PICTURED} of {len(instruments)} instruments)"
    shown = [panel for one in TOPICS for panel in panels(view, one, {})]
    rows = []
    for name in instruments[:PICTURED]:
        made = (one.figures.drawing() for one in shown if one.instrument == name)
        rows += [[drawing] for drawing in made if drawing is not None]
    return forecast_picture(rows, heading)


def render_report(view: RunView, *, store_url: str) -> str:
    """The page as text; the same view gives the same bytes."""
    run = view.run
    versions = json.loads(run["table_versions"])
    said = content(view)
    facts = (
        ("As of", instant(run["as_of"]), False),
        ("Origin", run["origin"], False),
        ("Forecast code", f"version {run['code_version']}", False),
        ("Settings", run["config_hash"], False),
        ("Store", store_url, True),
        (
            "Pinned tables",
            ", ".join(f"{k}{NO_BREAK}{v}" for k, v in sorted(versions.items())),
            True,
        ),
    )
    return (
        _environment()
        .get_template("report.html")
        .render(
            run=run,
            content=said,
            facts=facts,
            nothing_live=NOTHING,
            health=view.health,
            missing=by_instrument(view.missing),
            live=bool(said.live),
            topics=[one.topic for one in said.summaries],
            stale=any(panel.since for one in said.summaries for panel in one.panels),
            runs=view.runs[:_RUNS_SHOWN],
            store_url=store_url,
            absent=ABSENT,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tasks.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=count, instant=instant, plural=plural, short_date=short_date)
    return environment
