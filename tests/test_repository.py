"""What must hold for every file of the repository, whatever is in it."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

from lock_format import normalised

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "tasks", "lstm_models")
# In pieces, so that this file does not name them either.
INDEX_HOSTS = [".".join(parts) for parts in (("pypi", "org"), ("python" + "hosted", "org"))]
# Another Keras backend that a user may bring; imported only when it is the one in use.
BROUGHT_BY_THE_USER = {"jax"}
# Declared for their bounds or their data: no line of ours imports them.
NEVER_IMPORTED = {"bokeh-sampledata", "fastapi"}
# Extras that a source imports when it is asked for.
IMPORTED_IF_THERE = {"yfinance"}


def tracked_files() -> list[Path]:
    """The files that belong to the repository; without git, those that it would not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    if listing.returncode == 0:
        return [ROOT / name for name in listing.stdout.split("\0") if name]
    ignored = {"__pycache__", "build", "store", "fleetcast.egg-info"}
    hidden = re.compile(r"\.(?!ci$|github$|gitignore$)")
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not any(part in ignored or hidden.match(part) for part in path.relative_to(ROOT).parts)
    ]


def test_no_file_names_a_package_index() -> None:
    files = [path for path in tracked_files() if path.is_file()]
    assert ROOT / "requirements.lock" in files
    naming = [path for path in files for host in INDEX_HOSTS if host.encode() in path.read_bytes()]
    assert naming == []


def imports(packages: tuple[str, ...]) -> Iterator[str]:
    """Top-level names that the packages import, anywhere in a file."""
    for path in (path for package in packages for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.partition(".")[0]


def distributions_imported(packages: tuple[str, ...]) -> set[str]:
    """Distributions of third parties that the packages import."""
    own = {
        *PACKAGES,
        "benchmarks",
        "tests",
        "lock_format",
        "lock_requirements",
        "prepare_environment",
        "run_pip",
    }
    names = set(imports(packages)) - sys.stdlib_module_names - own
    owners = packages_distributions()
    return {normalised(owner) for name in names for owner in owners.get(name, [name])}


def declared(entries: list[str]) -> set[str]:
    return {normalised(Requirement(entry).name) for entry in entries}


def test_dependencies_are_what_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    dependencies = declared(project["project"]["dependencies"])
    imported = distributions_imported(PACKAGES) - BROUGHT_BY_THE_USER - IMPORTED_IF_THERE
    assert imported == dependencies - NEVER_IMPORTED


def test_tests_import_nothing_undeclared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [entry for group in project["dependency-groups"].values() for entry in group]
    extras = [
        name for extra in project["project"]["optional-dependencies"].values() for name in extra
    ]
    known = declared(project["project"]["dependencies"] + groups + extras)
    assert distributions_imported(("tests", "benchmarks", "deploy")) <= known
