"""Where shards are trained: on this machine, or by a deployment of Prefect's on other machines.

Owns that part of the configuration, and refuses what can't work. Never starts any work.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from flows.failures import Refused
from tasks.storage.places import locate

if TYPE_CHECKING:
    from flows.config import FleetcastConfig

LOCAL = "local"
_DEPLOYMENT = "deployment:"


class ComputeConfig(BaseModel):
    """Where shards are trained. It changes no forecast on machines of one kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: str = Field(
        default=LOCAL,
        description='"local": in processes of this machine. "deployment:FLOW/NAME", such as '
        "deployment:train-shard/gpu: each shard is a run of that deployment of Prefect's.",
    )
    shared_store: bool = Field(
        default=False,
        description="Whether every machine that trains finds the same store at the same path, "
        "though it is a plain folder: all workers run on this machine, or it is a shared disk. "
        "Without it, a deployment needs a store at a URL such as s3://bucket.",
    )
    wait_minutes: float = Field(
        default=240.0,
        gt=0,
        le=1440,
        description="Minutes to wait for a shard that a deployment trains, from when it is asked "
        "for; then its instruments are forecast without it.",
    )

    @field_validator("train")
    @classmethod
    def _train_names_a_deployment(cls, text: str) -> str:
        if text != LOCAL and not re.fullmatch(rf"{_DEPLOYMENT}[^/\s]+/[^/\s]+", text):
            raise ValueError(
                'expected "local", or "deployment:" with the names of a flow and its deployment, '
                "such as deployment:train-shard/gpu"
            )
        return text

    @property
    def deployment(self) -> str | None:
        """Flow and deployment that train, as Prefect names them; None: this machine trains."""
        return self.train.removeprefix(_DEPLOYMENT) if self.train != LOCAL else None


def refuse_unshared(config: FleetcastConfig) -> None:
    """Refuses training elsewhere over a store that only this machine can see.

    Raises:
        Refused: `compute.train` is a deployment, the store a folder, and nobody said it is shared.
        StoreError: there can't be a store at that address.
    """
    compute = config.compute
    if compute.deployment is None or compute.shared_store:
        return
    if (folder := locate(config.store.url).local_path) is not None:
        raise Refused(
            f'compute.train = "{compute.train}" trains wherever a worker of that deployment is, '
            f"but the store is the folder {folder}, which other machines can't see. Put the store "
            "at a URL such as s3://bucket; or, where every worker finds the same folder there (all "
            "run on this machine, or it is a shared disk), set compute.shared_store = true."
        )
