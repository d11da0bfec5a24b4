"""The nightly run as a Prefect flow: one thin task per step and shard, over one knowledge time.

Owns the order of steps and what people see of them in Prefect. Never touches a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from prefect import flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.futures import PrefectFuture
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import artifacts, monitoring, remote_training, steps, workers
from flows.compute import refuse_unshared
from flows.config import FleetcastConfig, load
from flows.night import Clock, Missing, Night, listed, plural
from flows.progress import display, from_children
from flows.redaction import masking
from flows.secrets import refuse_missing
from tasks.forecast import ForecastResult
from tasks.gate import Decision
from tasks.matured import Matured
from tasks.runs import PinnedRun
from tasks.shards import ShardRequest
from tasks.sinks.outside import SinkOutcome
from tasks.train import Model, TrainResult

SHARDS_AT_ONCE = 8
"""Shards whose tasks run at once in a deployment; processes bound the work itself."""


@task(name="ingest", task_run_name="ingest", cache_policy=NO_CACHE)
@masking
def ingest_bars(config: FleetcastConfig) -> steps.Ingested:
    """New and changed bars and actions into the store, bad rows into quarantine."""
    ingested = steps.ingest_bars(config)
    artifacts.health(ingested)
    return ingested


@task(name="pin", task_run_name="pin", cache_policy=NO_CACHE)
@masking
def pin_run(
    config: FleetcastConfig,
    instruments: tuple[str, ...],
    day: date | None,
    scheduled: datetime,
    *,
    missed: bool = False,
) -> PinnedRun:
    """Fix the session, the knowledge time and the shards."""
    return steps.pin_run(config, instruments, day, scheduled, missed=missed)


@task(name="score", task_run_name="score", cache_policy=NO_CACHE)
@masking
def score(request: ShardRequest) -> Matured:
    """Score the forecasts that have matured."""
    return steps.score(request)


@task(name="train", task_run_name="train-{request.shard.name}", cache_policy=NO_CACHE)
@masking
def train_shard(
    config: FleetcastConfig, request: ShardRequest, piece: str | None = None
) -> TrainResult:
    """Train what is due in one shard: here, or wherever `compute.train` says.

    With a `piece`, its progress is shown as that of this piece of the training.
    """
    if config.compute.deployment is not None:
        return remote_training.train(config, request)
    return steps.train(request, piece)


@task(name="gate", task_run_name="gate", cache_policy=NO_CACHE)
@masking
def decide(request: ShardRequest, models: tuple[Model, ...]) -> tuple[Decision, ...]:
    """Decide per instrument and target what is published."""
    return steps.decide(request, models)


@task(name="forecast", task_run_name="forecast-{request.shard.name}", cache_policy=NO_CACHE)
@masking
def forecast_shard(
    request: ShardRequest, models: tuple[Model, ...], decisions: tuple[Decision, ...]
) -> ForecastResult:
    """Forecast one shard."""
    return steps.forecast(request, models, decisions)


@task(name="publish", task_run_name="publish", cache_policy=NO_CACHE)
@masking
def publish(config: FleetcastConfig, run: PinnedRun) -> tuple[str, ...]:
    """Replace the latest files."""
    return steps.publish(config, run)


@task(name="publish-outside", task_run_name="publish-outside", cache_policy=NO_CACHE)
@masking
def publish_outside(config: FleetcastConfig, run: PinnedRun) -> tuple[SinkOutcome, ...]:
    """Deliver the forecasts to every sink, and what it missed on earlier nights."""
    return steps.publish_outside(config, run)


@task(name="report", task_run_name="report", cache_policy=NO_CACHE)
@masking
def report(config: FleetcastConfig, run: PinnedRun) -> str | None:
    """Write the report, and show scores and forecasts in Prefect."""
    view = steps.view(config, run)
    artifacts.scores_and_forecasts(view)
    if not config.publish.report:
        return None
    page = steps.write_report(config, view)
    artifacts.report_link(config, run, page)
    return page


def _run_name() -> str:
    """The date asked for; else that of the scheduled start, until the session is known."""
    day = runtime.flow_run.parameters.get("as_of") or _scheduled().date()
    return f"nightly-{day}"


@flow(
    name="nightly",
    flow_run_name=_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=SHARDS_AT_ONCE),  # type: ignore[arg-type]
)
@masking
def nightly(
    as_of: date | None = None, config: FleetcastConfig | None = None, *, catch_up: bool = False
) -> Night:
    """Ingest, score what matured, train where due, decide, forecast, publish: one night.

    Args:
        as_of: The date whose last session is forecast from, as it was known then; without it the
            last session published before the scheduled start.
        config: What to do, and where; without it the worker's fleetcast.toml holds, and without
            that every default.
        catch_up: What a schedule wants: first the sessions that earlier nights missed, and nothing
            where no session is new.
    """
    config = config or load()
    refuse_unshared(config)
    remote_training.refuse_unknown(config)
    refuse_missing(config.publish)
    log = get_run_logger()
    missed: tuple[date, ...] = ()
    problems: list[str] = []
    if catch_up and as_of is None and (plan := steps.agenda(config, _scheduled())) is not None:
        if not plan.news:
            _rename(f"nightly-{plan.session}-again")
            told = f"No session is newer than {plan.session}, which is done."
            return Completed(message=told)  # type: ignore[return-value] # Prefect takes a state
        missed = plan.missed
        problems += steps.left_out(plan)
    with workers.running(config.training.processes, from_children(display())):
        clock = Clock(log.info)
        with clock.part("ingest", "Ingest") as notes:
            ingested = ingest_bars(config)
            notes.append(str(ingested.counts))
        for day in missed:
            try:
                late = _one(config, ingested, day, Clock(log.info), missed=True)
                own = (one for one in late.problems if one not in ingested.problems)
                problems += [f"session {day}: {one}" for one in own]
            except Exception as error:  # noqa: BLE001 - tonight does not wait for another session
                problems.append(steps.failed(f"session {day} could not be caught up", error))
                log.warning(problems[-1])
        night = _one(config, ingested, as_of, clock)
    night = replace(night, problems=(*problems, *night.problems))
    if not night.problems:
        return night
    told = "; ".join(night.problems)
    return Completed(message=told, data=night)  # type: ignore[return-value] # as above


def _one(
    config: FleetcastConfig,
    ingested: steps.Ingested,
    day: date | None,
    clock: Clock,
    *,
    missed: bool = False,
) -> Night:
    """One session's night after the ingest, as a pinned run of its own."""
    with clock.part("pin", "Pin the run") as notes:
        run = pin_run(config, ingested.instruments, day, _scheduled(), missed=missed)
        if not missed:
            _rename(f"nightly-{run.session}")
        count = sum(len(names) for names in run.shards.values())
        notes.append(f"session {run.session}, {plural(count, 'instrument')}")
    try:
        return _night(config, run, ingested, clock)
    except BaseException as error:
        steps.close_run(config, run, failure=steps.failed("broken off", error))
        monitoring.tell(config, run, finished=False)
        raise


