"""What people see of a night in Prefect: data health, scores, a picture, where the report is.

Owns these artifacts. Never decides a number: `tasks` does.
"""

from __future__ import annotations

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.config import FleetcastConfig
from flows.steps import Ingested
from tasks.pooled_skill import pooled_skill
from tasks.report.charts import data_uri, forecast_picture
from tasks.report.live import skill_paths
from tasks.report.page import run_picture
from tasks.report.run_view import RunView
from tasks.report.score_tables import method_name
from tasks.report.topics import topic
from tasks.runs import PinnedRun
from tasks.track_record import TrackRecord

ROWS_SHOWN = 1000
"""Most instruments in a table; the rest is in the store."""


def health(ingested: Ingested) -> None:
    """Rows per instrument: new, changed, quarantined; a table that can be searched."""
    report = ingested.report
    if report is None:
        create_markdown_artifact("\n\n".join(ingested.problems), key="data-health")
        return
    rows = [
        {
            "instrument": one.instrument,
            "new": one.new,
            "changed": one.changed,
            "unchanged": one.unchanged,
            "retracted": one.retracted,
            "quarantined": one.quarantined,
            "first session": str(one.first_session or ""),
            "last session": str(one.last_session or ""),
        }
        for one in report.instruments
    ]
    described = [f"{str(ingested.counts)[:1].upper()}{str(ingested.counts)[1:]}."]
    if report.rules:
        rules = (f"{rule}: {held:,}" for rule, held in sorted(report.rules.items()))
        described.append(f"Quarantined, by rule: {', '.join(rules)}.")
    described += ingested.problems
    if len(rows) > ROWS_SHOWN:
        described.append(f"The first {ROWS_SHOWN:,} of {len(rows):,} instruments.")
    create_table_artifact(rows[:ROWS_SHOWN], key="data-health", description="\n\n".join(described))


def scores_and_forecasts(view: RunView) -> None:
    """Pooled skill by target, kind and method, and the picture of the forecasts."""
    session = view.run["session"]
    scores = [
        {
            "forecast": topic(one.target, one.kind).heading,
            "method": method_name(one.method),
            "skill": None if one.skill is None else round(one.skill, 4),
            "against": method_name(one.baseline),
            "score": "MSE" if one.log_loss is None else "log loss",
            "value": float(f"{one.mse if one.log_loss is None else one.log_loss:.4g}"),
            "pairs": one.pairs,
            "instruments": one.instruments,
        }
        for one in pooled_skill(row for rows in view.scores.values() for row in rows)
    ]
    described = (
        f"Session **{session}**. Out of sample, pooled over instruments, folds and leads; "
        "skill is 1 - score / score of the default baseline on the same pairs. MSE: mean squared "
        "error."
    )
    create_table_artifact(scores, key="scores", description=described)
    picture = data_uri(run_picture(view))
    create_markdown_artifact(
        f"![Forecasts of session {session}]({picture})",
        key="forecasts",
        description=f"What is forecast from session {session} on.",
    )


def report_link(config: FleetcastConfig, run: PinnedRun, page: str) -> None:
    """Where the report is, and a link to it where it has an address that people can follow.

    Args:
        config: its `publish.webhook.link` is such an address.
        run: what is reported.
        page: the report's path or URL.
    """
    told = config.publish.webhook.link
    link = page if told is None else told.format(run_id=run.run_id, session=run.session)
    lines = [f"The report of session **{run.session}** is `{page}`."]
    if link.startswith(("http://", "https://")):
        lines.insert(0, f"[Open the report]({link})")
    create_markdown_artifact(
        "\n\n".join(lines), key="report", description=f"Report of session {run.session}."
    )


def track_record(record: TrackRecord) -> None:
    """Skill and coverage by month, quarter or year of a backfill, and the picture of the skill."""
    periods = [*((one.name, one.skills) for one in record.periods), ("all", record.whole)]
    rows = [
        {
            "period": name,
            "forecast": topic(one.target, one.kind).heading,
            "method": method_name(one.method),
            "skill": _rounded(one.skill),
            "against": method_name(one.baseline),
            "coverage": _rounded(one.coverage),
            "aims at": one.level,
            "sessions": one.sessions,
            "pairs": one.pairs,
        }
        for name, skills in periods
        for one in skills
    ]
    described = (
        f"Skill and coverage of what has matured, by {record.grain} of the target session. Skill "
        "is 1 - score / score of the default baseline on the same pairs."
    )
    create_table_artifact(rows[-ROWS_SHOWN:], key="track-record", description=described)
    drawings = skill_paths(record.whole)
    if drawings:
        picture = data_uri(forecast_picture([[one] for one in drawings], "Skill over time"))
        create_markdown_artifact(f"![Skill over time]({picture})", key="track-record-picture")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
