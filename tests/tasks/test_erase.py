"""Erasing for good: no file of the store holds it afterwards, wherever the erasing was killed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lstm_models import checkpoint as checkpoints
from lstm_models.fleet import Fleet
from lstm_models.fleet_config import FleetConfig
from tasks.erase import EraseError, allow, check_known, erase, plan_erasure
from tasks.fleet_files import instruments_in
from tasks.ingest import ingest
from tasks.publish import CSV, PARQUET, publish_latest
from tasks.sessions import Calendars, calendar
from tasks.storage import erasure, past, places
from tasks.store import Store
from tests.flows.test_show import filled, write
from tests.tasks.provider import Provider
from tests.tasks.store_rows import bar, bars

NOW = datetime(2024, 3, 4, 22, tzinfo=UTC)
DAY = timedelta(days=1)
GONE, KEPT, OTHER = "GONEX", "KEPTX", "OTHERX"
PRICES = (123.4375, 321.0625)
SESSIONS = [day.item() for day in calendar("XNYS").sessions(date(2024, 1, 2), date(2024, 2, 29))]
SHARED, ALONE = "checkpoints/shared.safetensors", "checkpoints/alone.safetensors"
BOTH = "reports/2024-03-01-c0ffee00.html"


def fleet_of(*names: str) -> Fleet:
    random = np.random.default_rng(len(names))

    def draw(*shape: int) -> np.ndarray[Any, Any]:
        return random.normal(size=(len(names), *shape))

    return Fleet(
        config=FleetConfig(units=2, lookback=8, burn_in=2, seeds=2),
        names=names,
        center=draw(4),
        spread=draw(4),
        skip=draw(5, 2),
        scale=draw(2),
        edges=np.zeros((len(names), 0)),
        recurrence=draw(2, 1, 7, 8).astype(np.float32),
        head=draw(2, 3, 2).astype(np.float32),
    )


def checkpoint_of(*instruments: str) -> bytes:
    names = [f"{one}/log_return/2024-01-31" for one in instruments]
    models = {f"id-{one}": {"member": name} for one, name in zip(instruments, names, strict=True)}
    extra = {f"id-{one}/beside": np.full(3, float(len(one))) for one in instruments}
    return checkpoints.save(fleet_of(*names), extra, {"models": models})


def forecasts(store: Store, *instruments: str) -> None:
    stamp = {"run_id": "run", "as_of": NOW, "made_at": NOW}
    for name in instruments:
        row = filled("forecasts", forecast_id=f"id-{name}", instrument=name, **stamp)
        write(store, "forecasts", row)
        write(store, "scores", filled("scores", score_id=f"id-{name}", instrument=name, **stamp))
    publish_latest(store, store.read("forecasts"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """GONE and KEPT by two sources, OTHER by `other` alone; never written to: copy it."""
    store = Store.open(tmp_path_factory.mktemp("erase") / "store")
    for days, close in enumerate(PRICES):
        rows = [
            bar(close, instrument=GONE, source="other"),
            bar(close + 1, instrument=KEPT),
            bar(close + 2, instrument=OTHER, source="other"),
        ]
        store.commit_facts("bars", bars(*rows), now=NOW + days * DAY)
    store.commit_facts("bars", bars(bar(7.0, instrument=GONE, session=SESSIONS[3])), now=NOW + DAY)
    store.compact("bars")
    held: dict[str, object] = {
        "quarantine_id": "q",
        "source": "other",
        "instrument": GONE,
        "rule": "absurd_jump",
    }
    held |= {"reason": f"{PRICES[0]}", "row": "{}", "close": PRICES[0]}
    store.commit_facts("quarantine", pa.Table.from_pylist([held]), now=NOW)
    forecasts(store, GONE, KEPT, OTHER)
    store.write_file(SHARED, checkpoint_of(GONE, KEPT, OTHER))
    store.write_file(ALONE, checkpoint_of(GONE))
    store.write_file("checkpoints/kept.safetensors", checkpoint_of(KEPT))
    store.write_file(BOTH, f"<td>{GONE}</td><td>{KEPT}</td>".encode())
    store.write_file("reports/kept.html", f"<td>{KEPT}</td><td>{GONE}DALE</td>".encode())
    store.write_file("latest/report.html", f"<td>{GONE}</td>".encode())
    return store


def copy_of(made: Store, place: Path) -> Store:
    assert made.local_path is not None
    shutil.copytree(made.local_path, place)
    return Store.open(place)


@pytest.fixture
def store(made: Store, tmp_path: Path) -> Store:
    return copy_of(made, tmp_path / "store")


def contents(store: Store, *, without: str = "") -> Iterator[tuple[str, bytes]]:
    """Every file of the store, Parquet as its plain values: texts, and the bytes of numbers."""
    assert store.local_path is not None
    for path in sorted(store.local_path.rglob("*")):
        inside = path.relative_to(store.local_path)
        if not path.is_file() or inside.parts[0] == without:
            continue
        data = path.read_bytes()
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            data += repr([column.to_pylist() for column in table.columns]).encode()
            for column in table.columns:
                if pa.types.is_floating(column.type):
                    data += column.fill_null(0.0).to_numpy().tobytes()
        yield str(inside), data


def remains(store: Store, name: str, *, prices: bool = True) -> list[str]:
    """The files, but for the tombstone's, that hold the name or one of its prices."""
    wanted = [name.encode() + end for end in (b'"', b"'", b"/", b"<", b"\n", b",", b"\\")]
    if prices:
        wanted += [np.float64(price).tobytes() for price in PRICES]
        wanted += [repr(price).encode() for price in PRICES]
    return [
        path
        for path, data in contents(store, without="erased")
        if any(what in data for what in wanted)
    ]


