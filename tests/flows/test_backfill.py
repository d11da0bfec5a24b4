"""Backfills on a real Prefect server beside nights one by one: a tiny model, in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows import backfill_steps, backfill_summary, steps, workers
from flows.backfilled import Backfill
from flows.config import FleetcastConfig, check
from flows.failures import Refused
from flows.night import Night
from flows.prefect_server import LocalServer
from tasks import runs
from tasks.store import Store
from tests.flows.test_nightly import InThisProcess, newest_artifact
from tests.tasks.markets import ANT, BEE, SETTINGS, Prices, sessions_to

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # Prefect's and its libraries' own
    pytest.mark.usefixtures("prefect"),
]

NIGHTS: tuple[date, ...] = tuple(sessions_to(date(2024, 6, 20), 5).tolist())
"""Five sessions; models are refitted after the second of them, 2024-06-17 for SETTINGS."""
HORIZON = 2
STAMPS = ["run_id", "made_at", "known_at"]
DERIVED = ("models", "statistics", "scores", "forecasts")


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_HOME,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )

    home = tmp_path_factory.mktemp("prefect")
    with LocalServer(home) as server:
        server.wait()
        settings: dict[Any, Any] = {
            PREFECT_API_URL: server.api_url,
            PREFECT_HOME: home,
            PREFECT_LOGGING_TO_API_ENABLED: False,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        }
        with temporary_settings(settings):
            yield server.api_url


def write_bars(path: Path, prices: Prices) -> None:
    days = sessions_to(NIGHTS[-1], len(prices.close))
    columns = zip(days, prices.open, prices.high, prices.low, prices.close, strict=True)
    lines = [",".join(map(str, row)) + ",1000" for row in columns]
    path.write_text("\n".join(["date,open,high,low,close,volume", *lines]) + "\n")


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    for name, prices in (("ANT", ANT), ("BEE", BEE)):
        write_bars(folder / f"{name}.csv", prices)
    return folder


def config_of(bars: Path, store: Path, *, report: bool = False) -> FleetcastConfig:
    """Two instruments in one shard, and less of everything than even the other tests have."""
    values = SETTINGS.model_dump(mode="json")
    values["targets"]["horizon"] = HORIZON
    values["model"] |= {"units": 2, "seeds": 1}
    values["training"] |= {"max_updates": 4, "fleet_width": 2}
    values["evaluation"]["folds"] = 1
    return check(
        {
            **values,
            "source": {"name": "files", "path": str(bars), "archive": True},
            "store": {"url": str(store)},
            "publish": {"report": report},
        },
        "test",
    )


@pytest.fixture
def config(bars: Path, tmp_path: Path) -> FleetcastConfig:
    return config_of(bars, tmp_path / "store")


def inside(pool: InThisProcess | None, work: Callable[[], Any]) -> Any:  # noqa: ANN401
    token = workers._CURRENT.set(pool or InThisProcess())
    try:
        return work()
    finally:
        workers._CURRENT.reset(token)


def filled(
    config: FleetcastConfig,
    start: date = NIGHTS[0],
    end: date = NIGHTS[-1],
    pool: InThisProcess | None = None,
    **asked: Any,  # noqa: ANN401 - the flow's own
) -> Backfill:
    from flows.backfill import backfill

    done: Backfill = inside(pool, lambda: backfill(start, end, config=config, **asked))
    return done


def night(config: FleetcastConfig, day: date | None) -> Night:
    from flows.nightly import nightly

    done: Night = inside(None, lambda: nightly(as_of=day, config=config))
    return done


@pytest.fixture(scope="module")
def undisturbed(
    bars: Path, tmp_path_factory: pytest.TempPathFactory, prefect: str
) -> tuple[FleetcastConfig, Backfill]:
    """A backfill of all nights; never written to: copy its store."""
    del prefect  # its settings hold
    config = config_of(bars, tmp_path_factory.mktemp("undisturbed") / "store", report=True)
    return config, filled(config)


def copied(config: FleetcastConfig, folder: Path) -> FleetcastConfig:
    shutil.copytree(config.store.url, folder)
    return config.model_copy(update={"store": config.store.model_copy(update={"url": str(folder)})})


@pytest.fixture
def trained(undisturbed: tuple[FleetcastConfig, Backfill], tmp_path: Path) -> FleetcastConfig:
    """A store in which everything is trained, and no session was gone through."""
    config = copied(undisturbed[0], tmp_path / "trained")
    for name in ("runs", "forecasts"):
        shutil.rmtree(Path(config.store.url) / name)
    return config


def table(config: FleetcastConfig, dataset: str, *without: str) -> pa.Table:
    rows = Store.open(config.store.url).read(dataset)
    left_out = [name for name in (*STAMPS, *without) if name in rows.column_names]
    return rows.drop_columns(left_out)


def history(config: FleetcastConfig, dataset: str) -> int:
    count: int = Store.open(config.store.url).history(dataset).num_rows
    return count


def test_a_backfill_is_what_the_nights_one_by_one_would_have_been(
    undisturbed: tuple[FleetcastConfig, Backfill], bars: Path, tmp_path: Path
) -> None:
    config, done = undisturbed
    one_by_one = config_of(bars, tmp_path / "nights")
    for day in NIGHTS[:-1]:
        assert night(one_by_one, day).origin == "backfill"
    live = night(one_by_one, None)
    assert (live.session, live.origin) == (NIGHTS[-1], "live")
    for name in DERIVED:
        told, wanted = (table(one, name, "origin") for one in (config, one_by_one))
        assert told.equals(wanted), name
    forecasts = table(config, "forecasts")
    assert forecasts.num_rows == 2 * 2 * HORIZON * len(NIGHTS)
    assert len(set(forecasts["model_id"].to_pylist())) == 2 * 2 * 2, "of two refits"
    assert "live" in table(config, "scores")["segment"].to_pylist()
    assert [one.session for one in done.nights] == list(NIGHTS)
    assert not done.partial
    assert (done.trainings, done.trained) == (2, 8)
    for name in ("forecasts.parquet", "forecasts.csv"):
        assert (Path(config.store.url) / "latest" / name).exists()


def test_the_same_again_adds_nothing_and_loads_nothing(
    undisturbed: tuple[FleetcastConfig, Backfill], tmp_path: Path
) -> None:
    config = copied(undisturbed[0], tmp_path / "store")
    before = {name: history(config, name) for name in (*DERIVED, "runs", "bars")}
    pool = InThisProcess()
    again = filled(config, pool=pool)
    assert pool.labels == []
    assert (again.asked, again.left, again.nights) == (5, 5, ())
    assert again.record == undisturbed[1].record
    every = filled(config, which="all", pool=pool)
    assert [(one.forecasts, one.written) for one in every.nights] == [(8, 0)] * 5
    assert (every.trained, every.left) == (0, 0)
    assert {name: history(config, name) for name in before} == before


def test_one_that_is_interrupted_goes_on_where_it_was(
    undisturbed: tuple[FleetcastConfig, Backfill],
    config: FleetcastConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closes = 3
    closed: list[date] = []
    close = steps.close_run

    def interrupting(config: FleetcastConfig, run: runs.PinnedRun, **how: Any) -> None:  # noqa: ANN401
        if len(closed) == closes:
            raise KeyboardInterrupt
        closed.append(run.session)
        close(config, run, **how)

    with monkeypatch.context() as broken:
        broken.setattr("flows.steps.close_run", interrupting)
        with pytest.raises(KeyboardInterrupt):
            filled(config)
    assert closed == list(NIGHTS[:closes])
    done = filled(config)
    assert [one.session for one in done.nights] == list(NIGHTS[closes:])
    assert done.left == closes
    assert done.trained == 0, "they had been trained before"
    for name in DERIVED:
        assert table(config, name).equals(table(undisturbed[0], name)), name


def test_a_bad_date_does_not_stop_the_others_and_is_done_again_on_demand(
    undisturbed: tuple[FleetcastConfig, Backfill],
    trained: FleetcastConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    close = steps.close_run
    bad, lacking = NIGHTS[1], NIGHTS[3]

    def broken_close(config: FleetcastConfig, run: runs.PinnedRun, **how: Any) -> None:  # noqa: ANN401
        if run.session == bad and "failure" not in how:
            raise OSError("no space left on device: s3://me:hunter2@bucket")
        close(config, run, **how)

    def broken_score(request: Any) -> Any:  # noqa: ANN401
        if request.session == lacking:
            raise OSError("unreadable")
        return score(request)

    score = steps.score
    with monkeypatch.context() as broken:
        broken.setattr("flows.steps.close_run", broken_close)
        broken.setattr("flows.steps.score", broken_score)
        done = filled(trained)
    assert done.partial
    problems = {one.session: (one.status, one.problem) for one in done.nights if one.problem}
    assert problems == {
        bad: ("failed", "broken off: OSError: no space left on device: s3://***@bucket"),
        lacking: ("finished", "scoring what matured failed: OSError: unreadable"),
    }
    missing = filled(trained)
    assert [one.session for one in missing.nights] == [bad]
    again = filled(trained, which="failed")
    assert [one.session for one in again.nights] == [lacking]
    assert not again.partial
    assert filled(trained, which="failed").nights == ()
    assert table(trained, "forecasts").equals(table(undisturbed[0], "forecasts"))


def test_a_training_that_fails_marks_the_sessions_that_share_it(trained: FleetcastConfig) -> None:
    def no_memory(label: str) -> None:
        if label == f"train shard-0000 {NIGHTS[0]}":
            raise MemoryError("7 GiB")

    done = filled(trained, pool=InThisProcess(no_memory))
    told = "training of shard-0000 failed: MemoryError: 7 GiB (ANT, BEE)"
    early = [one for one in done.nights if one.problem]
    assert {one.problem for one in early} == {told}
    assert [one.session for one in early] == [day for day in NIGHTS if day < date(2024, 6, 17)]
    assert all(one.forecasts == 8 for one in done.nights), "a baseline stands in"


def test_every_other_session_and_one_instrument_as_a_universe_of_its_own(
    undisturbed: tuple[FleetcastConfig, Backfill], tmp_path: Path
) -> None:
    config = copied(undisturbed[0], tmp_path / "store")
    latest = (Path(config.store.url) / "latest/forecasts.parquet").read_bytes()
    done = filled(config, NIGHTS[2], every=2, instruments=["BEE"])
    assert [one.session for one in done.nights] == list(NIGHTS[2::2])
    assert done.config_hash != config.config_hash
    assert (done.published, done.report) == ((), None)
    assert (Path(config.store.url) / "latest/forecasts.parquet").read_bytes() == latest
    rows = table(config, "forecasts").to_pylist()
    assert {row["instrument"] for row in rows if row["config_hash"] == done.config_hash} == {"BEE"}


def test_the_track_record_in_prefect_on_a_terminal_and_for_programs(
    undisturbed: tuple[FleetcastConfig, Backfill], capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    _, done = undisturbed
    assert done.record is not None
    assert [one.name for one in done.record.periods] == ["2024-06"]
    assert {(one.target, one.method) for one in done.record.whole} == {
        (target, method)
        for target in ("log_return", "log_volatility")
        for method in ("published", "lstm")
    }
    assert newest_artifact("track-record").type == "table"
    assert "data:image/svg+xml;base64," in newest_artifact("track-record-picture").data
    told = json.loads(backfill_summary.as_json(done))
    assert told["record"]["grain"] == "month"
    assert len(told["nights"]) == len(NIGHTS)
    assert {part["name"] for part in told["parts"]} >= {"train", "gate", "forecast", "score"}
    assert sum(part["seconds"] for part in told["parts"]) == pytest.approx(told["seconds"])
    backfill_summary.show(Console(width=100), done)
    said = capsys.readouterr().out
    assert "Return: skill against Zero" in said
    assert "5 sessions from 2024-06-13 to 2024-06-20; 5 done now" in said


def test_dates_that_cannot_be_gone_through_are_refused_and_pin_nothing(
    undisturbed: tuple[FleetcastConfig, Backfill],
) -> None:
    config, _ = undisturbed
    before = history(config, "runs")
    with pytest.raises(runs.RunError, match="lies after the last session"):
        filled(config, date(2024, 6, 21), date(2024, 6, 28))
    assert history(config, "runs") == before


def test_a_membership_file_says_who_belongs(bars: Path, tmp_path: Path) -> None:
    config = config_of(bars, tmp_path / "store")
    assert backfill_steps.narrowed(config, ()) is config
    members = config.universe.model_copy(update={"membership": "members.csv"})
    with pytest.raises(Refused, match="Leave --instruments out"):
        backfill_steps.narrowed(config.model_copy(update={"universe": members}), ["ANT"])
