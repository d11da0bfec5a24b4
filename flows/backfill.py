"""A backfill as a Prefect flow: past sessions through the same path as a night, oldest first.

Owns what runs at the same time: trainings before all else, forecasts ahead of the session that is
scored. Never touches a table.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from typing import Any

from prefect import flow, get_run_logger, runtime
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows import artifacts, backfill_steps, nightly, remote_training, steps, workers
from flows.backfill_steps import Asked, Plan
from flows.backfilled import Backfill, PastNight, Spent
from flows.compute import refuse_unshared
from flows.config import FleetcastConfig, load
from flows.night import Clock, Missing, listed, plural
from flows.progress import display, from_children
from flows.redaction import masking
from flows.secrets import refuse_missing
from tasks.backfill_plan import Key, Which, waves
from tasks.gate import Decision
from tasks.runs import PinnedRun
from tasks.shards import ShardRequest
from tasks.store import Store
from tasks.track_record import TrackRecord
from tasks.train import Model

_train = nightly.train_shard.with_options(
    task_run_name="train-{request.shard.name}-{request.session}"
)
_gate = nightly.decide.with_options(task_run_name="gate-{request.session}")
_forecast = nightly.forecast_shard.with_options(
    task_run_name="forecast-{request.shard.name}-{request.session}"
)
_score = nightly.score.with_options(task_run_name="score-{request.session}")


def _run_name() -> str:
    asked = runtime.flow_run.parameters
    return f"backfill-{asked['start']}-{asked['end']}"


@flow(
    name="backfill",
    flow_run_name=_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=nightly.SHARDS_AT_ONCE),  # type: ignore[arg-type]
)
@masking
def backfill(
    start: date,
    end: date,
    every: int = 1,
    instruments: list[str] | None = None,
    *,
    which: Which = "only-missing",
    config: FleetcastConfig | None = None,
) -> Backfill:
    """Forecast past sessions as the live schedule would have, each with what was known then.

    What is there already is not written again, so the same backfill goes on where one was stopped.

    Args:
        start: The first date.
        end: The last date; later than the last session published, up to that one.
        every: Of so many sessions one: 1 is every session, 5 about one a week.
        instruments: Only these, as a universe of their own; without any, the whole universe.
        which: only-missing: sessions that no run has finished. failed: those whose run failed, or
            lacks something. all: every one again.
        config: What to do, and where; without it the worker's fleetcast.toml holds, and without
            that every default.
    """
    config = config or load()
    refuse_unshared(config)
    remote_training.refuse_unknown(config)
    if not instruments:  # a part of the universe is not published
        refuse_missing(config.publish)
    whole, config = config, backfill_steps.narrowed(config, instruments or ())
    clock = Clock(get_run_logger().info)
    with workers.running(config.training.processes, from_children(display())), _ending_with_it():
        with clock.part("ingest", "Ingest") as notes:
            ingested = nightly.ingest_bars(config)
            notes.append(str(ingested.counts))
        with clock.part("plan", "Plan") as notes:
            plan = backfill_steps.plan(
                config,
                ingested.instruments,
                start,
                end,
                every=every,
                which=which,
                now=backfill_steps.clock(),
            )
            notes.append(_told(plan))
        walk = _Walk(config, plan, config == whole, list(ingested.problems))
        with clock.part("train", "Train") as notes:
            walk.train()
            fitted = plural(walk.trained, "model")
            notes.append(f"{fitted} trained in {plural(len(walk.models), 'training')}")
        with clock.part("sessions", "Sessions") as notes:
            walk.forecast_all(ahead=2 * workers.current().processes)
            notes.append(walk.told())
        published, page = _publish(walk, clock)
        with clock.part("record", "Track record"):
            record = _record(walk)
    return Backfill(
        start=start,
        end=end,
        every=every,
        which=which,
        config_hash=config.config_hash,
        asked=len(plan.sessions),
        left=len(plan.sessions) - len(walk.nights),
        nights=tuple(sorted(walk.nights, key=lambda night: night.session)),
        counts=ingested.counts,
        trainings=len(walk.models),
        trained=walk.trained,
        problems=tuple(walk.problems),
        published=published,
        report=page,
        record=record,
        parts=walk.spent.within(clock.parts, "sessions"),
        work=walk.work.parts(),
    )


@dataclass
class _Begun:
    """A session whose shards are being forecast."""

    asked: Asked
    futures: list[tuple[ShardRequest, PrefectFuture[Any]]]
    broken: list[str]


@dataclass
class _Walk:
    """The way through the sessions: what is known of trainings, and what each session came to.

    The store is opened once: that takes longer than closing a run does.
    """

    config: FleetcastConfig
    plan: Plan
    whole: bool
    problems: list[str]
    spent: Spent = field(default_factory=Spent)
    work: Spent = field(default_factory=Spent)
    models: dict[Key, tuple[Model, ...] | str] = field(default_factory=dict)
    decided: dict[tuple[Model, ...], tuple[Decision, ...]] = field(default_factory=dict)
    nights: list[PastNight] = field(default_factory=list)
    finished: list[PinnedRun] = field(default_factory=list)
    trained: int = 0
    told_at: float = field(default_factory=time.perf_counter)

    @cached_property
    def store(self) -> Store:
        return Store.open(self.config.store.url)

    def train(self) -> None:
        """Has every distinct training done, as many at once as there are workers."""
        needed = [one for asked in self.plan.asked for one in asked.requests]
        groups = waves(needed, self.config.training)
        display().expect("train", sum(map(len, groups)))
        for group in groups:
            begun = [(one, self._submit(one.request)) for one in group]
            for one, future in begun:
                result = nightly.outcome(future)
                name = one.request.shard.name
                if isinstance(result, BaseException):
                    reason = steps.failed(f"training of {name} failed", result)
                    self.models[one.key] = f"{reason} ({listed(one.request.shard.instruments)})"
                else:
                    self.models[one.key] = result.models
                    self.trained += result.trained
                    self.work.add("train", result.seconds)

    def _submit(self, request: ShardRequest) -> PrefectFuture[Any]:
        return _train.submit(self.config, request, f"{request.shard.name} {request.session}")

    def forecast_all(self, ahead: int) -> None:
        """Gates, forecasts and scores session after session.

        Forecasts of up to `ahead` sessions are being made while the oldest of them is waited for:
        none depends on another. Scores are written in the order of the sessions, as they would have
        been night by night.
        """
        for session, reason in self.plan.failed:
            self.nights.append(PastNight(session, None, "failed", problem=reason))
        self.told_at = time.perf_counter()
        waiting: deque[_Begun] = deque()
        for asked in self.plan.asked:
            try:
                waiting.append(self._begin(asked))
            except Exception as error:  # noqa: BLE001 - one session never stops the others
                self._fail(asked, error)
            while len(waiting) >= ahead:
                self._settle(waiting.popleft())
        while waiting:
            self._settle(waiting.popleft())

    def told(self) -> str:
        """What the sessions came to, in a few words."""
        failed = sum(night.status == "failed" for night in self.nights)
        written = sum(night.written for night in self.nights)
        told = f"{plural(len(self.nights) - failed, 'session')} done, {written:,} new forecasts"
        return f"{told}, {plural(failed, 'session')} failed" if failed else told

    def _begin(self, asked: Asked) -> _Begun:
        broken: list[str] = []
        models: dict[str, tuple[Model, ...]] = {}
        for key, request in asked.requests:
            found = self.models[key]
            if isinstance(found, str):
                broken.append(found)
                found = steps.without_models(request, found)
            models[request.shard.name] = found
        first = asked.requests[0][1]
        everybody = tuple(one for own in models.values() for one in own)
        if everybody not in self.decided:  # the gate looks at the models' tests, at nothing newer
            with self.spent.on("gate"):
                self.decided[everybody] = _gate(first, everybody)
        decisions = self.decided[everybody]
        futures = [
            (request, _forecast.submit(request, models[request.shard.name], decisions))
            for _, request in asked.requests
        ]
        return _Begun(asked, futures, broken)

    def _settle(self, begun: _Begun) -> None:
        """Waits for a session's forecasts, scores what has matured by then, and closes its run."""
        run, broken = begun.asked.run, begun.broken
        forecasts = written = matured = 0
        missing: list[Missing] = []
        with self.spent.on("forecast"):
            results = [(request, nightly.outcome(future)) for request, future in begun.futures]
        for request, result in results:
            if isinstance(result, BaseException):
                broken.append(steps.failed(f"forecasting {request.shard.name} failed", result))
                missing += steps.not_forecast(request, broken[-1])
            else:
                forecasts += len(result.forecast_ids)
                written += result.written
                missing += nightly.missing_of(result)
                self.work.add("forecast", result.seconds)
        try:
            with self.spent.on("score"):
                matured = _score(begun.futures[0][0]).forecasts
        except Exception as error:  # noqa: BLE001 - the next session scores it
            broken.append(steps.failed("scoring what matured failed", error))
        problem = "; ".join(broken) or None
        try:
            if self.whole and self.config.publish.outside:
                with self.spent.on("sinks"):
                    self._deliver(run)
            with self.spent.on("close"):
                steps.close_run(self.config, run, store=self.store, remark=problem)
        except Exception as error:  # noqa: BLE001 - one session never stops the others
            self._fail(begun.asked, error)
            return
        self.finished.append(run)
        self._tell(
            PastNight(
                run.session,
                run.run_id,
                "finished",
                forecasts,
                written,
                matured,
                tuple(missing),
                problem,
            )
        )

    def _deliver(self, run: PinnedRun) -> None:
        """Gives the sinks a session before its run is closed: what is finished is due to them."""
        told = nightly.outside(nightly.publish_outside.submit(self.config, run), [])
        self.problems += [problem for problem in told if problem not in self.problems]

    def _fail(self, asked: Asked, error: Exception) -> None:
        reason = steps.failed("broken off", error)
        with suppress(Exception):  # the store itself may be why
            steps.close_run(self.config, asked.run, failure=reason)
        self._tell(PastNight(asked.run.session, asked.run.run_id, "failed", problem=reason))

    def _tell(self, night: PastNight) -> None:
        now = time.perf_counter()
        self.nights.append(replace(night, seconds=now - self.told_at))
        self.told_at = now
        whole = len(self.plan.asked) + len(self.plan.failed)
        display().advance("sessions", len(self.nights), whole, str(night.session))


