"""Makes an environment exactly what its lock says, and tells the person what it is doing.

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
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lock_format import Cost, Package, in_batches, normalised, read_packages
from run_pip import SetupError, pip_install

RUNTIME_LOCK = "requirements.lock"
DEV_LOCK = "requirements-dev.lock"
JAX_LOCK = "requirements-jax.lock"
STATE = "fleetcast-setup.json"
LOG = "fleetcast-setup.log"
TESTED = {("Linux", "x86_64")}
LOCKED = TESTED | {("Linux", "aarch64"), ("Darwin", "arm64")}
SPARE = 500_000_000
BATCH = 60_000_000
EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


@dataclass(frozen=True)
class Kind:
    """An environment that can be made: its folder, its locks, whether the project goes into it.

    The last lock is what is installed; those before it are contained in it.
    """

    folder: str
    locks: tuple[str, ...]
    project: bool


RUNTIME = Kind(".venv", (RUNTIME_LOCK,), project=True)
DEV = Kind(".venv", (RUNTIME_LOCK, DEV_LOCK), project=True)
JAX = Kind(".venv-jax", (JAX_LOCK,), project=False)  # lacks what the command needs: tests only


def wanted_state(root: Path, locks: tuple[str, ...]) -> dict[str, str]:
    """What the finished environment records: where it is, and what all it is made from."""
    files = [*locks, "pyproject.toml"]
    digests = {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in files}
    python = ".".join(map(str, sys.version_info[:2]))
    return {"root": str(root), "python": python, **digests}


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


def disk_needs(root: Path, missing: list[Package]) -> dict[Path, int]:
    """Bytes needed in each folder that set-up fills: `.venv`, pip's temporary folder and cache."""
    cost = sum((package.cost for package in missing), start=Cost())
    needs = {root: cost.disk + SPARE}
    batches = in_batches(missing, BATCH)
    largest = max(sum(package.cost.download for package in batch) for batch in batches)
    folders = {Path(tempfile.gettempdir()): largest}
    if not os.environ.get("PIP_NO_CACHE_DIR"):
        cache = Path(os.environ.get("PIP_CACHE_DIR") or Path.home())
        folders[cache] = folders.get(cache, 0) + cost.download
    for folder, need in folders.items():
        if folder.exists():
            needs[folder] = needs.get(folder, 0) + need
    return needs


def check_disk(needs: dict[Path, int]) -> None:
    """Refuses to begin what the disks cannot hold. `needs` is bytes by folder."""
    by_disk: dict[int, dict[Path, int]] = {}
    for folder, need in needs.items():
        by_disk.setdefault(folder.stat().st_dev, {})[folder] = need
    for folders in by_disk.values():
        need = sum(folders.values())
        free = shutil.disk_usage(next(iter(folders))).free
        if free < need:
            where = " and ".join(map(str, folders))
            raise SetupError(
                f"Too little disk: {megabytes(free)} MB are free where {where} lie, and set-up "
                f"needs {megabytes(need)} MB there. Free some space, clone onto a larger disk, or "
                "point TMPDIR and PIP_CACHE_DIR at one; then run the same command again."
            )


def missing_packages(environment: Path, lock: Path, *, stale: bool) -> list[Package]:
    """The packages of a lock that an environment lacks: all of them where it is stale.

    Those without a size are left to pip's last look: most are for another Python than this.
    """
    there = set() if stale else installed(environment)
    return [
        package
        for name, package in read_packages(lock.read_text()).items()
        if package.cost.packages and not there & {(name, found) for found in package.versions}
    ]


def announce(environment: Path, missing: list[Package]) -> None:
    """Says what is about to be downloaded and how much disk that takes, and checks the disk."""
    cost = sum((package.cost for package in missing), start=Cost())
    needs = disk_needs(environment.parent, missing)
    check_disk(needs)
    print(
        f"Setting up {environment.name} with Python {platform.python_version()}: {cost.packages} "
        f"packages, about {megabytes(cost.download)} MB to download and {megabytes(cost.disk)} MB "
        f"of disk ({megabytes(sum(needs.values()))} MB while it works).\n"
        f"It can be interrupted: the same command goes on. The log is {environment.name}/{LOG}.",
        flush=True,
    )
    if (platform.system(), platform.machine()) not in TESTED:
        print("Note: this kind of machine is locked but untested. Please report how it goes.")