def test_before_it_is_in_every_kind_of_file(made: Store) -> None:
    folders = {path.split("/")[0] for path in remains(made, GONE)}
    assert folders >= {"bars", "forecasts", "scores", "quarantine", "checkpoints", "latest"}
    assert any("_delta_log" in path for path in remains(made, GONE))
    assert BOTH in remains(made, GONE)


def test_an_instrument_is_in_no_file_afterwards_but_the_tombstone(store: Store) -> None:
    kept = store.history("bars", instruments=[KEPT, OTHER])
    done = erase(store, [GONE], now=NOW + 2 * DAY)
    assert remains(store, GONE) == []
    assert done.rows == {"bars": 3, "quarantine": 1, "scores": 1, "forecasts": 1}
    assert done.orphans == ()
    assert store.history("bars").equals(kept)
    assert set(store.read("forecasts")["instrument"].to_pylist()) == {KEPT, OTHER}
    (stone,) = store.read("erased").to_pylist()
    assert (stone["subject"], stone["name"], stone["op"]) == ("instrument", GONE, "erase")


def test_the_other_networks_of_a_file_keep_every_bit(store: Store) -> None:
    before, extra, _ = checkpoints.load(store.read_file(SHARED))
    erase(store, [GONE], now=NOW)
    after, beside, notes = checkpoints.load(store.read_file(SHARED))
    assert after.names == before.names[1:]
    for name in ("center", "spread", "skip", "scale", "recurrence", "head"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name)[1:])
    assert set(notes["models"]) == {f"id-{KEPT}", f"id-{OTHER}"}
    assert set(beside) == {f"id-{KEPT}/beside", f"id-{OTHER}/beside"}
    np.testing.assert_array_equal(beside[f"id-{KEPT}/beside"], extra[f"id-{KEPT}/beside"])
    assert not store.exists(ALONE)
    assert store.read_file("checkpoints/kept.safetensors") == checkpoint_of(KEPT)


def test_latest_files_and_pages_are_without_it(store: Store) -> None:
    done = erase(store, [GONE], now=NOW)
    assert done.latest
    assert set(done.pages) == {BOTH, "latest/report.html"}
    assert store.exists("reports/kept.html")
    assert store.local_path is not None
    latest = pq.read_table(store.local_path / PARQUET)
    assert set(latest["instrument"].to_pylist()) == {KEPT, OTHER}
    assert latest.schema.metadata[b"fleetcast.as_of"] == NOW.isoformat().encode()
    assert GONE.encode() not in store.read_file(CSV)


def test_a_damaged_checkpoint_might_hold_it_and_goes(store: Store) -> None:
    store.write_file("checkpoints/damaged.safetensors", checkpoint_of(GONE)[:500])
    changed = bytearray(checkpoint_of(GONE, KEPT))
    changed[-1] ^= 1
    store.write_file("checkpoints/changed.safetensors", bytes(changed))
    erase(store, [GONE], now=NOW)
    assert not store.exists("checkpoints/damaged.safetensors")
    assert not store.exists("checkpoints/changed.safetensors")


def test_a_source_takes_those_along_of_whom_only_it_had_bars(store: Store) -> None:
    done = erase(store, sources=["other"], now=NOW)
    assert done.orphans == (OTHER,)
    assert remains(store, OTHER, prices=False) == []
    assert set(store.history("bars")["source"].to_pylist()) == {"somewhere"}
    assert GONE in store.read("forecasts")["instrument"].to_pylist()  # it has bars of another
    stones = {(row["subject"], row["name"], row["op"]) for row in store.read("erased").to_pylist()}
    assert stones == {("source", "other", "erase"), ("instrument", OTHER, "allow")}
    there = instruments_in(store.read_file(SHARED))
    assert there is not None
    assert set(there) == {GONE, KEPT}


def test_the_plan_is_what_is_done_and_changes_nothing(made: Store, store: Store) -> None:
    for asked in ({"instruments": [GONE]}, {"sources": ["other"]}):
        before = dict(contents(store))
        planned = plan_erasure(store, **asked)
        assert dict(contents(store)) == before
        place = Path(store.url).with_name("_".join(asked))
        done = erase(copy_of(made, place), **asked, now=NOW)
        for name in ("rows", "orphans", "checkpoints", "pages", "latest"):
            assert getattr(planned, name) == getattr(done, name), name


_STRIDE = 13
"""Every so many steps the erasing is killed: with 1 the test takes minutes."""


