"""The flow on a real Prefect server, with its work in this process: no LSTM is due here."""

from __future__ import annotations

import base64
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow.parquet as pq
import pytest

from flows import steps, workers
from flows.config import FleetcastConfig, PublishConfig, check
from flows.monitoring import MonitoringConfig
from flows.night import Night
from flows.prefect_server import LocalServer
from flows.workers import Workers
from lstm_models.fleet_config import KINDS
from tasks import runs
from tasks.sessions import calendar
from tasks.sinks.config import WebhookSinkConfig
from tasks.store import Store

pytestmark = pytest.mark.filterwarnings("ignore")  # Prefect's and its libraries' own

R = TypeVar("R")
SESSIONS = calendar("XNYS").sessions(date(2019, 1, 2), date(2019, 12, 31))


class InThisProcess(Workers):
    """Workers that start no process; `before` may refuse a piece of work."""

    def __init__(self, before: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(1)
        self.labels: list[str] = []
        self.arguments: dict[str, tuple[object, ...]] = {}
        self.before = before

    def run(self, label: str, work: Callable[..., R], *args: object) -> R:
        self.labels.append(label)
        self.arguments[label] = args
        self.before(label)
        return work(*args, report=None)


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_HOME,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )

    home = tmp_path_factory.mktemp("prefect")
    with LocalServer(home) as server:
        server.wait()
        settings = {
            PREFECT_API_URL: server.api_url,
            PREFECT_HOME: home,
            PREFECT_LOGGING_TO_API_ENABLED: False,  # it is sent late, when the server is gone
        }
        with temporary_settings(settings):
            yield server.api_url


@pytest.fixture
def config(tmp_path: Path) -> FleetcastConfig:
    """Four instruments with a year of prices, two to a shard, and one with a single row."""
    (tmp_path / "bars").mkdir()
    random = np.random.default_rng(7)
    for name in ("A", "B", "C", "D"):
        closes = 100 * np.exp(np.cumsum(random.normal(0, 0.01, len(SESSIONS))))
        write_bars(tmp_path / "bars" / f"{name}.csv", closes)
    write_bars(tmp_path / "bars" / "E.csv", np.array([5.0]))
    return check(
        {
            "source": {"name": "files", "path": str(tmp_path / "bars"), "archive": True},
            "store": {"url": str(tmp_path / "store")},
            "training": {"shard_size": 2},
        },
        "test",
    )


def write_bars(path: Path, closes: np.ndarray[Any, Any]) -> None:
    sessions = SESSIONS[-len(closes) :]
    rows = (
        f"{session},{close},{close * 1.01},{close * 0.99},{close},1000"
        for session, close in zip(sessions, closes, strict=True)
    )
    path.write_text("\n".join(["date,open,high,low,close,volume", *rows]) + "\n")


def night(
    config: FleetcastConfig, as_of: date | None = None, pool: InThisProcess | None = None
) -> Night:
    from flows.nightly import nightly

    token = workers._CURRENT.set(pool or InThisProcess())
    try:
        return nightly(as_of=as_of, config=config)
    finally:
        workers._CURRENT.reset(token)


def flow_runs(prefect: str) -> list[Any]:
    del prefect  # the settings of its fixture hold
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        return client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC)


def newest_artifact(key: str) -> Any:  # noqa: ANN401 - Prefect's
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
    from prefect.client.schemas.sorting import ArtifactSort

    with get_client(sync_client=True) as client:
        return client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])),
            sort=ArtifactSort.CREATED_DESC,
        )[0]


