"""What a running Prefect server is told beside the deployments, and what it tells of runs.

Owns pools, the limit on GPUs, automations, and the lines that `fleetcast up` shows. Never starts a
process. Import it once Prefect's environment is set. Run as a module, it makes the pools.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectAlreadyExists
from rich.console import Console

from flows import automations, deployments
from flows.redaction import without_secrets
from flows.train_shard import GPU_LIMIT

_BEGUN = [one for one in StateType if one != StateType.SCHEDULED]


def make_pools(*, gpus: int, gpu_template: Path | None = None, gpu_type: str = "process") -> None:
    """The work pools `cpu` and `gpu`, and as many slots as there are GPUs; changes what differs.

    Args:
        gpus: how many there are: the limit of the pool, and of trainings anywhere.
        gpu_template: the base job template of the pool `gpu`; without one that of `deploy/pools`.
        gpu_type: the type of that pool.

    Raises:
        Refused: the folder `deploy` is not there.
    """
    template = gpu_template or deployments.file("pools/gpu.json")
    with get_client(sync_client=True) as client:
        _make_pool(client, "cpu", "process", deployments.file("pools/cpu.json"))
        _make_pool(client, "gpu", gpu_type, template)
        client.update_work_pool("gpu", WorkPoolUpdate(concurrency_limit=gpus))
        client.upsert_global_concurrency_limit_by_name(GPU_LIMIT, gpus)


def _make_pool(client: SyncPrefectClient, name: str, kind: str, file: Path) -> None:
    template = json.loads(file.read_text(encoding="utf-8"))
    try:
        client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
    except ObjectAlreadyExists:
        client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))


def heal(file: Path) -> None:
    """The automations of a file."""
    automations.apply(file)


def follow(out: Console, look: Callable[[], None], pause: float, *, once: bool) -> bool:
    """Prints a line whenever a run's state changes, for ever, or for as long as one night takes.

    Runs that were over before are history, which the UI shows, and no news.

    Args:
        out: where.
        look: called between two looks; raises where something is wrong.
        pause: seconds between two looks.
        once: start a night now, and return when it is over.

    Returns:
        Whether that night did not complete.
    """
    seen: dict[UUID, str] | None = None
    with get_client(sync_client=True) as client:
        own = _start_night(client) if once else None
        while True:
            look()
            try:
                runs = _begun(client, own)
            except httpx.TransportError:
                runs = []
            else:
                seen = _over_before(runs, own) if seen is None else seen
            for run in runs:
                state = _state(run)
                if seen is not None and seen.get(run.id) != state:
                    seen[run.id] = state
                    out.print(_line(run, state), markup=False, soft_wrap=True)
                if run.id == own and run.state is not None and run.state.is_final():
                    return not run.state.is_completed()
            time.sleep(pause)


def _over_before(runs: Iterable[FlowRun], own: UUID | None) -> dict[UUID, str]:
    """The states of runs that are over at the first look, but for the run that is awaited."""
    over = (run for run in runs if run.state is not None and run.state.is_final())
    return {run.id: _state(run) for run in over if run.id != own}


def _state(run: FlowRun) -> str:
    return "" if run.state is None else run.state.name or run.state.type.value


def _start_night(client: SyncPrefectClient) -> UUID:
    deployment = client.read_deployment_by_name("nightly/nightly")
    return client.create_flow_run_from_deployment(deployment.id).id


def _begun(client: SyncPrefectClient, own: UUID | None) -> list[FlowRun]:
    """The last runs that have left the schedule, the first of them first; and `own` if it has.

    Its shards, each a run that is due later, may be more than the server tells of at once.
    """
    chosen = FlowRunFilter(state=FlowRunFilterState.model_validate({"type": {"any_": _BEGUN}}))
    runs = client.read_flow_runs(
        flow_run_filter=chosen, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=50
    )
    if own is not None and all(run.id != own for run in runs):
        night = client.read_flow_run(own)
        runs += [night] if night.state_type in _BEGUN else []
    return sorted(runs, key=lambda run: (run.start_time is None, run.start_time))


def _line(run: FlowRun, state: str) -> str:
    told = "" if run.state is None or not run.state.message else f": {run.state.message}"
    when = f"{run.state.timestamp.astimezone():%H:%M:%S}" if run.state is not None else ""
    return without_secrets(f"{when} {run.name} {state}{told}")


def main() -> None:
    """Makes the pools on the server that is set."""
    parser = argparse.ArgumentParser(prog="python -m flows.registration")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--gpu-template", type=Path)
    parser.add_argument("--gpu-type", default="process")
    asked = parser.parse_args()
    automations.refuse_no_server()
    make_pools(**vars(asked))


if __name__ == "__main__":
    main()
