"""What it costs to bring prices in and to read them again: rows a second, seconds, peak memory.

    python -m benchmarks.ingest [--instruments 5000] [--years 20] [--nights 500] [--processes 100]

Makes up daily bars, ingests them from Parquet into a new store in a temporary folder on disk (about
3 GB at full size), and prints a table with the figure that each part is to reach, and the ratio to
a plain pyarrow scan. Every part runs in a process of its own. Owns measuring; touches nothing else.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

SHARD = 250
LAST = date(2024, 12, 31)
NOW = datetime(2026, 1, 2, 22, tzinfo=UTC)
CORES = 2


def main() -> None:
    """Measure and print; or, called by itself, do one part."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--instruments", type=int, default=5000)
    parser.add_argument("--years", type=int, default=20)
    parser.add_argument("--nights", type=int, default=500, help="appends before the compaction")
    parser.add_argument("--processes", type=int, default=100, help="fresh processes that read")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        PARTS[asked.part](asked.folder, asked.instruments, asked.years, asked.nights)
        return
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)
    print(f"{len(cores)} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        sizes = [f"--{name}={getattr(asked, name)}" for name in ("instruments", "years", "nights")]
        for part in PARTS:
            print(f"{part:<10}", end="", flush=True)
            print(_in_own_process([*sizes, "--part", part, "--folder", folder]), flush=True)
        print(f"{'exits':<10}{_exits(Path(folder), asked.processes)}")


def _in_own_process(arguments: list[str]) -> str:
    command = [sys.executable, "-m", "benchmarks.ingest", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"\n{done.stdout}\n{done.stderr}\nended with exit code {done.returncode}")
    return done.stdout.strip()


def names(count: int) -> list[str]:
    """The instruments, sorted."""
    return [f"I{number:05d}" for number in range(count)]


def bars(instruments: list[str], sessions: np.ndarray[Any, Any], seed: int) -> pa.Table:
    """Random walks, rounded to cents, as a provider's file has them."""
    noise = np.random.default_rng(seed)
    shape = (len(instruments), len(sessions))
    close = 100 * np.exp(np.cumsum(noise.normal(0, 0.01, shape), axis=1))
    open_ = close * (1 + noise.normal(0, 0.003, shape))
    prices = {
        "open": open_,
        "high": np.maximum(open_, close) * 1.004,
        "low": np.minimum(open_, close) * 0.996,
        "close": close,
    }
    who = np.repeat(np.arange(len(instruments), dtype=np.int32), len(sessions))
    return pa.table(
        {
            "symbol": pa.DictionaryArray.from_arrays(who, instruments).cast(pa.string()),
            "date": pa.array(np.tile(sessions, len(instruments))),
            **{name: np.maximum(np.round(x, 2), 0.01).ravel() for name, x in prices.items()},
            "volume": np.round(noise.lognormal(12, 1, shape)).ravel(),
        }
    )


def _sessions(years: int, after: int) -> np.ndarray[Any, Any]:
    """All sessions of the years up to LAST, and `after` later ones."""
    from tasks.sessions import Calendars

    held = Calendars.load().default.all_sessions
    first = np.datetime64(LAST.replace(year=LAST.year - years), "D")
    past = held[(held > first) & (held <= np.datetime64(LAST, "D"))]
    return np.concatenate([past, _later(past, after)])


def _later(past: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Weekdays after the last session: the store takes them for sessions."""
    days = np.arange(past[-1] + 1, past[-1] + 2 * count + 10)
    return days[np.is_busday(days)][:count]


def _generate(folder: Path, instruments: int, years: int, nights: int) -> None:
    del nights
    everyone, sessions = names(instruments), _sessions(years, 0)
    (folder / "history").mkdir()
    for number, start in enumerate(range(0, instruments, SHARD)):
        table = bars(everyone[start : start + SHARD], sessions, number)
        pq.write_table(table, folder / "history" / f"part-{number:03d}.parquet")
    files = list((folder / "history").iterdir())
    size = sum(file.stat().st_size for file in files) / 2**20
    print(f"{instruments * len(sessions):,} rows in {len(files)} Parquet files, {size:,.0f} MiB")


def _ingest(folder: Path, source: str, now: datetime) -> tuple[Any, float]:
    from tasks.ingest import ingest
    from tasks.sessions import Calendars
    from tasks.sources import SourceConfig, open_source
    from tasks.store import Store

    began = time.perf_counter()
    report = ingest(
        Store.open(folder / "store"),
        open_source(SourceConfig(name="files", path=str(folder / source))),
        calendars=Calendars.load(),
        now=now,
    )
    return report, time.perf_counter() - began


def _history(folder: Path, instruments: int, years: int, nights: int) -> None:
    del instruments, years, nights
    report, seconds = _ingest(folder, "history", NOW)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{report.fetched:,} rows in {seconds:.1f} s: {report.fetched / seconds:,.0f} rows/s "
        f"(500,000), peak {peak:.2f} GiB (4); {report.new:,} new, "
        f"{report.quarantined:,} quarantined"
    )


def _shard(folder: Path, instruments: int, years: int, nights: int) -> None:
    del years, nights
    from tasks.store import Store

    store = Store.open(folder / "store", create=False)
    wanted = names(instruments)[:SHARD]
    seconds, table = _timed(lambda: store.read("bars", as_of=NOW, instruments=wanted))
    print(f"{table.num_rows:,} rows as of an instant in {seconds:.2f} s (1)")


def _night(folder: Path, instruments: int, years: int, nights: int) -> None:
    del nights
    held = _sessions(years, 0)
    from tasks.sessions import Calendars

    every = Calendars.load().default.all_sessions
    session = every[every > held[-1]][:1]
    (folder / "night").mkdir()
    everyone = names(instruments)
    last = pq.read_table(
        folder / "history", columns=["close"], filters=pc.field("date") == held[-1].item()
    )
    table = bars(everyone, session, 0)
    close = pc.round(pc.multiply(last["close"], 1.001), 2)
    for name in ("open", "high", "low", "close"):
        table = table.set_column(table.schema.get_field_index(name), name, close)
    pq.write_table(table, folder / "night" / "today.parquet")
    report, seconds = _ingest(folder, "night", NOW + timedelta(days=1))
    print(f"{report.fetched:,} rows in {seconds:.2f} s (5); {report.new:,} new")


def _appends(folder: Path, instruments: int, years: int, nights: int) -> None:
    from tasks.store import Store

    store = Store.open(folder / "store")
    sessions = _sessions(years, nights + 5)[-nights:]
    took = []
    for number, session in enumerate(sessions):
        table = bars(names(instruments), np.array([session]), number)
        table = table.rename_columns(["instrument", "session", *table.column_names[2:]])
        basis, source = (pa.repeat(pa.scalar(x), table.num_rows) for x in ("raw", "files"))
        table = table.append_column("price_basis", basis).append_column("source", source)
        began = time.perf_counter()
        store.commit_facts("bars", table, now=NOW + timedelta(days=2 + number))
        took.append(time.perf_counter() - began)
    print(f"{nights} commits of {instruments:,} rows: median {np.median(took):.2f} s each")


def _compact(folder: Path, instruments: int, years: int, nights: int) -> None:
    del years, nights
    from tasks.store import Store

    store = Store.open(folder / "store", create=False)
    wanted = names(instruments)[:SHARD]
    before, _ = _timed(lambda: store.read("bars", instruments=wanted))
    began = time.perf_counter()
    done = store.compact("bars")["bars"]
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{done.before} files to {done.after}, {done.rows:,} rows anew in {seconds:.1f} s, peak "
        f"{peak:.2f} GiB; one shard read {before:.2f} s before"
    )


def _reads(folder: Path, instruments: int, years: int, nights: int) -> None:
    """Beside a plain scan of one file with the same rows, sorted by instrument and session."""
    del years, nights
    from tasks.store import Store

    store = Store.open(folder / "store", create=False)
    wanted = names(instruments)[:SHARD]
    plain = folder / "plain.parquet"
    with pq.ParquetWriter(plain, store.history("bars", instruments=[]).schema) as writer:
        for start in range(0, instruments, SHARD):
            part = store.history("bars", instruments=names(instruments)[start : start + SHARD])
            writer.write_table(part, row_group_size=2**17)
    only = (pc.field("instrument") >= wanted[0]) & (pc.field("instrument") <= wanted[-1])
    for what, columns in (("all columns", None), ("7 columns", ["instrument", "session", *OHLCV])):
        ours, table = _timed(partial(store.read, "bars", instruments=wanted, columns=columns))
        theirs, scanned = _timed(partial(ds.dataset(plain).to_table, columns, filter=only))
        print(
            f"{what}: {table.num_rows:,} rows in {ours:.2f} s, plain scan of one file "
            f"({scanned.num_rows:,}) {theirs:.2f} s: {ours / theirs:.2f} times (2)",
            end="; ",
        )


OHLCV = ("open", "high", "low", "close", "volume")


def _timed(act: Callable[[], pa.Table]) -> tuple[float, pa.Table]:
    """The median of five, after one that fills the disk's cache."""
    took = []
    table = act()
    for _ in range(5):
        began = time.perf_counter()
        table = act()
        took.append(time.perf_counter() - began)
    return float(np.median(took)), table


def _exits(folder: Path, count: int) -> str:
    """How many of so many fresh processes that read a shard end with exit code 0."""
    code = (
        "import sys; from tasks.store import Store; store = Store.open(sys.argv[1], create=False);"
        "table = store.read('bars', instruments=sys.argv[2:]); assert table.num_rows"
    )
    command = [sys.executable, "-c", code, str(folder / "store"), *names(SHARD)]

    def exit_code(_: int) -> int:
        return subprocess.run(command, capture_output=True, check=False).returncode

    with ThreadPoolExecutor(CORES) as threads:
        codes = list(threads.map(exit_code, range(count)))
    others = sorted({*codes} - {0})
    return f"{codes.count(0)} of {count} with exit code 0; others: {others}"


PARTS: dict[str, Callable[[Path, int, int, int], None]] = {
    "generate": _generate,
    "history": _history,
    "shard": _shard,
    "night": _night,
    "appends": _appends,
    "compact": _compact,
    "reads": _reads,
}


if __name__ == "__main__":
    main()
