"""What a requirements lock says, beyond what pip reads in it: how large each package is.

Owns the comment that carries the sizes. Never resolves, downloads or installs anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_SIZE = "    # size: {download} bytes to download, {disk} bytes on disk\n"
_BLOCK = re.compile(
    r"^(?P<name>[\w.\-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+).*\n(?:    --hash.*\n)+"
    r"(?:    # size: (?P<download>\d+) bytes to download, (?P<disk>\d+) bytes on disk\n)?",
    re.M,
)


@dataclass(frozen=True)
class Cost:
    """What packages cost: their number, bytes to download, bytes once installed."""

    packages: int = 0
    download: int = 0
    disk: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.packages + other.packages,
            self.download + other.download,
            self.disk + other.disk,
        )


@dataclass(frozen=True)
class Package:
    """A locked package: the versions it may have on one Python or another, its cost, its lines."""

    versions: frozenset[str]
    cost: Cost
    lines: str


def normalised(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_packages(text: str) -> dict[str, Package]:
    """The packages that a lock's text pins, by normalised name.

    One without a stated size counts for nothing: where sizes were measured, its marker left it out.
    """
    packages: dict[str, Package] = {}
    for block in _BLOCK.finditer(text):
        name = normalised(block["name"])
        before = packages.get(name, Package(frozenset(), Cost(), ""))
        sized = block["download"] is not None
        cost = Cost(1, int(block["download"]), int(block["disk"])) if sized else Cost()
        versions = before.versions | {block["version"]}
        packages[name] = Package(versions, cost, before.lines + block[0])
    return packages


def in_batches(packages: Iterable[Package], limit: int) -> list[list[Package]]:
    """The packages from small to large, in lists that each download `limit` bytes at most.

    A package above the limit gets a list of its own.
    """
    batches: list[list[Package]] = []
    filled = limit
    for package in sorted(packages, key=lambda package: package.cost.download):
        if filled + package.cost.download > limit:
            batches.append([])
            filled = 0
        batches[-1].append(package)
        filled += package.cost.download
    return batches


def with_sizes(text: str, costs: Mapping[str, Cost]) -> str:
    """The lock's text with the size of every package whose cost is known."""

    def sized(block: re.Match[str]) -> str:
        cost = costs.get(normalised(block["name"]))
        comment = _SIZE.format(download=cost.download, disk=cost.disk) if cost else ""
        return block[0] + comment

    return _BLOCK.sub(sized, text)
