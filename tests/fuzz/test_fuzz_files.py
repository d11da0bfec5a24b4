"""Files that were damaged on the way: rows, quarantine or a clear error, and nothing lost.

`make fuzz` tries ten thousand; the ordinary run a hundred.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given

from tasks.bars import validate
from tasks.ingest import ingest
from tasks.sessions import Calendars
from tasks.sources import Fetched, Source, SourceConfig, SourceError, open_source
from tasks.store import Store
from tests.fuzz.mutations import mutations
from tests.fuzz.patience import patience

NOW = datetime(2024, 6, 28, 23, tzinfo=UTC)
CALENDARS = Calendars.load()
SHARED = Path(__file__).parents[3] / "shared" / "data"

LONG = b"""date,symbol,open,high,low,close,volume
2024-01-02,AAA,10.0,10.5,9.9,10.2,1000
2024-01-03,AAA,10.2,10.6,10.1,10.4,1200
2024-01-04,AAA,10.4,10.4,10.0,10.1,900
2024-01-02,BBB,100,101.5,99,101,50
2024-01-03,BBB,101,102.5,100,102,60
2024-01-03,BBB,101,102.5,100,102,60
"""
YAHOO = b"""Date,Open,High,Low,Close,Adj Close,Volume,Dividends,Stock Splits
2024-01-02 00:00:00-05:00,187.15,188.44,183.89,185.64,184.73,82488700,0.0,0.0
2024-01-03 00:00:00-05:00,184.22,185.88,183.43,184.25,183.35,58414500,0.24,0.0
2024-01-04 00:00:00-05:00,91.1,91.9,90.1,90.7,90.5,71983600,0.0,2.0
"""
POLISH = (
    b"Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie,Wolumen\r\n"
    b"2024-01-02,1.5,1.6,1.4,1.55\r\n2024-01-03,1.55,1.7,1.5,1.6,593562.955237\r\n"
    b"2024-01-04,1.6,1.7,1.5,1.65,281749140\r\n"
)
QUOTED = (
    '\ufeff"date";"close";"volume"\n"2024-01-04";"112,25";"25,04"\n'
    '"2024-01-03";"109,77";"26,03"\n"2024-01-02";"113,58";"20,53"\n'
).encode()


def real() -> Iterator[tuple[str, bytes]]:
    """The first lines of real files, where they are at hand."""
    for path in sorted(SHARED.rglob("*.csv*")):
        if "payloads" not in path.parts:
            data = path.read_bytes()
            data = gzip.decompress(data) if path.suffix == ".gz" else data
            yield path.name.removesuffix(".gz"), b"\n".join(data.split(b"\n")[:12]) + b"\n"


CORPUS = [
    ("long.csv", LONG),
    ("yahoo.csv", YAHOO),
    ("polish.csv", POLISH),
    ("quoted.csv", QUOTED),
    ("zipped.csv.gz", gzip.compress(LONG, mtime=0)),
    *real(),
]


def lines_of(data: bytes) -> int | None:
    """How many lines of a CSV are not empty, apart from its header; None where that is unclear."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    lines = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return sum(1 for line in lines.split(b"\n") if line) - 1


def fetched_of(source: Source) -> Fetched | None:
    """What the source brings; None where it says clearly why it brings nothing."""
    said = ""
    try:
        return source.fetch()
    except SourceError as error:
        said = str(error)
    assert said.strip(), "an error without a word"
    assert "Traceback" not in said
    return None


@pytest.mark.parametrize("columns", [{}, {"session": "Data", "close": "Zamkniecie"}])
@given(case=mutations(CORPUS))
@example(case=("long.csv", b""))
@example(case=("long.csv", b"date,close"))
@example(case=("zipped.csv.gz", gzip.compress(LONG)[:40]))
def test_a_damaged_file_ends_in_rows_quarantine_or_an_error(
    columns: dict[str, str], case: tuple[str, bytes]
) -> None:
    name, data = case
    with tempfile.TemporaryDirectory() as folder, patience():
        path = Path(folder, name)
        path.write_bytes(data)
        config = SourceConfig.model_validate(
            {"name": "files", "path": str(path), "columns": columns}
        )
        fetched = fetched_of(open_source(config))
        if fetched is None:
            return
        if not name.endswith(".gz"):
            lines = lines_of(data)
            assert lines is None or fetched.bars.num_rows == lines
        judged = validate(fetched, CALENDARS, now=NOW, lag=config.lag)
        assert (
            fetched.bars.num_rows
            == judged.bars.num_rows + len(judged.held) + judged.agreed_duplicates
        )
        assert judged.bars["close"].null_count == 0


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with nothing in it; never written to: copy it."""
    return Store.open(tmp_path_factory.mktemp("empty"))


@given(case=mutations(CORPUS))
def test_what_a_damaged_file_holds_can_be_stored(
    empty_store: Store, case: tuple[str, bytes]
) -> None:
    name, data = case
    with tempfile.TemporaryDirectory() as folder, patience():
        path = Path(folder, name)
        path.write_bytes(data)
        assert empty_store.local_path is not None
        shutil.copytree(empty_store.local_path, Path(folder, "store"))
        store = Store.open(Path(folder, "store"), create=False)
        source = open_source(SourceConfig(name="files", path=str(path)))
        try:
            report = ingest(store, source, calendars=CALENDARS, now=NOW)
        except SourceError:
            assert not store.read("bars").num_rows
            return
        assert store.read("bars").num_rows == report.new
        held = store.read("quarantine").to_pylist()
        assert sum(row["op"] == "hold" for row in held) == report.quarantined
        assert (
            report.fetched
            == report.new
            + report.changed
            + report.unchanged
            + report.quarantined
            + report.agreed_duplicates
        )
