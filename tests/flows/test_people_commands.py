"""The commands by which a person looks at what was held or changed, and decides."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows import erase_command, steps, universe
from flows.cli import app
from flows.config import load
from tasks.runs import RunError
from tasks.store import Store

HEADER = "Date,Open,High,Low,Close,Volume\n"
DAYS = ["02", "03", "04", "05", "08", "09", "10", "11", "12", "16", "17", "18", "19", "22", "23"]
CONFIG = '[source]\nname = "files"\npath = "bars"\n'


def fleetcast(*arguments: str, entered: str | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments, input=entered, env={"COLUMNS": "250"})
    return result.exit_code, result.stdout, result.stderr


def bars_file(name: str, closes: dict[str, float] | None = None) -> None:
    lines = []
    for place, day in enumerate(DAYS):
        close = (closes or {}).get(day, 100 + 0.1 * place)
        lines.append(f"2024-01-{day},{close},{close},{close},{close},1000\n")
    Path("bars").mkdir(exist_ok=True)
    Path("bars", f"{name}.csv").write_text(HEADER + "".join(lines))


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files of bars, one of them with an absurd jump on 11 January, ingested."""
    monkeypatch.chdir(tmp_path)
    Path("fleetcast.toml").write_text(CONFIG)
    bars_file("AAA")
    bars_file("BBB", {"11": 400.0})
    assert fleetcast("ingest")[0] in (0, 3)


def shown(*arguments: str) -> list[dict[str, Any]]:
    code, out, err = fleetcast("show", *arguments, "--format", "json")
    assert code == 0, err
    rows: list[dict[str, Any]] = json.loads(out)
    return rows


def close_on(day: str, instrument: str = "BBB") -> float | None:
    rows = Store.open("store").read("bars", instruments=[instrument]).to_pylist()
    return next((row["close"] for row in rows if row["session"].isoformat() == day), None)


def held() -> str:
    (row,) = [row for row in shown("quarantine") if row["op"] == "hold"]
    one: str = row["quarantine_id"]
    return one


def test_the_table_of_the_quarantine_has_short_ids_and_says_what_to_do() -> None:
    code, out, err = fleetcast("show", "quarantine")
    assert code == 0
    assert held()[:8] in out
    assert held()[:9] not in out
    assert "fleetcast quarantine release ID" in err


def test_listing_is_the_same_as_showing() -> None:
    assert fleetcast("quarantine", "list")[1] == fleetcast("show", "quarantine")[1]
    as_json = fleetcast("quarantine", "list", "--format", "json")[1]
    assert json.loads(as_json) == shown("quarantine")


def test_release_then_ingest_then_hold() -> None:
    one = held()
    code, out, _ = fleetcast("quarantine", "release", one[:8])
    assert code == 0
    assert "the bar of BBB 2024-01-11, 400 is a fact" in out
    assert f"fleetcast quarantine hold {one[:8]}" in out
    assert shown("quarantine") == []
    assert [row["op"] for row in shown("quarantine", "--all")] == ["release"]
    assert fleetcast("ingest")[0] in (0, 3)
    assert close_on("2024-01-11") == 400.0
    (row,) = shown("revisions", "BBB")
    assert (row["change"], row["session"], row["new"]) == ("released", "2024-01-11", 400.0)
    assert "released already" in fleetcast("quarantine", "release", one)[1]

    code, out, _ = fleetcast("quarantine", "hold", one[:8])
    assert code == 0
    assert "has no bar any more" in out
    assert fleetcast("ingest")[0] in (0, 3)
    assert close_on("2024-01-11") is None
    assert "held already" in fleetcast("quarantine", "hold", one)[1]


def test_release_as_json() -> None:
    code, out, _ = fleetcast("quarantine", "release", held(), "--format", "json")
    assert code == 0
    (row,) = json.loads(out)
    assert (row["instrument"], row["session"], row["value"]) == ("BBB", "2024-01-11", 400.0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("quarantine", "release"), "Which rows"),
        (("quarantine", "release", "zzz"), "has no row 'zzz'"),
        (("quarantine", "hold", "zzz"), "has no row 'zzz'"),
        (("show", "revisions"), "one instrument at a time"),
        (("show", "revisions", "AAA", "-i", "BBB"), "Received: AAA, BBB"),
        (("show", "revisions", "AAB"), "knows no instrument AAB. Did you mean AAA?"),
        (("erase",), "Nothing is named"),
        (("erase", "AAB", "--yes"), "Did you mean AAA?"),
        (("erase", "--source", "file", "--yes"), "Did you mean files?"),
        (("erase", "--allow", "AAA"), "was not erased"),
        (("erase", "AAA"), "no terminal to ask on"),
    ],
)
def test_what_can_not_be_done_is_refused_with_the_reason(
    arguments: tuple[str, ...], told: str
) -> None:
    code, _, err = fleetcast(*arguments)
    assert code == 2
    assert told in " ".join(err.split())
    assert close_on("2024-01-10", "AAA") is not None


def test_an_instrument_as_a_second_word_is_the_same_as_the_option() -> None:
    assert shown("quarantine", "BBB") == shown("quarantine", "--instrument", "BBB") != []
    assert shown("quarantine", "AAA") == []


def test_revisions_say_where_nothing_changed() -> None:
    code, out, err = fleetcast("show", "revisions", "AAA")
    assert (code, out) == (0, "")
    assert "Nothing about AAA was ever changed: each of its 15 facts" in err
    assert shown("revisions", "AAA") == []