def _night(
    config: FleetcastConfig, run: PinnedRun, ingested: steps.Ingested, clock: Clock
) -> Night:
    """Everything after the pin."""
    repeated = steps.complete(config, run)
    trained: Sequence[TrainResult] = ()
    done: Sequence[ForecastResult] = ()
    missing: list[Missing] = []
    problems = list(ingested.problems)
    broken: list[str] = []
    matured = 0
    if not repeated:
        requests = steps.requests_of(config, run)
        with clock.part("score", "Score what matured") as notes:
            scored = outcome(score.submit(requests[0]))
            if isinstance(scored, BaseException):
                broken.append(steps.failed("scoring what matured failed", scored))
            else:
                matured = scored.forecasts
                notes.append(f"{plural(matured, 'forecast')} matured")
                if scored.waiting:
                    notes.append(f"{scored.waiting:,} still without a bar")
        with clock.part("train", "Train") as notes:
            models, trained, failures = _train(config, requests)
            broken += failures
            fitted = plural(sum(result.trained for result in trained), "model")
            seconds = sum(result.seconds for result in trained)
            notes.append(f"{fitted} trained, {seconds:.0f} s of work once TensorFlow was loaded")
        with clock.part("gate", "Gate") as notes:
            decisions = decide(requests[0], tuple(m for own in models.values() for m in own))
            learned = sum(decision.method != decision.baseline for decision in decisions)
            notes.append(f"{learned} of {len(decisions)} earned against their baseline")
        with clock.part("forecast", "Forecast") as notes:
            done, missing, failures = _forecast(requests, models, decisions)
            broken += failures
            problems += steps.all_stale(config, run, missing)
            notes.append(f"{sum(len(r.forecast_ids) for r in done):,} forecasts")
    published: tuple[str, ...] = ()
    if config.publish.latest:
        with clock.part("publish", "Publish") as notes:
            published = publish(config, run)
            notes.append(listed([path.rpartition("/")[2] for path in published]) or "nothing newer")
    with clock.part("report", "Report"):
        page = outcome(report.submit(config, run))
        if isinstance(page, BaseException):  # the forecasts are out, and go on to the sinks
            broken.append(steps.failed("writing the report failed", page))
            page = None
    if config.publish.outside:
        with clock.part("sinks", "Publish outside") as notes:
            problems += outside(publish_outside.submit(config, run), notes)
    steps.close_run(config, run, remark="; ".join(broken) or None)
    problems += monitoring.tell(config, run)
    return Night(
        run_id=run.run_id,
        session=run.session,
        as_of=run.as_of,
        origin=run.origin,
        repeated=repeated,
        counts=ingested.counts,
        instruments=tuple(sorted(name for names in run.shards.values() for name in names)),
        matured=matured,
        trained=sum(result.trained for result in trained),
        forecasts=steps.forecast_count(config, run),
        written=sum(result.written for result in done),
        stale=steps.stale(config, run)
        if repeated
        else tuple(sorted({name for result in done for name in result.stale})),
        missing=tuple(missing),
        problems=(*broken, *problems),
        published=published,
        report=page,
        parts=tuple(clock.parts),
    )


