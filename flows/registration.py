"""What a running Prefect server is told beside the deployments, and what it tells of runs.

Owns pools, the limit on GPUs, automations, and the lines that `fleetcast up` shows. Never starts a
process. Import it once Prefect's environment is set.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker
from rich.console import Console

from flows import automations
from flows.redaction import without_secrets
from flows.train_shard import GPU_LIMIT

_BEGUN = [one for one in StateType if one != StateType.SCHEDULED]


def make_pools(*, gpus: int) -> None:
    """The work pools `cpu` and `gpu`, and as many slots as there are GPUs; run again, no more."""
    with get_client(sync_client=True) as client:
        for name in ("cpu", "gpu"):
            template = ProcessWorker.get_default_base_job_template()
            wanted = WorkPoolCreate(name=name, type="process", base_job_template=template)
            with suppress(ObjectAlreadyExists):
                client.create_work_pool(wanted)
        client.update_work_pool("gpu", WorkPoolUpdate(concurrency_limit=gpus))
        client.upsert_global_concurrency_limit_by_name(GPU_LIMIT, gpus)


def heal(file: Path) -> None:
    """The automations of a file."""
    automations.apply(file)


def follow(out: Console, look: Callable[[], None], pause: float, *, once: bool) -> bool:
    """Prints a line whenever a run's state changes, for ever, or for as long as one night takes.

    Args:
        out: where.
        look: called between two looks; raises where something is wrong.
        pause: seconds between two looks.
        once: start a night now, and return when it is over.

    Returns:
        Whether that night did not complete.
    """
    seen: dict[UUID, str] = {}
    with get_client(sync_client=True) as client:
        own = _start_night(client) if once else None
        while True:
            look()
            try:
                runs = _begun(client)
            except httpx.TransportError:
                runs = []
            for run in runs:
                state = "" if run.state is None else run.state.name or run.state.type.value
                if seen.get(run.id) != state:
                    seen[run.id] = state
                    out.print(_line(run, state), markup=False, soft_wrap=True)
                if run.id == own and run.state is not None and run.state.is_final():
                    return not run.state.is_completed()
            time.sleep(pause)


def _start_night(client: SyncPrefectClient) -> UUID:
    deployment = client.read_deployment_by_name("nightly/nightly")
    return client.create_flow_run_from_deployment(deployment.id).id


def _begun(client: SyncPrefectClient) -> list[FlowRun]:
    """The runs that have left the schedule, the last first."""
    chosen = FlowRunFilter(state=FlowRunFilterState.model_validate({"type": {"any_": _BEGUN}}))
    runs = client.read_flow_runs(
        flow_run_filter=chosen, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=50
    )
    return sorted(runs, key=lambda run: (run.start_time is None, run.start_time))


def _line(run: FlowRun, state: str) -> str:
    told = "" if run.state is None or not run.state.message else f": {run.state.message}"
    when = f"{run.state.timestamp.astimezone():%H:%M:%S}" if run.state is not None else ""
    return without_secrets(f"{when} {run.name} {state}{told}")
