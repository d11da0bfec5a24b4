"""What runs in a worker's process: its environment, its quiet imports, its reports to the parent.

Owns the child's side of `flows.workers`. Never imports a native library before its environment is
set.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from typing import TypeVar

from lstm_models.allocator import keep_freed_memory

Update = tuple[str, str, int, int]
"""What a child sends: (label of the work, step, done, total)."""

R = TypeVar("R")

_QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # its kernels differ between machines: other bits
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # children share a GPU: each takes what it needs
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # the same on JAX
    "GRPC_VERBOSITY": "ERROR",
    "NVIDIA_TF32_OVERRIDE": "0",  # a GPU would round products to ten bits, unlike a CPU
    "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",  # the same bits when run again, there too
}
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "NPROC",  # the size of JAX' pool of threads
)

_updates: SimpleQueue[Update] | None = None
_failure: Exception | None = None


def start(updates: SimpleQueue[Update], library: str) -> None:
    """Prepares this process: quiet, mortal, and with `library` imported.

    Args:
        updates: where its work reports to.
        library: the module that its work needs.
    """
    global _updates, _failure  # noqa: PLW0603 - a child has one parent to report to
    _updates = updates
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, name="orphan-watch", daemon=True).start()
    set_environment()
    keep_freed_memory()
    try:
        import_quietly(library)
    except Exception as error:  # noqa: BLE001 - the work raises it, where it is seen
        _failure = error


def _end_with_parent() -> None:
    """Ends this process with the one that started it: an executor's children outlive a kill."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def nothing() -> None:
    """A work whose only purpose is that a child starts for it."""


def reporting(label: str, work: Callable[..., R], args: tuple[object, ...]) -> R:
    """`work(*args, report=...)`, whose reports go to the parent under `label`.

    Raises:
        Exception: what `work` raises, or what kept this process from starting.
    """
    if _failure is not None:
        raise _failure

    def report(step: str, done: int, total: int) -> None:
        if _updates is not None:
            _updates.put((label, step, done, total))

    return work(*args, report=report)


def set_environment() -> None:
    """Sets what native libraries read when they are loaded; what a person has set is kept.

    One thread each, always: a fleet keeps one core busy, and sums split over threads would differ
    in their last bits from one machine to another.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    for name in _THREADS:
        os.environ[name] = "1"


def import_quietly(module: str) -> None:
    """Imports `module` while native code can't write to the terminal.

    TensorFlow's C++ prints before its log level counts. Only the import is muted, and what it
    wrote is shown after all if the import fails.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            importlib.import_module(module)
        except BaseException:
            written.seek(0)
            os.write(terminal, written.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