def _publish(walk: _Walk, clock: Clock) -> tuple[tuple[str, ...], str | None]:
    """Publishes the newest session, and writes the newest run's page with the new live scores.

    A part of the universe is not published: what people read is about all of it.
    """
    config = walk.config
    published: tuple[str, ...] = ()
    page = None
    run = backfill_steps.newest_of(*walk.finished, walk.plan.done)
    if not walk.whole or run is None:
        return published, page
    try:
        if config.publish.latest:
            with clock.part("publish", "Publish") as notes:
                published = nightly.publish(config, run)
                told = listed([path.rpartition("/")[2] for path in published])
                notes.append(told or "nothing newer")
        with clock.part("report", "Report"):
            newest = backfill_steps.newest_of(run, backfill_steps.newest_run(config))
            page = None if newest is None else nightly.report(config, newest)
    except Exception as error:  # noqa: BLE001 - the forecasts are in the store
        walk.problems.append(steps.failed("publishing failed", error))
    return published, page


def _record(walk: _Walk) -> TrackRecord | None:
    try:
        found = backfill_steps.record(walk.config, walk.plan.sessions)
        artifacts.track_record(found)
    except Exception as error:  # noqa: BLE001 - the forecasts are in the store
        walk.problems.append(steps.failed("the track record could not be read", error))
        return None
    return found


def _told(plan: Plan) -> str:
    left = len(plan.sessions) - len(plan.asked) - len(plan.failed)
    told = f"{plural(len(plan.asked), 'session')} to do"
    return f"{told}, {left} done before" if left else told


@contextmanager
def _ending_with_it() -> Iterator[None]:
    """Ends the workers where a person interrupts: nobody waits for work that goes on later."""
    try:
        yield
    except KeyboardInterrupt:
        workers.current().close()
        raise
