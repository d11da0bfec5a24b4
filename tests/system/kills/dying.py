"""`fleetcast` in a process that counts what a night leaves behind, and kills itself at a count.

Owns the fault points, put around the store's and the sinks' own functions. Run as a module with
the command's arguments. The children that train import it too, and count in the same file.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from deltalake import DeltaTable

from tasks.storage import delta, files, places

POINTS = "FAULT_POINTS"
"""The variable with the file that gets a line for each point that was passed."""

DIE_AT = "FAULT_DIE_AT"
"""The variable with the number of the point at which the process and its parent are killed."""


def passing(point: str) -> bool:
    """Writes the point down; whether this is where the night ends."""
    with Path(os.environ[POINTS]).open("a+") as passed:
        fcntl.flock(passed, fcntl.LOCK_EX)
        passed.write(point + "\n")
        passed.flush()
        passed.seek(0)
        number = len(passed.read().splitlines()) - 1
    return str(number) == os.environ.get(DIE_AT)


def die() -> None:
    """Ends the night's process, and this one where it is another, without a word to either."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        os.kill(parent.pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def around(what: str, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it returns
    """`work`, with a point before and after it."""
    if passing(f"before {what}"):
        die()
    done = work()
    if passing(f"after {what}"):
        die()
    return done


def arm() -> None:
    """Puts the points around everything that a night leaves behind."""
    exchange, write_rows, write_file = delta.exchange, files.write, places.write
    create, fsync = DeltaTable.create, os.fsync

    def exchanging(place: Any, dataset: Any, *given: Any, **named: Any) -> bool:  # noqa: ANN401
        what = f"the commit to {dataset.name}"
        return bool(around(what, lambda: exchange(place, dataset, *given, **named)))

    def writing_rows(
        place: Any,  # noqa: ANN401
        dataset: Any,  # noqa: ANN401
        parts: Sequence[pa.Table],
        **named: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        done = write_rows(place, dataset, parts, **named)
        if passing(f"rows of {dataset.name} lie in a file that the log does not name"):
            die()
        return done

    def writing_file(place: Any, relative: str, data: bytes) -> str:  # noqa: ANN401
        outside = "" if (Path(place.root) / "runs").exists() else " outside"
        return str(around(f"{relative}{outside}", lambda: write_file(place, relative, data)))

    def synchronizing(fd: Any) -> None:  # noqa: ANN401
        if passing("half of a file is written"):
            os.ftruncate(fd, os.fstat(fd).st_size // 2)
            die()
        fsync(fd)

    def creating(*given: Any, **named: Any) -> Any:  # noqa: ANN401
        return around(f"the table {named['name']} is made", lambda: create(*given, **named))

    delta.exchange = exchanging
    files.write = writing_rows
    places.write = writing_file
    os.fsync = synchronizing
    DeltaTable.create = creating  # type: ignore[method-assign]
    sa.event.listen(sa.Engine, "commit", _committing)


def _committing(_: sa.Connection) -> None:
    if passing("before the database commits"):
        die()


def environment(points: Path, die_at: int | None = None) -> Mapping[str, str]:
    """What tells the process where to count, and where to end."""
    told = {} if die_at is None else {DIE_AT: str(die_at)}
    one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    return {**one_thread, POINTS: str(points), **told}


if POINTS in os.environ:
    arm()

if __name__ == "__main__":
    from flows.cli import app

    app()
