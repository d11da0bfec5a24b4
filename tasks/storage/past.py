"""The past of a commit log: removed where it still names what was erased.

Owns which files of a log are removed. Never touches a row, nor the newest version.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError

from tasks.schemas import Dataset
from tasks.storage import delta, places
from tasks.storage.facts import StoreError
from tasks.storage.places import Place


def forget(place: Place, dataset: Dataset, names: Sequence[str]) -> int:
    """Removes the log before its newest version, if it names one of `names`.

    A log says of every file the least and the greatest name in it, and keeps that of files which
    are long gone. Versions before the newest can't be read afterwards. Broken off and run again, it
    ends in the same state.

    Args:
        place: the store's.
        dataset: whose log it is.
        names: of instruments or sources that were erased.

    Returns:
        Files removed.

    Raises:
        StoreError: the log can't be read or written.
    """
    table = delta.find_table(place, dataset)
    if table is None:
        return 0
    folder = f"{dataset.name}/_delta_log"
    doubtful = tuple(json.dumps(name).encode() for name in names)
    if not any(_names(place, path, doubtful) for path in places.files_in(place, folder)):
        return 0
    try:
        table.create_checkpoint()
    except (DeltaError, OSError) as error:
        raise delta.unwritable(place, dataset, error) from error
    kept = f"{table.version():020d}"
    removed = 0
    for path in places.files_in(place, folder):
        version = path.rpartition("/")[2].partition(".")[0]
        checkpoint = version == kept and path.endswith(".checkpoint.parquet")
        if version.isdigit() and version <= kept and not checkpoint:
            if version == kept and not _names(place, path, doubtful):
                continue
            places.remove(place, path)
            removed += 1
    return removed


def _names(place: Place, path: str, names: Sequence[bytes]) -> bool:
    """Whether a file of the log says one of the names, which stand in it as JSON within JSON."""
    try:
        data = places.read(place, path)
    except StoreError:
        return False  # somebody else has removed it
    texts: Iterator[bytes] = _texts(data) if path.endswith(".parquet") else iter((data,))
    return any(
        name in text or json.dumps(name.decode())[1:-1].encode() in text
        for text in texts
        for name in names
    )


def _texts(data: bytes) -> Iterator[bytes]:
    """The values of a checkpoint of the log, as text."""
    rows: pa.Table = pq.read_table(io.BytesIO(data))
    for column in rows.columns:
        for value in column.to_pylist():
            if value is not None:
                yield json.dumps(value, default=str).encode()
