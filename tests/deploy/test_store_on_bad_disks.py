"""The runbook's store chapters as a person would follow them: disk full, restore, upgrade."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from tasks.schemas import DATASETS, SCHEMA_VERSION
from tasks.sessions import calendar
from tasks.store import Store
from tests.deploy.kit import DEPLOY, ROOT
from tests.tasks.store_rows import NIGHT, bar, bars
from tests.tasks.test_store_upgrade import config, old_schema

SESSIONS = calendar("XNYS").sessions(date(2020, 1, 1), date(2021, 12, 31)).tolist()


def write_prices(folder: Path, sessions: int) -> None:
    """Two instruments that rise a little on the first `sessions` sessions."""
    folder.mkdir(exist_ok=True)
    for name, first in (("AAA", 10.0), ("BBB", 20.0)):
        lines = ["Date,Open,High,Low,Close,Volume"]
        for number, session in enumerate(SESSIONS[:sessions]):
            price = first + number * 0.01
            ends = f"{price + 0.1:.4f},{price - 0.1:.4f}"
            lines.append(f"{session},{price:.4f},{ends},{price:.4f},{1000 + number}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prices, a configuration, and a store that has ingested 300 sessions of them."""
    folder = tmp_path_factory.mktemp("place")
    write_prices(folder / "prices", 300)
    (folder / "fleetcast.toml").write_text(
        '[source]\nname = "files"\npath = "prices"\nprice_basis = "total_return"\n'
    )
    done = ingest(folder)
    assert done.returncode == DONE, done.stderr
    return folder


