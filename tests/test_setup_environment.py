"""prepare_environment.py on a tiny project: a real venv, a real pip, wheels from a folder."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

import prepare_environment
from run_pip import SetupError, explain

SCRIPTS = Path(prepare_environment.__file__).parent
Usage = namedtuple("Usage", ["total", "used", "free"])

BUILD_BACKEND = """
import pathlib, zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "tinyproject-1.0-py3-none-any.whl"
    info = "tinyproject-1.0.dist-info/"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        metadata = "Metadata-Version: 2.1\\nName: tinyproject\\nVersion: 1.0\\n"
        wheel.writestr(info + "METADATA", metadata)
        tags = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr(info + "WHEEL", tags)
        wheel.writestr(info + "RECORD", "")
        wheel.writestr("tinyproject.pth", str(pathlib.Path.cwd()) + "\\n")
    return name
"""


def write_wheel(folder: Path, name: str, version: str) -> str:
    """Writes a wheel with one module, and returns its sha256."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{path},sha256={digest.decode()},{len(text)}\n"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


class Project:
    """A clone with three locks, and a folder of wheels that stands for the package index."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "clone"
        self.wheels = folder / "wheels"
        self.wheels.mkdir(parents=True)
        shutil.copytree(SCRIPTS, self.root / "deploy/setup")
        (self.root / "backend.py").write_text(BUILD_BACKEND)
        (self.root / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
            '[project]\nname = "tinyproject"\nversion = "1.0"\n'
        )
        self.lock({"tinydep": "1.0"})

    def lock(self, runtime: dict[str, str]) -> None:
        for name, versions in (
            ("requirements.lock", runtime),
            ("requirements-dev.lock", runtime | {"tinytool": "2.0"}),
            ("requirements-jax.lock", {"tinytool": "2.0"}),
        ):
            text = ""
            for package, version in versions.items():
                digest = write_wheel(self.wheels, package, version)
                text += f"{package}=={version} \\\n    --hash=sha256:{digest}\n"
                text += "    # size: 1200000 bytes to download, 2300000 bytes on disk\n"
            (self.root / name).write_text(text)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Starts a set-up whose pip has no index but the one in the user's settings."""
        settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels)} | environment
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        return subprocess.Popen(
            [sys.executable, "deploy/setup/prepare_environment.py", *arguments],
            cwd=self.root,
            env=kept | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def prepare(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **environment)
        output, errors = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def imports(self, module: str) -> str:
        """The version of a module as the environment sees it; empty if it is not there."""
        code = f"import {module}; print({module}.version)"
        python = self.root / ".venv/bin/python"
        answer = subprocess.run([python, "-c", code], check=False, capture_output=True, text=True)
        return answer.stdout.strip()

    def site_packages(self) -> Path:
        (found,) = self.root.glob(".venv/lib/python3*/site-packages")
        return found


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_set_up_from_nothing_then_nothing_more_to_do(project: Project) -> None:
    first = project.prepare()
    assert first.returncode == 0, first.stderr
    assert "1 packages, about 1 MB to download and 2 MB of disk" in first.stdout
    assert project.imports("tinydep") == "1.0"
    shutil.rmtree(project.wheels)
    second = project.prepare()
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


def test_tools_for_tests_come_on_top_and_runtime_stays_ready(project: Project) -> None:
    assert project.prepare().returncode == 0
    dev = project.prepare("--dev")
    assert dev.returncode == 0, dev.stderr
    assert ": 1 packages" in dev.stdout
    assert project.imports("tinytool") == "2.0"
    assert project.prepare().stdout == ""


def test_jax_gets_an_environment_of_its_own_without_the_project(project: Project) -> None:
    made = project.prepare("--jax")
    assert made.returncode == 0, made.stderr
    assert ".venv-jax is ready." in made.stdout
    assert not (project.root / ".venv").exists()
    (packages,) = project.root.glob(".venv-jax/lib/python3*/site-packages")
    assert (packages / "tinytool.py").exists()
    assert not list(packages.glob("tinyproject*"))
    assert project.prepare("--jax").stdout == ""
    assert project.prepare().returncode == 0
    assert project.imports("tinytool") == ""


def test_settings_come_from_a_pip_configuration_file_too(project: Project, tmp_path: Path) -> None:
    settings = tmp_path / "pip.conf"
    settings.write_text(f"[global]\nno-index = true\nfind-links = {project.wheels}\n")
    done = project.prepare(PIP_NO_INDEX="", PIP_FIND_LINKS="", PIP_CONFIG_FILE=str(settings))
    assert done.returncode == 0, done.stderr
    assert project.imports("tinydep") == "1.0"


def test_interrupted_installation_is_completed(project: Project) -> None:
    project.lock({"tinydep": "1.0", "tinymore": "1.0"})
    assert project.prepare().returncode == 0
    state = project.root / ".venv/fleetcast-setup.json"
    state.write_text("{}")
    packages = project.site_packages()
    (packages / "tinydep.py").unlink()  # pip was killed between two files of this package,
    (packages / "tinymore-1.0.dist-info/RECORD").unlink()  # on another day in the middle of one,
    (packages / "tinymore.py").write_text("version = 'cut off'\n")
    shutil.rmtree(packages / "pip")  # and venv inside pip's own
    resumed = project.prepare()
    assert resumed.returncode == 0, resumed.stderr
    assert ": 2 packages" in resumed.stdout
    assert project.imports("tinydep") == project.imports("tinymore") == "1.0"
    assert json.loads(state.read_text())["root"] == str(project.root)


def test_what_was_downloaded_before_a_failure_is_kept(project: Project) -> None:
    project.lock({"tinydep": "1.0", "tinymore": "1.0"})
    lock = project.root / "requirements.lock"
    lock.write_text(lock.read_text().replace(" 1200000 bytes", " 61000000 bytes"))
    (wheel,) = project.wheels.glob("tinymore-*")
    away = wheel.rename(project.wheels.parent / wheel.name)
    assert project.prepare().returncode == 1
    assert project.imports("tinydep") == "1.0"
    away.rename(wheel)
    resumed = project.prepare()
    assert resumed.returncode == 0, resumed.stderr
    assert ": 1 packages, about 61 MB" in resumed.stdout
    assert project.imports("tinymore") == "1.0"


def test_two_set_ups_at_once_take_turns(project: Project) -> None:
    both = [project.start(), project.start()]
    answers = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    printed = "".join(output for output, _ in answers)
    assert printed.count(".venv is ready.") == 1
    assert printed.count("waiting for it") == 1


def test_changed_lock_is_followed_and_a_moved_clone_is_set_up_anew(project: Project) -> None:
    assert project.prepare().returncode == 0
    project.lock({"tinydep": "1.1"})
    assert project.prepare().returncode == 0
    assert project.imports("tinydep") == "1.1"
    marker = project.site_packages() / "from the old place"
    marker.touch()
    project.root = project.root.rename(project.root.with_name("moved"))
    moved = project.prepare()
    assert moved.returncode == 0, moved.stderr
    assert not list(project.root.rglob(marker.name))
    assert project.imports("tinydep") == "1.1"


def test_another_python_that_is_asked_for_makes_the_environment_anew(project: Project) -> None:
    assert project.prepare().returncode == 0
    state = project.root / ".venv/fleetcast-setup.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"python": "3.10"}))
    python = project.root / ".venv/bin/python"
    python.unlink()
    python.write_text("#!/bin/sh\necho 3 10\n")
    python.chmod(0o755)
    again = project.prepare()
    assert again.returncode == 0, again.stderr
    assert ": 1 packages" in again.stdout
    assert project.imports("tinydep") == "1.0"


def test_altered_or_missing_file_on_the_index_is_named(project: Project) -> None:
    (wheel,) = project.wheels.glob("tinydep-*")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("tinydep_extra.py", "evil = True\n")
    altered = project.prepare()
    assert altered.returncode == 1
    assert "The index served another file than the locked one" in altered.stderr
    wheel.unlink()
    missing = project.prepare()
    assert missing.returncode == 1
    assert "The package index does not offer a locked version" in missing.stderr
    assert "The same command goes on from here." in missing.stderr
    assert project.imports("tinydep") == ""


def test_someone_elses_environment_with_another_python_is_left_alone(project: Project) -> None:
    python = project.root / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 3 10\n")
    python.chmod(0o755)
    refused = project.prepare()
    assert refused.returncode == 1
    assert "has Python 3.10 and was not made by this set-up" in refused.stderr
    assert [path.name for path in (project.root / ".venv").rglob("*")] == ["bin", "python"]


def test_too_little_disk_is_said_before_anything_is_made(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 300_000_000))
    with pytest.raises(SetupError, match=r"300 MB are free .* and set-up needs .* TMPDIR"):
        prepare_environment.prepare(project.root, prepare_environment.RUNTIME)
    assert not (project.root / ".venv").exists()


@pytest.mark.parametrize(
    ("system", "machine", "remedy"),
    [
        ("Windows", "AMD64", "WSL2"),
        ("Darwin", "x86_64", "Apple silicon"),
        ("Linux", "riscv64", "x86_64 or aarch64"),
    ],
)
def test_machine_without_packages_is_refused(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, remedy: str
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    with pytest.raises(SetupError, match=f"no locked packages for {system} {machine}.*{remedy}"):
        prepare_environment.check_platform()


def test_linux_without_glibc_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    with pytest.raises(SetupError, match="no glibc"):
        prepare_environment.check_platform()


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("OSError: [Errno 28] No space left on device", "TMPDIR"),
        ("ProxyError('Cannot connect to proxy.', ...)", "HTTPS_PROXY"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "PIP_CERT"),
        ("ERROR: Can not perform a '--user' install.", "PIP_USER=0"),
        ("Max retries exceeded: Temporary failure in name resolution", "pip config list"),
    ],
)
def test_failure_is_explained(line: str, remedy: str) -> None:
    told = explain(["Collecting tinydep\n", line + "\n"], Path("setup.log"))
    assert line in told
    assert remedy in told