def _train(
    config: FleetcastConfig,
    requests: Sequence[ShardRequest],
) -> tuple[dict[str, tuple[Model, ...]], list[TrainResult], list[str]]:
    """The models of every shard; where training failed, stand-ins that say so."""
    display().expect("train", len(requests))
    futures = {request.shard.name: train_shard.submit(config, request) for request in requests}
    models: dict[str, tuple[Model, ...]] = {}
    results: list[TrainResult] = []
    failures: list[str] = []
    for request in requests:
        name = request.shard.name
        result = outcome(futures[name])
        if isinstance(result, BaseException):
            reason = steps.failed(f"training of {name} failed", result)
            failures.append(f"{reason} ({listed(request.shard.instruments)})")
            models[name] = steps.without_models(request, reason)
        else:
            models[name] = result.models
            results.append(result)
    return models, results, failures


def _forecast(
    requests: Sequence[ShardRequest],
    models: dict[str, tuple[Model, ...]],
    decisions: tuple[Decision, ...],
) -> tuple[list[ForecastResult], list[Missing], list[str]]:
    """What every shard came to, what is missing, and which shards failed."""
    display().expect("forecast", len(requests))
    futures = {
        request.shard.name: forecast_shard.submit(request, models[request.shard.name], decisions)
        for request in requests
    }
    results: list[ForecastResult] = []
    missing: list[Missing] = []
    failures: list[str] = []
    for request in requests:
        name = request.shard.name
        result = outcome(futures[name])
        if isinstance(result, BaseException):
            reason = steps.failed(f"forecasting {name} failed", result)
            failures.append(reason)
            missing += steps.not_forecast(request, reason)
        else:
            results.append(result)
            missing += missing_of(result)
    return results, missing, failures


def missing_of(result: ForecastResult) -> tuple[Missing, ...]:
    """What a shard could not forecast, and why."""
    return tuple(Missing(m.instrument, m.target, m.reason, m.kind) for m in result.not_forecast)


def outside(future: PrefectFuture[Any], notes: list[str]) -> tuple[str, ...]:
    """What went wrong outside: what it was is written down, and the next run catches it up."""
    outcomes = outcome(future)
    if isinstance(outcomes, BaseException):
        return (steps.failed("publishing outside failed", outcomes),)
    notes += [
        f"{one.sink}: {plural(len(one.delivered), 'night')} delivered"
        + (f", {len(one.waiting)} waiting" if one.waiting else "")
        for one in outcomes
    ]
    return steps.sink_problems(outcomes)


def outcome(future: PrefectFuture[Any]) -> Any:  # noqa: ANN401 - the task's result or its exception
    """What a task returned or raised: a shard that fails does not stop the night."""
    return future.result(raise_on_failure=False)


def _scheduled() -> datetime:
    """When the run was due: set once, so that a restart keeps its session."""
    return runtime.flow_run.scheduled_start_time or datetime.now(UTC)


def _rename(name: str) -> None:
    """Names the run after its session, which is known only now."""
    run_id = runtime.flow_run.id
    if run_id is not None and runtime.flow_run.name != name:
        with get_client(sync_client=True) as client:
            client.update_flow_run(run_id, name=name)