def rows(config: FleetcastConfig, dataset: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = Store.open(config.store.url).read(dataset).to_pylist()
    return found


def test_a_night_and_the_same_night_again(config: FleetcastConfig, prefect: str) -> None:
    first = night(config)
    assert first.session == date(2019, 12, 31)
    assert first.instruments == ("A", "B", "C", "D", "E")
    assert (first.counts.new, first.counts.quarantined) == (4 * len(SESSIONS) + 1, 0)
    assert (first.forecasts, first.written) == (40, 40)
    assert {(one.instrument, one.target) for one in first.missing} == {
        ("E", "log_return"),
        ("E", "log_volatility"),
    }
    assert first.partial
    assert not first.problems
    assert [part.name for part in first.parts] == [
        "ingest",
        "pin",
        "score",
        "train",
        "gate",
        "forecast",
        "publish",
        "report",
    ]
    assert first.report is not None
    assert Path(first.report).exists()
    store = Store.open(config.store.url)
    assert store.exists("latest/forecasts.parquet")
    assert store.exists("latest/forecasts.csv")
    assert flow_runs(prefect)[0].name == "nightly-2019-12-31"

    before = {name: rows(config, name) for name in ("bars", "models", "scores", "forecasts")}
    again = night(config)
    assert (again.run_id, again.written, again.counts.new) == (first.run_id, 0, 0)
    assert again.missing == first.missing
    assert {name: rows(config, name) for name in before} == before


def test_a_night_that_was_complete_is_not_done_again(
    config: FleetcastConfig, prefect: str, tmp_path: Path
) -> None:
    (tmp_path / "bars" / "E.csv").unlink()
    assert not night(config).partial
    pool = InThisProcess()
    again = night(config, pool=pool)
    assert pool.labels == []
    assert again.repeated
    assert not again.partial
    assert again.forecasts == 40
    (run,) = rows(config, "runs")
    assert run["status"] == "finished"
    assert flow_runs(prefect)[0].state.is_completed()


def test_a_night_on_old_bars_is_not_complete_the_second_time_either(
    config: FleetcastConfig, prefect: str, tmp_path: Path
) -> None:
    del prefect  # the settings of its fixture hold
    (tmp_path / "bars" / "E.csv").unlink()
    file = tmp_path / "bars" / "D.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    assert night(config).stale == ("D",)
    again = night(config)
    assert (again.repeated, again.stale, again.partial) == (True, ("D",), True)


def test_what_prefect_shows_of_a_night(config: FleetcastConfig, prefect: str) -> None:
    night(config)
    assert flow_runs(prefect)[0].state.is_completed()
    health = newest_artifact("data-health")
    assert health.description.startswith(f"{4 * len(SESSIONS) + 1:,} new, 0 changed, 0 quarantined")
    assert '"instrument": "A"' in health.data
    assert newest_artifact("scores").type == "table"
    picture = newest_artifact("forecasts").data
    found = re.fullmatch(r"!\[.*\]\(data:image/svg\+xml;base64,(.*)\)", picture)
    assert found is not None
    assert base64.b64decode(found[1]).startswith(b"<svg")
    page = Path(config.store.url) / "latest" / "report.html"
    assert newest_artifact("report").data.endswith(f" is `{page}`.")


def test_the_report_is_linked_where_people_have_an_address(
    config: FleetcastConfig,
    prefect: str,  # noqa: ARG001
) -> None:
    hook = WebhookSinkConfig(link="https://desk.example/{session}?run={run_id}")
    publish = config.publish.model_copy(update={"webhook": hook})
    done = night(config.model_copy(update={"publish": publish}))
    wanted = f"[Open the report](https://desk.example/{done.session}?run={done.run_id})\n\n"
    assert newest_artifact("report").data.startswith(wanted)


def test_a_shard_whose_training_fails_gets_baselines_and_a_reason(
    config: FleetcastConfig, prefect: str
) -> None:
    def no_memory(label: str) -> None:
        if label == "train shard-0001":
            raise MemoryError("7 GiB")

    pool = InThisProcess(no_memory)
    done = night(config, pool=pool)
    assert flow_runs(prefect)[0].state.is_completed()
    assert done.problems == ("training of shard-0001 failed: MemoryError: 7 GiB (C, D)",)
    assert done.forecasts == 40
    _, models, _ = pool.arguments["forecast shard-0001"]
    assert isinstance(models, tuple)
    assert {(one.instrument, one.reason) for one in models} == {
        (name, "training of shard-0001 failed: MemoryError: 7 GiB") for name in ("C", "D")
    }
    (run,) = rows(config, "runs")
    assert run["status"] == "finished"

    mended = night(config)
    assert (mended.repeated, mended.problems, mended.forecasts) == (False, (), 40)
    assert mended.written == 20, "those of C and D, once more"
    published = pq.read_table(Path(config.store.url) / "latest/forecasts.parquet").to_pylist()
    assert len(published) == 40
    assert not [row for row in published if "MemoryError" in row["reason"]]


def test_a_night_of_all_kinds_is_complete_with_all_of_them(
    config: FleetcastConfig, prefect: str
) -> None:
    every = config.model.model_copy(update={"kinds": KINDS})
    config = config.model_copy(update={"model": every})

    def no_memory(label: str) -> None:
        if label == "train shard-0001":
            raise MemoryError("7 GiB")

    first = night(config, pool=InThisProcess(no_memory))
    assert (first.forecasts, first.written) == (48, 48)
    assert {(one.instrument, one.kind, one.target) for one in first.missing} == {
        ("E", kind, target) for kind, target in config.forecast_settings().forecasts
    }
    methods = {
        (row["kind"], row["target"]): row["method"]
        for row in rows(config, "forecasts")
        if row["instrument"] == "C"
    }
    assert methods == {
        ("many_to_many", "log_return"): "zero",
        ("many_to_many", "log_volatility"): "har",
        ("direction", "log_return"): "frequencies",
        ("quantile_class", "log_return"): "climatology",
    }
    assert flow_runs(prefect)[0].state.is_completed()
    mended = night(config)
    assert (mended.written, mended.forecasts) == (24, 48)
    lines = Path(config.store.url, "latest/forecasts.csv").read_text().splitlines()
    assert len(lines) == 49


def test_a_kind_that_lacks_makes_a_night_incomplete(
    config: FleetcastConfig, prefect: str, tmp_path: Path
) -> None:
    (tmp_path / "bars" / "E.csv").unlink()
    alone = config.model.model_copy(update={"kinds": ("direction",)})
    config = config.model_copy(update={"model": alone})
    assert night(config).forecasts == 4
    assert night(config).repeated
    run = runs.runs_of(Store.open(config.store.url), config.config_hash)[0]
    both = config.model.model_copy(update={"kinds": ("direction", "quantile_class")})
    assert steps.complete(config, replace(run, reused=True))
    assert not steps.complete(config.model_copy(update={"model": both}), replace(run, reused=True))
    assert flow_runs(prefect)[0].state.is_completed()


def test_a_shard_that_can_not_be_forecast_does_not_fail_the_night(
    config: FleetcastConfig, prefect: str
) -> None:
    def broken(label: str) -> None:
        if label == "forecast shard-0000":
            raise OSError("unreadable")

    done = night(config, pool=InThisProcess(broken))
    assert flow_runs(prefect)[0].state.is_completed()
    assert done.problems == ("forecasting shard-0000 failed: OSError: unreadable",)
    assert {one.instrument for one in done.missing} == {"A", "B", "E"}
    assert done.forecasts == 20
    mended = night(config)
    assert (mended.forecasts, mended.written, mended.problems) == (40, 20, ())


def test_a_backfilled_night_knows_nothing_later(config: FleetcastConfig, prefect: str) -> None:
    done = night(config, as_of=date(2019, 11, 28))  # Thanksgiving
    assert (done.session, done.origin) == (date(2019, 11, 27), "backfill")
    assert flow_runs(prefect)[0].name == "nightly-2019-11-27"
    assert {row["cutoff"] for row in rows(config, "forecasts")} == {date(2019, 11, 27)}


def test_a_night_scores_what_earlier_ones_forecast_and_nothing_twice(
    config: FleetcastConfig, prefect: str
) -> None:
    for day, matured in ((date(2019, 12, 24), 0), (date(2019, 12, 27), 16), (None, 32)):
        assert night(config, as_of=day).matured == matured, day
    assert night(config).matured == 0
    assert flow_runs(prefect)[0].state.is_completed()
    live = [row for row in rows(config, "scores") if row["segment"] == "live"]
    # Nothing is trained on a year of bars, and the baseline of volatility needs more of them too.
    assert {(row["target"], row["method"]) for row in live} == {
        ("log_return", "published"),
        ("log_return", "zero"),
        ("log_volatility", "published"),
    }
    assert {row["segment"] for row in rows(config, "scores")} == {"live"}
    assert {row["origin"] for row in live} == {"backfill"}


def test_a_night_goes_on_where_scoring_fails(
    config: FleetcastConfig, prefect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise OSError("unreadable")

    monkeypatch.setattr("flows.steps.score_matured", broken)
    done = night(config)
    assert flow_runs(prefect)[0].state.is_completed()
    assert done.problems == ("scoring what matured failed: OSError: unreadable",)
    assert (done.forecasts, done.matured) == (40, 0)


def test_a_date_before_the_first_bar_is_refused_and_pins_nothing(
    config: FleetcastConfig, prefect: str
) -> None:
    with pytest.raises(runs.RunError, match="lies before the first bar, of 2019-01-02"):
        night(config, as_of=date(2018, 12, 31))
    assert rows(config, "runs") == []
    assert flow_runs(prefect)[0].state.is_failed()


def test_a_night_that_breaks_off_says_so_and_goes_on_as_the_same_run(
    config: FleetcastConfig, prefect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device: s3://me:hunter2@bucket")

    with monkeypatch.context() as broken:
        broken.setattr("flows.steps.publish", full)
        with pytest.raises(OSError, match="no space left"):
            night(config)
    (run,) = rows(config, "runs")
    assert run["status"] == "failed"
    assert run["message"] == "broken off: OSError: no space left on device: s3://***@bucket"
    assert flow_runs(prefect)[0].state.is_failed()
    assert night(config).run_id == run["run_id"]
    assert [row["status"] for row in rows(config, "runs")] == ["finished"]


def test_a_source_that_gives_nothing_does_not_stop_the_night(
    config: FleetcastConfig, prefect: str, tmp_path: Path
) -> None:
    night(config)
    for file in (tmp_path / "bars").iterdir():
        file.unlink()
    done = night(config)
    state = flow_runs(prefect)[0].state
    assert state.is_completed()
    assert (state.message,) == done.problems
    assert done.problems[0].startswith("the source gave nothing, earlier bars are used: ")
    assert done.forecasts == 40


def test_an_ingest_alone_fails_where_the_source_gives_nothing(
    config: FleetcastConfig, prefect: str, tmp_path: Path
) -> None:
    from flows.upkeep import ingest

    assert ingest(config) == "1,009 new, 0 changed, 0 quarantined rows"
    for file in (tmp_path / "bars").iterdir():
        file.unlink()
    with pytest.raises(Exception, match="the source gave nothing"):
        ingest(config)
    assert flow_runs(prefect)[0].state.is_failed()


@pytest.mark.usefixtures("prefect")
def test_a_report_that_fails_keeps_no_forecast_from_the_sinks(
    config: FleetcastConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no room for a picture")

    publish = PublishConfig.model_validate({"folder": {"url": str(tmp_path / "desk")}})
    config = config.model_copy(update={"publish": publish})
    with monkeypatch.context() as patched:
        patched.setattr("flows.artifacts.scores_and_forecasts", broken)
        done = night(config)
    reason = "writing the report failed: RuntimeError: no room for a picture"
    assert (done.report, done.problems) == (None, (reason,))
    assert (tmp_path / "desk" / "latest" / "forecasts.csv").exists()
    assert [row["message"] for row in rows(config, "runs")] == [reason]
    assert night(config).report is not None
    assert [row["message"] for row in rows(config, "runs")] == [None]


def test_a_sink_that_is_down_does_not_stop_the_night_and_is_caught_up_later(
    config: FleetcastConfig, prefect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETCAST_WEBHOOK_KEY", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    (tmp_path / "desk").write_text("in the way")
    outside = {
        "sql": {"url": f"sqlite:///{tmp_path}/market.db"},
        "folder": {"url": str(tmp_path / "desk")},
        "webhook": {"url": "http://127.0.0.1:9/secret-path", "attempts": 1},
    }
    publish = PublishConfig.model_validate(outside)
    config = config.model_copy(update={"publish": publish})
    done = night(config)
    assert flow_runs(prefect)[0].state.is_completed()
    assert done.forecasts == 40
    folder, webhook = done.problems
    assert "desk is a file" in folder
    assert "1 night waits" in folder
    assert webhook.startswith("webhook http://127.0.0.1:9 (")
    assert "secret-path" not in webhook
    assert [row["status"] for row in rows(config, "runs")] == ["finished"]
    with sqlite3.connect(tmp_path / "market.db") as market:
        assert market.execute("SELECT count(*) FROM forecasts").fetchone() == (40,)
    market.close()

    (tmp_path / "desk").unlink()
    again = night(config)
    assert [one.split()[0] for one in again.problems] == ["webhook"]
    published = pq.read_table(tmp_path / "desk" / "latest" / "forecasts.parquet")
    assert published.num_rows == 40
    told = {row["sink"].split()[0]: row["status"] for row in rows(config, "deliveries")}
    assert told == {"folder": "delivered", "sql": "delivered", "webhook": "due"}


def test_bars_that_are_all_old_may_be_an_archive(config: FleetcastConfig, prefect: str) -> None:
    growing = config.source.model_copy(update={"archive": False})
    done = night(config.model_copy(update={"source": growing}))
    assert flow_runs(prefect)[0].state.is_completed()
    assert done.forecasts == 0
    assert {one.instrument for one in done.missing} == {"A", "B", "C", "D", "E"}
    assert done.problems[-1].endswith(
        "set archive = true under [source]; or name a date with --as-of"
    )


def test_workers_of_the_flow_are_the_ones_given(config: FleetcastConfig, prefect: str) -> None:
    pool = InThisProcess()
    night(config, pool=pool)
    assert flow_runs(prefect)[0].state.is_completed()
    shards = [f"shard-000{i}" for i in range(3)]
    wanted = [f"{what} {shard}" for what in ("forecast", "train") for shard in shards]
    assert sorted(pool.labels) == wanted


def test_those_who_watch_are_told_of_a_night_however_it_ends(
    config: FleetcastConfig, prefect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.events.filters import EventFilter, EventResourceFilter
    from prefect.events.worker import EventsWorker

    del prefect  # the settings of its fixture hold
    EventsWorker.drain_all(timeout=10)  # it may still send to an earlier test's server
    metrics = tmp_path / "fleetcast.prom"
    config = config.model_copy(update={"monitoring": MonitoringConfig(metrics=str(metrics))})
    done = night(config)
    assert 'fleetcast_night_state{state="finished"} 1.0' in metrics.read_text()
    own = EventFilter(resource=EventResourceFilter(id=[f"fleetcast.run.{done.run_id}"]))
    with get_client(sync_client=True) as client:
        wait_for(lambda: len(client.read_events(own, limit=50).events) == 1)
        (event,) = client.read_events(own, limit=50).events
    assert event.event == "fleetcast.forecast.published"
    assert event.payload["forecasts"] == done.forecasts

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("flows.steps.complete", full)
    with pytest.raises(OSError, match="no space left"):
        night(config)
    assert 'fleetcast_night_state{state="broken_off"} 1.0' in metrics.read_text()


def wait_for(true: Callable[[], bool]) -> None:
    """Events reach the server from a thread of their own."""
    end = time.monotonic() + 300
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
