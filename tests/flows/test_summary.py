from __future__ import annotations

import json
import math
import re
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
from tasks.coverage import Coverage
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
    matured=0,
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
        "kind": "many_to_many",
        "cutoff": date(2013, 3, 1),
        "lead": lead,
        "mean": mean,
        "lower": mean - 0.02,
        "upper": mean + 0.02,
        "level": 0.8,
        "volatility": 0.01 if target == "log_volatility" else None,
        "method": "lstm" if target == "log_volatility" else "zero",
        "reason": "lstm beats har" if target == "log_volatility" else "baseline zero: it is level",
        "as_of": AS_OF,
        "target_session": date(2013, 3, 4),
    }


def classes(instrument: str, kind: str, probabilities: list[float]) -> dict[str, Any]:
    direction = kind == "direction"
    edges = [0.0] if direction else [math.log(0.98), *(i / 1000 for i in range(7)), math.log(1.03)]
    return forecast(instrument, "log_return", 1, 0.0) | {
        "kind": kind,
        "probability_up": probabilities[1] if direction else None,
        "probabilities": probabilities,
        "edges": edges,
        "method": "frequencies" if direction else "combination",
        "reason": "baseline frequencies: lstm did not beat it" if direction else "earned",
    }


def score(method: str, value: float, kind: str = "many_to_many") -> dict[str, Any]:
    default = {"many_to_many": "har", "direction": "frequencies", "quantile_class": "climatology"}
    return {
        "instrument": "IBM",
        "target": "log_volatility" if kind == "many_to_many" else "log_return",
        "kind": kind,
        "segment": "test",
        "lead": 1,
        "method": method,
        "baseline": default[kind],
        "count": 500,
        "mse": value if kind == "many_to_many" else 0.0003,
        "log_loss": None if kind == "many_to_many" else value,
    }


def view(leads: tuple[int, ...] = (1, 2, 5)) -> RunView:
    forecasts = {
        (name, target, "many_to_many"): tuple(forecast(name, target, lead, mean) for lead in leads)
        for name in ("FB", "IBM")
        for target, mean in (("log_return", 0.0), ("log_volatility", -9.2))
    }
    scores = {("IBM", "log_volatility", "many_to_many"): (score("lstm", 0.3), score("har", 0.4))}
    return cast("RunView", SimpleNamespace(forecasts=forecasts, scores=scores, coverage={}))


def with_classes(of: RunView) -> RunView:
    """The same night with both class kinds of IBM beside it."""
    ten = [0.16, *[0.09] * 8, 0.12]
    forecasts = dict(of.forecasts) | {
        ("IBM", "log_return", "direction"): (classes("IBM", "direction", [0.47, 0.53]),),
        ("IBM", "log_return", "quantile_class"): (classes("IBM", "quantile_class", ten),),
    }
    scores = dict(of.scores) | {
        ("IBM", "log_return", "direction"): (
            score("lstm", 0.7, "direction"),
            score("frequencies", 0.69, "direction"),
        ),
        ("IBM", "log_return", "quantile_class"): (
            score("lstm", 2.2, "quantile_class"),
            score("climatology", 2.25, "quantile_class"),
        ),
    }
    return cast("RunView", SimpleNamespace(forecasts=forecasts, scores=scores, coverage={}))


def cells(text: str, *words: str) -> list[str]:
    """The cells of the first table row that holds all the words."""
    row = next(one for one in text.splitlines() if all(word in one for word in ("│", *words)))
    return [cell.strip() for cell in row.strip("│").split("│")]


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
    row = cells(text, "IBM", "Volatility")
    assert row[:3] == ["IBM", "Volatility, a year", "LSTM"]
    assert row[3].startswith("15.9 % (")
    assert row[5] == "+25.0 %"
    assert "1 session ahead" in text
    assert "5 sessions ahead" in text
    assert "2 sessions ahead" not in text


def test_classes_stand_below_their_own_lead_with_their_own_skill() -> None:
    text = shown(of=with_classes(view()))
    direction, deciles = cells(text, "IBM", "Direction"), cells(text, "IBM", "Deciles")
    assert direction[2:] == ["Frequencies", "53.0 % for a rise", "", "−1.4 %"]
    assert deciles[2:] == ["Combination", "≤ −2.0 %: 16.0 %, > +3.0 %: 12.0 %", "", "+2.2 %"]
    order = [line_.split("│")[2].strip() for line_ in text.splitlines() if "│ IBM" in line_]
    assert order == ["Return", "Volatility, a year", "Direction", "Deciles"]


def test_a_night_of_classes_alone_has_one_lead() -> None:
    every = with_classes(view())
    alone = {key: rows for key, rows in every.forecasts.items() if key[2] != "many_to_many"}
    text = shown(
        of=cast("RunView", SimpleNamespace(forecasts=alone, scores=every.scores, coverage={}))
    )
    assert cells(text, "IBM", "Direction")[-2:] == ["53.0 % for a rise", "−1.4 %"]
    assert "Return" not in text
    assert "sessions ahead" not in text


def test_leads_that_count_from_an_older_session_are_marked() -> None:
    old = view()
    key = ("IBM", "log_return", "many_to_many")
    stale = tuple(dict(row) | {"cutoff": date(2013, 2, 27)} for row in old.forecasts[key])
    text = shown(
        of=cast(
            "RunView",
            SimpleNamespace(forecasts={**old.forecasts, key: stale}, scores={}, coverage={}),
        )
    )
    assert cells(text, "IBM", "Return")[0] == "IBM from 2013-02-27"
    assert cells(text, "IBM", "Volatility")[0] == "IBM"
    assert text.count("from 2013-02-27") == 1


