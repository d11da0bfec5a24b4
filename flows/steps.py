"""The steps of a night as plain functions: each loads, calls and stores; what they return is small.

Owns the wiring of configuration to `tasks`. Never touches Prefect: `flows.nightly` wraps these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from flows import universe, workers
from flows.config import FleetcastConfig
from flows.failures import describe
from flows.night import Counts, Missing
from flows.progress import display
from flows.redaction import without_secrets
from flows.secrets import key_of, no_key_needed, of_blocks
from tasks import runs
from tasks.decisions import decide_and_score
from tasks.forecast import ForecastResult, forecast_shard
from tasks.gate import Decision
from tasks.ingest import IngestReport, ingest
from tasks.last_good import last_good_models, stand_in
from tasks.live_schedule import Agenda
from tasks.live_schedule import agenda as plan_sessions
from tasks.market import market_sample
from tasks.matured import Matured, score_matured
from tasks.old_bars import old_bars
from tasks.run_forecasts import forecasts_of, lacking
from tasks.runs import PinnedRun
from tasks.sessions import Calendars
from tasks.shards import Shard, ShardRequest, plan_shards
from tasks.sources import SourceError, open_source
from tasks.store import Store, StoreError
from tasks.train import Model, TrainResult, train_shard, trained_shard

if TYPE_CHECKING:
    from tasks.report.run_view import RunView
    from tasks.sinks.outside import SinkOutcome


@dataclass(frozen=True)
class Ingested:
    """What an ingest came to: the instruments of the night, and the report; None: no data came."""

    instruments: tuple[str, ...]
    report: IngestReport | None
    problems: tuple[str, ...] = ()

    @property
    def counts(self) -> Counts:
        """Rows over all instruments."""
        if self.report is None:
            return Counts()
        return Counts(**{one.name: getattr(self.report, one.name) for one in fields(Counts)})


def ingest_bars(
    config: FleetcastConfig, *, only: Sequence[str] = (), full: bool = False
) -> Ingested:
    """Brings the store up to date with the source.

    A source that gives nothing does not stop the night while the store holds earlier bars.

    Args:
        config: what to do, and where.
        only: of these instruments; none: of the universe.
        full: ask for everything again, whatever is stored.

    Raises:
        SourceError: the source gives nothing, and neither does the store.
        StoreError: the store can't be read or written.
    """
    store = Store.open(config.store.url)
    try:
        with key_of(config.source):
            source = open_source(config.source)
            instruments, notes = universe.asked(config, store, source, datetime.now(UTC))
            report = ingest(
                store,
                source,
                instruments=only or instruments,
                calendars=Calendars.load(config.calendar),
                now=datetime.now(UTC),
                validation=config.validation,
                start=config.source.start,
                overlap_sessions=config.source.overlap_sessions,
                full=full,
                progress=partial(display().advance, "ingest"),
                redact=without_secrets,
            )
    except SourceError as error:
        known = _known(store, config)
        if not known:
            raise
        why = without_secrets(str(error))
        return Ingested(known, None, (f"the source gave nothing, earlier bars are used: {why}",))
    return Ingested(tuple(sorted(only or instruments)), report, (*notes, *_problems(report)))


def _known(store: Store, config: FleetcastConfig) -> tuple[str, ...]:
    """The instruments of the night that the store has bars of; all of them, if any."""
    bars = store.read("bars", columns=["instrument", "source"])
    of_source = bars.filter(pc.equal(bars["source"], config.source.name))
    known = set(pc.unique(of_source["instrument"]).to_pylist())
    return universe.known(config, store, known)


def agenda(config: FleetcastConfig, scheduled: datetime) -> Agenda | None:
    """What there is to do at a scheduled start, see `tasks.live_schedule`.

    None: an archive, which has no schedule of its own: whatever it holds is looked at every time.

    Raises:
        StoreError: the store can't be read or written.
    """
    with no_key_needed(config.source):
        source = open_source(config.source)
    if source.archive:
        return None
    return plan_sessions(
        runs.runs_of(Store.open(config.store.url), config.config_hash),
        calendar=Calendars.load(config.calendar).default,
        lag=source.lag,
        scheduled=scheduled,
        catch_up=config.schedule.catch_up,
    )


def left_out(plan: Agenda) -> tuple[str, ...]:
    """What a person should know of sessions that nobody is going to catch up."""
    if not plan.left_out:
        return ()
    return (
        f"{plan.left_out} earlier sessions were missed too, more than schedule.catch_up allows; "
        "`fleetcast backfill` does them",
    )


def pin_run(
    config: FleetcastConfig,
    instruments: Sequence[str],
    day: date | None,
    scheduled: datetime,
    *,
    missed: bool = False,
) -> PinnedRun:
    """Fixes what the night is about, and its shards: those of `instruments` that belong then.

    With `missed`, `day` is a session that the schedule missed: it is forecast from by what is known
    now, since its bars came too late to be known on its own night.

    Raises:
        RunError: the store holds no bar, nobody belongs, or `day` can't be forecast.
        StoreError: the store can't be read or written.
    """
    store = Store.open(config.store.url)
    with no_key_needed(config.source):
        source = open_source(config.source)
    moment = runs.resolve(
        calendar=Calendars.load(config.calendar).default,
        lag=source.lag,
        bars=runs.known_sessions(store, instruments),
        archive=source.archive,
        day=day,
        scheduled=scheduled,
    )
    if missed:
        moment = replace(moment, as_of=None)
    members = universe.forecast(config, store, instruments, moment.session, moment.as_of)
    shards = plan_shards(members, config.training.shard_size)
    return runs.pin(
        store,
        moment,
        config_hash=config.config_hash,
        shards={shard.name: shard.instruments for shard in shards},
        now=datetime.now(UTC),
    )


def requests_of(config: FleetcastConfig, run: PinnedRun) -> tuple[ShardRequest, ...]:
    """What the workers are asked, a request per shard of the pinned plan."""
    store = Store.open(config.store.url)
    market = market_sample(universe.past(config, store, run), Calendars.load(config.calendar))
    return shard_requests(config, run, store.url, market)


def shard_requests(
    config: FleetcastConfig, run: PinnedRun, store_url: str, market: tuple[str, ...]
) -> tuple[ShardRequest, ...]:
    """As `requests_of`, where it is known who stands for the market."""
    return tuple(
        ShardRequest(
            store_url=store_url,
            shard=Shard(name, instruments),
            session=run.session,
            as_of=run.as_of,
            lag=config.source.lag,
            calendars=config.calendar,
            settings=config.forecast_settings(),
            config_hash=run.config_hash,
            run_id=run.run_id,
            origin=run.origin,
            versions=tuple(sorted(run.table_versions.items())),
            market=market,
        )
        for name, instruments in sorted(run.shards.items())
    )


def complete(config: FleetcastConfig, run: PinnedRun) -> bool:
    """Whether the run had been finished, and its forecasts are all in the store."""
    if not run.reused or run.status != "finished" or run.message is not None:
        return False
    forecasts = config.forecast_settings().forecasts
    return not lacking(Store.open(config.store.url), run, forecasts)


def score(request: ShardRequest) -> Matured:
    """Scores the forecasts, of whichever night, that the world has answered since."""
    return score_matured(request)


def train(request: ShardRequest, piece: str | None = None) -> TrainResult:
    """Trains the shard's models that are due, in a child process.

    Args:
        request: what is asked of it.
        piece: what its progress is shown as, where a shard is trained more than once.
    """
    return workers.current().run(f"train {piece or request.shard.name}", train_shard, request)


def trained(request: ShardRequest) -> TrainResult:
    """What training came to of a shard that was trained elsewhere, read in a child process."""
    return workers.current().run(f"models of {request.shard.name}", trained_shard, request)


def decide(request: ShardRequest, models: Sequence[Model]) -> tuple[Decision, ...]:
    """Lets the gate decide over the models of all shards, and scores what it would have chosen."""
    return decide_and_score(Store.open(request.store_url), models, request)


def forecast(
    request: ShardRequest, models: Sequence[Model], decisions: Sequence[Decision]
) -> ForecastResult:
    """Forecasts a shard, in a child process."""
    names = set(request.shard.instruments)
    own = tuple(decision for decision in decisions if decision.instrument in names)
    label = f"forecast {request.shard.name}"
    return workers.current().run(label, forecast_shard, request, tuple(models), own)


def without_models(request: ShardRequest, reason: str) -> tuple[Model, ...]:
    """What forecasts a shard whose training failed: its last good models, else baselines."""
    try:
        return last_good_models(request, reason)
    except StoreError:  # which may be why training failed
        return tuple(
            stand_in(request, name, kind, target, reason)
            for name in request.shard.instruments
            for kind, target in request.settings.forecasts
        )


def not_forecast(request: ShardRequest, reason: str) -> tuple[Missing, ...]:
    """What is missing where forecasting a whole shard failed."""
    return tuple(
        Missing(name, target, reason, kind)
        for name in request.shard.instruments
        for kind, target in request.settings.forecasts
    )


def stale(config: FleetcastConfig, run: PinnedRun) -> tuple[str, ...]:
    """The instruments of a night that had been finished before whose bars were old for it."""
    store, calendars = Store.open(config.store.url), Calendars.load(config.calendar)
    return tuple(one.instrument for one in old_bars(store, run, calendars, config.source.lag))


def all_stale(
    config: FleetcastConfig, run: PinnedRun, missing: Sequence[Missing]
) -> tuple[str, ...]:
    """What to do where a live run found nothing but old bars: they may be an archive."""
    pairs = len(config.forecast_settings().forecasts) * sum(
        len(names) for names in run.shards.values()
    )
    stale = sum(one.reason.startswith("stale") for one in missing)
    if run.origin == "backfill" or stale < pairs:
        return ()
    return (
        f"every instrument's newest bar is old for session {run.session}. If the data is history "
        "that does not grow, set archive = true under [source]; or name a date with --as-of",
    )


def publish(config: FleetcastConfig, run: PinnedRun) -> tuple[str, ...]:
    """Replaces the latest files with the night's forecasts, unless newer ones are there."""
    from tasks.publish import publish_latest

    store = Store.open(config.store.url)
    return publish_latest(store, forecasts_of(store, run))


