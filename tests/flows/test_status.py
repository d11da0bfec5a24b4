"""`fleetcast status` on stores of a few rows, by a clock that the test sets."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus
from rich.console import Console
from typer.testing import CliRunner

from flows import metrics, monitoring, standing, status
from flows.cli import app
from flows.config import FleetcastConfig, PublishConfig, check
from flows.config_errors import ConfigError
from flows.standing import Verdict
from tasks import runs
from tasks.last_night import SinkState
from tasks.run_forecasts import forecasts_of
from tasks.runs import PinnedRun
from tasks.sinks.deliveries import note
from tasks.sinks.sink import Edition
from tasks.sources.config import SourceConfig
from tasks.store import Store
from tests.tasks import nights
from tests.tasks.nights import FRIDAY, THURSDAY, evening

LATER = timedelta(hours=4, minutes=1)


@pytest.fixture
def config(tmp_path: Path) -> FleetcastConfig:
    return check(
        {
            "source": {"name": "files", "path": "bars", "lag_minutes": 60},
            "store": {"url": str(tmp_path / "store")},
            "monitoring": {"metrics": str(tmp_path / "fleetcast.prom")},
        },
        "test",
    )


@pytest.fixture
def store(config: FleetcastConfig) -> Store:
    return Store.open(config.store.url)


def done(config: FleetcastConfig, store: Store, session: Any, **made: Any) -> PinnedRun:  # noqa: ANN401
    return nights.finished(store, session, config_hash=config.config_hash, **made)


def stands(config: FleetcastConfig, store: Store, now: datetime) -> standing.Standing:
    return standing.standing(config, store, now)


def said(found: standing.Standing, width: int = 80, *, terminal: bool = False) -> str:
    assert found.night is not None
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=terminal, highlight=False).print(
        status.lines(found, found.night)
    )
    return file.getvalue()


def fleetcast(config: FleetcastConfig, *arguments: str) -> tuple[int, str, str]:
    file = Path(config.store.url).with_name("fleetcast.toml")
    file.write_text('[source]\nname = "files"\npath = "bars"\nlag_minutes = 60\n')
    given = ("status", "--config", str(file), "--store", config.store.url, *arguments)
    result = CliRunner().invoke(app, given)
    return result.exit_code, result.stdout, result.stderr


def test_a_complete_night_is_five_lines_at_eighty_columns(
    config: FleetcastConfig, store: Store
) -> None:
    done(config, store, THURSDAY)
    run = done(config, store, FRIDAY, methods={("A", "log_volatility"): "lstm"})
    nights.scored(store, run, loss=0.9, covered={"A": 1.0, "B": 0.0})
    found = stands(config, store, evening(FRIDAY) + LATER)
    assert (found.verdict, found.exit_code) == (Verdict.COMPLETE, 0)
    lines = said(found).splitlines()
    assert [line.rstrip() for line in lines] == [
        "Night      2024-06-28 finished 2024-06-28 22:42 UTC, 12 min, complete",
        "Forecasts  6 of 6 published, LSTM earned in 1",
        "Data       2 new, 1 changed, 1 quarantined row; no old bars",
        "Skill      2 matured; returns +10.0% (50% in 80%)",
        "Next       session 2024-07-01, starts 2024-07-01 18:30 America/New_York",
    ]
    assert "\x1b[" in said(found, terminal=True)
    assert "\x1b[" not in said(found)


def test_what_is_not_well_is_named(config: FleetcastConfig, store: Store) -> None:
    nights.bars(store, THURSDAY)
    nights.bars(store, FRIDAY, ["A"])
    nights.ingest(store, FRIDAY, "the source does not have Z", "another")
    run = nights.pinned(store, FRIDAY, config_hash=config.config_hash)
    nights.forecasts(store, run, without=["C"], drift=[("A", "log_volatility")])
    runs.close(store, run, now=evening(FRIDAY, 200), remark="training of shard-0001 failed")
    found = stands(config, store, evening(FRIDAY) + LATER)
    assert (found.verdict, found.exit_code) == (Verdict.PARTIAL, 3)
    told = said(found, 200)
    for words in (
        "3 h 20 min, not complete: training of shard-0001 failed",
        "4 of 6 published, LSTM earned in 0; missing: C",
        "old bars: B (2024-06-27), C (2024-06-27)",
        "the source does not have Z and 1 more problem",
        "drift: A",
    ):
        assert words in told
    assert max(map(len, said(found).splitlines())) <= 80


def test_a_night_that_is_due_and_not_there(config: FleetcastConfig, store: Store) -> None:
    done(config, store, THURSDAY)
    patient = stands(config, store, evening(FRIDAY) + timedelta(hours=3))
    assert patient.verdict is Verdict.COMPLETE
    found = stands(config, store, evening(FRIDAY) + LATER)
    assert (found.verdict, found.exit_code) == (Verdict.MISSING, 1)
    assert "2024-06-28 is missing, due since 2024-06-28 18:30 America/New_York" in said(found, 200)


def test_a_night_that_goes_on_is_judged_by_the_one_before_until_it_is_late(
    config: FleetcastConfig, store: Store
) -> None:
    done(config, store, THURSDAY)
    nights.bars(store, FRIDAY)
    nights.ingest(store, FRIDAY)
    run = nights.pinned(store, FRIDAY, config_hash=config.config_hash)
    found = stands(config, store, evening(FRIDAY, 20))
    assert (found.verdict, found.night and found.night.run.session) == (Verdict.COMPLETE, FRIDAY)
    assert "2024-06-28 goes on since 2024-06-28 22:30 UTC, wrote 18 min ago" in said(found, 200)
    elsewhere = config.model_copy(
        update={
            "compute": config.compute.model_copy(update={"train": "deployment:train-shard/gpu"}),
            "monitoring": monitoring.MonitoringConfig(patience_minutes=60),
        }
    )
    assert stands(elsewhere, store, evening(FRIDAY, 20)).verdict is Verdict.COMPLETE
    late = stands(elsewhere, store, evening(FRIDAY, 100))
    assert (late.verdict, late.exit_code) == (Verdict.LATE, 1)
    silent = stands(config, store, evening(FRIDAY, 100))
    assert (silent.verdict, silent.exit_code) == (Verdict.BROKEN_OFF, 1)
    assert "wrote nothing for 1 h 38 min: it broke off" in said(silent, 200)
    runs.close(store, run, now=evening(FRIDAY, 101), failure="broken off: no space left")
    closed = stands(config, store, evening(FRIDAY, 102))
    assert closed.verdict is Verdict.BROKEN_OFF
    assert "broke off 2024-06-29 00:11 UTC: broken off: no space left" in said(closed, 200)


def test_the_first_night_that_goes_on_has_none_before_it(
    config: FleetcastConfig, store: Store
) -> None:
    nights.bars(store, FRIDAY)
    nights.pinned(store, FRIDAY, config_hash=config.config_hash)
    found = stands(config, store, evening(FRIDAY, 20))
    assert (found.verdict, found.due) == (Verdict.MISSING, None)
    told = said(found, 200)
    assert "Night      2024-06-28 goes on since" in told  # Thursday's was never to come
    assert "; none is finished yet" in told
    assert "0 of 6 published so far" in told
    assert "missing" not in told


def test_a_webhook_whose_address_is_elsewhere_is_the_one_that_was_told_last(
    config: FleetcastConfig, store: Store
) -> None:
    publish = PublishConfig.model_validate({"webhook": {"url_block": "hook"}})
    config = config.model_copy(update={"publish": publish})
    old, run = done(config, store, THURSDAY), done(config, store, FRIDAY)
    names = "webhook https://old.example (00000000)", "webhook https://hook.example (11111111)"
    for one, name in ((old, names[0]), (old, names[1]), (run, names[1])):
        edition = Edition.of(one, forecasts_of(store, one))
        note(store, edition, [name], "due", now=evening(FRIDAY, 20))
    found = stands(config, store, evening(FRIDAY, 30))
    assert found.night is not None
    assert found.night.sinks == (SinkState(names[1], "due", 2),)
    assert found.verdict is Verdict.PARTIAL


def test_a_key_is_not_needed(config: FleetcastConfig, store: Store) -> None:
    source = SourceConfig(name="tiingo", lag_minutes=60)
    config = config.model_copy(update={"source": source})
    done(config, store, FRIDAY)
    assert stands(config, store, evening(FRIDAY, 30)).night is not None
    assert "TIINGO_API_KEY" not in os.environ


def test_an_archive_has_no_schedule(config: FleetcastConfig, store: Store) -> None:
    archive = config.model_copy(
        update={"source": config.source.model_copy(update={"archive": True})}
    )
    done(archive, store, FRIDAY)
    found = stands(archive, store, datetime(2030, 1, 1, tzinfo=UTC))
    assert (found.verdict, found.due, found.next) == (Verdict.COMPLETE, None, None)
    assert "an archive has no schedule" in said(found)


def test_a_store_without_a_night_says_what_to_do(config: FleetcastConfig, store: Store) -> None:
    nights.bars(store, FRIDAY)
    code, out, _ = fleetcast(config)
    assert code == 1
    assert "holds no night yet. Start one with `fleetcast nightly`. By the schedule: sess" in out
    assert json.loads(fleetcast(config, "--format", "json")[1])["night"] is None
    nights.finished(store, FRIDAY, config_hash="other")
    assert "holds no night of this configuration and version" in fleetcast(config)[1]


def test_a_store_that_is_not_there_is_refused(config: FleetcastConfig) -> None:
    code, out, err = fleetcast(config)
    assert (code, out) == (2, "")
    assert "Error: " in err


def test_json_has_the_keys_that_the_documentation_explains(
    config: FleetcastConfig, store: Store
) -> None:
    run = done(config, store, FRIDAY)
    nights.scored(store, run, loss=0.9, covered={"A": 1.0})
    code, out, _ = fleetcast(config, "--format", "json")
    told = json.loads(out)
    assert (code, told["exit_code"], told["verdict"]) == (1, 1, "missing")
    assert told["night"]["session"] == "2024-06-28"
    assert told["night"]["started"] == "2024-06-28T22:30:00Z"
    page = (Path(__file__).resolve().parents[2] / "docs" / "monitoring.md").read_text()
    for key in keys(told):
        assert f"`{key}`" in page, key


def keys(value: Any) -> set[str]:  # noqa: ANN401 - any JSON
    if isinstance(value, list):
        return {key for one in value for key in keys(one)}
    if isinstance(value, dict):
        return {*value, *(key for one in value.values() for key in keys(one))}
    return set()


def test_the_metrics_are_openmetrics_and_prometheus_text(
    config: FleetcastConfig, store: Store
) -> None:
    run = done(config, store, FRIDAY, methods={("A", "log_volatility"): "lstm"}, without=["C"])
    nights.scored(store, run, loss=0.9, covered={"A": 1.0, "B": 0.0})
    found = stands(config, store, evening(FRIDAY) + LATER)
    text = metrics.text(config, found)
    assert text.endswith("# EOF\n")
    values = {
        (one.name, *sorted(one.labels.values())): one.value
        for family in openmetrics(text)  # type: ignore[no-untyped-call]
        for one in family.samples
    }
    assert values == {
        (one.name, *sorted(one.labels.values())): one.value
        for family in prometheus(text)
        for one in family.samples
    }
    midnight = datetime(2024, 6, 28, tzinfo=UTC).timestamp()
    expected = {
        ("fleetcast_night_session_timestamp_seconds",): midnight,
        ("fleetcast_due_session_timestamp_seconds",): midnight,
        ("fleetcast_night_end_timestamp_seconds",): evening(FRIDAY, 12).timestamp(),
        ("fleetcast_night_duration_seconds",): 720.0,
        ("fleetcast_status", "partial"): 1.0,
        ("fleetcast_status", "complete"): 0.0,
        ("fleetcast_night_state", "finished"): 1.0,
        ("fleetcast_forecasts", "learned", "log_volatility", "many_to_many"): 1.0,
        ("fleetcast_forecasts", "log_volatility", "many_to_many", "missing"): 1.0,
        ("fleetcast_ingest_rows", "quarantined"): 1.0,
        ("fleetcast_matured_forecasts",): 2.0,
        ("fleetcast_interval_coverage_ratio", "log_return", "many_to_many"): 0.5,
    }
    for key, value in expected.items():
        assert values[key] == value, key
    page = (Path(__file__).resolve().parents[2] / "docs" / "monitoring.md").read_text()
    for name, *_ in values:
        assert f"`{name}" in page, name


def test_a_hundred_times_the_instruments_are_as_many_metrics(
    config: FleetcastConfig, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(config, store, THURSDAY)
    before = stands(config, store, evening(THURSDAY) + LATER)
    few = len(metrics.text(config, before).splitlines())
    many = tuple(f"N{place:03}" for place in range(300))
    monkeypatch.setattr(nights, "NAMES", many)
    done(config, store, FRIDAY)
    found = stands(config, store, evening(FRIDAY, 30))
    assert found.night is not None
    assert found.night.published[0].planned == 300
    assert len(metrics.text(config, found).splitlines()) == few


def test_the_file_is_replaced_at_once_and_anybody_may_read_it(
    config: FleetcastConfig, store: Store
) -> None:
    done(config, store, FRIDAY)
    path = Path(str(config.monitoring.metrics))
    path.write_text("old")
    assert monitoring.tell(config, done(config, store, FRIDAY), finished=False) == ()
    assert "fleetcast_night_session_timestamp_seconds" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    assert sorted(one.name for one in path.parent.iterdir()) == ["fleetcast.prom", "store"]


def test_a_file_that_can_not_be_written_is_a_problem_and_no_failure(
    config: FleetcastConfig, store: Store, tmp_path: Path
) -> None:
    run = done(config, store, FRIDAY)
    gone = str(tmp_path / "gone" / "fleetcast.prom")
    there = monitoring.MonitoringConfig(metrics=gone)
    elsewhere = config.model_copy(update={"monitoring": there})
    (problem,) = monitoring.tell(elsewhere, run, finished=False)
    assert f"could not be written to {gone}: FileNotFoundError" in problem


def test_a_file_that_nobody_would_read_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"name ends in \.prom"):
        check({"monitoring": {"metrics": "metrics.txt"}}, "test")


def test_neither_prefect_nor_tensorflow_is_loaded(config: FleetcastConfig, store: Store) -> None:
    done(config, store, FRIDAY)
    code = (
        "import sys; from flows.cli import app\n"
        f"try: app(['status', '--store', {config.store.url!r}, '--format', 'openmetrics'])\n"
        "except SystemExit: pass\n"
        "names = ('prefect', 'tensorflow', 'keras', 'sqlalchemy')\n"
        "print([name for name in names if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"
