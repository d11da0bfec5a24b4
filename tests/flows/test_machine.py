from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows import machine


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up Linux in a folder: this process sits in the control group /pod/box."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "groups/pod/box").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("1:name=systemd:/old\n0::/pod/box\n")
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9999 kB\nMemAvailable:    8000 kB\n")
    monkeypatch.setattr(machine, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(machine, "_CONTROL_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    return tmp_path


def test_without_limits_a_process_has_its_affinity_and_what_the_machine_has_left(
    system: Path,
) -> None:
    assert machine.cores() == 12
    assert machine.available_memory() == 8000 * 1024
    (system / "groups/pod/box/cpu.max").write_text("max 100000\n")
    (system / "groups/pod/box/memory.max").write_text("max\n")
    (system / "groups/pod/box/memory.current").write_text("500\n")
    assert machine.cores() == 12
    assert machine.available_memory() == 8000 * 1024


@pytest.mark.parametrize("group", ["pod/box", "pod", "."])
@pytest.mark.parametrize(
    ("quota", "expected"), [("400000 100000", 4), ("250000 100000", 3), ("50000 100000", 1)]
)
def test_a_quota_of_any_enclosing_group_counts(
    system: Path, group: str, quota: str, expected: int
) -> None:
    (system / "groups" / group / "cpu.max").write_text(quota + "\n")
    assert machine.cores() == expected


def test_memory_below_a_limit_counts_without_cached_files(system: Path) -> None:
    pod = system / "groups/pod"
    (pod / "memory.max").write_text("1000000\n")
    (pod / "memory.current").write_text("700000\n")
    assert machine.available_memory() == 300_000
    (pod / "memory.stat").write_text("anon 500000\ninactive_file 150000\n")
    assert machine.available_memory() == 450_000
    (pod / "memory.current").write_text("1200000\n")
    assert machine.available_memory() == 0


def test_a_system_that_says_nothing_has_its_cores_and_unknown_memory(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (system / "proc/self/cgroup", system / "proc/meminfo"):
        path.unlink()
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.cores() == 1
    assert machine.available_memory() is None


def test_this_machine_has_something() -> None:
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)
    memory = machine.available_memory()
    assert memory is None or memory > 0
