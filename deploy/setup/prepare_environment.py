"""Makes `.venv` exactly what the requirements lock says, and tells the person what it is doing.

Run by `make` with the standard library only, before anything is installed. Never overrides pip's
settings (index, proxy, certificates), and never touches anything outside the repository.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from run_pip import SetupError, pip_install

RUNTIME_LOCK = "requirements.lock"
DEV_LOCK = "requirements-dev.lock"
STATE = "fleetcast-setup.json"
LOG = "fleetcast-setup.log"
TESTED = {("Linux", "x86_64")}
LOCKED = TESTED | {("Linux", "aarch64"), ("Darwin", "arm64")}
MEGABYTE, SPARE_MB = 1_000_000, 500
EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


@dataclass(frozen=True)
class Cost:
    """What a lock costs: packages, MB to download, MB on disk. Measured when it was written."""

    packages: int
    download: int
    disk: int


def pins(lock: Path) -> set[tuple[str, str]]:
    """The (normalised name, version) pairs that a lock allows, for any Python."""
    found = re.findall(r"^([\w.\-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", lock.read_text(), re.M)
    return {(normalised(name), version) for name, version in found}


def measured_cost(lock: Path) -> Cost:
    """Reads the `# measured:` line that lock_requirements.py left in a lock."""
    line = r"^# measured: (\d+) packages, (\d+) MB to download, (\d+) MB on disk"
    match = re.search(line, lock.read_text(), re.M)
    if match is None:
        raise SetupError(f"{lock.name} has no '# measured:' line. Write it again: make lock")
    return Cost(*(int(number) for number in match.groups()))


def normalised(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted_state(root: Path, locks: list[str]) -> dict[str, str]:
    """What the finished environment records: where it is, and the digest of all it is made from."""
    files = [*locks, "pyproject.toml"]
    digests = {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in files}
    return {"root": str(root), **digests}


def recorded_state(environment: Path) -> dict[str, str] | None:
    """The record in an environment made here: empty while half-made, None if it is not ours."""
    try:
        state = json.loads((environment / STATE).read_text())
    except (OSError, ValueError):
        return {} if (environment / STATE).exists() else None
    return {str(key): str(value) for key, value in state.items()}


def python_of(environment: Path) -> Path:
    """The environment's interpreter."""
    return environment / "bin" / "python"


