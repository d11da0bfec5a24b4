"""compose.yaml: valid, hardened, pinned, supervised, and without a secret in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest

from flows.config import load
from tests.deploy.kit import DEPLOY, ROOT, compose

SERVICES: dict[str, Any] = compose()["services"]
FILE = DEPLOY / "compose.yaml"


def test_it_is_valid_by_the_schema_of_the_compose_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema"]
    done = subprocess.run(
        [*check, "--builtin-schema", "vendor.compose-spec", str(FILE)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_docker_compose_understands_it() -> None:
    command = next(
        (
            command
            for command in (["docker", "compose"], ["docker-compose"])
            if shutil.which(command[0])
            and subprocess.run([*command, "version"], capture_output=True, check=False).returncode
            == 0
        ),
        None,
    )
    if command is None:
        pytest.skip("needs docker compose (no daemon)")
    done = subprocess.run(
        [*command, "--file", str(FILE), "--profile", "gpu", "config", "--format", "json"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["services"].keys() == SERVICES.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_supervised_and_can_do_little(name: str) -> None:
    service = SERVICES[name]
    image = re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", service["image"])
    assert re.fullmatch(r"[a-z]+:\d+\.\d+[\w.-]*", image), image
    assert service["restart"] == ("on-failure:5" if name == "register" else "unless-stopped")
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service.get("user", "of the image") != "root"


def test_services_that_last_are_watched_and_wait_for_what_they_need() -> None:
    for name in SERVICES.keys() - {"register"}:
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    needs = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }
    assert needs == {
        "postgres": {},
        "server": {"postgres": "service_healthy"},
        "register": {"server": "service_healthy"},
        "worker-cpu": {"register": "service_completed_successfully"},
        "worker-gpu-0": {"register": "service_completed_successfully"},
    }


def test_secrets_are_files_that_are_never_committed() -> None:
    text = FILE.read_text()
    assert not re.search(r"(?i)(password|auth_string|secret|key)\s*[:=]\s*[\"']?[a-z0-9]{3,}", text)
    used = {
        secret if isinstance(secret, str) else secret["source"]
        for service in SERVICES.values()
        for secret in service.get("secrets", [])
    }
    assert used == compose()["secrets"].keys()
    for name, secret in compose()["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
    ignored = subprocess.run(
        ["git", "check-ignore", "--quiet", "deploy/secrets/POSTGRES_PASSWORD"],
        check=False,
        cwd=ROOT,
    )
    assert ignored.returncode == 0
    assert set(SERVICES["postgres"]["secrets"]) - used == set()
    assert "POSTGRES_PASSWORD" not in SERVICES["server"]["secrets"]


def test_the_server_asks_for_a_password_and_listens_on_this_machine_only() -> None:
    server = SERVICES["server"]
    targets = [s.get("target") for s in server["secrets"] if isinstance(s, dict)]
    assert targets == ["PREFECT_SERVER_API_AUTH_STRING"]
    assert server["ports"] == ["127.0.0.1:4200:4200"]
    assert not [name for name in SERVICES if name != "server" and "ports" in SERVICES[name]]


def test_a_gpu_has_one_worker_that_takes_one_shard() -> None:
    gpu = SERVICES["worker-gpu-0"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}
    assert gpu["environment"]["CUDA_VISIBLE_DEVICES"] == "0"
    command = gpu["command"]
    assert command[command.index("--limit") + 1] == "1"
    assert command[command.index("--pool") + 1] == "gpu"
    assert gpu["profiles"] == ["gpu"]
    assert "deploy" not in SERVICES["worker-cpu"]


def test_files_and_volumes_that_are_mounted_exist() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_file(), source
            else:
                assert source in compose()["volumes"], source
        if build := service.get("build"):
            assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_the_configuration_that_workers_get_is_one() -> None:
    assert load(DEPLOY / "fleetcast.toml").store.url == "/var/lib/fleetcast/store"
