from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from flows import console, doctor, doctor_command
from flows.config import FleetcastConfig, with_store
from flows.doctor import Check
from tasks.store import Store


@pytest.fixture
def config(tmp_path: Path) -> FleetcastConfig:
    return with_store(FleetcastConfig(), str(tmp_path / "store"))


def test_a_store_that_can_be_made_is_not_made(config: FleetcastConfig, tmp_path: Path) -> None:
    check = doctor._store(config)
    assert check.ok
    assert "can be made" in check.found
    assert not (tmp_path / "store").exists()


def test_a_store_that_is_there_tells_its_runs(config: FleetcastConfig) -> None:
    Store.open(config.store.url)
    assert doctor._store(config) == Check("store", ok=True, found=f"{config.store.url}, 0 runs")


def test_a_store_that_is_a_file_is_told(config: FleetcastConfig, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    check = doctor._store(config)
    assert not check.ok
    assert "is a file" in check.found
    assert check.remedy


def test_a_read_only_store_is_told(
    config: FleetcastConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.doctor.os.access", lambda *_: False)
    assert "is read-only" in doctor._store(config).found
    Store.open(config.store.url)
    check = doctor._store(config)
    assert not check.ok
    assert "is read-only" in check.found


def test_the_source_tells_its_instruments(config: FleetcastConfig) -> None:
    assert doctor._source(config) == Check("source", ok=True, found="bokeh, 5 instruments")


def test_little_disk_is_told(config: FleetcastConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._disk(config).found.endswith("GiB free")
    monkeypatch.setattr("flows.doctor._FREE_GIB", 1e9)
    check = doctor._disk(config)
    assert not check.ok
    assert check.remedy.startswith("Free some")


def test_a_package_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.doctor._PACKAGES", "numpy no_such_package")
    numpy, missing = doctor._versions()
    assert numpy.ok
    assert (missing.ok, missing.found) == (False, "not installed")
    assert "make environment" in missing.remedy


@pytest.mark.parametrize(
    ("said", "found"),
    [("1|NVIDIA H100", "NVIDIA H100"), ("chatter\n0|", "none: training uses the processor")],
)
def test_gpus_are_named(said: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 0, stdout=f"{said}\n", stderr="")
    monkeypatch.setattr("flows.doctor.subprocess.run", lambda *_, **__: done)
    assert doctor._gpu().found == found


def test_a_tensorflow_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise subprocess.CalledProcessError(1, [], stderr="Trace\nImportError: no library")

    monkeypatch.setattr("flows.doctor.subprocess.run", fail)
    check = doctor._gpu()
    assert (check.ok, check.found) == (False, "TensorFlow can't start: ImportError: no library")


@pytest.mark.parametrize("well", [True, False])
def test_the_command_shows_every_check(
    well: bool, config: FleetcastConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(_: FleetcastConfig) -> Iterator[Check]:
        yield Check("python", ok=True, found="Python 3.11")
        yield Check("store", ok=well, found="read-only", remedy="" if well else "Make it writable.")

    written = io.StringIO()
    monkeypatch.setattr(doctor_command, "checks", some)
    monkeypatch.setattr(console, "answers", lambda: Console(file=written, width=100))
    monkeypatch.setattr(console, "messages", lambda: Console(file=io.StringIO()))
    assert doctor_command.run(config) is well
    assert "✓ python" in written.getvalue()
    assert ("✗ store" in written.getvalue()) is not well
    assert ("Make it writable." in written.getvalue()) is not well
    written.truncate(0)
    written.seek(0)
    assert doctor_command.run(config, as_json=True) is well
    found = json.loads(written.getvalue())
    assert found["ok"] is well
    assert found["checks"][0] == {
        "name": "python",
        "ok": True,
        "found": "Python 3.11",
        "remedy": "",
    }
