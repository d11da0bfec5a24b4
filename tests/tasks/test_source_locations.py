"""Where files lie: patterns, buckets and web servers."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from tasks.sources.locations import find
from tasks.sources.protocol import SourceError
from tasks.storage.places import Place
from tests.tasks.sources.provider_server import Asked, ProviderServer, Reply
from tests.tasks.test_source_files import CSV, files, only_problem, rows_of, write

LONG = "symbol,date,close\nA,2024-01-02,1\nB,2024-01-02,2\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ProviderServer() as running:
        yield running


def test_a_file_of_a_web_server_is_read_and_asked_for_once(server: ProviderServer) -> None:
    server.answer = lambda _: Reply(LONG)
    source = files(f"{server.url}/daily/all.csv?user=somebody")
    assert source.instruments() == ("A", "B")
    assert [row["close"] for row in rows_of(source.fetch(["B"]))] == [2.0]
    assert len(rows_of(source.fetch())) == 2
    assert [(one.path, one.query) for one in server.asked] == [
        ("/daily/all.csv", {"user": "somebody"})
    ]
    assert "somebody" not in source.fetch().provenance


def test_what_a_web_server_sends_tells_whether_it_is_packed(
    server: ProviderServer, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"Date": ["2024-01-02"], "Close": [1.0]}), tmp_path / "x")
    replies = {
        "/A.csv.gz": Reply(gzip.compress(CSV.encode())),
        "/B.csv.gz": Reply(CSV),
        "/C.csv": Reply(CSV, zipped=True),
        "/D.parquet": Reply((tmp_path / "x").read_bytes()),
    }
    server.answer = lambda asked: replies[asked.path]
    for path in replies:
        found = rows_of(files(f"{server.url}{path}").fetch())
        assert found[0]["instrument"] == path[1]
        assert found[0]["close"] in {1.0, 10.5}


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply("gone", status=404), "HTTP 404"),
        (Reply(CSV, missing=10), "broke off"),
        (Reply("<html><body>Sign in</body></html>"), "no column for the session"),
        (Reply(silent=True), "no answer within"),
    ],
)
def test_a_web_server_that_does_not_give_the_file_is_told(
    server: ProviderServer, reply: Reply, message: str
) -> None:
    server.answer = lambda _: reply
    source = files(f"{server.url}/A.csv?user=somebody", attempts=1, timeout_seconds=0.2)
    with pytest.raises(SourceError, match=message) as caught:
        source.fetch()
    assert "somebody" not in str(caught.value)


def test_a_web_server_is_asked_again(server: ProviderServer) -> None:
    def answer(_: Asked) -> Reply:
        return Reply("later", status=503) if len(server.asked) == 1 else Reply(CSV)

    server.answer = answer
    assert len(rows_of(files(f"{server.url}/A.csv", attempts=2).fetch())) == 2


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for a bucket: Arrow's file systems are all asked the same way."""
    folder = tmp_path / "bucket"
    (folder / "bars" / "deep").mkdir(parents=True)
    write(folder / "bars", {"A.csv": CSV, "B.csv.gz": CSV, "notes.txt": "x"})
    write(folder / "bars" / "deep", {"C.csv": CSV})
    pq.write_table(
        pa.table({"symbol": ["D", "E"], "Date": ["2024-01-02"] * 2, "Close": [1.0, 2.0]}),
        folder / "bars" / "long.parquet",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Place, "filesystem", lambda _: pa.fs.LocalFileSystem())
    return folder


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("s3://bucket/bars", ("A", "B", "D", "E")),
        ("s3://bucket/bars/", ("A", "B", "D", "E")),
        ("s3://bucket/bars/A.csv", ("A",)),
        ("gs://bucket/bars/*.csv*", ("A", "B")),
        ("s3://bucket/**/*.csv", ("A", "C")),
        ("s3://bucket/*/*/[A-C].csv", ("C",)),
        ("s3://bucket/bars/long.parquet", ("D", "E")),
    ],
)
@pytest.mark.usefixtures("bucket")
def test_a_bucket_is_read_as_a_folder_is(path: str, names: tuple[str, ...]) -> None:
    source = files(path)
    assert source.instruments() == names
    assert {row["instrument"] for row in rows_of(source.fetch())} == set(names)
    assert {row["instrument"] for row in rows_of(source.fetch([names[-1]]))} == {names[-1]}


def test_a_file_url_is_a_local_file(bucket: Path) -> None:
    assert files(f"file://{bucket}/bars/A.csv").instruments() == ("A",)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3://bucket/nothing", "can't be listed|holds no file"),
        ("s3://bucket/bars/*.xls", "holds no file that ends in"),
        ("s3://key:word@bucket/bars", "bucket and prefix only"),
        ("ftp://server/bars", "unknown scheme 'ftp'"),
    ],
)
@pytest.mark.usefixtures("bucket")
def test_a_place_without_files_is_an_error(path: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        find(path, "files")
    assert "word" not in str(caught.value).replace("password", "")


def test_names_files_and_patterns_may_use_other_endings(tmp_path: Path) -> None:
    write(tmp_path, {"A.tsv": CSV.replace(",", "\t"), "B.txt": CSV, "C.csv": CSV})
    assert files(tmp_path).instruments() == ("C",)
    assert files(tmp_path / "*.t*").instruments() == ("A", "B")
    assert files(tmp_path / "B.txt").instruments() == ("B",)
    write(tmp_path, {"D.csv": "x"})
    assert "D.csv was not read" in only_problem(files(tmp_path).fetch())


@pytest.mark.parametrize("address", ["me:hunter2@host/A.csv", "host/A.csv?apikey=hunter2"])
def test_an_address_with_a_secret_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="holds a password or key"):
        files(f"https://{address}")
