from __future__ import annotations

import os
from pathlib import Path

import pyarrow.fs
import pytest

from tasks.storage import places
from tasks.storage.places import Place, check_writable, exists, locate, read, redacted, write


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An object store as far as its files go: Arrow's interface to S3, over a folder."""
    (tmp_path / "bucket" / "store" / "latest").mkdir(parents=True)
    there = pyarrow.fs.SubTreeFileSystem(str(tmp_path), pyarrow.fs.LocalFileSystem())
    monkeypatch.setattr(places, "_filesystem", lambda _: there)
    return locate("s3://bucket/store/")


def test_files_of_an_object_store(bucket: Place, tmp_path: Path) -> None:
    check_writable(bucket)
    assert not exists(bucket, "latest/a.gz")
    assert write(bucket, "latest/a.gz", b"plain") == "s3://bucket/store/latest/a.gz"
    assert exists(bucket, "latest/a.gz")
    assert read(bucket, "latest/a.gz") == b"plain"
    found = [path.name for path in (tmp_path / "bucket/store").rglob("*") if path.is_file()]
    assert found == ["a.gz"]  # the probe is gone, and nothing was compressed on the way
    assert (tmp_path / "bucket/store/latest/a.gz").read_bytes() == b"plain"


def test_an_object_store_is_not_on_this_machine() -> None:
    place = locate("s3://bucket/deep/store")
    assert (place.url, place.local_path) == ("s3://bucket/deep/store", None)
    assert place.address("bars") == "s3://bucket/deep/store/bars"


def test_a_relative_path_is_a_folder_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert locate("store").local_path == tmp_path / "store"
    assert locate("./a/../store").local_path == tmp_path / "store"
    assert locate("~/store").local_path == tmp_path / "home" / "store"
    assert locate(f"file://{tmp_path}/a%20b").local_path == tmp_path / "a b"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://user:pw@bucket/a", "s3://bucket/a"),
        ("s3://us@er:p@w@bucket/a@b?x=1#y", "s3://bucket/a@b"),
        ("/plain/path", "/plain/path"),
    ],
)
def test_what_is_shown_of_an_address(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_what_a_killed_process_was_writing_is_swept_after_a_day(tmp_path: Path) -> None:
    half = f".model.safetensors.{'0a' * 16}.part"
    old = [tmp_path / name for name in (half, ".writable-ab12_xyz", f"checkpoints/{half}")]
    kept = [tmp_path / name for name in (".env", "model.part", f".younger.{'f' * 32}.part")]
    for path in [*old, *kept]:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    for path in [*old, *kept[:2]]:
        os.utime(path, (0, 0))
    place = places.locate(tmp_path)
    assert places.sweep(place) == 3
    assert not [path for path in old if path.exists()]
    assert all(path.exists() for path in kept)
    assert places.sweep(place, "there-is-none") == 0
