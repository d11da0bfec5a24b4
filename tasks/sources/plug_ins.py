"""Sources that other packages bring: found by their entry point, and held to the protocol.

Owns what is refused, and the wording. Never touches a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_args

from tasks.actions import PriceBasis
from tasks.sources.config import SourceConfig
from tasks.sources.protocol import Fetched, Source, SourceError

GROUP = "fleetcast.sources"
"""The entry-point group that plug-ins register a function `SourceConfig -> Source` under."""

_Fits = Callable[[Any], bool]

_IS_WHAT: Mapping[str, tuple[str, _Fits]] = {
    "price_basis": (
        f"one of {', '.join(get_args(PriceBasis))}",
        lambda basis: basis in get_args(PriceBasis),
    ),
    "lag": (
        "a timedelta that is not negative",
        lambda lag: isinstance(lag, timedelta) and lag >= timedelta(0),
    ),
    "archive": ("True or False", lambda archive: isinstance(archive, bool)),
    "incremental": (
        "True, if asking for a part of the sessions spares work, else False",
        lambda incremental: isinstance(incremental, bool),
    ),
    "batch_size": (
        "how many instruments are asked for at once, or None for all",
        lambda size: size is None or (type(size) is int and size > 0),
    ),
    "instruments": ("a method that returns the names it offers", callable),
    "fetch": ("a method (instruments, first, last) that returns a Fetched", callable),
}


def plug_in_names() -> set[str]:
    """The names under which installed packages register sources."""
    return {point.name for point in entry_points(group=GROUP)}


def open_plug_in(config: SourceConfig) -> Source:
    """The source that an installed package registers as `config.name`.

    Raises:
        SourceError: it can't be loaded, or what it opens is no source. The message says whose it
            is.
    """
    points = list(entry_points(group=GROUP, name=config.name))
    if len({point.value for point in points}) > 1:
        raise SourceError(
            f"Several installed packages bring a source {config.name!r}: "
            f"{', '.join(sorted(map(_whose, points)))}. Uninstall all but one."
        )
    point = points[0]
    try:
        opener: Callable[[SourceConfig], Source] = point.load()
        source = opener(config)
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(
            f"The plug-in of source {config.name!r} ({_whose(point)}) can't be opened: "
            f"{type(error).__name__}: {error}. Install it again, or choose another source."
        ) from error
    is_named: _Fits = lambda name: name == config.name  # noqa: E731 - as in `_IS_WHAT`
    required = {"name": (f"{config.name!r}, as it is registered", is_named), **_IS_WHAT}
    for attribute, (expected, fits) in required.items():
        if not hasattr(source, attribute) or not fits(getattr(source, attribute)):
            found = repr(getattr(source, attribute)) if hasattr(source, attribute) else "nothing"
            raise SourceError(
                f"The plug-in of source {config.name!r} ({_whose(point)}) is no source: its "
                f"{attribute} must be {expected}; received {found}. See "
                "tasks.sources.protocol.Source."
            )
    return PlugIn(source, _whose(point))


def _whose(point: EntryPoint) -> str:
    package = "" if point.dist is None else f" of {point.dist.name} {point.dist.version}"
    return f"{point.value}{package}"


@dataclass(frozen=True)
class PlugIn:
    """A plug-in's source, whose failures become errors that name it.

    Attributes:
        source: what it opened.
        whose: which function of which package that was.
    """

    source: Source
    whose: str

    @property
    def name(self) -> str:
        """Written into every row."""
        return self.source.name

    @property
    def price_basis(self) -> PriceBasis:
        """What the prices are."""
        return self.source.price_basis

    @property
    def lag(self) -> timedelta:
        """From the close of a session until its bar is published."""
        return self.source.lag

    @property
    def archive(self) -> bool:
        """Whether it is history that does not grow."""
        return self.source.archive

    @property
    def incremental(self) -> bool:
        """Whether asking for a part of the sessions spares work."""
        return self.source.incremental

    @property
    def batch_size(self) -> int | None:
        """How many instruments are best asked for at once; None: all."""
        return self.source.batch_size

    def instruments(self) -> tuple[str, ...]:
        """All that it offers, sorted.

        Raises:
            SourceError: it fails, or names something else than texts.
        """
        names = self._asked(self.source.instruments)
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise SourceError(
                f"The plug-in of source {self.name!r} ({self.whose}) must name its instruments as "
                f"texts; received {names!r:.200}."
            )
        return tuple(sorted(names))

    def fetch(
        self,
        instruments: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> Fetched:
        """The bars of `instruments` (None: all) from session `first` to `last`, both included.

        Raises:
            SourceError: it fails, or returns something else than a `Fetched`.
        """
        fetched = self._asked(self.source.fetch, instruments, first, last)
        if not isinstance(fetched, Fetched):
            raise SourceError(
                f"The plug-in of source {self.name!r} ({self.whose}) must return a "
                f"tasks.sources.Fetched; received {type(fetched).__name__}."
            )
        return fetched

    def _asked(self, what: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
        try:
            return what(*arguments)
        except SourceError:
            raise
        except Exception as error:
            raise SourceError(
                f"The plug-in of source {self.name!r} ({self.whose}) failed: "
                f"{type(error).__name__}: {error}"
            ) from error