def test_revisions_in_every_format() -> None:
    bars_file("AAA", {"05": 100.5})
    fleetcast("ingest", "--full")
    code, out, err = fleetcast("show", "revisions", "AAA")
    assert (code, err) == (0, "")
    for word in ("2024-01-05", "close", "100.3", "100.5", "+0.20%", "files"):
        assert word in out
    assert "AAA: 1 bar or action revised; 16 facts on 15 sessions." in out
    rows = shown("revisions", "AAA")
    assert {row["field"] for row in rows} == {"open", "high", "low", "close"}
    text = fleetcast("show", "revisions", "AAA", "--format", "csv")[1]
    assert next(csv.DictReader(io.StringIO(text))).keys() == rows[0].keys()
    assert (
        "known by 2024-01-03" in fleetcast("show", "revisions", "AAA", "--as-of", "2024-01-03")[2]
    )


def test_a_restated_history_is_one_line_and_with_all_one_for_every_bar() -> None:
    quarter = {day: round((100 + 0.1 * place) / 4, 4) for place, day in enumerate(DAYS)}
    bars_file("AAA", quarter)
    fleetcast("ingest", "--full")
    out = fleetcast("show", "revisions", "AAA")[1]
    assert "15 bars × 0.25" in out
    assert "15 bars restated by a factor" in out
    assert len(shown("revisions", "AAA")) == 1
    assert len(shown("revisions", "AAA", "--all")) == 4 * 15


def test_a_dry_run_erases_nothing() -> None:
    code, out, _ = fleetcast("erase", "BBB", "--dry-run")
    assert code == 0
    assert "would be erased" in out
    for word in ("bars", "14 rows", "quarantine", "1 row"):
        assert word in out
    planned = json.loads(fleetcast("erase", "BBB", "--dry-run", "--format", "json")[1])
    assert planned["rows"] == {"bars": 14, "quarantine": 1}
    assert close_on("2024-01-10") is not None


def test_erased_it_stays_away_until_it_is_allowed() -> None:
    code, out, _ = fleetcast("erase", "BBB", "--yes")
    assert code == 0
    assert "fleetcast erase --allow BBB" in out
    assert close_on("2024-01-10") is None
    _, out, _ = fleetcast("ingest")  # the file still lies there: nobody asked for it by name
    assert "was erased" not in out
    assert close_on("2024-01-10") is None
    Path("fleetcast.toml").write_text(CONFIG + '[universe]\ninstruments = ["AAA", "BBB"]\n')
    code, out, _ = fleetcast("ingest")
    assert code == 3
    assert "BBB was erased" in out
    assert close_on("2024-01-10") is None
    assert fleetcast("erase", "--allow", "BBB")[0] == 0
    fleetcast("ingest")
    assert close_on("2024-01-10") is not None


def test_a_run_does_not_forecast_what_was_erased() -> None:
    fleetcast("erase", "BBB", "--yes")
    config = load(None)
    ingested = steps.ingest_bars(config)
    assert ingested.instruments == ("AAA",)
    run = steps.pin_run(config, ingested.instruments, date(2024, 1, 22), datetime.now(UTC))
    assert [name for names in run.shards.values() for name in names] == ["AAA"]
    fleetcast("erase", "AAA", "--yes")
    with pytest.raises(RunError, match="were erased"):
        universe.forecast(config, Store.open("store"), ["AAA", "BBB"], date(2024, 1, 22), None)


def test_the_message_of_the_ingest_names_the_command_that_works() -> None:
    fleetcast("erase", "BBB", "--yes")
    Path("fleetcast.toml").write_text(CONFIG + '[universe]\ninstruments = ["AAA", "BBB"]\n')
    told = fleetcast("ingest", "--format", "json")[1]
    said = "fleetcast erase --allow --instrument BBB"
    assert said in told
    assert fleetcast(*said.split()[1:])[0] == 0


def test_a_name_that_nobody_knows_is_refused_and_the_others_are_in() -> None:
    code, _, err = fleetcast("ingest", "--instrument", "aab")
    assert code == 2
    assert "The source files does not have aab. Did you mean AAA?" in err
    bars_file("CCC")
    code, _, err = fleetcast("ingest", "-i", "CCC", "-i", "ZZZ", "--format", "json")
    assert code == 2
    assert "does not have ZZZ. The other instruments named are in." in err
    assert close_on("2024-01-10", "CCC") is not None
    Path("bars", "CCC.csv").unlink()  # the store knows it: the source has a problem
    assert fleetcast("ingest", "-i", "CCC")[0] == 3


@pytest.mark.parametrize(("entered", "left"), [("n\n", True), ("y\n", False)])
def test_on_a_terminal_it_asks(
    monkeypatch: pytest.MonkeyPatch, entered: str, *, left: bool
) -> None:
    class Terminal:
        """Standard input that says that a person sits there."""

        @staticmethod
        def isatty() -> bool:
            return True

    class System:
        stdin = Terminal

    monkeypatch.setattr(erase_command, "sys", System)
    code, _, err = fleetcast("erase", "BBB", entered=entered)
    assert "Erase BBB for good?" in err
    assert "would be erased" in err
    assert code == (2 if left else 0)
    assert (close_on("2024-01-10") is not None) == left


def test_a_source_is_erased_with_those_that_only_it_had() -> None:
    code, out, _ = fleetcast("erase", "--source", "files", "--yes")
    assert code == 0
    assert "Nobody else has bars of AAA, BBB" in out
    assert Store.open("store").history("bars").num_rows == 0
