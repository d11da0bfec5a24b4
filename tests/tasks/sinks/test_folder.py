"""The folder sink in a real folder, and in a bucket of a real S3 API."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.publish import CSV, PARQUET
from tasks.run_forecasts import forecasts_of
from tasks.sinks.folder import Files, FolderSink
from tasks.sinks.sink import SinkError
from tasks.storage import places
from tasks.store import Store
from tests.tasks.object_store import object_store
from tests.tasks.sinks.nights import Pauses, edition, night, sorted_rows


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_store() as address:
        yield address


@pytest.fixture(params=["folder", "bucket"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "desk" / "forecasts")
    bucket: str = request.getfixturevalue("bucket")
    return f"{bucket}/{tmp_path.name}"


def test_files_as_in_the_store_and_only_newer_ones_replace_them(url: str, store: Store) -> None:
    sink, files = FolderSink(url), Files(places.locate(url))
    first, newer = night(store, 0), night(store, 1, shift=0.5)
    assert sink.deliver(edition(store, first))
    assert sink.deliver(edition(store, first))
    assert sink.deliver(edition(store, newer))
    held = files.read_file(PARQUET), files.read_file(CSV)
    assert not sink.deliver(edition(store, first))  # an older night, or a worker thought dead
    assert (files.read_file(PARQUET), files.read_file(CSV)) == held
    there = pq.read_table(io.BytesIO(held[0]))
    assert sorted_rows(there) == sorted_rows(forecasts_of(store, newer))
    lines = list(csv.DictReader(io.StringIO(held[1].decode())))
    assert [float(line["mean"]) for line in lines] == there["mean"].to_pylist()


def test_a_bucket_that_is_away_is_tried_again(bucket: str, store: Store) -> None:
    clock = Pauses()
    sink = FolderSink(f"{bucket}-nowhere/desk", 3, clock)
    with pytest.raises(SinkError, match=r"publish\.folder\.url: .*nowhere.*\(3 tries\)"):
        sink.deliver(edition(store, night(store)))
    assert len(clock.waited) == 2


def test_a_folder_that_is_a_file_is_told_at_once(tmp_path: Path, store: Store) -> None:
    clock = Pauses()
    (tmp_path / "desk").write_text("mine")
    sink = FolderSink(str(tmp_path / "desk"), 3, clock)
    with pytest.raises(SinkError, match=r"publish\.folder\.url: .*desk is a file") as told:
        sink.deliver(edition(store, night(store)))
    assert "--store" not in str(told.value)
    assert (tmp_path / "desk").read_text() == "mine"
    assert clock.waited == []


def test_an_address_is_told_without_secrets() -> None:
    assert FolderSink("s3://me:hunter2@bucket/x?key=1").name == "folder s3://bucket/x"
    assert FolderSink("desk").name == f"folder {Path.cwd() / 'desk'}"
