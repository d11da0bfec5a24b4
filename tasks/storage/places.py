"""Where a store lives: a local folder or an object store, its files, and whether it can be used.

Owns addresses, single files and checks of the place. Never touches what is in a file.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.fs

from tasks.storage.facts import StoreError

MINIMUM_FREE_BYTES = 100 * 2**20
"""With less free disk than this, no work is begun."""

_HALF_WRITTEN = re.compile(r"\..+\.[0-9a-f]{32}\.part|\.writable-\w{8}")
_ABANDONED_SECONDS = 86_400.0

_REMOTE = ("s3", "gs")
_UNUSABLE = "%[]\\^|"
"""Characters that the table library misreads in the path of a folder."""


@dataclass(frozen=True)
class Place:
    """The address of a store; `root` is a folder, or bucket and prefix."""

    scheme: str
    root: str

    @property
    def url(self) -> str:
        """The address as a user would give it: a path, or a URL."""
        return self.root if self.scheme == "file" else f"{self.scheme}://{self.root}"

    @property
    def local_path(self) -> Path | None:
        """The folder, None where the store is not on this machine."""
        return Path(self.root) if self.scheme == "file" else None

    def address(self, relative: str) -> str:
        """The address of something in the store."""
        return f"{self.url.rstrip('/')}/{relative}"

    def filesystem(self) -> pa.fs.FileSystem:
        """Arrow's own file system for the place; it calls back into no Python thread."""
        return _filesystem(self.scheme)

    def inside(self, relative: str) -> str:
        """The path of something in the store, as the file system knows it."""
        return f"{self.root.rstrip('/')}/{relative}"


def locate(url: str | Path) -> Place:
    """The place that a folder's path, a file:// URL, or an s3:// or gs:// URL names.

    Raises:
        StoreError: the scheme is unknown, the path can't hold tables, or the URL carries
            credentials (these belong in the environment, where no log repeats them).
    """
    text = str(url)
    scheme = text.split("://", 1)[0].lower() if "://" in text else "file"
    if not text.strip():
        raise StoreError("The store's address is empty. Expected a folder or an s3:// URL.")
    if scheme not in ("file", *_REMOTE):
        raise StoreError(
            f"A store can't be at {redacted(text)}: unknown scheme {scheme!r}. Expected a folder, "
            "or a URL that begins with file://, s3:// or gs://."
        )
    if "://" not in text:
        return _folder(Path(text))
    parts = urlsplit(text)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise StoreError(
            f"The store's address {redacted(text)} carries credentials or parameters. Expected the "
            "place only: give credentials in the environment (such as AWS_ACCESS_KEY_ID)."
        )
    if scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise StoreError(
                f"A store can't be at {redacted(text)}: a file:// URL has three slashes before "
                f"its path. Did you mean file:///{parts.netloc}{parts.path}?"
            )
        return _folder(Path(unquote(parts.path)))
    root = f"{parts.netloc}{parts.path}".strip("/")
    if not parts.netloc:
        raise StoreError(f"The store's address {redacted(text)} names no bucket.")
    return Place(scheme, root)


