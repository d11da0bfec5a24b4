"""The deploy kit's files, read for the tests. Owns no check."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


@cache
def compose() -> dict[str, Any]:
    """compose.yaml with its anchors merged."""
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return read


@cache
def manifests() -> tuple[dict[str, Any], ...]:
    """Every Kubernetes object, as `kubectl apply -k` would send it but for names of images."""
    kustomization = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())
    return tuple(
        one
        for name in kustomization["resources"]
        for one in yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text())
    )


def pod_specs() -> dict[str, dict[str, Any]]:
    """The pods of the manifests and of the base job template, by name."""
    found = {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for one in manifests()
        if one["kind"] in {"Deployment", "Job"}
    }
    job = gpu_job_template()["job_configuration"]["job_manifest"]
    return found | {"gpu-job": job["spec"]["template"]["spec"]}


def gpu_job_template() -> dict[str, Any]:
    """The base job template of the Kubernetes work pool."""
    path = DEPLOY / "kubernetes" / "gpu-base-job-template.json"
    read: dict[str, Any] = json.loads(path.read_text())
    return read


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their text, lines joined."""
    lines = [
        line for line in DOCKERFILE.read_text().splitlines() if line and not line.startswith("#")
    ]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.splitlines()]


def unit(path: Path) -> dict[str, dict[str, list[str]]]:
    """A systemd unit: section → setting → values in order."""
    sections: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            section.setdefault(name, []).append(value)
    return sections


def tracked() -> list[Path]:
    """The kit's files that are or will be in the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "deploy"]
    listing = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]
