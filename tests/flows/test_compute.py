from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.compute import refuse_unshared
from flows.config import FleetcastConfig, check
from flows.config_errors import ConfigError
from flows.failures import Refused, is_refusal
from tasks.storage.facts import StoreError

REMOTE = "deployment:train-shard/gpu"


def configured(url: str = "store", **compute: Any) -> FleetcastConfig:  # noqa: ANN401
    return check({"store": {"url": url}, "compute": compute}, "test")


def test_a_machine_trains_by_itself_unless_told_otherwise() -> None:
    assert FleetcastConfig().compute.deployment is None
    assert configured(train=REMOTE).compute.deployment == "train-shard/gpu"


@pytest.mark.parametrize("text", ["gpu", "deployment:", "deployment:gpu", "deployment:a/b/c", ""])
def test_what_names_no_deployment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="deployment:train-shard/gpu"):
        configured(train=text)


def test_a_folder_that_other_machines_can_not_see_is_refused_and_says_what_to_do(
    tmp_path: Path,
) -> None:
    with pytest.raises(Refused, match="compute.shared_store = true") as caught:
        refuse_unshared(configured(str(tmp_path), train=REMOTE))
    assert str(tmp_path) in str(caught.value)
    assert is_refusal(caught.value)
    with pytest.raises(Refused):
        refuse_unshared(configured(f"file://{tmp_path}", train=REMOTE))


@pytest.mark.parametrize(
    ("url", "compute"),
    [
        ("store", {}),
        ("store", {"train": REMOTE, "shared_store": True}),
        ("s3://bucket/prefix", {"train": REMOTE}),
    ],
)
def test_what_every_worker_can_see_is_not(url: str, compute: dict[str, Any]) -> None:
    refused = ""
    try:
        refuse_unshared(configured(url, **compute))
    except Refused as error:
        refused = str(error)
    assert not refused


def test_an_address_without_a_store_is_the_stores_to_refuse() -> None:
    with pytest.raises(StoreError):
        refuse_unshared(configured("ftp://host/store", train=REMOTE))


def test_where_is_trained_decides_no_forecast() -> None:
    assert configured(train=REMOTE).config_hash == FleetcastConfig().config_hash
