"""The configuration of a run: every section in one frozen model, read from `fleetcast.toml`.

Owns the composition of the sections, most of which belong to the module that uses them. Never
touches data: a wrong value is refused before any work.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from flows.compute import ComputeConfig
from flows.config_errors import ConfigError, explain
from flows.config_fields import suggestion
from flows.cron import parse_cron
from flows.monitoring import MonitoringConfig
from flows.redaction import has_credentials
from tasks.bars import ValidationConfig
from tasks.identity import content_id
from tasks.sessions import CalendarConfig
from tasks.settings import (
    EvaluationConfig,
    ForecastSettings,
    ModelConfig,
    TargetsConfig,
    TrainingConfig,
)
from tasks.sinks.config import FolderSinkConfig, SqlSinkConfig, WebhookSinkConfig
from tasks.sources import SourceError, check_source_name
from tasks.sources.config import OPERATIONAL, SourceConfig

DEFAULT_FILE = Path("fleetcast.toml")

_HOURS_OF_CLOCK_CHANGES = frozenset({0, 1, 2})


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UniverseConfig(_Frozen):
    """Which instruments are forecast."""

    instruments: tuple[str, ...] = Field(
        default=(), description="Names as the source spells them; empty: all that it offers."
    )

    membership: str | None = Field(
        default=None,
        min_length=1,
        description="A CSV or Parquet file with the columns instrument, first and last: who "
        "belongs from which session to which one (empty: still). A run is about the members of "
        "its session.",
    )

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        if self.instruments and self.membership is not None:
            raise ValueError(
                "instruments and membership are both stated: a membership file says by itself who "
                "belongs. Leave one of them out"
            )
        return self

    @field_validator("instruments")
    @classmethod
    def _instruments_are_distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if "" in names:
            raise ValueError("an instrument's name can't be empty")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"named more than once: {', '.join(twice)}")
        return names


class StoreConfig(_Frozen):
    """Where facts and forecasts are kept."""

    url: str = Field(
        default="store",
        min_length=1,
        description="A folder (relative to the working directory), or a URL such as s3://bucket.",
    )

    @field_validator("url")
    @classmethod
    def _url_holds_no_secret(cls, url: str) -> str:
        return _without_credentials(url, "such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


class PublishConfig(_Frozen):
    """What a run writes for people, beside the store's own rows."""

    latest: bool = Field(
        default=True, description="Replace latest/forecasts.parquet and .csv in the store."
    )
    report: bool = Field(default=True, description="Write the report, one self-contained page.")
    sql: SqlSinkConfig = SqlSinkConfig()
    folder: FolderSinkConfig = FolderSinkConfig()
    webhook: WebhookSinkConfig = WebhookSinkConfig()

    @property
    def outside(self) -> bool:
        """Whether forecasts go anywhere outside the store."""
        return self.sql.url is not None or self.folder.url is not None or self.webhook.on


class ScheduleConfig(_Frozen):
    """When a deployed nightly run starts. The command line runs at once."""

    cron: str = Field(
        default="30 18 * * mon-fri",
        description="Minute, hour, day of the month, month, day of the week; hours 0 to 2 are "
        "refused, because clocks are changed then.",
    )
    timezone: str = Field(
        default="America/New_York", description="IANA name of the time zone that cron is read in."
    )
    catch_up: int = Field(
        default=5,
        ge=0,
        le=60,
        description="Most sessions that earlier nights missed and a deployed night does first, the "
        "newest ones, oldest first.",
    )

    @field_validator("cron")
    @classmethod
    def _cron_avoids_clock_changes(cls, text: str) -> str:
        refused = sorted(parse_cron(text).hours & _HOURS_OF_CLOCK_CHANGES)
        if refused:
            raise ValueError(
                f"starts in hour {', '.join(map(str, refused))}: choose hours from 3 to 23, since "
                "clocks are changed between 00:00 and 03:00, and runs start twice or never"
            )
        return text

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, name: str) -> str:
        known = available_timezones()
        if name not in known:
            raise ValueError(
                "expected the IANA name of a time zone, such as Europe/London."
                + suggestion(name, sorted(known))
            )
        return ZoneInfo(name).key


