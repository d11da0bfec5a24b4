"""Training of shards by a deployment, on whichever machine its workers are: asked for, waited for.

Owns the asking: what is sent, how long it may take, what is tried again. Never trains.

What is sent names the pinned run, the shard and the configuration that decides a forecast; what
comes back is the state of a flow run. Everything else is in the store that both sides see.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelled, Cancelling, Pending
from tenacity import Retrying, retry_if_exception, stop_before_delay, wait_random_exponential

from flows import steps
from flows.config import FleetcastConfig
from flows.failures import Refused
from flows.redaction import without_secrets
from tasks.shards import ShardRequest
from tasks.train import TrainResult

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

ATTEMPTS = 2
"""A shard that fails is tried once more, alone; a failure that repeats is the shard's own."""

LONGEST_PAUSE = 30.0
"""Seconds, at most, between two tries to reach a server that is away."""

POLL_SECONDS = 3.0

_SENT = {"universe", "source", "calendar", "targets", "model", "training", "evaluation"}
"""What decides a forecast, and so the run's config hash: the rest is each machine's own."""


class RemoteTrainingError(Exception):
    """A deployment did not train a shard; the message says what became of it."""


def parameters(config: FleetcastConfig, request: ShardRequest) -> dict[str, Any]:
    """The parameters of a `train-shard` run: small, and without secrets, for none is configured.

    Of the configuration only what differs from the defaults, with the store's full address.
    """
    told = config.model_dump(mode="json", include=_SENT, exclude_defaults=True)
    return {
        "run_id": request.run_id,
        "shard": request.shard.name,
        "config": {**told, "store": {"url": request.store_url}},
    }


def refuse_unknown(config: FleetcastConfig) -> None:
    """Refuses a deployment that the Prefect server does not know, before any work.

    A server that does not answer now says nothing about that; the training asks it again.

    Raises:
        Refused: there is none of that name.
    """
    name = config.compute.deployment
    if name is None:
        return
    try:
        with get_client(sync_client=True) as client:
            client.read_deployment_by_name(name)
    except ObjectNotFound:
        raise Refused(
            f'compute.train = "{config.compute.train}", but this Prefect server has no deployment '
            f"{name}. Deploy it (prefect --no-prompt deploy --all --prefect-file "
            "deploy/prefect.yaml), set PREFECT_API_URL to the server that has it, or set "
            'compute.train = "local".'
        ) from None
    except httpx.HTTPError:
        return


def train(config: FleetcastConfig, request: ShardRequest) -> TrainResult:
    """Has the deployment train a shard, waits for it, and reads what came of it from the store.

    Raises:
        RemoteTrainingError: it failed twice, was cancelled, or took longer than it may.
        UntrainedError: it says that it is done, but this store does not hold the models.
        StoreError: the store can't be read.
    """
    name = str(config.compute.deployment)
    end = time.monotonic() + 60.0 * config.compute.wait_minutes
    sent = parameters(config, request)
    for attempt in range(1, ATTEMPTS + 1):
        done = _run(name, sent, attempt, end)
        state = done.state or Pending()
        if not state.is_final():
            _cancel(done)
            told = "was not started" if done.start_time is None else "was not done"
            raise RemoteTrainingError(
                f"{name} {told} within {config.compute.wait_minutes:g} minutes "
                "(compute.wait_minutes). Is a worker of its work pool up?"
            )
        if state.is_completed():
            seconds = done.total_run_time.total_seconds()
            return replace(steps.trained(request), seconds=seconds)
        if state.is_cancelled():
            break
    raise RemoteTrainingError(
        f"{name} ended as {state.name}, attempt {attempt} of {ATTEMPTS}: "
        f"{without_secrets(state.message or 'no reason was given')}"
    )


def _run(name: str, sent: dict[str, Any], attempt: int, end: float) -> FlowRun:
    """The flow run that trains, once it has ended or the time is over.

    Its key makes asking again harmless: a night that was killed and started again finds the run
    that it had asked for. Another night, and another attempt, ask for a run of their own.
    """
    key = f"{sent['run_id']}/{sent['shard']}/{runtime.flow_run.id}/{attempt}"
    retrying = Retrying(
        retry=retry_if_exception(_server_is_away),
        wait=wait_random_exponential(max=LONGEST_PAUSE),
        stop=stop_before_delay(max(end - time.monotonic(), 0.0)),
        reraise=True,
    )
    done: Any = retrying(  # a flow run: outside of an event loop it is no coroutine
        lambda: run_deployment(
            name,
            parameters=sent,
            flow_run_name=f"train-{sent['shard']}-{attempt}",
            idempotency_key=key,
            timeout=max(end - time.monotonic(), 0.0),
            poll_interval=POLL_SECONDS,
        )
    )
    found: FlowRun = done
    return found


def _server_is_away(error: BaseException) -> bool:
    if isinstance(error, PrefectHTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)


def _cancel(run: FlowRun) -> None:
    """Takes back what nobody waits for any more; its late rows would change nothing anyway."""
    state = Cancelled if run.start_time is None else Cancelling
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, state(message="Nobody waits for it any more."))
