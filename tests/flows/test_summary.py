from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from flows import summary
from flows.night import Counts, Missing, Night, Part
from flows.prefect_home import Prefect
from tasks.report.run_view import RunView

AS_OF = datetime(2013, 3, 1, 22, tzinfo=UTC)
NIGHT = Night(
    run_id="05e6",
    session=date(2013, 3, 1),
    as_of=AS_OF,
    origin="live",
    repeated=False,
    counts=Counts(new=12154, quarantined=3),
    instruments=("IBM", "FB"),
    trained=2,
    forecasts=20,
    written=20,
    stale=(),
    missing=(),
    problems=(),
    published=("s3://bucket/latest/forecasts.csv",),
    report="s3://bucket/latest/report.html",
    parts=(Part("ingest", 1.04), Part("train", 57.26)),
)
OWN = Prefect(own=True, api_url="http://127.0.0.1:1/api", home=None)


def forecast(instrument: str, target: str, lead: int, mean: float) -> dict[str, Any]:
    return {
        "instrument": instrument,
        "target": target,
        "lead": lead,
        "mean": mean,
        "lower": mean - 0.02,
        "upper": mean + 0.02,
        "level": 0.8,
        "volatility": 0.01 if target == "log_volatility" else None,
        "method": "lstm" if target == "log_volatility" else "zero",
        "as_of": AS_OF,
        "target_session": date(2013, 3, 4),
    }


def score(method: str, mse: float) -> dict[str, Any]:
    return {
        "instrument": "IBM",
        "target": "log_volatility",
        "kind": "many_to_many",
        "segment": "test",
        "lead": 1,
        "method": method,
        "baseline": "har",
        "count": 500,
        "mse": mse,
    }


def view(leads: tuple[int, ...] = (1, 2, 5)) -> RunView:
    forecasts = {
        (name, target): tuple(forecast(name, target, lead, mean) for lead in leads)
        for name in ("FB", "IBM")
        for target, mean in (("log_return", 0.0), ("log_volatility", -9.2))
    }
    scores = {("IBM", "log_volatility"): (score("lstm", 0.3), score("har", 0.4))}
    return cast("RunView", SimpleNamespace(forecasts=forecasts, scores=scores))


def shown(night: Night = NIGHT, of: RunView | None = None, prefect: Prefect = OWN) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        summary.show(console, night, of or view(), prefect)
    return captured.get().replace("\N{NARROW NO-BREAK SPACE}", " ")


def line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def test_forecasts_with_first_and_last_lead_interval_and_skill() -> None:
    text = shown()
    assert "Forecasts from session 2013-03-01, with 80 % intervals" in text
    row = next(line for line in text.splitlines() if "IBM" in line and "Volatility" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[:3] == ["IBM", "Volatility, a year", "LSTM"]
    assert cells[3].startswith("15.9 % (")
    assert cells[5] == "+25.0 %"
    assert "1 session ahead" in text
    assert "5 sessions ahead" in text
    assert "2 sessions ahead" not in text


def test_one_lead_is_shown_once() -> None:
    text = shown(of=view((1,)))
    assert "1 session ahead" in text
    assert "sessions ahead" not in text


def test_skill_is_pooled_and_the_baseline_named() -> None:
    text = shown()
    assert "Out-of-sample skill, pooled over the universe" in text
    skill = next(line for line in text.splitlines() if "log_volatility" in line and "LSTM" in line)
    assert "+25.00 %" in skill
    assert "HAR" in skill


def test_what_happened_and_how_long_it_took() -> None:
    text = shown()
    assert "12,154 new, 0 changed, 3 quarantined rows of 2 instruments" in line(text, "Data")
    assert "05e6: 2 models trained, 20 of 20 forecasts new" in line(text, "Run")
    assert line(text, "Time").endswith("ingest 1.0 s, train 57.3 s; 58 s in all")
    assert "s3://bucket/latest/forecasts.csv" in line(text, "Files")
    assert "s3://bucket/latest/report.html" in line(text, "Report")


def test_a_repeated_night_says_that_nothing_was_left_to_do() -> None:
    assert "was finished before: nothing was left to do" in line(
        shown(replace(NIGHT, repeated=True)), "Run"
    )


def test_everything_that_is_not_as_it_should_be_is_told() -> None:
    missing = tuple(Missing(f"X{i}", "log_return", "too [short]") for i in range(12))
    night = replace(NIGHT, stale=("IBM",), missing=missing, problems=("shard-0001 failed",))
    text = shown(night)
    assert night.partial
    assert not NIGHT.partial
    assert "IBM" in line(text, "Stale")
    assert text.count("Not forecast ") == 11
    assert "X0 log_return: too [short]" in text
    assert "and 2 more" in text
    assert "shard-0001 failed" in line(text, "Problem")


def test_a_night_without_a_forecast_still_has_an_end() -> None:
    empty = cast("RunView", SimpleNamespace(forecasts={}, scores={}))
    assert "Time" in shown(of=empty)


def test_how_to_watch_it_live() -> None:
    assert "prefect server start" in line(shown(), "Live")
    assert "PREFECT_API_URL=http://127.0.0.1:4200/api" in line(shown(), "Live")
    theirs = Prefect(own=False, api_url="http://prefect.example/api", home=None)
    assert line(shown(prefect=theirs), "Live").endswith("UI of http://prefect.example/api")


def test_paths_are_written_as_seen_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    night = replace(NIGHT, report=str(tmp_path / "store" / "latest" / "report.html"))
    assert line(shown(night), "Report").split() == ["Report", "store/latest/report.html"]


def test_json_has_the_account_and_every_row() -> None:
    night = replace(NIGHT, missing=(Missing("FB", "log_return", "too short"),))
    found = json.loads(summary.as_json(night, view()))
    assert found["partial"] is True
    assert found["session"] == "2013-03-01"
    assert found["as_of"] == "2013-03-01T22:00:00Z"
    assert found["counts"]["new"] == 12154
    assert found["missing"] == [{"instrument": "FB", "target": "log_return", "reason": "too short"}]
    assert found["parts"][1] == {"name": "train", "seconds": 57.26}
    assert len(found["rows"]) == 12
    assert found["rows"][0]["target_session"] == "2013-03-04"
