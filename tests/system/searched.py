"""Everything that a night leaves behind, read as far as it can be read, and searched for secrets.

Owns the reading. Never writes.
"""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import urllib.request
import zipfile
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.system.planted import forms

TOLD = (
    "flow_runs",
    "task_runs",
    "logs",
    "artifacts",
    "artifacts/latest",
    "deployments",
    "flows",
    "block_documents",
    "block_types",
    "variables",
    "work_pools",
    "automations",
    "v2/concurrency_limits",
)
"""What Prefect's API tells to whoever asks."""

_PAGE = 200


def found(places: Mapping[str, bytes], secrets: Mapping[str, str]) -> dict[str, set[str]]:
    """Secret → the places that have it, in any form."""
    return {
        name: places_of
        for name, secret in secrets.items()
        if (places_of := {p for p, text in places.items() if any(f in text for f in forms(secret))})
    }


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder: its bytes, and what they hold when unpacked or decoded."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            name = str(path.relative_to(folder))
            yield name, data
            yield from _inside(name, data)


def _inside(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    if data[:4] == b"PAR1":
        yield f"{name} (decoded)", _decoded(data)
    elif data[:2] == b"\x1f\x8b":
        yield f"{name} (unpacked)", gzip.decompress(data)
    elif zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.namelist():
                inner = archive.read(member)
                yield f"{name}!{member}", inner
                yield from _inside(f"{name}!{member}", inner)
    elif data[:16] == b"SQLite format 3\0":
        yield from database(name, data)


def _decoded(data: bytes) -> bytes:
    table: pa.Table = pq.read_table(io.BytesIO(data))
    told = [str(table.schema), str(table.schema.metadata)]
    told += ["\n".join(map(str, column.to_pylist())) for column in table.columns]
    return "\n".join(told).encode()


def database(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Every column of every table of an SQLite file."""
    connection = sqlite3.connect(":memory:")
    # In bytes 18 and 19 a file says that it has a log beside it, which there is not in memory.
    connection.deserialize(data[:18] + b"\1\1" + data[20:])
    connection.text_factory = bytes
    try:
        yield from _columns(name, connection)
    finally:
        connection.close()


def live_database(path: Path) -> Iterator[tuple[str, bytes]]:
    """As `database`, of one that a server has open."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.text_factory = bytes
    try:
        yield from _columns(path.name, connection)
    finally:
        connection.close()


def _columns(name: str, connection: sqlite3.Connection) -> Iterator[tuple[str, bytes]]:
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in tables:
        rows = connection.execute(f'SELECT * FROM "{table.decode()}"')  # noqa: S608 - its own name
        columns = [one[0] for one in rows.description]
        cells = list(zip(*rows.fetchall(), strict=True))
        for column, values in zip(columns, cells, strict=False):
            whole = b"\n".join(
                one if isinstance(one, bytes) else str(one).encode() for one in values
            )
            yield f"{name} {table.decode()}.{column}", whole


def told_by_prefect(api: str, auth: str) -> Iterator[tuple[str, bytes]]:
    """What Prefect's API says to whoever may ask it."""
    for what in TOLD:
        rows: list[Any] = []
        while True:
            page = _ask(f"{api}/{what}/filter", auth, {"limit": _PAGE, "offset": len(rows)})
            rows += page
            if len(page) < _PAGE:
                break
        yield f"api {what}", json.dumps(rows).encode()
        yield f"api {what} (text)", "\n".join(_texts(rows)).encode()
    events = _ask(f"{api}/events/filter", auth, {"limit": 50})
    told = list(events["events"])
    while events.get("next_page"):
        events = _ask(events["next_page"], auth, None)
        told += events["events"]
    yield "api events", json.dumps(told).encode()
    yield "api events (text)", "\n".join(_texts(told)).encode()


def _ask(url: str, auth: str, wanted: object) -> Any:  # noqa: ANN401 - JSON
    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Basic {b64encode(auth.encode()).decode()}",
    }
    data = None if wanted is None else json.dumps(wanted).encode()
    request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310 - our own server
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return json.load(answer)


def _texts(value: object) -> Iterator[str]:
    """Every text in an answer, without JSON's escapes."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield str(name)
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
