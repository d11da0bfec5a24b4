"""What a source that can be asked for parts says of itself, read off its configuration.

Owns those answers. Never touches where the bars come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tasks.sources.config import SourceConfig


@dataclass(frozen=True)
class Configured:
    """The part of a `Source` that follows from `[source]` alone.

    Attributes:
        config: the section.
    """

    config: SourceConfig

    @property
    def name(self) -> str:
        """Written into every row."""
        return self.config.name

    @property
    def lag(self) -> timedelta:
        """From the close of a session until its bar is published."""
        return self.config.lag

    @property
    def archive(self) -> bool:
        """Whether it is history that does not grow; it does, unless stated otherwise."""
        return bool(self.config.archive)

    @property
    def incremental(self) -> bool:
        """A part of the sessions is found, or sent, sooner than all of them."""
        return True
