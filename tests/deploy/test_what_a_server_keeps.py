"""A killed server finds again who held a slot of a limit: wherever it runs, that is in a folder.

In memory, as Prefect has it by default, a slot would stay taken for good.
"""

from __future__ import annotations

from flows.up import LEASE_STORAGE
from tests.deploy.kit import DEPLOY, compose, pod_specs, unit

NAME = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"


def test_in_compose_on_a_volume() -> None:
    server = compose()["services"]["server"]
    assert server["environment"][NAME] == LEASE_STORAGE
    assert "server:/var/lib/fleetcast" in server["volumes"]


def test_in_a_unit_below_its_state() -> None:
    service = unit(DEPLOY / "systemd" / "fleetcast-server.service")["Service"]
    told = " ".join(service["Environment"]).split()
    assert f"{NAME}={LEASE_STORAGE}" in told
    assert "PREFECT_HOME=/var/lib/fleetcast/server" in told
    assert service["StateDirectory"] == ["fleetcast"]


def test_in_kubernetes_on_a_claim() -> None:
    pod = pod_specs()["server"]
    (container,) = pod["containers"]
    assert {one["name"]: one.get("value") for one in container["env"]}[NAME] == LEASE_STORAGE
    (place,) = (one for one in container["volumeMounts"] if one["mountPath"].endswith("fleetcast"))
    (volume,) = (one for one in pod["volumes"] if one["name"] == place["name"])
    assert "persistentVolumeClaim" in volume
