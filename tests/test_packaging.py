"""What `pip install .` gives to somebody who has no Makefile."""

import configparser
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOT_SHIPPED = shutil.ignore_patterns(
    ".*", "*.egg-info", "build", "store", "tests", "benchmarks", "__pycache__"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that this tree builds, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = shutil.copytree(ROOT, folder / "tree", ignore=NOT_SHIPPED)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    build = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(tree)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name) for name in archive.namelist()}
    top = {path.parts[0] for path in names if not path.parts[0].endswith(".dist-info")}
    assert top == {"flows", "tasks", "lstm_models"}
    ours = [path for package in sorted(top) for path in (ROOT / package).rglob("*")]
    sources = {path.relative_to(ROOT) for path in ours if path.is_file()}
    shipped = {path for path in sources if "__pycache__" not in path.parts}
    assert shipped <= names


def test_wheel_brings_the_command_and_one_version(wheel: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = (name for name in archive.namelist() if "entry_points" in name)
        parser = configparser.ConfigParser()
        parser.read_string(archive.read(entry_points).decode())
        metadata = PathDistribution(zipfile.Path(archive, str(Path(entry_points).parent) + "/"))
        assert metadata.version == project["version"]
        assert metadata.metadata["License-Expression"] == "Apache-2.0"
        assert metadata.read_text("licenses/LICENSE") == (ROOT / "LICENSE").read_text()
    assert dict(parser["console_scripts"]) == {"fleetcast": "flows.cli:main"}


def test_nothing_else_states_a_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    sources = [
        path for name in ("flows", "tasks", "lstm_models") for path in (ROOT / name).rglob("*.py")
    ]
    assert sources
    assert [path for path in sources if f'"{version}"' in path.read_text()] == []
