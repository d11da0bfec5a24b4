"""The systemd units: verified by systemd, started again for ever, and shut in."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.kit import DEPLOY, UNITS, unit

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze"
)


def test_there_is_a_unit_for_the_server_and_for_each_pool() -> None:
    assert [path.name for path in UNITS] == [
        "fleetcast-server.service",
        "fleetcast-worker-cpu.service",
        "fleetcast-worker-gpu@.service",
    ]


@needs_systemd
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_systemd_understands_it(path: Path, tmp_path: Path) -> None:
    """With a stand-in for the program, which is not where a deployment has it."""
    program = tmp_path / "prefect"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = path.read_text().replace("/opt/fleetcast/.venv/bin/prefect", str(program))
    copy = tmp_path / path.name.replace("@", "@0")
    copy.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        check=False,
        capture_output=True,
        text=True,
    )
    of_ours = [line for line in done.stderr.splitlines() if copy.name in line]
    assert (done.returncode, of_ours) == (0, [])


@needs_systemd
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_it_is_shut_in(path: Path) -> None:
    """Below 2 of 10 by systemd's own measure; a unit without any setting has 9.6."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", path],
        check=False,
        capture_output=True,
        text=True,
    )
    if "unrecognized option" in done.stderr:
        pytest.skip("needs systemd 250, to measure a file")
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_it_comes_back_however_it_ended_and_never_gives_up(path: Path) -> None:
    settings = unit(path)
    assert settings["Service"]["Restart"] == ["always"]
    assert settings["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert settings["Service"]["User"] == ["fleetcast"]
    assert settings["Install"]["WantedBy"] == ["multi-user.target"]
    # TensorFlow writes machine code at run time.
    assert "MemoryDenyWriteExecute" not in settings["Service"]


def test_secrets_come_from_a_file_whose_example_holds_none() -> None:
    for path in UNITS:
        (file,) = unit(path)["Service"]["EnvironmentFile"]
        example = DEPLOY / "systemd" / f"{Path(file).name}.example"
        for name, value in re.findall(r"^([A-Z_]+)=(.*)$", example.read_text(), re.M):
            assert bool(value) != bool(re.search("PASSWORD|AUTH_STRING", name)), name
        assert not re.search(r"^Environment=.*(PASSWORD|AUTH)", path.read_text(), re.M)


def test_a_gpu_has_one_worker_that_sees_no_other() -> None:
    service = unit(DEPLOY / "systemd" / "fleetcast-worker-gpu@.service")["Service"]
    assert any("CUDA_VISIBLE_DEVICES=%i" in line.split() for line in service["Environment"])
    (command,) = service["ExecStart"]
    assert "--pool gpu --type process --limit 1 --name gpu-%i" in command
    assert "PrivateDevices" not in service  # it would hide the GPU
    assert service["DevicePolicy"] == ["closed"]
