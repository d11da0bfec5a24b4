"""Bad days: each with one clear answer, and nothing else lost."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import pytest
from deltalake import DeltaTable

from tasks.schemas import SCHEMA_VERSION
from tasks.storage import files, places
from tasks.storage.facts import DamagedError
from tasks.store import Store, StoreError
from tests.tasks.store_rows import NIGHT, bar, bars, losses

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(tmp_path / "store")
    made.commit_facts("bars", bars(bar(1.0)), now=NIGHT)
    return made


def files_of(store: Store, dataset: str = "bars") -> list[Path]:
    return sorted((Path(store.url) / dataset).glob("*.parquet"), key=os.path.getmtime)


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("below", ["", "sub/folder"])
def test_a_path_that_is_a_file(tmp_path: Path, create: bool, below: str) -> None:
    file = tmp_path / "bars.csv"
    file.write_text("mine")
    with pytest.raises(StoreError, match=r"bars\.csv is a file.*choose another with --store"):
        Store.open(file / below, create=create)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("there", [True, False])
def test_no_store_where_one_is_expected(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "empty"
    if there:
        path.mkdir()
    with pytest.raises(StoreError, match=r"no store at .*empty.*fleetcast"):
        Store.open(path, create=False)
    assert path.exists() == there


def refuse(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_read_only_store_simulated(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What root meets on a read-only disk: the probe's own system call fails with EROFS."""
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    with pytest.raises(StoreError, match=r"can't be written: Read-only file system.*--store"):
        Store.open(store.url)
    assert Store.open(store.url, create=False).read("bars").num_rows == 1


ON_A_READ_ONLY_DISK = """
import sys
from tasks.storage.facts import DamagedError
from tasks.store import Store, StoreError
from tests.tasks.store_rows import NIGHT, bar, bars, losses

url = sys.argv[1]
def refused(act):
    try:
        act()
    except StoreError as error:
        assert "Read-only" in str(error) or "denied" in str(error), error
        assert url in str(error) and "make" in str(error), error
    else:
        raise AssertionError("not refused")
store = Store.open(url, create=False)
refused(lambda: Store.open(url))
refused(lambda: store.commit_facts("bars", bars(bar(2.0)), now=NIGHT))
refused(lambda: store.append_once("statistics", losses(["a"]), now=NIGHT))
refused(lambda: store.write_file("latest/x", b""))
assert store.read("bars")["close"].to_pylist() == [1.0]
print("all refused")
"""

ON_A_FULL_DISK = """
import sys
import numpy as np, pyarrow as pa
from tasks.storage import places
from tasks.storage.facts import DamagedError
from tasks.store import Store, StoreError
from tests.tasks.store_rows import NIGHT, SESSION, bar, bars

url = sys.argv[1]
try:
    Store.open(url)
except StoreError as error:
    assert "nearly full" in str(error) and "MiB free" in str(error), error
else:
    raise AssertionError("not refused")
places.MINIMUM_FREE_BYTES = 0
store = Store.open(url)
noise = np.random.default_rng(0)
written = 0
for number in range(200):
    rows = pa.table({
        "instrument": [f"I{number}-{row}" for row in range(2000)], "session": [SESSION] * 2000,
        "close": noise.uniform(1, 2, 2000), "price_basis": ["raw"] * 2000, "source": ["s"] * 2000,
    })
    try:
        store.commit_facts("bars", rows, now=NIGHT)
    except StoreError as error:
        assert "can't be written" in str(error) and "No space left" in str(error), error
        break
    written += 2000
else:
    raise AssertionError("the disk never filled")
assert written and store.read("bars").num_rows == written
try:
    store.write_file("latest/x", bytes(4_000_000))
except StoreError as error:
    assert "No space left" in str(error), error
assert not store.exists("latest/x")
print("all intact")
"""


