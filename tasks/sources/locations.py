"""Where files lie: a local folder, a bucket, or a web server; and their bytes.

Owns finding and opening. Never touches what is in a file.
"""

from __future__ import annotations

import fnmatch
import glob
import gzip
import io
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs

from tasks.sources.answers import Answer, RequestError
from tasks.sources.http import Client
from tasks.sources.protocol import SourceError
from tasks.sources.rate_limit import Rate
from tasks.storage.places import Place, redacted

ENDINGS = (".csv", ".csv.gz", ".parquet")
"""What is read of a folder."""

NAMED_ENDINGS = (*ENDINGS, ".txt", ".txt.gz", ".tsv", ".tsv.gz")
"""What is read where a file or a pattern names it."""

_WEB, _BUCKETS = ("http", "https"), ("s3", "gs")
_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"


class LocationError(Exception):
    """A file can't be opened. The message says why."""


@dataclass(frozen=True)
class Location:
    """One file.

    Attributes:
        name: with its ending.
        address: a path, a path in a bucket, or a URL.
        place: the bucket; None for a local file or one of a web server.
        timeout_seconds: how long a web server may take to answer.
        attempts: how often a web server is asked.
    """

    name: str
    address: str
    place: Place | None = None
    timeout_seconds: float = 30.0
    attempts: int = 1

    @property
    def stem(self) -> str:
        """The name without its ending: the instrument, where no column says it."""
        for ending in sorted(NAMED_ENDINGS, key=len, reverse=True):
            if self.name.lower().endswith(ending):
                return self.name[: -len(ending)]
        return self.name

    @property
    def is_parquet(self) -> bool:
        """Whether it is Parquet by its name; else it is text."""
        return self.name.lower().endswith(".parquet")

    @property
    def is_web(self) -> bool:
        """Whether a web server has it, so that every look at it is a download."""
        return urlsplit(self.address).scheme in _WEB and self.place is None

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            LocationError: a web server does not give them.
            OSError: it can't be read.
        """
        if self.is_web:
            return self._download()
        with self.open() as stream:
            return stream.read()

    def open(self) -> BinaryIO:
        """Its bytes as a file that can be sought in.

        Raises:
            LocationError: a web server does not give them.
            OSError: it can't be read.
        """
        if self.is_web:
            return io.BytesIO(self._download())
        if self.place is not None:
            stream: BinaryIO = self.place.filesystem().open_input_file(self.address)
            return stream
        return Path(self.address).open("rb")

    def _download(self) -> bytes:
        parts = urlsplit(self.address)
        client = Client(
            "files",
            f"{parts.scheme}://{parts.netloc}",
            rate=Rate.per_minute(600),
            timeout_seconds=self.timeout_seconds,
            attempts=self.attempts,
        )

        def whole(answer: Answer) -> bytes:
            return answer.body

        try:
            with client:
                query = dict(parse_qsl(parts.query, keep_blank_values=True))
                return client.get(parts.path, query, whole)
        except RequestError as error:
            raise LocationError(str(error)) from None


def start_of(data: BinaryIO, count: int) -> bytes:
    """The first `count` bytes of a text, unpacked if need be.

    Raises:
        OSError, EOFError: it is cut off or damaged.
    """
    start = data.read(2)
    data.seek(0)
    if start == _GZIP:
        with gzip.open(data) as unpacked:
            return unpacked.read(count)
    return data.read(count)


def is_packed(location: Location, data: bytes) -> bool:
    """Whether `data` is to be unzipped: a web server may have done so already."""
    if data.startswith(_ZIP):
        raise LocationError("it is a ZIP archive; unpack it, or pack its files with gzip")
    return data.startswith(_GZIP) or (location.name.lower().endswith(".gz") and not location.is_web)


def find(
    path: str, source: str, *, timeout_seconds: float = 30.0, attempts: int = 1
) -> list[Location]:
    """The files that `path` names, sorted by their addresses.

    Args:
        path: a folder, a pattern, or a file; local or an s3://, gs:// or file:// URL; or the
            http(s):// URL of one file.
        source: the source's name, for messages.
        timeout_seconds: how long a web server may take to answer.
        attempts: how often a web server is asked.

    Raises:
        SourceError: there are none.
    """
    scheme = path.split("://", 1)[0].lower() if "://" in path else ""
    if scheme in _WEB:
        parts = urlsplit(path)
        name = PurePosixPath(unquote(parts.path)).name or parts.hostname or "file"
        return [Location(name, path, None, timeout_seconds, attempts)]
    if scheme in _BUCKETS:
        return _in_bucket(path, scheme, source)
    if scheme == "file":
        path = unquote(urlsplit(path).path) if not urlsplit(path).netloc else path
    elif scheme:
        raise SourceError(
            f"The path of source {source!r} is {redacted(path)!r}: unknown scheme {scheme!r}. "
            "Expected a folder, a pattern, a file, or a URL that begins with https://, s3://, "
            "gs:// or file://."
        )
    return _local(path, source)


def _local(path: str, source: str) -> list[Location]:
    place = Path(path).expanduser()
    if place.is_file():
        if not place.name.lower().endswith(NAMED_ENDINGS):
            raise SourceError(
                f"The path of source {source!r} is {path!r}. Expected a file that ends in "
                f"{', '.join(NAMED_ENDINGS)}, a folder of such files, or a pattern."
            )
        return [Location(place.name, str(place))]
    endings: tuple[str, ...] = ENDINGS
    if place.is_dir():
        found = list(place.iterdir())
    elif glob.has_magic(path):
        # Path.glob takes no absolute pattern.
        found = [Path(one) for one in glob.glob(str(place), recursive=True)]  # noqa: PTH207
        endings = NAMED_ENDINGS
    else:
        raise SourceError(
            f"The path of source {source!r}, {path!r}, does not exist (looked for "
            f"{place.absolute()}). Correct source.path."
        )
    files = [Location(one.name, str(one)) for one in sorted(found) if one.is_file()]
    return _readable(files, path, source, endings)


def _in_bucket(path: str, scheme: str, source: str) -> list[Location]:
    parts = urlsplit(path.replace("?", "%3F").replace("#", "%23"))
    if parts.username or parts.password or not parts.netloc:
        raise SourceError(
            f"The path of source {source!r}, {redacted(path)!r}, must be bucket and prefix only. "
            "Give credentials in the environment (such as AWS_ACCESS_KEY_ID)."
        )
    whole = unquote(f"{parts.netloc}{parts.path}").rstrip("/")
    pattern = glob.has_magic(whole)
    base = whole
    while glob.has_magic(base):
        base = base.rpartition("/")[0]
    place = Place(scheme, base)
    try:
        filesystem = place.filesystem()
        if filesystem.get_file_info(base).type == pa.fs.FileType.File:
            return [Location(PurePosixPath(base).name, base, place)]
        selector = pa.fs.FileSelector(
            base, recursive=(pattern and "**" in whole) or _deep(whole, base)
        )
        infos = filesystem.get_file_info(selector)
    except OSError as error:
        raise SourceError(
            f"The path of source {source!r}, {path!r}, can't be listed: {error}. Correct "
            "source.path, or the credentials in the environment."
        ) from error
    fits = _as_regex(whole) if pattern else re.compile(".*")
    files = [
        Location(info.base_name, info.path, place)
        for info in sorted(infos, key=lambda info: info.path)
        if info.type == pa.fs.FileType.File and fits.fullmatch(info.path)
    ]
    return _readable(files, path, source, NAMED_ENDINGS if pattern else ENDINGS)


def _deep(whole: str, base: str) -> bool:
    return "/" in whole[len(base) + 1 :]


def _as_regex(pattern: str) -> re.Pattern[str]:
    """As `glob` understands it: ** is any folders, * and ? stay within a name."""
    parts = []
    for part in pattern.split("/"):
        if part == "**":
            parts.append("(?:[^/]+/)*")
        else:
            text = fnmatch.translate(part).removeprefix("(?s:").removesuffix(r")\Z")
            parts.append(text.replace(".*", "[^/]*") + "/")
    return re.compile("".join(parts).removesuffix("/"))


def _readable(
    files: list[Location], path: str, source: str, endings: tuple[str, ...]
) -> list[Location]:
    kept = [
        one for one in files if one.name.lower().endswith(endings) and not one.name.startswith(".")
    ]
    if not kept:
        raise SourceError(
            f"The path of source {source!r}, {path!r}, holds no file that ends in "
            f"{', '.join(endings)}. For files in subfolders give a pattern: folder/**/*.csv"
        )
    return kept
