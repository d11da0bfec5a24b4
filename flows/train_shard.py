"""The training of one shard as a Prefect flow of its own: what a GPU worker runs.

Owns its parameters and the limit on GPUs. Never decides what is trained: the pinned run does.
"""

from __future__ import annotations

from prefect import flow
from prefect.concurrency.sync import concurrency

from flows import steps, workers
from flows.config import FleetcastConfig, load
from flows.redaction import masking
from tasks import runs
from tasks.store import Store
from tasks.train import train_shard as train_models

GPU_LIMIT = "gpu"
"""The global concurrency limit that every training holds a slot of: as many as there are GPUs."""

LEASE_SECONDS = 120.0
"""How long the slot of a training that was killed stays taken: about as long as its run, which a
missing heartbeat ends after 90 seconds. Renewed after three quarters of it."""


def train_pinned(run_id: str, shard: str, config: FleetcastConfig) -> int:
    """Trains what is due in one shard of a pinned run, in a child process; how many models it was.

    Raises:
        RunError: the store does not hold the run, or it was pinned by another configuration or
            other code: training it here would give other models.
        StoreError: the store can't be read or written.
    """
    store = Store.open(config.store.url, create=False)
    run = runs.find(store, run_id)
    runs.refuse_foreign(run, config.config_hash)
    if shard not in run.shards:
        raise runs.RunError(
            f"The run {run_id} has no shard {shard}; it has {', '.join(sorted(run.shards))}."
        )
    (request,) = (one for one in steps.requests_of(config, run) if one.shard.name == shard)
    with workers.running(1) as pool:
        return pool.run(f"train {shard}", train_models, request).trained


@flow(name="train-shard", flow_run_name="train-{shard}")
@masking
def train_shard(run_id: str, shard: str, config: FleetcastConfig | None = None) -> str:
    """Train what is due in one shard of a pinned run. The nightly flow starts it by itself.

    TensorFlow is loaded in a child process only, which sees the GPU of CUDA_VISIBLE_DEVICES and
    takes of its memory what it needs.

    Args:
        run_id: The run, as `fleetcast show runs` has it.
        shard: The shard's name in the run's plan, such as shard-0000.
        config: What the run was pinned with, and where the store is; without it the worker's own
            fleetcast.toml.
    """
    with concurrency(
        GPU_LIMIT,
        occupy=1,
        strict=True,
        lease_duration=LEASE_SECONDS,
        # A server that is away costs no training: a GPU's worker has one run at a time anyway.
        raise_on_lease_renewal_failure=False,
    ):
        trained = train_pinned(run_id, shard, config or load())
    return f"{trained} models trained"