def install(environment: Path, lock: Path, missing: list[Package]) -> None:
    """Installs what is missing, in batches, so that an interruption loses one batch at most.

    The lock is complete, so pip need not resolve (--no-deps). The last call gets all of it, and
    adds only what markers, which pip alone reads, ask for on this Python.
    """
    python, log = python_of(environment), environment / LOG
    total = len(read_packages(lock.read_text()))
    done = total - len(missing)
    exact = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement"]
    part = environment / "fleetcast-setup.part"
    for batch in in_batches(missing, BATCH):
        part.write_text("".join(package.lines for package in batch))
        pip_install(python, [*exact, str(part)], log, done=done, total=total)
        done += len(batch)
    part.unlink(missing_ok=True)
    pip_install(python, [*exact, str(lock)], log, done=done, total=total)


def megabytes(count: int) -> int:
    """Bytes as whole megabytes, never none."""
    return max(1, round(count / 1e6))


def is_stale(environment: Path) -> bool:
    """Whether an environment must be made anew: it has another Python, or its folder was moved.

    Raises:
        SetupError: it has another Python, and was not made here.
    """
    state = recorded_state(environment)
    version = minor_version(python_of(environment))
    other_python = version not in {None, sys.version_info[:2]}
    if state is None and other_python:
        raise SetupError(
            f"{environment} has Python {'.'.join(map(str, version or ()))} and was not made by "
            "this set-up, so it is left as it is. Move it away, and run the same command again."
        )
    moved = (state or {}).get("root", str(environment.parent)) != str(environment.parent)
    return other_python or moved


def make_environment(environment: Path, *, stale: bool) -> None:
    """Creates an environment, a stale one anew, or repairs a half-made one, so that its pip runs.

    Raises:
        SetupError: venv itself failed.
    """
    environment.mkdir(exist_ok=True)
    (environment / STATE).write_text("{}")
    if not stale and python_of(environment).exists() and pip_runs(environment):
        return
    # Never the environment's own interpreter: --clear would take it away from under itself.
    base = str(getattr(sys, "_base_executable", sys.executable))
    command = [base, "-m", "venv", *(["--clear"] if stale else []), str(environment)]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    if made.returncode != 0 or not pip_runs(environment):
        raise SetupError(
            f"{' '.join(command)} failed:\n{(made.stdout + made.stderr).strip()}\n"
            f"On Debian and Ubuntu: sudo apt install python{sys.version_info[0]}."
            f"{sys.version_info[1]}-venv. If that is not it: make clean, then the same command."
        )
    (environment / STATE).write_text("{}")


def pip_runs(environment: Path) -> bool:
    """Whether the environment's pip starts."""
    command = [str(python_of(environment)), "-m", "pip", "--version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def prepare(root: Path, kind: Kind) -> None:
    """Brings an environment under `root` to the state of its lock. Nothing to do if it is there."""
    environment = root / kind.folder
    wanted = wanted_state(root, kind.locks)
    recorded = recorded_state(environment) or {}
    if wanted.items() <= recorded.items() and os.access(python_of(environment), os.X_OK):
        return
    if recorded_state(environment) is not None:
        for leftover in broken_distributions(environment):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    lock = root / kind.locks[-1]
    stale = is_stale(environment)
    missing = missing_packages(environment, lock, stale=stale)
    if missing:
        announce(environment, missing)
    make_environment(environment, stale=stale)
    (environment / LOG).write_text("")
    install(environment, lock, missing)
    if kind.project:
        project = ["--no-deps", "--no-build-isolation", "--editable", str(root)]
        pip_install(python_of(environment), project, environment / LOG, done=0, total=1)
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
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--dev", action="store_true", help="with what tests and linters need")
    kind.add_argument("--jax", action="store_true", help="the model tests on JAX, in .venv-jax")
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    try:
        check_platform()
        with one_at_a_time(root):
            prepare(root, JAX if arguments.jax else DEV if arguments.dev else RUNTIME)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (SetupError, OSError) as error:
        print(f"Set-up stopped. {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
