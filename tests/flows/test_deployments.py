from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.flows import Flow
from prefect.utilities.callables import parameter_schema
from prefect.utilities.importtools import import_object

from flows import automations, deployments
from flows.config import FleetcastConfig, ScheduleConfig, check
from flows.failures import Refused

pytestmark = pytest.mark.filterwarnings("ignore")  # Prefect's and its libraries' own

TEXT = deployments.file("prefect.yaml").read_text()
DEPLOYMENTS: dict[str, dict[str, Any]] = {
    one["name"]: one for one in yaml.safe_load(TEXT)["deployments"]
}


def flow(name: str) -> Flow[..., Any]:
    found = import_object(DEPLOYMENTS[name]["entrypoint"])
    assert isinstance(found, Flow)
    return found


def test_the_file_has_the_schedule_that_the_configuration_has() -> None:
    (schedule,) = DEPLOYMENTS["nightly"]["schedules"]
    default = ScheduleConfig()
    assert (schedule["cron"], schedule["timezone"]) == (default.cron, default.timezone)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_deployment_names_a_flow_and_gives_it_parameters_that_it_takes(name: str) -> None:
    properties = parameter_schema(flow(name)).properties
    assert set(DEPLOYMENTS[name].get("parameters", {})) <= set(properties)
    for parameter, about in properties.items():
        assert about.get("description"), f"{name}: {parameter} says nothing in the form"
    assert DEPLOYMENTS[name]["description"]
    assert "fleetcast" in DEPLOYMENTS[name]["tags"], "automations go by it"


def test_the_configuration_in_the_form_is_described_field_by_field() -> None:
    sections = parameter_schema(flow("nightly")).definitions
    assert {"FleetcastConfig", "ScheduleConfig", "ComputeConfig"} <= set(sections)
    for name, section in sections.items():
        for field, about in section.get("properties", {}).items():
            if "$ref" not in about and name != "FleetcastConfig":
                assert about.get("description"), f"{name}.{field}"


def test_the_gpu_deployment_is_the_one_that_the_documentation_names() -> None:
    assert flow("gpu").name == "train-shard"
    assert DEPLOYMENTS["gpu"]["work_pool"]["name"] == "gpu"
    assert {one["work_pool"]["name"] for one in DEPLOYMENTS.values()} == {"cpu", "gpu"}


def test_rendered_it_does_what_a_configuration_says(tmp_path: Path) -> None:
    config = check(
        {
            "schedule": {"cron": "0 7 * * *", "timezone": "Asia/Tokyo", "catch_up": 9},
            "training": {"shard_size": 3},
            "prefect": {"api_url": "http://127.0.0.1:4200/api"},
        },
        "test",
    )
    config = deployments.trained_by_deployment(config)
    written = yaml.safe_load(deployments.rendered(TEXT, config, tmp_path))
    found = {one["name"]: one for one in written["deployments"]}
    (schedule,) = found["nightly"]["schedules"]
    assert (schedule["cron"], schedule["timezone"]) == ("0 7 * * *", "Asia/Tokyo")
    assert found["nightly"]["parameters"]["catch_up"] is True
    told = found["nightly"]["parameters"]["config"]
    assert (told["training"], "prefect" in told) == ({"shard_size": 3}, False)
    back = FleetcastConfig.model_validate(told)
    assert (back.config_hash, back.compute) == (config.config_hash, config.compute)
    assert back.schedule == config.schedule  # what is caught up, and when a night is due
    assert back.compute.deployment == "train-shard/gpu"
    for one in found.values():
        variables = one["work_pool"]["job_variables"]
        assert variables["working_dir"] == str(tmp_path)
        assert variables["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert "config" not in found["gpu"].get("parameters", {})
    assert [*found] == [*DEPLOYMENTS]


def test_a_configuration_that_says_where_to_train_is_left_alone() -> None:
    config = deployments.trained_by_deployment(check({"compute": {"train": "local"}}, "test"))
    assert config.compute.deployment is None


def test_without_the_folder_deploy_it_says_what_is_lacking(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(deployments, "FOLDER", tmp_path)
    with pytest.raises(Refused, match="from a checkout"):
        deployments.file("prefect.yaml")


def test_a_crash_is_answered_three_times_and_a_lost_heartbeat_is_a_crash() -> None:
    found = {one.name: one for one in automations.read(deployments.file("automations.yaml"))}
    crash: Any = found["fleetcast-crash"]
    assert "train-shard" not in crash.trigger.match_related.root["prefect.resource.name"]
    (again,) = crash.actions
    assert (again.state.value, again.name) == ("SCHEDULED", "AwaitingRetry")
    end: Any = found["fleetcast-gave-up"]
    assert end.trigger.threshold == 4
    assert end.trigger.match_related == crash.trigger.match_related
    assert f"prefect.flow-run.{end.actions[0].name}" in crash.trigger.expect
    stuck: Any = found["fleetcast-stuck"]
    assert stuck.trigger.after == {"prefect.flow-run.Pending"}
    lost: Any = found["fleetcast-missing-heartbeat"]
    env = yaml.safe_load(TEXT)["definitions"]["watched"]["env"]
    beats = int(env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    assert lost.trigger.within.total_seconds() == 3 * beats
    assert lost.actions[0].state.value == "CRASHED"