def _steps() -> list[tuple[Any, str]]:
    return [
        (Store, "commit_facts"),
        (erasure, "_rewrite"),
        (erasure, "_set_append_only"),
        (erasure, "_remove_files"),
        (places, "remove"),
        (places, "write"),
        (past, "forget"),
    ]


def killed_at(number: int, patch: pytest.MonkeyPatch, act: Callable[[], object]) -> bool:
    """Whether `act` was killed: before its step of this number, of all that change the store."""
    left = [number]

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **named: Any) -> Any:  # noqa: ANN401
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return real(*args, **named)

        return step

    with patch.context() as watching:
        for owner, name in _steps():
            watching.setattr(owner, name, watched(getattr(owner, name)))
        try:
            act()
        except KeyboardInterrupt:
            return True
        return False


@pytest.mark.parametrize(
    "asked", [{"instruments": [GONE]}, {"sources": ["other"]}], ids=["instrument", "source"]
)
def test_killed_anywhere_and_run_again_it_finishes(
    made: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, list[str]]
) -> None:
    name = GONE if "instruments" in asked else OTHER
    number = kills = 0
    while True:
        store = copy_of(made, tmp_path / str(number))
        if not killed_at(number, monkeypatch, lambda: erase(store, **asked, now=NOW)):  # noqa: B023
            break
        kills += 1
        erase(store, **asked, now=NOW + DAY)
        assert remains(store, name, prices="instruments" in asked) == [], f"killed at {number}"
        assert KEPT in store.read("bars")["instrument"].to_pylist()
        assert store.exists(SHARED)
        number += _STRIDE
        shutil.rmtree(store.url)
    assert kills > 3


def test_erased_again_changes_nothing(store: Store) -> None:
    erase(store, [GONE], now=NOW)
    before = dict(contents(store))
    done = erase(store, [GONE], now=NOW + DAY)
    assert (done.rows, done.checkpoints, done.pages, done.latest) == ({}, (), (), False)
    assert dict(contents(store)) == before


def test_commits_and_reads_go_on_afterwards(store: Store) -> None:
    erase(store, [GONE], now=NOW)
    store.commit_facts("bars", bars(bar(8.0, instrument=KEPT)), now=NOW + 3 * DAY)
    again = Store.open(store.url)
    assert again.read("bars", instruments=[KEPT])["close"].to_pylist() == [8.0]
    again.compact()
    assert again.history("bars", instruments=[KEPT]).num_rows == 3
    pinned = again.versions()
    assert again.read("bars", versions=pinned).num_rows == 2


def provider(**said: Any) -> Provider:  # noqa: ANN401
    rows = [
        {"instrument": name, "session": session, "close": 10.0 + place, "volume": 1.0}
        for name in ("A", "B")
        for place, session in enumerate(SESSIONS)
    ]
    return Provider(bars=rows, offered=("A", "B"), **said)


def test_what_was_erased_does_not_come_back_until_it_is_allowed(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    calendars = Calendars.load()
    ingest(store, provider(), calendars=calendars, now=NOW)
    erase(store, ["A"], now=NOW + DAY)
    report = ingest(store, provider(), calendars=calendars, now=NOW + 2 * DAY)
    assert set(store.history("bars")["instrument"].to_pylist()) == {"B"}
    assert any("A was erased" in problem.message for problem in report.problems)
    allow(store, ["A"], now=NOW + 3 * DAY)
    ingest(store, provider(), calendars=calendars, now=NOW + 4 * DAY)
    assert set(store.read("bars")["instrument"].to_pylist()) == {"A", "B"}


def test_allowing_what_was_not_erased_is_refused(store: Store) -> None:
    erase(store, [GONE], now=NOW)
    with pytest.raises(EraseError, match=f"Erased are: {GONE}"):
        allow(store, [KEPT], now=NOW)
    with pytest.raises(EraseError, match="source other was not erased"):
        allow(store, sources=["other"], now=NOW)


def test_unknown_names_are_refused_with_a_similar_one(store: Store) -> None:
    with pytest.raises(EraseError, match="no instrument GONEY. Did you mean GONEX"):
        check_known(store, ["GONEY"], [])
    with pytest.raises(EraseError, match="no source othe. Did you mean other"):
        check_known(store, [], ["othe"])
    erase(store, [GONE], now=NOW)
    check_known(store, [GONE], [])  # as one who runs it again would name it


def test_names_that_a_log_or_page_quotes_are_found(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    for name in ('A"&B', "Ünï/X", KEPT):
        store.commit_facts("bars", bars(bar(3.5, instrument=name)), now=NOW)
    store.write_file("reports/quoted.html", b"<td>A&quot;&amp;B</td>")
    done = erase(store, ['A"&B', "Ünï/X"], now=NOW)
    assert done.pages == ("reports/quoted.html",)
    texts = b"".join(data for _, data in contents(store, without="erased"))
    for trace in (b'A\\"&B', b'A\\\\\\"&B', "Ünï".encode(), b"\\u00dcn\\u00ef"):
        assert trace not in texts
    assert store.read("bars")["instrument"].to_pylist() == [KEPT]