class PrefectConfig(_Frozen):
    """Which Prefect shows the runs. PREFECT_API_URL in the environment goes before it."""

    api_url: str | None = Field(
        default=None,
        description="Address of a Prefect API, such as http://127.0.0.1:4200/api; unset: a server "
        "of the run's own, which ends with it.",
    )

    @field_validator("api_url")
    @classmethod
    def _api_url_is_one(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not url.startswith(("http://", "https://")):
            raise ValueError("expected an address that starts with http:// or https://")
        return _without_credentials(url, "PREFECT_API_KEY or PREFECT_API_AUTH_STRING")


class FleetcastConfig(_Frozen):
    """Everything that a run is told. Without a file, every default holds."""

    universe: UniverseConfig = UniverseConfig()
    source: SourceConfig = SourceConfig()
    calendar: CalendarConfig = CalendarConfig()
    store: StoreConfig = StoreConfig()
    targets: TargetsConfig = TargetsConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    validation: ValidationConfig = ValidationConfig()
    publish: PublishConfig = PublishConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    compute: ComputeConfig = ComputeConfig()
    monitoring: MonitoringConfig = MonitoringConfig()
    prefect: PrefectConfig = PrefectConfig()

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        try:
            self.forecast_settings()
        except ValidationError as error:
            reasons = (problem["ctx"]["error"] for problem in error.errors())
            raise ValueError("; ".join(map(str, reasons))) from None
        return self

    def forecast_settings(self) -> ForecastSettings:
        """The part that decides a forecast's bytes."""
        return ForecastSettings(
            targets=self.targets,
            model=self.model,
            training=self.training,
            evaluation=self.evaluation,
        )

    @property
    def config_hash(self) -> str:
        """The id of all that decides what is forecast, from which source, and how.

        Where the store is, what is published, when it runs, and on how many processes: these
        change no forecast and are left out.
        """
        decisive = self.model_dump(
            mode="json",
            include={
                "universe",
                "source",
                "calendar",
                "targets",
                "model",
                "training",
                "evaluation",
            },
        )
        decisive["universe"]["instruments"] = sorted(decisive["universe"]["instruments"])
        # Who belongs is data, like bars: what decides is whether it is asked, not the file's place.
        decisive["universe"]["membership"] = self.universe.membership is not None
        del decisive["training"]["processes"]
        for field in OPERATIONAL:
            del decisive["source"][field]
        return content_id("config", decisive)


def load(path: Path | str | None = None) -> FleetcastConfig:
    """The configuration in `path`; without one in ./fleetcast.toml; without that the defaults.

    Raises:
        ConfigError: the file can't be read, is not TOML, or holds something that is not allowed.
    """
    file = DEFAULT_FILE if path is None else Path(path)
    if path is None and not file.exists():
        return FleetcastConfig()
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"There is no file {file}. `fleetcast init` writes one to start from."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} can't be read: {error}") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    return check(values, str(file))


def check(values: object, source: str) -> FleetcastConfig:
    """The configuration that `values`, read from `source`, hold.

    Raises:
        ConfigError: one of them is not allowed.
    """
    try:
        # As JSON: strict about types ("5" is no number), while a list may still be a tuple.
        config = FleetcastConfig.model_validate_json(json.dumps(values, default=str), strict=True)
        check_source_name(config.source.name)
    except ValidationError as error:
        raise explain(error, FleetcastConfig, source) from None
    except SourceError as error:
        raise ConfigError(f"{source}: source.name: {error}") from None
    return config


def with_store(config: FleetcastConfig, url: str | None) -> FleetcastConfig:
    """`config` with the store at `url`, where one is given.

    Raises:
        ConfigError: `url` is not allowed.
    """
    if url is None:
        return config
    try:
        return config.model_copy(update={"store": StoreConfig(url=url)})
    except ValidationError as error:
        raise explain(error, StoreConfig, "--store") from None


def _without_credentials(url: str, instead: str) -> str:
    if has_credentials(url):
        raise ValueError(f"holds a password or key; put it into the environment ({instead})")
    return url
