"""The Kubernetes manifests: valid by schema, restricted, pinned, every name resolves."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import kubernetes_validate
import pytest

from tests.deploy.kit import DEPLOY, ROOT, compose, manifests, pod_specs

VERSION = "1.34"
FOLDER = DEPLOY / "kubernetes"
BY_KIND: dict[str, set[str]] = {}
for one in manifests():
    BY_KIND.setdefault(one["kind"], set()).add(one["metadata"]["name"])
MADE_BY_HAND = {"fleetcast-config", "fleetcast-secrets"}
"""A config map and a secret that docs/deploy.md makes before: no file here holds them."""


def manifest_id(one: dict[str, Any]) -> str:
    return f"{one['kind']}/{one['metadata']['name']}"


@pytest.mark.parametrize("one", manifests(), ids=manifest_id)
def test_an_object_is_valid_by_the_schema_of_kubernetes(one: dict[str, Any]) -> None:
    kubernetes_validate.validate(one, VERSION, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):  # the schema is one that can refuse
        kubernetes_validate.validate({**one, "kynd": "Pod"}, VERSION, strict=True)


def test_kustomize_builds_it() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl (no cluster)")
    done = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nkind: ") == len(manifests())
    assert "image: fleetcast-cpu\n" not in done.stdout  # every image is named by the registry


def test_every_file_belongs_to_it() -> None:
    files = {path.name for path in FOLDER.iterdir()}
    text = (FOLDER / "kustomization.yaml").read_text()
    assert files == {
        *re.findall(r"^  - (\S+\.yaml)$", text, re.M),
        "kustomization.yaml",
        "gpu-base-job-template.json",
    }


@pytest.mark.parametrize("name", pod_specs())
def test_a_pod_keeps_to_the_restricted_profile(name: str) -> None:
    pod = pod_specs()[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is (name == "worker-gpu")
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_images_are_exact() -> None:
    images = {box["image"] for pod in pod_specs().values() for box in pod["containers"]}
    assert images == {
        "fleetcast-cpu",  # named in kustomization.yaml
        "{{ image }}",
        "prefecthq/prefect:3.8.8-python3.12-kubernetes",
    }
    locked = re.search(r"^prefect==(\S+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert locked is not None
    assert locked[1] == "3.8.8"  # one Prefect everywhere
    kustomization = (FOLDER / "kustomization.yaml").read_text()
    assert re.search(r"newTag: \d+\.\d+\.\d+-cpu", kustomization)


def test_what_pods_refer_to_is_there() -> None:
    for pod in pod_specs().values():
        assert {pod.get("serviceAccountName", "{{ service_account_name }}")} <= {
            *BY_KIND["ServiceAccount"],
            "{{ service_account_name }}",
        }
        for volume in pod["volumes"]:
            if claim := volume.get("persistentVolumeClaim"):
                assert claim["claimName"] in BY_KIND["PersistentVolumeClaim"]
            if config := volume.get("configMap"):
                assert config["name"] in {*BY_KIND["ConfigMap"], *MADE_BY_HAND}
        for box in pod["containers"]:
            for source in box.get("envFrom", []):
                assert source["configMapRef"]["name"] in BY_KIND["ConfigMap"]


def test_every_secret_is_by_reference_to_one_that_the_kit_knows() -> None:
    assert "Secret" not in BY_KIND
    asked = set()
    for pod in pod_specs().values():
        for box in pod["containers"]:
            variables = box["env"] if isinstance(box["env"], list) else []
            for variable in variables:
                secret = re.search(r"PASSWORD|AUTH_STRING|KEY", variable["name"])
                assert bool(secret) == ("valueFrom" in variable), variable["name"]
                if secret:
                    reference = variable["valueFrom"]["secretKeyRef"]
                    assert reference["name"] == "fleetcast-secrets"
                    asked.add(reference["key"])
        for volume in pod["volumes"]:
            asked |= {item["key"] for item in volume.get("secret", {}).get("items", [])}
    assert asked <= compose()["secrets"].keys()


def test_server_and_workers_are_started_again_when_they_stop_answering() -> None:
    for name in ("server", "worker-cpu", "worker-gpu"):
        (box,) = pod_specs()[name]["containers"]
        ports = {port["name"] for port in box["ports"]}
        for probe in ("startupProbe", "livenessProbe"):
            assert box[probe]["httpGet"]["port"] in ports
    assert all(
        pod.get("restartPolicy", "Always") != "Never"
        for name, pod in pod_specs().items()
        if name != "gpu-job"
    )


def test_the_worker_that_makes_jobs_may_do_that_here_and_nothing_else() -> None:
    assert "ClusterRole" not in BY_KIND
    (role,) = (one for one in manifests() if one["kind"] == "Role")
    rules = {
        (group, kind): rule["verbs"]
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for kind in rule["resources"]
    }
    assert not any("*" in (*key, *verbs) for key, verbs in rules.items())
    assert not [key for key in rules if "secrets" in key]
    writing = [key for key, verbs in rules.items() if {"create", "delete", "patch"} & set(verbs)]
    assert writing == [("batch", "jobs")]
