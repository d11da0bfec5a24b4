"""Names in the kit: every variable means something to somebody, every command can be given."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from prefect.settings import Settings
from prefect.settings.legacy import _get_settings_fields
from typer.main import get_command

from flows.cli import app
from tests.deploy.kit import DEPLOY, ROOT, UNITS, compose, instructions, pod_specs, tracked, unit

OF_OTHERS = {
    "CUDA_DEVICE_ORDER",
    "CUDA_VISIBLE_DEVICES",
    "DO_NOT_TRACK",
    "HOME",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_VISIBLE_DEVICES",
    "PATH",
    "PIP_DISABLE_PIP_VERSION_CHECK",
    "PIP_NO_CACHE_DIR",
    "PIP_ROOT_USER_ACTION",
    "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES",  # of prefect-kubernetes
    "PYTHONUNBUFFERED",
}
OF_POSTGRES = {"POSTGRES_PASSWORD_FILE", "POSTGRES_PASSWORD", "PGDATA"}


@cache
def ours() -> set[str]:
    """Variables that the code or a script of the kit reads."""
    sources = [path for name in ("flows", "tasks") for path in (ROOT / name).rglob("*.py")]
    named = {
        name for path in sources for name in re.findall(r'"(FLEETCAST_[A-Z_]+)"', path.read_text())
    }
    scripts = [path.read_text() for path in DEPLOY.rglob("*.sh")]
    return named | {name for text in scripts for name in re.findall(r"\$\{([A-Z]+):-", text)}


def used() -> set[str]:
    names = set(compose()["secrets"])
    for service in compose()["services"].values():
        names |= set(service.get("environment", {}))
        names |= {s.get("target") for s in service.get("secrets", []) if isinstance(s, dict)}
    for pod in pod_specs().values():
        for box in pod["containers"]:
            names |= {one["name"] for one in box["env"] if isinstance(one, dict)}
    for name, text in instructions():
        if name == "ENV":
            names |= set(re.findall(r"([A-Z_]+)=", text))
    for path in UNITS:
        for line in unit(path)["Service"]["Environment"]:
            names |= {setting.partition("=")[0] for setting in line.split()}
    for path in (DEPLOY / "systemd").glob("*.example"):
        names |= set(re.findall(r"^([A-Z_]+)=", path.read_text(), re.M))
    return names


def test_every_variable_is_read_by_somebody() -> None:
    known = {*_get_settings_fields(Settings), *ours(), *OF_OTHERS, *OF_POSTGRES}
    assert used() - known == set()


def prefect_commands() -> set[tuple[str, ...]]:
    """The `prefect` commands of compose, Kubernetes and systemd."""
    found = [tuple(service.get("command", [])) for service in compose()["services"].values()]
    for pod in pod_specs().values():
        for box in pod["containers"]:
            lines = [box.get("args", []), box.get("command", [])]
            found += [tuple(line) for line in lines if isinstance(line, list)]
    for path in UNITS:
        (line,) = unit(path)["Service"]["ExecStart"]
        found.append(("prefect", *line.split()[1:]))
    return {line for line in found if line and line[0] == "prefect"}


@pytest.mark.parametrize("command", ["server start", "worker start"])
def test_prefect_knows_the_options_of_every_command(command: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "prefect", *command.split(), "--help"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    mine = [line for line in prefect_commands() if " ".join(line[1:3]) == command]
    assert len(mine) >= 2
    for line in mine:
        for option in (word for word in line if word.startswith("--")):
            assert re.search(rf"{option}\b", told), (option, line)


def test_no_other_prefect_command_is_used() -> None:
    assert {" ".join(line[1:3]) for line in prefect_commands()} == {"server start", "worker start"}


@pytest.mark.parametrize("document", ["deploy.md", "runbook.md"])
def test_every_fleetcast_command_that_is_told_can_be_given(document: str) -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    text = (ROOT / "docs" / document).read_text()
    text = text.replace("```\n", "`\n")
    told = re.findall(r"(?:`|\binside |entrypoint\.sh )fleetcast ([a-z]+)\b([^`\n#|]*)", text)
    assert told
    for name, rest in told:
        assert name in commands, name
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"(?<= )--[a-z-]+", rest)) <= options, (name, rest)


@pytest.mark.parametrize("document", ["deploy.md", "runbook.md"])
def test_every_file_that_is_told_of_is_there(document: str) -> None:
    text = (ROOT / "docs" / document).read_text()
    named = set(re.findall(r"(?<!exec )\b((?:deploy|docs|tests)/[\w./@-]*[\w])", text))
    missing = {name for name in named if not (ROOT / name).exists()}
    assert {name for name in missing if not name.startswith("deploy/secrets/")} == set()
    links = re.findall(r"\]\(([^)#:]+\.md)", text)
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_no_secret_stands_in_the_kit() -> None:
    assert len(tracked()) > 20
    for path in tracked():
        if path.suffix in {".lock", ".py"}:
            continue
        for line in path.read_text().splitlines():
            value = re.match(
                r"\s*-?\s*\w*(?:PASSWORD|AUTH_STRING|SECRET|TOKEN)\w*\s*[:=]\s*(\S+)", line
            )
            assert value is None or value[1].startswith(("/run/secrets/", "{file:", "{{")), (
                path,
                line,
            )


def test_scripts_are_executable_and_known_to_the_shell() -> None:
    for path in Path(DEPLOY).rglob("*.sh"):
        if "setup" in path.parts:
            continue
        assert path.stat().st_mode & 0o111, path
        done = subprocess.run(["sh", "-n", path], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
