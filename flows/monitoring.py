"""What a night tells those who watch: its metrics in a file, its events in Prefect.

Owns that part of the configuration, and that no failure to tell fails a night. Never decides what
is told: `flows.metrics` and `flows.events` do.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from flows.failures import describe

if TYPE_CHECKING:
    from flows.config import FleetcastConfig
    from tasks.runs import PinnedRun


class MonitoringConfig(BaseModel):
    """What those who watch are told, see docs/monitoring.md. It changes no forecast."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: str | None = Field(
        default=None,
        description="A file that every night replaces with its metrics, such as "
        "/var/lib/node_exporter/textfile/fleetcast.prom: node_exporter's textfile collector reads "
        "what ends in .prom. Unset: none is written.",
    )
    patience_minutes: float = Field(
        default=240.0,
        gt=0,
        le=1440,
        description="Minutes after its scheduled start within which a night should be over; until "
        "then `fleetcast status` judges the night before.",
    )

    @field_validator("metrics")
    @classmethod
    def _metrics_are_a_file_that_is_read(cls, path: str | None) -> str | None:
        if path is not None and (not path.endswith(".prom") or "://" in path):
            raise ValueError(
                "expected a file on this machine whose name ends in .prom: node_exporter reads no "
                "other"
            )
        return path


def tell(config: FleetcastConfig, run: PinnedRun, *, finished: bool = True) -> tuple[str, ...]:
    """Tells of a night that has ended; says what could not be told.

    Args:
        config: where to.
        run: the night's; it is closed.
        finished: whether it did not break off. One that did has no events of its own: Prefect's
            tell of the flow run.
    """
    problems = []
    try:
        if finished:
            from flows import events

            events.emit(config, run)
    except Exception as error:  # noqa: BLE001 - whatever it is, the night itself is done
        problems.append(f"its events could not be told: {describe(error)}")
    try:
        if config.monitoring.metrics is not None:
            from flows.metrics import write

            write(config, datetime.now(UTC))
    except Exception as error:  # noqa: BLE001 - as above
        problems.append(
            f"its metrics could not be written to {config.monitoring.metrics}: {describe(error)}"
        )
    return tuple(problems)
