"""The latest forecasts in a folder or bucket outside the store, as Parquet and CSV.

Owns where they go. Never touches what is in them: `tasks.publish` does.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field

from tasks.publish import publish_latest
from tasks.runs import PinnedRun
from tasks.sinks.config import FolderSinkConfig
from tasks.sinks.sink import Edition, SinkError, TryAgainError, retried
from tasks.sources.rate_limit import Clock
from tasks.storage import places
from tasks.storage.facts import StoreError


@dataclass(frozen=True)
class FolderSink:
    """`latest/forecasts.parquet` and `.csv` under an address; each replaced at once."""

    url: str
    attempts: int = 4
    clock: Clock = field(default_factory=Clock)
    newest_only = True

    @classmethod
    def configured(cls, config: FolderSinkConfig) -> FolderSink:
        """The sink of a configuration whose `url` is set."""
        return cls(config.url or "", config.attempts)

    @property
    def name(self) -> str:
        """Its address; a folder by its full path."""
        shown = places.redacted(self.url) if "://" in self.url else os.path.abspath(self.url)  # noqa: PTH100 - as places does
        return f"folder {shown}"

    def takes(self, run: PinnedRun) -> bool:  # noqa: ARG002 - an older night is refused by itself
        """Every run."""
        return True

    def lost(self, editions: Collection[str]) -> frozenset[str]:  # noqa: ARG002
        """None: the next night replaces the files anyway."""
        return frozenset()

    def deliver(self, edition: Edition) -> bool:
        """Replaces both files, the Parquet file last; not where newer ones are there.

        Raises:
            SinkError: the place can't be read or written; the files are the old ones, whole.
        """
        return retried(self.attempts, self.clock, lambda: self._once(edition))

    def _once(self, edition: Edition) -> bool:
        remote = False
        try:
            place = places.locate(self.url)
            remote = place.local_path is None
            if not remote:
                places.check_writable(place, "folder", "publish.folder.url")
            places.sweep(place, "latest")
            return bool(publish_latest(Files(place), edition.rows))
        except (StoreError, OSError) as error:
            told = f"publish.folder.url: {error}".rstrip(".")
            # A disk does not get better by waiting for seconds.
            raise (TryAgainError(told) if remote else SinkError(told)) from None


@dataclass(frozen=True)
class Files:
    """The files of a place, as `publish_latest` reads and writes them."""

    place: places.Place

    def read_file(self, relative: str) -> bytes:
        """The bytes of a file; StoreError if it is not there or can't be read."""
        return places.read(self.place, relative)

    def write_file(self, relative: str, data: bytes) -> str:
        """Replaces a file at once; StoreError if it can't be written."""
        return places.write(self.place, relative, data)

    def exists(self, relative: str) -> bool:
        """Whether there is such a file."""
        return places.exists(self.place, relative)