def minor_version(python: Path) -> tuple[int, int] | None:
    """Major and minor version of an interpreter; None if it does not run."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [str(python), "-c", code], check=False, capture_output=True, text=True
        )
    except OSError:
        return None
    numbers = answer.stdout.split()
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else None


def check_platform() -> None:
    """Refuses a machine for which TensorFlow has no build, before anything is downloaded."""
    system, machine = platform.system(), platform.machine()
    if (system, machine) not in LOCKED:
        remedy = {
            "Windows": "Use it inside WSL2 (Ubuntu, for example): wsl --install",
            "Darwin": "TensorFlow left Intel Macs: use Linux, or a Mac with Apple silicon",
        }.get(system, "Use Linux on x86_64 or aarch64, or macOS on Apple silicon")
        raise SetupError(f"fleetcast has no locked packages for {system} {machine}. {remedy}.")
    if system == "Linux" and platform.libc_ver()[0] != "glibc":
        raise SetupError(
            "This Linux has no glibc (Alpine, perhaps), and TensorFlow is built for nothing else. "
            "Use a Debian, Ubuntu or Fedora image."
        )


def broken_distributions(environment: Path) -> list[Path]:
    """Metadata folders of distributions that an interruption left half-installed.

    pip writes RECORD last, so a folder without it, or whose RECORD lists a file that is not there,
    belongs to a package that pip would wrongly call installed.
    """
    broken = []
    for packages in environment.glob("lib/python3*/site-packages"):
        for metadata in packages.glob("*.dist-info"):
            record = metadata / "RECORD"
            entries = record.read_text().splitlines() if record.exists() else []
            paths = [entry.rsplit(",", 2)[0].strip('"') for entry in entries]
            whole = bool(paths) and all(
                (packages / path).exists() for path in paths if not path.endswith(".pyc")
            )
            if not whole:
                broken.append(metadata)
        broken += packages.glob("~*")
    return broken


def installed(environment: Path) -> set[tuple[str, str]]:
    """The (normalised name, version) pairs of the distributions in an environment."""
    found = environment.glob("lib/python3*/site-packages/*.dist-info")
    parts = [path.name.removesuffix(".dist-info").rsplit("-", 1) for path in found]
    return {(normalised(part[0]), part[1]) for part in parts if len(part) == 2}


def size_on_disk(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def disk_needs(environment: Path, cost: Cost) -> dict[Path, int]:
    """MB needed in each folder that set-up fills: `.venv`, pip's temporary folder, pip's cache."""
    there = size_on_disk(environment) // MEGABYTE if environment.exists() else 0
    needs = {environment.parent: max(cost.disk - there, 0) + SPARE_MB}
    folders = [Path(tempfile.gettempdir())]
    if not os.environ.get("PIP_NO_CACHE_DIR"):
        folders.append(Path(os.environ.get("PIP_CACHE_DIR") or Path.home()))
    for folder in folders:
        if folder.exists():
            needs[folder] = needs.get(folder, 0) + cost.download
    return needs


def check_disk(needs: dict[Path, int]) -> None:
    """Refuses to begin what the disks cannot hold. `needs` is MB by folder."""
    by_disk: dict[int, dict[Path, int]] = {}
    for folder, need in needs.items():
        by_disk.setdefault(folder.stat().st_dev, {})[folder] = need
    for folders in by_disk.values():
        need = sum(folders.values())
        free = shutil.disk_usage(next(iter(folders))).free // MEGABYTE
        if free < need:
            raise SetupError(
                f"Too little disk: {free} MB are free where {' and '.join(map(str, folders))} lie, "
                f"and set-up needs {need} MB there. Free some space, clone onto a larger disk, or "
                "point TMPDIR and PIP_CACHE_DIR at one; then run the same command again."
            )


def announce(environment: Path, lock: Path) -> None:
    """Says what is about to be downloaded and how much disk that takes, and checks the disk."""
    missing = pins(lock) - installed(environment)
    full = measured_cost(lock)
    runtime = lock.with_name(RUNTIME_LOCK)
    if lock != runtime and not pins(runtime) & missing:
        base = measured_cost(runtime)
        full = Cost(
            full.packages - base.packages, full.download - base.download, full.disk - base.disk
        )
    count = min(full.packages, len(missing))
    if count == 0:
        return
    needs = disk_needs(environment, full)
    check_disk(needs)
    about = "about" if count == full.packages else "at most"
    print(
        f"Setting up {environment.name} with Python {platform.python_version()}: {count} packages, "
        f"{about} {full.download} MB to download and {full.disk} MB of disk "
        f"({sum(needs.values())} MB while it works).\n"
        "What pip has in its cache is not downloaded again. The log is "
        f"{environment.name}/{LOG}.",
        flush=True,
    )
    if (platform.system(), platform.machine()) not in TESTED:
        print("Note: this kind of machine is locked but untested. Please report how it goes.")


def make_environment(environment: Path) -> None:
    """Creates `.venv`, or repairs a half-made one, so that its pip runs.

    Raises:
        SetupError: a `.venv` that is not ours has another Python, or venv itself failed.
    """
    state = recorded_state(environment)
    version = minor_version(python_of(environment))
    stale = version not in {None, sys.version_info[:2]} or (
        bool(state) and state is not None and state.get("root") != str(environment.parent)
    )
    if stale and state is None:
        raise SetupError(
            f"{environment} has Python {'.'.join(map(str, version or ()))} and was not made by "
            f"this set-up, so it is left as it is. Move it away, and run the same command again."
        )
    environment.mkdir(exist_ok=True)
    (environment / STATE).write_text("{}")
    if version is not None and not stale and pip_runs(environment):
        return
    # Never the environment's own interpreter: --clear would take it away from under itself.
    base = str(getattr(sys, "_base_executable", sys.executable))
    clear = ["--clear"] if stale else []
    make = subprocess.run(
        [base, "-m", "venv", *clear, str(environment)],
        check=False,
        capture_output=True,
        text=True,
    )
    (environment / STATE).write_text("{}")
    if make.returncode != 0 or not pip_runs(environment):
        minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise SetupError(
            f"{base} -m venv did not make {environment}:\n{(make.stdout + make.stderr).strip()}\n"
            f"On Debian and Ubuntu: sudo apt install python{minor}-venv. If that is not it: "
            "make clean, then the same command again."
        )


def pip_runs(environment: Path) -> bool:
    """Whether the environment's pip starts."""
    command = [str(python_of(environment)), "-m", "pip", "--version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def prepare(root: Path, *, dev: bool) -> None:
    """Brings `.venv` under `root` to the state of its lock. Does nothing if it is there already."""
    environment = root / ".venv"
    locks = [RUNTIME_LOCK, DEV_LOCK] if dev else [RUNTIME_LOCK]
    wanted = wanted_state(root, locks)
    recorded = recorded_state(environment) or {}
    if wanted.items() <= recorded.items() and os.access(python_of(environment), os.X_OK):
        return
    if recorded_state(environment) is not None:
        for leftover in broken_distributions(environment):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    lock = root / locks[-1]
    announce(environment, lock)
    make_environment(environment)
    (environment / LOG).write_text("")
    # The lock is complete, so pip need not resolve; hashes make the index's word unnecessary.
    exact = ["--no-deps", "--require-hashes", "--requirement", str(lock)]
    pip_install(python_of(environment), exact, environment / LOG, total=len(pins(lock)))
    project = ["--no-deps", "--no-build-isolation", "--editable", str(root)]
    pip_install(python_of(environment), project, environment / LOG, total=1)
    partial = environment / (STATE + ".new")
    partial.write_text(json.dumps(wanted, indent=1))
    partial.replace(environment / STATE)
    print(f"{environment.name} is ready.", flush=True)


@contextlib.contextmanager
def one_at_a_time(root: Path) -> Iterator[None]:
    """Holds the folder's set-up for this process: `make -j` and two terminals take turns."""
    import fcntl  # noqa: PLC0415 - Windows lacks it, and gets its answer before this

    with (root / RUNTIME_LOCK).open() as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another set-up of this folder is running: waiting for it.", flush=True)
            fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Prepares the repository's environment; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dev", action="store_true", help="with what tests and linters need")
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    try:
        check_platform()
        with one_at_a_time(root):
            prepare(root, dev=arguments.dev)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (SetupError, OSError) as error:
        print(f"Set-up stopped. {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
