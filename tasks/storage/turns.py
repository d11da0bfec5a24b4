"""Writers on one machine take turns, so that none does work that another's commit makes vain.

Owns a courtesy, not a guarantee: commits are safe without it, on whatever file system.
"""

from __future__ import annotations

import contextlib
import fcntl
import random
import time
from collections.abc import Iterator

from tasks.schemas import Dataset
from tasks.storage.places import Place

FOLDER = ".turns"
"""In the store: one empty file per dataset, which whoever writes to it holds locked."""

PATIENCE = 30.0
"""Seconds after which a writer goes on without its turn: whoever has it may have been stopped."""

_LOOK = 0.005
"""Seconds until the next look whether it is one's turn."""


@contextlib.contextmanager
def turn(place: Place, dataset: Dataset) -> Iterator[None]:
    """Waits for one's turn to write to `dataset`, and keeps it inside.

    A process that ends, however it does, gives its turn back. Where files can't be locked (an
    object store, some network drives) there are no turns.
    """
    with contextlib.ExitStack() as stack:
        if place.local_path is not None:
            with contextlib.suppress(OSError):
                folder = place.local_path / FOLDER
                folder.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context((folder / dataset.name).open("ab"))
                _wait_for(file.fileno())
        yield


def _wait_for(descriptor: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(random.uniform(_LOOK, 2 * _LOOK))  # noqa: S311
        else:
            return