def redacted(url: str) -> str:
    """`url` without user, password, parameters and fragment: fit for a message."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    rest = rest.partition("#")[0].partition("?")[0]
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _folder(path: Path) -> Place:
    path = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100  resolve() would follow links
    wrong = [character for character in str(path) if character in _UNUSABLE or character < " "]
    if wrong:
        raise StoreError(
            f"A store can't be at {path}: the table library misreads {wrong[0]!r} in a path. "
            f"Choose a folder without any of {' '.join(_UNUSABLE)} or line breaks in its path."
        )
    return Place("file", str(path))


@cache
def _filesystem(scheme: str) -> pa.fs.FileSystem:
    if scheme == "file":
        return pa.fs.LocalFileSystem()
    if scheme == "gs":
        return pa.fs.GcsFileSystem()
    # Arrow reads keys and region from the environment; the address of a server that is not
    # Amazon's it has to be told.
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return pa.fs.S3FileSystem(
        endpoint_override=endpoint,
        region=region,
        allow_delayed_open=True,  # a small file is one request, not an upload in parts
    )


def check_writable(place: Place, named: str = "store", setting: str = "--store") -> None:
    """Makes the folder if need be, and shows by a file that it can be written.

    Args:
        place: where it is.
        named: what the folder is to a person.
        setting: where a person chooses another.

    Raises:
        StoreError: it is a file, can't be made or written, or its disk is nearly full.
    """
    path = place.local_path
    if path is None:
        probe = f".writable-{uuid.uuid4().hex}"
        write(place, probe, b"fleetcast")
        place.filesystem().delete_file(place.inside(probe))
        return
    check_folder(place, named, setting)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".writable-") as probe_file:
            probe_file.write(b"fleetcast")
            probe_file.flush()
        free = shutil.disk_usage(path).free
    except OSError as error:
        raise StoreError(
            f"The {named} {path} can't be written: {error.strerror or error}. Choose another "
            f"folder with {setting}, or make this one writable."
        ) from error
    if free < MINIMUM_FREE_BYTES:
        raise StoreError(
            f"The disk of the {named} {path} is nearly full: {free / 2**20:.0f} MiB free, expected "
            f"at least {MINIMUM_FREE_BYTES / 2**20:.0f} MiB. Free some, or choose another folder "
            f"with {setting}."
        )


def check_folder(place: Place, named: str = "store", setting: str = "--store") -> None:
    """Raises StoreError if the place, or a folder above it, is a file; see `check_writable`."""
    path = place.local_path
    if path is None:
        return
    for ancestor in (path, *path.parents):
        if ancestor.exists() and not ancestor.is_dir():
            raise StoreError(
                f"A {named} can't be at {path}: {ancestor} is a file. Expected a folder: choose "
                f"another with {setting}, or move the file away."
            )


def write(place: Place, relative: str, data: bytes) -> str:
    """Writes a file at once: a reader sees the old bytes or the new, never a part.

    Returns:
        Its address.
    """
    inside = _checked(relative)
    try:
        if place.local_path is None:
            path = place.inside(inside)
            with place.filesystem().open_output_stream(path, compression=None) as stream:
                stream.write(data)
        else:
            _replace(place.local_path / inside, data)
    except OSError as error:
        raise StoreError(
            f"The file {place.address(inside)} can't be written: {error.strerror or error}. Make "
            "room or make the store writable, and run again; what was there is intact."
        ) from error
    return place.address(inside)


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def sweep(place: Place, folder: str = ".") -> int:
    """Removes what processes that were killed while they wrote have left in a folder and below it.

    An object store has no such files. What is younger than a day may still become a file.

    Returns:
        How many there were.
    """
    if place.local_path is None:
        return 0
    swept = 0
    for path in (place.local_path / folder).rglob(".*"):
        if _HALF_WRITTEN.fullmatch(path.name) is None:
            continue
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()
                swept += 1
    return swept


def read(place: Place, relative: str) -> bytes:
    """The bytes of a file.

    Raises:
        StoreError: it is not there, or can't be read.
    """
    inside = _checked(relative)
    try:
        with place.filesystem().open_input_stream(place.inside(inside), compression=None) as stream:
            data: bytes = stream.read()
    except OSError as error:
        raise StoreError(
            f"The file {place.address(inside)} can't be read: {error.strerror or error}. Restore "
            "it from a backup, or run again to make it anew."
        ) from error
    return data


def exists(place: Place, relative: str) -> bool:
    """Whether there is a file."""
    info = place.filesystem().get_file_info(place.inside(_checked(relative)))
    return bool(info.type == pa.fs.FileType.File)


def files_in(place: Place, folder: str) -> tuple[str, ...]:
    """The files in a folder of the store and below it, relative to the store, sorted."""
    inside = place.inside(_checked(folder))
    selector = pa.fs.FileSelector(inside, recursive=True, allow_not_found=True)
    try:
        found = place.filesystem().get_file_info(selector)
    except OSError as error:
        raise StoreError(
            f"The folder {place.address(folder)} can't be listed: {error.strerror or error}."
        ) from error
    start = len(place.root.rstrip("/")) + 1
    return tuple(sorted(info.path[start:] for info in found if info.type == pa.fs.FileType.File))


def remove(place: Place, relative: str) -> None:
    """Removes a file, if it is there.

    Raises:
        StoreError: it can't be removed.
    """
    if not exists(place, relative):
        return
    try:
        place.filesystem().delete_file(place.inside(relative))
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(
            f"The file {place.address(relative)} can't be removed: {error.strerror or error}. Make "
            "the store writable, and run again."
        ) from error


def _checked(relative: str) -> str:
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise StoreError(f"Expected a file's path relative to the store. Received: {relative!r}.")
    return str(path)
