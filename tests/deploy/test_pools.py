"""The work pools' base job templates: what Prefect accepts, and what comes out of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.server.schemas.core import WorkPool
from prefect.utilities.schema_tools import is_valid_schema, validate
from prefect.utilities.templating import apply_values, find_placeholders
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from tests.deploy.kit import DEPLOY, gpu_job_template

PROCESS = [DEPLOY / "pools" / f"{pool}.json" for pool in ("cpu", "gpu")]
KUBERNETES = DEPLOY / "kubernetes" / "gpu-base-job-template.json"


@pytest.mark.parametrize("path", [*PROCESS, KUBERNETES], ids=lambda path: path.stem)
def test_a_template_is_one_that_prefect_accepts(path: Path) -> None:
    template: dict[str, Any] = json.loads(path.read_text())
    kind = "kubernetes" if path == KUBERNETES else "process"
    WorkPoolCreate(name="gpu", type=kind, base_job_template=template)
    WorkPool(name="gpu", type=kind, base_job_template=template)  # as the server checks it
    is_valid_schema(template["variables"], preprocess=False)
    placeholders = {found.name for found in find_placeholders(template["job_configuration"])}
    assert placeholders == template["variables"]["properties"].keys()
    defaults = {
        name: one["default"]
        for name, one in template["variables"]["properties"].items()
        if one.get("default") is not None
    }
    assert not validate(defaults, template["variables"], raise_on_error=False)


@pytest.mark.parametrize("path", PROCESS, ids=lambda path: path.stem)
def test_a_process_pool_runs_flows_beside_the_code(path: Path) -> None:
    template: dict[str, Any] = json.loads(path.read_text())
    assert (
        template["job_configuration"]
        == (ProcessWorker.get_default_base_job_template()["job_configuration"])
    )
    values = {"working_dir": template["variables"]["properties"]["working_dir"]["default"]}
    job = ProcessJobConfiguration(**apply_values(template["job_configuration"], values))
    assert job.working_dir == Path("/opt/fleetcast")


def rendered(**values: object) -> dict[str, Any]:
    """The job that Kubernetes would get, by Prefect's own templating."""
    template = gpu_job_template()
    properties = template["variables"]["properties"]
    defaults = {name: one["default"] for name, one in properties.items() if "default" in one}
    given = {"name": "shard-0000", "env": [], "labels": {}, "command": ["prefect"]}
    job = apply_values(template["job_configuration"], defaults | given | values)
    manifest: dict[str, Any] = job["job_manifest"]
    return manifest


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_shard_becomes_a_valid_job_that_asks_for_a_gpu(gpus: int) -> None:
    manifest = rendered(gpus=gpus) if gpus != 1 else rendered()
    kubernetes_validate.validate(manifest, "1.34", strict=True)
    (box,) = manifest["spec"]["template"]["spec"]["containers"]
    assert box["resources"]["limits"]["nvidia.com/gpu"] == gpus
    assert box["resources"]["requests"]["nvidia.com/gpu"] == gpus
    assert box["image"].endswith("-gpu")
    assert manifest["spec"]["template"]["spec"]["serviceAccountName"] == "fleetcast-job"
    assert manifest["metadata"]["namespace"] == "fleetcast"


def test_a_number_of_gpus_that_no_job_can_have_is_refused() -> None:
    with pytest.raises(Exception, match="0 is less than the minimum of 1"):
        validate({"gpus": 0}, gpu_job_template()["variables"], raise_on_error=True)
