"""The deployments of `deploy/prefect.yaml`, with a configuration's own schedule and parameters.

Owns what of the file a configuration changes. Never talks to a server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from flows.config import FleetcastConfig
from flows.failures import Refused

FOLDER = Path(__file__).resolve().parent.parent / "deploy"

WITHOUT_CONFIG = frozenset({"gpu"})
"""Deployments that are told by the night that starts them what to do."""


def file(name: str) -> Path:
    """A file of the folder `deploy`, which is beside the code in a checkout and in the images.

    Raises:
        Refused: it is not there: only the packages were installed.
    """
    path = FOLDER / name
    if not path.exists():
        raise Refused(
            f"There is no {path}: this needs the repository's folder deploy beside the code. "
            "Run it from a checkout, installed with `pip install --editable .`."
        )
    return path


def rendered(template: str, config: FleetcastConfig, folder: Path) -> str:
    """The text of a prefect.yaml that does what `config` says, on workers that see `folder`.

    Args:
        template: the text of `deploy/prefect.yaml`.
        config: its schedule goes to `nightly`; all of it that differs from the defaults becomes the
            parameter `config`, the schedule too: what is caught up and when a night is due go by
            it. It holds no secret, see `flows.config`.
        folder: the working directory of runs, in which relative paths are meant.
    """
    content = yaml.safe_load(template)
    told = config.model_dump(mode="json", exclude_defaults=True, exclude={"prefect"})
    told["compute"] = config.compute.model_dump(mode="json")
    for one in content["deployments"]:
        pool = one["work_pool"]
        one["work_pool"] = {
            **pool,
            "job_variables": {**pool.get("job_variables", {}), "working_dir": str(folder)},
        }
        if one["name"] not in WITHOUT_CONFIG:
            one["parameters"] = {**one.get("parameters", {}), "config": told}
        if one["name"] == "nightly":
            schedule = {"cron": config.schedule.cron, "timezone": config.schedule.timezone}
            one["schedules"] = [{**one["schedules"][0], **schedule}]
    text: str = yaml.safe_dump(content, sort_keys=False)
    return text


def trained_by_deployment(config: FleetcastConfig) -> FleetcastConfig:
    """`config` for one machine on which a `gpu` pool runs: it trains there, unless told otherwise.

    Its store may be a folder, since every worker is on this machine.
    """
    own: dict[str, Any] = {"shared_store": True}
    if "train" not in config.compute.model_fields_set:
        own["train"] = "deployment:train-shard/gpu"
    compute = config.compute.model_copy(update=own)
    return config.model_copy(update={"compute": compute})