def run_on_a_mounted_disk(mount: str, code: str, url: str) -> str:
    """Runs `code` where only it sees the mount; skips where mounting is not allowed."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, to mount a disk that nobody else sees")
    unshared = ["unshare", "--mount", "sh", "-c"]
    allowed = subprocess.run([*unshared, f"{mount}"], capture_output=True, check=False)
    if allowed.returncode:
        pytest.skip("needs the right to mount a disk")
    done = subprocess.run(
        [*unshared, f'{mount} && exec "$@"', "sh", sys.executable, "-c", code, url],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_read_only_store(store: Store) -> None:
    mount = f"mount --bind '{store.url}' '{store.url}' && mount -o remount,bind,ro '{store.url}'"
    assert run_on_a_mounted_disk(mount, ON_A_READ_ONLY_DISK, store.url) == "all refused\n"


def test_a_disk_that_runs_full(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=2m tmpfs '{tmp_path}'"
    url = str(tmp_path / "store")
    assert run_on_a_mounted_disk(mount, ON_A_FULL_DISK, url) == "all intact\n"


def test_a_nearly_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=places.MINIMUM_FREE_BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StoreError, match=r"nearly full: 100 MiB free, expected at least 100 MiB"):
        Store.open(tmp_path / "store")
    assert list(tmp_path.glob("store/*")) == []


@pytest.mark.parametrize("keep", [0, 3, 400])
def test_a_truncated_file_is_named_and_the_remedy_works(store: Store, keep: int) -> None:
    store.commit_facts("bars", bars(bar(2.0, instrument="IBM")), now=NIGHT)
    broken = files_of(store)[-1]
    broken.write_bytes(broken.read_bytes()[:keep])
    expected = rf"{broken}.*has {keep} bytes.*backup.*delete it.*repair\(\), and run again"
    for act in (
        lambda: store.read("bars"),
        lambda: store.history("bars", instruments=["IBM"]),
        lambda: store.commit_facts("bars", bars(bar(2.0, instrument="IBM")), now=NIGHT),
    ):
        with pytest.raises(DamagedError, match=expected):
            act()
    assert store.read("bars", instruments=["AAPL"])["close"].to_pylist() == [1.0]
    assert store.read("actions").num_rows == 0

    broken.unlink()
    with pytest.raises(StoreError, match=rf"{broken}.*is missing"):
        store.read("bars")
    DeltaTable(f"{store.url}/bars").repair()
    assert store.read("bars")["close"].to_pylist() == [1.0]
    store.commit_facts("bars", bars(bar(2.0, instrument="IBM")), now=NIGHT)
    assert store.read("bars")["close"].to_pylist() == [1.0, 2.0]


def test_a_file_with_wrong_bytes_is_named(store: Store) -> None:
    (file,) = files_of(store)
    file.write_bytes(b"\x00" * file.stat().st_size)
    with pytest.raises(StoreError, match=rf"{file}.*is damaged"):
        store.read("bars")


def test_a_damaged_commit_log_is_named(store: Store) -> None:
    log = Path(store.url) / "bars" / "_delta_log"
    sorted(log.glob("*.json"))[-1].write_text('{"add": {"path"')
    for act in (lambda: store.read("bars"), lambda: Store.open(store.url)):
        with pytest.raises(StoreError, match=rf"{log} can't be read.*restore"):
            act()


def test_a_store_of_a_newer_version_is_refused(store: Store) -> None:
    newer = {"fleetcast.schemaVersion": str(SCHEMA_VERSION + 1)}
    table = DeltaTable(f"{store.url}/scores")
    table.alter.set_table_properties(newer, raise_if_not_exists=False)
    expected = rf"scores .* schema version {SCHEMA_VERSION + 1}.*up to {SCHEMA_VERSION}.*newer"
    for create in (True, False):
        with pytest.raises(StoreError, match=expected):
            Store.open(store.url, create=create)
    with pytest.raises(StoreError, match=expected):
        store.read("scores")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("", "empty"),
        ("ftp://host/store", r"unknown scheme 'ftp'.*s3://"),
        ("file://data/store", r"file:///data/store\?"),
        ("s3:///store", "names no bucket"),
        ("/data/100%/store", "misreads '%'"),
        ("/data/[old]/store", r"misreads '\['"),
        ("/data/a\nb", "line breaks"),
    ],
)
def test_an_address_that_no_store_can_have(url: str, named: str) -> None:
    with pytest.raises(StoreError, match=named):
        Store.open(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://KEY:hunter2@bucket/store",
        "s3://bucket/store?token=hunter2",
        "s3://bucket/store#hunter2",
        "postgres://user:hunter2@host/store",
        "file:///store?token=hunter2",
    ],
)
def test_a_secret_in_an_address_is_refused_and_never_repeated(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store.open(url)
    assert "hunter2" not in str(caught.value) + repr(caught.value)
    assert "store" in str(caught.value)


@pytest.mark.parametrize(
    ("act", "named"),
    [
        (lambda s: s.read("bras"), r"no dataset 'bras'.*bars, actions"),
        (lambda s: s.read("bars", columns=["clsoe"]), r"no column 'clsoe'"),
        (lambda s: s.read("bars", instruments="AAPL"), r"\['AAPL'\]"),
        (lambda s: s.read("runs", instruments=["AAPL"]), "runs has no instruments"),
        (lambda s: s.read("bars", versions={"runs": 0}), r'pins no version of bars.*\{"runs": 0\}'),
        (lambda s: s.read("bars", versions={"bars": 99}), "Version 99 of bars.*Read by as_of"),
        (lambda s: s.read("bars", as_of=datetime(2024, 1, 1)), "as_of has no time zone"),  # noqa: DTZ001
        (lambda s: s.commit_facts("scores", bars(), now=NIGHT), "use append_once"),
        (lambda s: s.append_once("bars", losses([]), now=NIGHT), "use commit_facts"),
        (
            lambda s: s.append_once("statistics", losses([]), now=datetime(2024, 1, 1)),  # noqa: DTZ001
            "now has no time zone",
        ),
        (lambda s: s.write_file("../x", b""), r"relative to the store.*'\.\./x'"),
        (lambda s: s.write_file("/etc/x", b""), "relative to the store"),
        (lambda s: s.write_file("bars/x", b""), "outside the datasets"),
        (lambda s: s.read_file("latest/none"), r"latest/none can't be read"),
    ],
)
def test_what_is_not_there_is_refused_by_name(
    store: Store, act: Callable[[Store], object], named: str
) -> None:
    before = store.versions()
    with pytest.raises(StoreError, match=named):
        act(store)
    assert store.versions() == before


def test_rows_that_do_not_fit_leave_nothing_behind(store: Store) -> None:
    before, files = store.versions(), files_of(store)
    good, bad = bar(2.0, instrument="IBM"), {**bar(3.0, instrument="GE"), "close": None}
    with pytest.raises(StoreError, match=r"bars\.close"):
        store.commit_facts("bars", bars(good, bad), now=NIGHT)
    assert (store.versions(), files_of(store)) == (before, files)


def test_a_failed_commit_says_so_and_leaves_what_was_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(StoreError, match=r"bars .* can't be written: .*No space left.*intact"):
        store.commit_facts("bars", bars(bar(2.0)), now=NIGHT)
    assert store.read("bars")["close"].to_pylist() == [1.0]


def test_a_file_that_can_not_be_written_keeps_its_old_bytes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_file("latest/forecasts.csv", b"old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError, match=r"forecasts\.csv can't be written: Read-only"):
        store.write_file("latest/forecasts.csv", b"new")
    assert store.read_file("latest/forecasts.csv") == b"old"
    assert len(list((Path(store.url) / "latest").iterdir())) == 1


def test_readers_leave_quietly() -> None:
    """Arrow calling back into Python's file system aborted one process of three at its exit."""
    with tempfile.TemporaryDirectory() as folder:
        made = Store.open(folder)
        for number in range(3):
            made.commit_facts("bars", bars(bar(1.0, instrument=f"I{number}")), now=NIGHT)
        code = (
            "import sys; from tasks.store import Store; "
            "print(Store.open(sys.argv[1], create=False).read('bars').num_rows)"
        )
        runs = [
            subprocess.run(
                [sys.executable, "-c", code, folder],
                cwd=REPOSITORY,
                capture_output=True,
                text=True,
                check=False,
            )
            for _ in range(3)
        ]
    assert [(run.returncode, run.stdout) for run in runs] == [(0, "3\n")] * 3