@pytest.fixture
def mine(place: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to do bad things to."""
    return shutil.copytree(place, tmp_path / "mine")


DONE = 3
"""And not 0: these prices end years ago, which an ingest says."""

INGEST = [sys.executable, "-m", "flows.cli", "ingest", "--format", "json"]


def ingest(
    folder: Path, before: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`fleetcast ingest` there, after the shell's `before`."""
    return subprocess.run(
        ["sh", "-c", f'{before}\nexec "$@"', "sh", *INGEST],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
    )


def contents(folder: Path) -> dict[str, pa.Table]:
    store = Store.open(str(folder), create=False)
    return {name: store.history(name) for name in DATASETS}


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def closes(folder: Path) -> int:
    return int(Store.open(str(folder), create=False).read("bars").num_rows)


def test_a_file_that_can_not_be_written_stops_an_ingest_and_nothing_is_lost(mine: Path) -> None:
    """A limit of the process stands in for a full disk: the write itself fails, in the middle."""
    before = bytes_of(mine / "store")
    write_prices(mine / "prices", 420)
    broken = ingest(mine, "ulimit -f 1")  # half a KiB a file
    assert broken.returncode in {1, 2}, broken.stdout + broken.stderr
    assert broken.stderr.count("\nError: ") == 1
    assert "File too large" in broken.stderr
    assert "Traceback" not in broken.stderr
    assert bytes_of(mine / "store") == before
    again = ingest(mine)
    assert again.returncode == DONE, again.stderr
    assert closes(mine / "store") == 840


ON_A_FULL_DISK = """
set -e
mount -t tmpfs -o size=160m tmpfs "$1/disk"
cp -a "$1/store" "$1/disk/store"
head -c 80000000 /dev/zero > "$1/disk/ballast"
cd "$1"
code=0; shift
"$@" --store disk/store >full.out 2>full.err || code=$?
echo "$code" > full.code
find disk/store -type f -exec cksum {} + | sort > after.sums
rm disk/ballast
"$@" --store disk/store >freed.out 2>freed.err || [ $? = 3 ] || { cat freed.err >&2; exit 1; }
cp -a disk/store freed
"""


def test_a_nearly_full_disk_is_refused_before_any_work_and_the_same_command_ends_it(
    mine: Path,
) -> None:
    unshared = ["unshare", "--mount", "sh", "-c"]
    if (
        shutil.which("unshare") is None
        or subprocess.run(
            [*unshared, f"mount -t tmpfs tmpfs '{mine}'"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs the right to mount a disk")
    (mine / "disk").mkdir()
    write_prices(mine / "prices", 420)
    before = bytes_of(mine / "store")
    done = subprocess.run(
        [*unshared, ON_A_FULL_DISK, "sh", str(mine), *INGEST],
        check=False,
        cwd=mine,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    said = (mine / "full.err").read_text()
    assert (mine / "full.code").read_text() == "2\n"  # something must be changed first
    assert "nearly full" in said
    assert "MiB free" in said
    sums = (mine / "after.sums").read_text().splitlines()
    assert {line.split()[2].removeprefix("disk/store/") for line in sums} == before.keys()
    assert closes(mine / "freed") == 840


def backup(store: Path, target: Path) -> subprocess.CompletedProcess[str]:
    script = str(DEPLOY / "backup.sh")
    return subprocess.run(
        ["sh", script, str(store), str(target)], check=False, capture_output=True, text=True
    )


def test_a_restored_store_reads_as_the_one_that_was_lost_and_goes_on(mine: Path) -> None:
    done = backup(mine / "store", mine / "backup")
    assert (done.returncode, done.stderr) == (0, "")
    before = contents(mine / "store")
    shutil.rmtree(mine / "store")
    shutil.copytree(mine / "backup", mine / "store")
    after = contents(mine / "store")
    assert all(after[name].equals(before[name]) for name in DATASETS)
    again = ingest(mine)
    assert again.returncode == DONE, again.stderr
    (counts,) = [json.loads(again.stdout)]
    assert _number(counts, "new") == 0


def _number(answer: Any, name: str) -> int:  # noqa: ANN401 - any JSON
    """The first `name` anywhere in a JSON answer."""
    if isinstance(answer, dict):
        if isinstance(answer.get(name), int):
            return int(answer[name])
        answer = list(answer.values())
    if isinstance(answer, list):
        for one in answer:
            if isinstance(one, dict | list):
                found = _number(one, name)
                if found >= 0:
                    return found
    return -1


def test_a_backup_beside_a_writer_is_a_state_that_the_store_had(mine: Path) -> None:
    """Commit after commit, a row each: whatever the copy holds, it holds all rows before it."""
    store = Store.open(str(mine / "store"))
    stop = threading.Event()
    written: list[str] = []

    def write() -> None:
        while not stop.is_set():
            name = f"N{len(written):04}"
            store.commit_facts("bars", bars(bar(1.0, instrument=name)), now=NIGHT)
            written.append(name)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while len(written) < 3:
            assert writer.is_alive()
        counts = []
        for number in range(3):
            least = len(written)
            done = backup(mine / "store", mine / f"backup{number}")
            assert done.returncode == 0, done.stderr
            counts.append((least, number))
    finally:
        stop.set()
        writer.join()
    for least, number in counts:
        rows = Store.open(str(mine / f"backup{number}"), create=False).read("bars")
        names = [name for name in rows["instrument"].to_pylist() if name.startswith("N")]
        assert sorted(names) == written[: len(names)]
        assert len(names) >= least


def test_a_backup_refuses_what_would_spoil_another(mine: Path) -> None:
    (mine / "there").mkdir()
    refused = backup(mine / "store", mine / "there")
    assert (refused.returncode, list((mine / "there").iterdir())) == (73, [])
    assert "is there already" in refused.stderr
    assert backup(mine / "prices", mine / "new").returncode == 66
    assert not (mine / "new").exists()


def test_the_first_run_after_an_upgrade_brings_an_old_store_along(mine: Path) -> None:
    rows = Store.open(str(mine / "store"), create=False).history("bars")
    before = Store.open(str(mine / "store"), create=False).read("bars")
    shutil.rmtree(mine / "store")
    for name in ("bars", "actions", "quarantine", "runs", "models", "scores", "forecasts"):
        DeltaTable.create(
            str(mine / "store" / name),
            old_schema(name),
            configuration={"fleetcast.schemaVersion": "1", "delta.appendOnly": "true"},
            raise_if_key_not_exists=False,
        )
    old = pa.table({f.name: rows[f.name] for f in old_schema("bars")}, schema=old_schema("bars"))
    write_deltalake(str(mine / "store" / "bars"), old, mode="append")
    kept = backup(mine / "store", mine / "backup")
    assert kept.returncode == 0, kept.stderr
    write_prices(mine / "prices", 301)
    done = ingest(mine)
    assert done.returncode == DONE, done.stderr
    store = Store.open(str(mine / "store"), create=False)
    assert {config(store.url, name) for name in DATASETS} == {str(SCHEMA_VERSION)}
    after = store.read("bars")
    assert after.num_rows == before.num_rows + 2
    assert store.read("bars", as_of=before["known_at"].to_pylist()[-1] + timedelta(days=1)).num_rows
    earlier = after.filter(pc.less_equal(after["session"], SESSIONS[299]))
    assert earlier.equals(before)
    assert config(str(mine / "backup"), "bars") == "1"  # what to go back to
