"""Writes the requirements locks from pyproject.toml, and measures what they cost to install.

Run by `make lock`. Never installs anything: prepare_environment.py does, with plain pip.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from packaging.markers import Marker

from lock_format import Cost, normalised, read_packages, with_sizes

ROOT = Path(__file__).resolve().parents[2]
RUNTIME_LOCK = "requirements.lock"
DEV_LOCK = "requirements-dev.lock"
JAX_LOCK = "requirements-jax.lock"
OLDEST_PYTHON = "3.11"
SUPPORTED = [
    {
        "sys_platform": system,
        "platform_machine": machine,
        "platform_system": {"linux": "Linux", "darwin": "Darwin"}[system],
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
    }
    for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
    for python in ("3.11.0", "3.11.9", "3.12.0", "3.13.0")
]
HEADER = """\
# Written by `make lock` from pyproject.toml: edit that, not this.
# For Python 3.11 to 3.13 on Linux x86_64 and aarch64 and on macOS arm64; installed with plain
# `pip install --require-hashes -r {name}`.
# {packages} packages, {download} MB to download, {disk} MB on disk ({where})
"""


def resolve(uv: str, output: Path, what: list[str], *, upgrade: bool) -> None:
    """Lets uv resolve `what` of pyproject.toml for every supported platform into `output`.

    No index host, path or machine name reaches the file. Versions already in `output` are kept
    unless `upgrade`.
    """
    command = [uv, "pip", "compile", "--universal", "--generate-hashes"]
    command += ["--python-version", OLDEST_PYTHON, "--no-header", "--no-strip-extras", "--quiet"]
    # One version of a package for all Pythons where there is one: results agree between them.
    command += ["--fork-strategy", "fewest"]
    command += ["--only-binary", ":all:", "--emit-build-options"]
    command += ["--output-file", str(output), *what, *(["--upgrade"] if upgrade else [])]
    subprocess.run(command, cwd=ROOT, check=True)


def without_idle_markers(text: str) -> str:
    """Drops each marker that holds on every supported platform and Python: nearly all of them.

    uv repeats the supported platforms on every line. With that clause, pip on any other machine
    would install nothing and call it a success; without it, pip says what has no build there.
    """
    lines = []
    for line in text.splitlines():
        requirement, separator, rest = line.partition(" ; ")
        marker = rest.removesuffix("\\").strip()
        idle = (
            separator
            and requirement[0].isalnum()
            and all(Marker(marker).evaluate(where) for where in SUPPORTED)
        )
        lines.append(requirement + " \\" * rest.endswith("\\") if idle else line)
    return "\n".join(lines) + "\n"


def with_bare_names(text: str) -> str:
    """Repeats each `name[extra]==version` block as `name==version`.

    In hash mode pip takes the two for different requirements, and wants both to be pinned.
    """
    block = re.compile(r"^([\w.\-]+)\[[^\]]+\](==.*\n(?:    --hash.*\n)+)", re.M)
    return block.sub(lambda match: f"{match[1]}{match[2]}{match[0]}", text)


def measure(wheels: Path) -> dict[str, Cost]:
    """The cost of every wheel in a folder, by normalised name. Bytecode doubles Python sources."""
    costs = {}
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            sizes = [
                entry.file_size * (2 if entry.filename.endswith(".py") else 1)
                for entry in archive.infolist()
            ]
        name = normalised(wheel.name.split("-")[0])
        costs[name] = Cost(1, wheel.stat().st_size, sum(sizes))
    return costs


def finished(name: str, text: str, costs: dict[str, Cost]) -> str:
    """A lock's text with the size of each package, under a header for the person who opens it."""
    names = read_packages(text).keys() & costs.keys()
    total = sum((costs[package] for package in names), start=Cost())
    header = HEADER.format(
        name=name,
        packages=total.packages,
        download=round(total.download / 1e6),
        disk=round(total.disk / 1e6),
        where=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    )
    return header + with_sizes(text, costs)


def main() -> None:
    """Resolves the locks, downloads every wheel once to measure it, and writes them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uv", default="uv", help="the uv to resolve with")
    parser.add_argument("--upgrade", action="store_true", help="take the newest allowed versions")
    arguments = parser.parse_args()
    project = ["pyproject.toml"]
    selections = {
        RUNTIME_LOCK: project,
        DEV_LOCK: [*project, "--group", "dev", "--constraints", RUNTIME_LOCK],
        JAX_LOCK: ["--group", "jax", "--constraints", DEV_LOCK],
    }
    for lock, what in selections.items():
        resolve(arguments.uv, ROOT / lock, what, upgrade=arguments.upgrade)
    texts = {
        lock: with_bare_names(without_idle_markers((ROOT / lock).read_text()))
        for lock in selections
    }
    for lock, text in texts.items():
        (ROOT / lock).write_text(text)
    with tempfile.TemporaryDirectory() as folder:
        print("Downloading every locked wheel once, to measure them ...", flush=True)
        for lock in (DEV_LOCK, JAX_LOCK):  # the first contains the runtime's
            download = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"]
            download += ["--dest", folder, "--requirement", lock]
            subprocess.run(download, cwd=ROOT, check=True)
        costs = measure(Path(folder))
    for lock, text in texts.items():
        (ROOT / lock).write_text(finished(lock, text, costs))
        print(f"{lock}: {len(read_packages(text))} packages")


if __name__ == "__main__":
    main()
