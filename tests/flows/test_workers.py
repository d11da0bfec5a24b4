from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows import workers
from flows.worker_child import Update, import_quietly
from flows.workers import WorkerDiedError, Workers
from tests.flows import worker_examples as examples

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pool() -> Iterator[Workers]:
    pool = Workers(1, library="decimal")
    yield pool
    pool.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{pid}/status").read_text()


def wait_until(condition: object, *args: object) -> bool:
    assert callable(condition)
    for _ in range(600):
        if condition(*args):
            return True
        time.sleep(0.05)
    return False


def test_work_is_done_in_a_child_that_is_used_again(pool: Workers) -> None:
    assert pool.run("add", examples.add, 2, 3) == 5
    first = pool.run("who", examples.identity)
    assert first != os.getpid()
    assert pool.run("who", examples.identity) == first


def test_what_the_work_raises_is_raised(pool: Workers) -> None:
    with pytest.raises(ValueError, match="no data"):
        pool.run("refuse", examples.refuse, "no data")
    assert pool.run("add", examples.add, 1, 1) == 2


def test_progress_arrives_under_the_label() -> None:
    seen: list[Update] = []
    pool = Workers(1, seen.append, library="decimal")
    pool.run("train shard-0000", examples.add, 2, 3)
    assert wait_until(lambda: len(seen) == 2)
    pool.close()
    assert seen == [("train shard-0000", "add", 1, 2), ("train shard-0000", "add", 2, 2)]


def test_a_child_starts_quiet_and_with_its_library(pool: Workers) -> None:
    found = pool.run("look", examples.surroundings)
    assert found["TF_CPP_MIN_LOG_LEVEL"] == "3"
    assert found["TF_ENABLE_ONEDNN_OPTS"] == "0"
    assert found["KERAS_BACKEND"] == "tensorflow"
    assert found["decimal"] == "yes"


def test_a_child_shares_a_gpu_and_computes_there_as_exactly_as_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/elsewhere")
    pool = Workers(1, library="decimal")
    found = pool.run("look", examples.surroundings)
    pool.close()
    assert found["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert found["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert found["NVIDIA_TF32_OVERRIDE"] == "0"
    assert found["XLA_FLAGS"] == "--xla_dump_to=/elsewhere"  # a person's own are kept


def test_several_children_have_one_thread_each() -> None:
    pool = Workers(2, library="decimal")
    pool.warm()
    found = pool.run("look", examples.surroundings)
    assert found["OMP_NUM_THREADS"] == found["NPROC"] == "1"
    pool.close()


@pytest.mark.parametrize(
    ("cores", "memory", "shards", "expected"),
    [
        (8, None, None, 8),
        (8, None, 3, 3),
        (8, 5 * workers.CHILD_BYTES + 1, 20, 5),
        (8, workers.CHILD_BYTES // 2, 20, 1),
        (8, 2**60, 0, 1),
    ],
)
def test_there_is_a_child_per_core_but_none_without_work_or_memory(
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    memory: int | None,
    shards: int | None,
    expected: int,
) -> None:
    monkeypatch.setattr(workers, "cores", lambda: cores)
    monkeypatch.setattr(workers, "available_memory", lambda: memory)
    assert workers.default_processes(shards) == expected
    if shards is None:
        assert Workers(None).processes == expected


def test_children_nobody_asked_for_start_when_there_is_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 3)
    monkeypatch.setattr(workers, "available_memory", lambda: None)
    asked, unasked = Workers(3, library="decimal"), Workers(None, library="decimal")
    for pool, started in ((asked, 3), (unasked, 1)):
        pool.warm()
        assert pool._pool is not None
        assert len(pool._pool._executor._processes) == started
        assert pool.processes == 3
        pool.close()


def test_a_library_that_is_not_there_fails_the_work_and_says_so() -> None:
    pool = Workers(1, library="no_such_library")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        pool.run("add", examples.add, 1, 1)
    pool.close()


def test_work_whose_child_was_killed_is_tried_again(pool: Workers, tmp_path: Path) -> None:
    assert pool.run("die once", examples.die_once, tmp_path / "marker") == "alive"
    assert pool.run("add", examples.add, 1, 1) == 2


def test_work_that_kills_every_child_fails_alone(pool: Workers) -> None:
    with pytest.raises(WorkerDiedError, match=r"train shard-0003: .* died .* twice"):
        pool.run("train shard-0003", examples.die)
    assert pool.run("add", examples.add, 1, 1) == 2


def test_bad_work_takes_no_other_with_it() -> None:
    pool = Workers(2, library="decimal")
    with ThreadPoolExecutor(4) as threads:
        bad = threads.submit(pool.run, "bad", examples.die)
        good = [threads.submit(pool.run, f"good {i}", examples.add, i, i) for i in range(3)]
        assert [one.result() for one in good] == [0, 2, 4]
        assert isinstance(bad.exception(), WorkerDiedError)
    pool.close()


def test_closing_ends_work_in_flight_and_does_not_try_it_again(tmp_path: Path) -> None:
    pool = Workers(1, library="decimal")
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            pool.run("sleep", examples.sleep_long, tmp_path / "pid")
        except WorkerDiedError as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert wait_until((tmp_path / "pid").exists)
    assert wait_until((tmp_path / "pid").read_text)
    pid = int((tmp_path / "pid").read_text())
    pool.close()
    thread.join(30)
    assert str(raised[0]) == "sleep: ended with the run"
    assert not alive(pid)


def test_children_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from flows.workers import Workers
        from tests.flows.worker_examples import sleep_long
        if __name__ == "__main__":
            Workers(1, library="decimal").run("sleep", sleep_long, Path({str(tmp_path / "pid")!r}))
        """
    )
    (tmp_path / "parent.py").write_text(script)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    marker = tmp_path / "pid"
    assert wait_until(lambda: marker.exists() and marker.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_until(lambda: not alive(int(marker.read_text())))


def test_the_workers_of_a_context_are_used_by_what_runs_inside() -> None:
    with pytest.raises(RuntimeError, match="No workers here"):
        workers.current()
    with workers.running(2) as outer:
        assert workers.current() is outer
        with workers.running(1) as inner:
            assert inner is outer
        assert workers.current() is outer
    with pytest.raises(RuntimeError, match="No workers here"):
        workers.current()


def test_a_quiet_import_hides_native_chatter_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "chatty.py").write_text("import os\nos.write(2, b'native chatter')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import_quietly("chatty")
    os.write(2, b"a real error")
    assert capfd.readouterr().err == "a real error"


def test_a_quiet_import_that_fails_shows_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text("import os\nos.write(2, b'no driver')\n1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ZeroDivisionError):
        import_quietly("broken")
    assert capfd.readouterr().err == "no driver"