def test_whole_instruments_are_shown_up_to_so_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "MOST_ROWS", 5)
    rows = {
        (f"I{i}", target, "many_to_many"): (forecast(f"I{i}", target, 1, 0.0),)
        for i in range(4)
        for target in ("log_return", "log_volatility")
    }
    text = shown(of=cast("RunView", SimpleNamespace(forecasts=rows, scores={}, coverage={})))
    assert "the first 2 of 4 instruments" in text
    assert "I1" in text
    assert "│ I2" not in text


def test_why_a_baseline_is_published_is_one_line_a_topic() -> None:
    every = with_classes(view())
    key = ("FB", "log_return", "many_to_many")
    short = tuple(dict(row) | {"reason": "baseline: too short"} for row in every.forecasts[key])
    more = {
        (f"X{i}", "log_return", "many_to_many"): (forecast(f"X{i}", "log_return", 1, 0.0),)
        for i in range(2)
    }
    text = shown(
        of=cast(
            "RunView",
            SimpleNamespace(
                forecasts={**every.forecasts, key: short, **more}, scores={}, coverage={}
            ),
        )
    )
    lines = [one for one in text.splitlines() if one.startswith("Published ")]
    assert [" ".join(one.split()) for one in lines] == [
        "Published Return: Zero for 4. Why a baseline: it is level; other reasons for FB",
        "Published Volatility: LSTM for 2",
        "Published Direction: Frequencies for 1. Why a baseline: lstm did not beat it",
        "Published Deciles: Combination for 1",
    ]


def test_one_lead_is_shown_once() -> None:
    text = shown(of=view((1,)))
    assert "1 session ahead" in text
    assert "sessions ahead" not in text


def test_skill_is_pooled_and_the_baseline_named() -> None:
    text = shown()
    assert "Out-of-sample skill, pooled over the universe" in text
    skill = cells(text.split("pooled over")[1], "Volatility", "LSTM")
    assert skill == ["Volatility", "LSTM", "MSE 0.3000", "+25.00 %", "HAR", "500"]


def test_pooled_skill_of_classes_is_of_their_log_loss() -> None:
    text = shown(of=with_classes(view())).split("pooled over")[1]
    direction = cells(text, "Direction", "LSTM")
    assert direction == ["Direction", "LSTM", "log loss 0.7000", "−1.45 %", "Frequencies", "500"]
    assert cells(text, "Deciles", "Climatology")[2:4] == ["log loss 2.2000", "+2.22 %"]
    rows = [one.split("│")[1].strip() for one in text.splitlines() if one.startswith("│")]
    assert rows == ["Volatility"] * 2 + ["Direction"] * 2 + ["Deciles"] * 2


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
    missing = tuple(
        Missing(f"X{i:02}", "log_return", f"{i} sessions are too [few]", kind)
        for i in range(12)
        for kind in ("many_to_many", "direction")
    )
    night = replace(NIGHT, stale=("IBM",), missing=missing, problems=("shard-0001 failed",))
    text = shown(night)
    assert night.partial
    assert not NIGHT.partial
    assert "IBM" in line(text, "Stale")
    assert text.count("Not forecast ") == 11
    assert "X00 (Return, Direction): 0 sessions are too [few]" in text
    assert "2 more instruments: the report has all of them" in text
    assert "shard-0001 failed" in line(text, "Problem")


def test_instruments_that_lack_the_same_share_a_line() -> None:
    missing = tuple(
        Missing(f"X{i:02}", target, "no bars")
        for i in range(30)
        for target in ("log_return", "log_volatility")
    )
    text = shown(replace(NIGHT, missing=missing))
    assert text.count("Not forecast ") == 1
    assert "X00, X01, X02, X03, X04 and 25 more (Return, Volatility): no bars" in text


def test_a_night_without_a_forecast_still_has_an_end() -> None:
    empty = cast("RunView", SimpleNamespace(forecasts={}, scores={}, coverage={}))
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
    assert found["missing"] == [
        {"instrument": "FB", "target": "log_return", "kind": "many_to_many", "reason": "too short"}
    ]
    assert found["parts"][1] == {"name": "train", "seconds": 57.26}
    assert len(found["rows"]) == 12
    assert found["rows"][0]["target_session"] == "2013-03-04"


def test_coverage_has_its_error_and_a_drifted_interval_its_name() -> None:
    plain = view()
    assert "Drift" not in shown(of=plain)
    assert "intervals held" not in shown(of=plain)
    key = ("IBM", "log_volatility", "many_to_many")
    flagged = tuple({**row, "drift": True} for row in plain.forecasts[key])
    of = cast(
        "RunView",
        SimpleNamespace(
            forecasts={**plain.forecasts, key: flagged},
            scores=plain.scores,
            coverage={key[1:]: Coverage(0.796, 0.0081, 1008)},
        ),
    )
    text = shown(of=of)
    held = "intervals held Volatility, a year 79.6 % ± 0.8 %"
    assert held.split() == text[text.index("intervals held") :].split()[: len(held.split())]
    assert re.search(
        r"Drift +IBM \(.*\): recent intervals held too seldom, 1 of \d+ forecast", text
    )
    told = json.loads(summary.as_json(NIGHT, of))
    assert told["coverage"] == [
        {
            "target": key[1],
            "kind": key[2],
            "share": 0.796,
            "error": 0.0081,
            "sessions": 1008,
        }
    ]
    assert told["drift"] == [{"target": key[1], "kind": key[2], "instruments": ["IBM"]}]