def publish_outside(config: FleetcastConfig, run: PinnedRun) -> tuple[SinkOutcome, ...]:
    """Gives every sink outside the store the night's forecasts, and what it missed before."""
    from tasks.sinks.configured import open_sinks
    from tasks.sinks.outside import publish_outside

    sinks = open_sinks(config.publish.sql, config.publish.folder, config.publish.webhook)
    with of_blocks(config.publish):
        told = publish_outside(Store.open(config.store.url), run, sinks, datetime.now(UTC))
    return tuple(replace(one, problem=one.problem and without_secrets(one.problem)) for one in told)


def sink_problems(outcomes: Sequence[SinkOutcome]) -> tuple[str, ...]:
    """What a person should know of them."""
    return tuple(one.problem for one in outcomes if one.problem is not None)


def forecast_count(config: FleetcastConfig, run: PinnedRun) -> int:
    """How many forecasts of the night the store has."""
    count: int = forecasts_of(Store.open(config.store.url), run).num_rows
    return count


def view(config: FleetcastConfig, run: PinnedRun) -> RunView:
    """All that people are shown of the night."""
    from tasks.report.run_view import view_run

    return view_run(Store.open(config.store.url), run.run_id)


def write_report(config: FleetcastConfig, seen: RunView) -> str:
    """Writes the report page, and says where it is."""
    from tasks.report import page

    return page.write_report(Store.open(config.store.url), seen)


def close_run(
    config: FleetcastConfig,
    run: PinnedRun,
    *,
    store: Store | None = None,
    failure: str | None = None,
    remark: str | None = None,
) -> None:
    """Writes down how the run ended, see `tasks.runs.close`; `store` is its own, if open."""
    store = store or Store.open(config.store.url)
    runs.close(store, run, now=datetime.now(UTC), failure=failure, remark=remark)


def failed(what: str, error: BaseException) -> str:
    """A failure in one line, free of secrets."""
    return f"{what}: {describe(error)}"


def _problems(report: IngestReport) -> tuple[str, ...]:
    found = [problem.message for problem in report.problems]
    for name, similar in sorted(report.unknown.items()):
        hint = f" It has: {', '.join(similar)}." if similar else ""
        found.append(f"the source {report.source} does not have {name}.{hint}")
    return tuple(without_secrets(message) for message in found)
