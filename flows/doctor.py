"""What works on this machine: a list of checks, each with what was found and what to do about it.

Owns the checks. Never repairs anything, and leaves no trace but Prefect's own home.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flows.config import FleetcastConfig
from flows.failures import Refused
from flows.redaction import without_secrets
from flows.secrets import Wanted, blocks, key_of, of_sinks, refuse_missing

_PYTHONS = ((3, 11), (3, 13))
_PACKAGES = "tensorflow keras prefect pandas pyarrow numpy deltalake pydantic exchange_calendars"
_FREE_GIB = 2.0
_MEMORY_GIB = 2.0
_GIB = 2**30

_ASK_FOR_GPUS = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
built = tf.test.is_built_with_cuda()
names = [tf.config.experimental.get_device_details(d).get("device_name", d.name)
         for d in tf.config.list_physical_devices("GPU")]
print(f"{int(built)}|" + ", ".join(names))
"""


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: what.
        ok: whether a nightly run can work with it.
        found: what was seen.
        remedy: what to do about it, empty where nothing is to be done.
    """

    name: str
    ok: bool
    found: str
    remedy: str = ""


def checks(config: FleetcastConfig) -> Iterator[Check]:
    """Every check, as it is done: quick ones first."""
    yield _python()
    yield from _versions()
    yield _machine()
    in_prefect = blocks(config)
    if not in_prefect:
        yield from _outside(config)
    yield _store(config)
    yield _disk(config)
    yield _gpu()
    yield from _prefect(config, _outside(config) if in_prefect else ())


def _python() -> Check:
    found = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    low, high = _PYTHONS
    ok = low <= sys.version_info[:2] <= high
    return Check("python", ok, found, "" if ok else "Use a Python from 3.11 to 3.13.")


def _versions() -> Iterator[Check]:
    for name in _PACKAGES.split():
        try:
            yield Check(name, ok=True, found=version(name))
        except PackageNotFoundError:
            remedy = "Install the locked environment: `make environment`."
            yield Check(name, ok=False, found="not installed", remedy=remedy)


def _machine() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    ok = memory >= _MEMORY_GIB
    remedy = "" if ok else f"A run of the default universe needs {_MEMORY_GIB:g} GiB."
    return Check("machine", ok, f"{cores} cores, {memory:.1f} GiB memory", remedy)


def _outside(config: FleetcastConfig) -> Iterator[Check]:
    """What may need a secret, which may be in a Prefect block."""
    yield _source(config)
    if config.publish.outside:
        yield _sinks(config)


def _source(config: FleetcastConfig) -> Check:
    from tasks.sources import SourceError, open_source
    from tasks.sources.provider import ProviderSource

    named = config.universe.instruments
    try:
        with key_of(config.source):
            source = open_source(config.source)
            # Providers over the network have no list, and are not asked for bars here.
            listed = named if named and isinstance(source, ProviderSource) else source.instruments()
            count = len(listed)
    except SourceError as error:
        found = without_secrets(str(error))
        return Check("source", ok=False, found=found, remedy="See [source] in the file.")
    return Check("source", ok=True, found=f"{source.name}, {count:,} instruments")


def _sinks(config: FleetcastConfig) -> Check:
    """Whether every sink has its secrets. No sink is asked: that is for `fleetcast publish`."""
    try:
        refuse_missing(config.publish)
    except Refused as error:
        found = without_secrets(str(error))
        return Check("sinks", ok=False, found=found, remedy="See [publish] in the file.")
    wanted = of_sinks(config.publish)
    told = [f"{one.variable} from {_block(one)}" for one in wanted]
    return Check("sinks", ok=True, found=", ".join(told) or "no secret is needed")


def _block(wanted: Wanted) -> str:
    return "the environment" if wanted.block is None else f"Prefect's block {wanted.block}"


def _store(config: FleetcastConfig) -> Check:
    from tasks.storage.places import locate
    from tasks.store import Store, StoreError

    url = config.store.url
    try:
        folder = locate(url).local_path
        if folder is not None and not folder.exists():
            parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
            if os.access(parent, os.W_OK):
                return Check("store", ok=True, found=f"{url} is not there yet, and can be made")
            remedy = "Choose another store.url, or make that folder writable."
            return Check("store", ok=False, found=f"{parent} is read-only", remedy=remedy)
        store = Store.open(url, create=folder is None)
    except StoreError as error:
        return Check("store", ok=False, found=str(error), remedy="See [store] in the file.")
    if store.local_path is not None and not os.access(store.local_path, os.W_OK):
        remedy = "`show` and `report` of what is there work; a run needs to write."
        return Check("store", ok=False, found=f"{store.url} is read-only", remedy=remedy)
    runs = store.read("runs", columns=["run_id"]).num_rows
    return Check("store", ok=True, found=f"{store.url}, {runs:,} run{'' if runs == 1 else 's'}")


def _disk(config: FleetcastConfig) -> Check:
    folder = _folder(config) or Path()
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free / _GIB
    ok = free >= _FREE_GIB
    remedy = "" if ok else f"Free some: a store grows, and {_FREE_GIB:g} GiB is little."
    return Check("disk", ok, f"{free:.1f} GiB free", remedy)


def _gpu() -> Check:
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", _ASK_FOR_GPUS],
            capture_output=True,
            text=True,
            timeout=180,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        remedy = "Install the locked environment again: `make clean environment`."
        return Check("gpu", ok=False, found=f"TensorFlow can't start: {last}", remedy=remedy)
    except subprocess.TimeoutExpired:
        return Check("gpu", ok=False, found="TensorFlow did not start in three minutes")
    built, _, names = done.stdout.strip().rpartition("\n")[2].partition("|")
    if names:
        return Check("gpu", ok=True, found=names)
    remedy = "" if built == "0" or not shutil.which("nvidia-smi") else "Install `.[gpu]`."
    return Check("gpu", ok=True, found="none: training uses the processor", remedy=remedy)


def _prefect(config: FleetcastConfig, then: Iterable[Check] = ()) -> Iterator[Check]:
    """Whether Prefect answers; and, while it does, the checks in `then`."""
    from flows import prefect_home
    from flows.prefect_server import PrefectServerError

    began = time.monotonic()
    try:
        folder = _folder(config)
        with prefect_home.prefect(
            folder if folder is not None and folder.exists() else None, config.prefect.api_url
        ) as prefect:
            prefect.wait()
            seconds = time.monotonic() - began
            if prefect.own:
                found = f"none configured; a local server starts in {seconds:.0f} s"
            else:
                found = prefect.api_url or f"profile {os.environ.get('PREFECT_PROFILE')}"
            yield Check("prefect server", ok=True, found=found)
            yield from then
    except PrefectServerError as error:
        yield Check("prefect server", ok=False, found=without_secrets(str(error)))


def _folder(config: FleetcastConfig) -> Path | None:
    """The store's folder, None where it is not on this machine or can't be one."""
    from tasks.storage.places import locate
    from tasks.store import StoreError

    try:
        return locate(config.store.url).local_path
    except StoreError:
        return None
