"""find-python.sh against fake interpreters on PATH, which run its real probe under a false name."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "deploy/setup/find-python.sh"


class Machine:
    """A machine with the Pythons that a test gives it, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "a clone"
        script = self.clone / "deploy/setup/find-python.sh"
        script.parent.mkdir(parents=True)
        shutil.copy(SCRIPT, script)
        self.tools = folder / "tools"
        self.tools.mkdir()
        for tool in ("sed", "head", "dirname"):
            found = shutil.which(tool)
            assert found is not None
            (self.tools / tool).symlink_to(found)
        self.home = folder / "home"
        self.path = [self.tools]

    def add(self, where: str, version: tuple[int, int, int], *, without: str = "") -> str:
        """Puts a Python at `where`, lacking the modules named in `without`."""
        executable = self.clone.parent / where
        lies = f"import sys; sys.version_info = {version}; sys.executable = {str(executable)!r}; "
        lies += f"sys.modules.update(dict.fromkeys({without.split()!r})); exec(sys.argv[1])"
        command = shlex.join([sys.executable, "-c", lies])
        return self.add_script(where, f'exec {command} "$2"')

    def add_script(self, where: str, body: str) -> str:
        executable = self.clone.parent / where
        executable.parent.mkdir(parents=True, exist_ok=True)
        executable.write_text(f"#!/bin/sh\n{body}\n")
        executable.chmod(0o755)
        if executable.parent not in self.path and "bin" in executable.parent.name:
            self.path.append(executable.parent)
        return str(executable)

    def find(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "deploy/setup/find-python.sh"],
            check=False,
            cwd=self.clone,
            env={"PATH": os.pathsep.join(map(str, self.path)), "HOME": str(self.home)}
            | environment,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_newest_fitting_python_is_taken(machine: Machine) -> None:
    machine.add("bin/python3.11", (3, 11, 9))
    newest = machine.add("bin/python3.13", (3, 13, 0))
    machine.add("bin/python3", (3, 14, 0))
    answer = machine.find()
    assert answer.stdout == f"{newest}\n"
    assert answer.stderr == ""


def test_plain_name_is_taken_for_what_it_is(machine: Machine) -> None:
    machine.add("bin/python3.13", (3, 14, 0))
    fitting = machine.add("bin/python3", (3, 12, 1))
    assert machine.find().stdout == f"{fitting}\n"


def test_shim_that_fails_is_passed_over_for_a_later_folder_on_path(machine: Machine) -> None:
    machine.add_script("shims bin/python3.13", "echo 'not found' >&2; exit 127")
    machine.add_script("shims bin/python3.12", "echo 3.12")
    fitting = machine.add("bin/python3.12", (3, 12, 1))
    assert machine.find().stdout == f"{fitting}\n"


def test_environment_that_exists_keeps_its_python(machine: Machine) -> None:
    machine.add("bin/python3.13", (3, 13, 0))
    machine.add("a clone/.venv/bin/python", (3, 11, 7))
    machine.path = [folder for folder in machine.path if ".venv" not in str(folder)]
    assert machine.find().stdout.endswith("/.venv/bin/python\n")


def test_pyenv_version_without_a_working_shim_is_found(machine: Machine) -> None:
    machine.add_script("shims bin/python3.12", "exit 127")
    fitting = machine.add("home/.pyenv/versions/3.12.1/bin/python3", (3, 12, 1))
    machine.path.pop()
    assert machine.find().stdout == f"{fitting}\n"


def test_only_a_newer_python_names_what_to_install(machine: Machine) -> None:
    newer = machine.add("bin/python3", (3, 14, 0))
    answer = machine.find()
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert f"{newer}: Python 3.14.0 is too new" in answer.stderr
    assert "uv python install 3.13" in answer.stderr
    assert "make nightly PYTHON=" in answer.stderr


def test_missing_ensurepip_names_the_package(machine: Machine) -> None:
    machine.add("bin/python3.12", (3, 12, 3), without="ensurepip")
    answer = machine.find()
    assert answer.returncode == 1
    assert "Python 3.12.3 lacks ensurepip" in answer.stderr
    assert "sudo apt install python3.12-venv" in answer.stderr


def test_missing_ensurepip_does_not_hide_a_complete_python(machine: Machine) -> None:
    machine.add("bin/python3.13", (3, 13, 0), without="venv ensurepip")
    complete = machine.add("bin/python3.11", (3, 11, 2))
    assert machine.find().stdout == f"{complete}\n"


def test_python_built_without_a_library_is_named(machine: Machine) -> None:
    machine.add("bin/python3.13", (3, 13, 0), without="sqlite3 lzma")
    answer = machine.find()
    assert answer.returncode == 1
    assert "Python 3.13.0 was built without sqlite3, lzma" in answer.stderr


def test_no_python_at_all(machine: Machine) -> None:
    answer = machine.find()
    assert answer.returncode == 1
    assert "There is no Python here at all." in answer.stderr
    assert "brew install python@3.13" in answer.stderr


def test_asked_for_python_wins(machine: Machine) -> None:
    machine.add("bin/python3.13", (3, 13, 0))
    asked = machine.add("elsewhere/python", (3, 11, 4))
    assert machine.find(PYTHON=asked).stdout == f"{asked}\n"


@pytest.mark.parametrize("asked", ["python3.10", "/no/such/python", "nonesuch"])
def test_asked_for_python_that_does_not_fit_is_refused(machine: Machine, asked: str) -> None:
    machine.add("bin/python3.13", (3, 13, 0))
    machine.add("bin/python3.10", (3, 10, 0))
    answer = machine.find(PYTHON=asked)
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert f"PYTHON={asked} was asked for" in answer.stderr
