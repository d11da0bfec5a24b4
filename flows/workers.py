"""Child processes that train and forecast: started early, warmed while other work goes on.

Owns processes, their environment and their progress. Never touches tables, and imports TensorFlow
in a child only: there its random state is the work's own and no thread shares it.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing.queues import SimpleQueue
from typing import TypeVar

from flows.machine import available_memory, cores
from flows.worker_child import Update, nothing, reporting, start

R = TypeVar("R")

CHILD_BYTES = 2**30
"""Memory to keep for a child: TensorFlow and a compiled fleet, measured, with room for a shard."""


def default_processes(shards: int | None = None) -> int:
    """How many children this machine should have at once.

    One per core, never more than there are shards, fewer where memory is short, at least one.

    Args:
        shards: pieces of work; None: not known yet. A child starts when work comes that no idle
            one can take, so few shards start few children then too.
    """
    memory = available_memory()
    bounds = [cores()]
    if shards is not None:
        bounds.append(shards)
    if memory is not None:
        bounds.append(memory // CHILD_BYTES)
    return max(min(bounds), 1)


class WorkerDiedError(Exception):
    """A child process ended without an answer, twice."""


class Workers:
    """A bounded number of child processes with TensorFlow in them.

    A child that dies (killed, out of memory) breaks the shared pool: the work it had is tried once
    more in a process of its own, so that one bad shard takes no other with it.
    """

    def __init__(
        self,
        processes: int | None,
        on_update: Callable[[Update], None] | None = None,
        *,
        library: str = "keras",
    ) -> None:
        """Starts nothing yet.

        Args:
            processes: most children at once, at least 1; None: `default_processes`.
            on_update: called in a thread of this process with each child's progress.
            library: the module that every child imports before its first work.
        """
        self.processes = default_processes() if processes is None else processes
        self._first = 1 if processes is None else processes
        self._on_update = on_update
        self._library = library
        self._lock = threading.Lock()
        self._pool: _Pool | None = None
        self._closed = False
        self._alone = threading.Semaphore(self.processes)

    def warm(self) -> None:
        """Starts children and their import of TensorFlow, without waiting for them.

        All that were asked for; where nobody asked for a number, the one that is needed in any
        case: the others start when there is work for them.
        """
        for _ in range(self._first):
            self._shared().submit(nothing)

    def run(self, label: str, work: Callable[..., R], *args: object) -> R:
        """`work(*args, report=...)` in a child; waits for its answer.

        Args:
            label: names the work in progress and in errors.
            work: a function at the top of a module, which calls its keyword argument `report` with
                (step, done, total). It, its arguments and its answer are pickled.
            args: passed on.

        Raises:
            WorkerDiedError: the child died, and a second one too.
            Exception: whatever `work` raises.
        """
        pool = self._shared()
        try:
            answer: R = pool.submit(reporting, label, work, args).result()
            return answer
        except (BrokenProcessPool, CancelledError):
            if self._closed:
                raise WorkerDiedError(f"{label}: ended with the run") from None
            self._discard(pool)
        with self._alone, self._new_pool(1) as own:
            try:
                answer = own.submit(reporting, label, work, args).result()
                return answer  # noqa: RET504 - its type is known here
            except BrokenProcessPool as error:
                raise WorkerDiedError(
                    f"{label}: its process died without an answer, twice (out of memory is the "
                    "usual cause). Lower training.shard_size or training.processes."
                ) from error

    def close(self) -> None:
        """Ends every child at once."""
        with self._lock:
            self._closed = True
            if self._pool is not None:
                self._pool.close()
                self._pool = None

    def _shared(self) -> _Pool:
        with self._lock:
            if self._pool is None:
                self._pool = self._new_pool(self.processes)
            return self._pool

    def _new_pool(self, processes: int) -> _Pool:
        return _Pool(processes, self._library, self._on_update)

    def _discard(self, broken: _Pool) -> None:
        with self._lock:
            if self._pool is broken:
                self._pool = None
        broken.close()


_CURRENT: ContextVar[Workers | None] = ContextVar("workers", default=None)


@contextmanager
def running(
    processes: int | None, on_update: Callable[[Update], None] | None = None
) -> Iterator[Workers]:
    """The workers of this context: those already running, or new ones that end with it.

    Args:
        processes: most children at once; None: `default_processes`.
        on_update: called in a thread of this process with each child's progress.
    """
    outer = _CURRENT.get()
    if outer is not None:
        yield outer
        return
    workers = Workers(processes, on_update)
    token = _CURRENT.set(workers)
    try:
        yield workers
    finally:
        _CURRENT.reset(token)
        workers.close()


def current() -> Workers:
    """The workers that `running` made for this context.

    Raises:
        RuntimeError: there are none.
    """
    workers = _CURRENT.get()
    if workers is None:
        raise RuntimeError("No workers here. Call this inside `with workers.running(...)`.")
    return workers


class _Pool:
    """One executor and the thread that listens to its children."""

    def __init__(
        self,
        processes: int,
        library: str,
        on_update: Callable[[Update], None] | None,
    ) -> None:
        context = multiprocessing.get_context("spawn")  # fork would copy locks held by threads
        self._updates: SimpleQueue[Update] = context.SimpleQueue()
        self._executor = ProcessPoolExecutor(
            processes, context, initializer=start, initargs=(self._updates, library)
        )
        self._closed = threading.Event()
        self._on_update = on_update
        threading.Thread(target=self._listen, name="worker-progress", daemon=True).start()

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, work: Callable[..., R], *args: object) -> Future[R]:
        return self._executor.submit(work, *args)

    def close(self) -> None:
        self._closed.set()
        children = list((getattr(self._executor, "_processes", None) or {}).values())
        self._executor.shutdown(wait=False, cancel_futures=True)
        for child in children:  # work in flight is not awaited: the store forgets half-done work
            child.terminate()
        for child in children:
            child.join()

    def _listen(self) -> None:
        # Polled, not woken by a last message: a child killed while it writes keeps the write lock.
        while not self._closed.is_set():
            if self._updates.empty():
                self._closed.wait(0.1)
            else:
                update = self._updates.get()
                if self._on_update is not None:
                    self._on_update(update)
