from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from flows.cli import app
from tasks.schemas import DATASETS

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "cli.md").read_text()
HEAVY = ("tensorflow", "keras", "prefect", "pandas", "pyarrow", "numpy")
COMMANDS = (
    *("nightly", "backfill", "ingest", "show", "status", "plan", "quarantine", "erase"),
    *("compact", "report", "publish", "init", "up", "doctor"),
)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fleetcast(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    return result.exit_code, result.stdout, result.stderr


def commands() -> dict[str, Any]:
    command: Any = typer.main.get_command(app)
    return dict(command.commands)


def test_the_commands_are_these() -> None:
    assert set(commands()) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    found = re.search(rf"^## `fleetcast {name}.*?(?=^## |\Z)", DOCS, flags=re.DOTALL | re.MULTILINE)
    assert found, f"docs/cli.md has no section on `fleetcast {name}`"
    for parameter in commands()[name].params:
        for option in parameter.opts if parameter.param_type_name == "option" else ():
            if option not in {"--help", "-h"}:
                assert f"`{option}" in found[0], f"docs/cli.md does not explain {name} {option}"


def test_every_exit_code_is_documented() -> None:
    from flows.failures import Exit

    for code in Exit:
        assert re.search(rf"^\| {code.value} \|", DOCS, flags=re.MULTILINE)


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, typer.testing, flows.cli\n"
        "for args in (['--help'], ['nightly', '--help'], ['show', '--help'], ['--version']):\n"
        "    result = typer.testing.CliRunner().invoke(flows.cli.app, args)\n"
        "    assert result.exit_code == 0, result.output\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "module", ["flows.run_night", "flows.nightly", "flows.doctor_command", "flows.plan_command"]
)
def test_no_module_of_a_command_imports_tensorflow(module: str) -> None:
    script = (
        f"import sys, {module}; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PREFECT_HOME": str(Path.cwd() / "prefect")},
    )
    assert done.stdout == "[]\n"


def test_it_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "show", "runs", "--store", "none"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: There is no store at ")
    assert "Traceback" not in done.stderr


def test_init_writes_a_file_and_does_not_overwrite_it() -> None:
    code, out, _ = fleetcast("init")
    assert code == 0
    assert "Wrote fleetcast.toml" in out
    code, _, err = fleetcast("init")
    assert code == 2
    assert "fleetcast.toml is there already" in err


@pytest.mark.parametrize("command", ["nightly", "ingest", "show runs", "plan", "report", "doctor"])
def test_a_wrong_configuration_is_refused_before_any_work(command: str) -> None:
    Path("fleetcast.toml").write_text("[model]\nunitz = 3\n")
    code, out, err = fleetcast(*command.split())
    assert (code, out) == (2, "")
    assert err == (
        'Error: fleetcast.toml: model.unitz: unknown field. Did you mean "units"? [model] takes: '
        "kinds, bidirectional, units, lookback, burn_in, seeds, skip\n"
    )
    assert [path.name for path in Path().iterdir()] == ["fleetcast.toml"]


@pytest.mark.parametrize("command", ["nightly", "ingest", "show forecasts", "plan", "report"])
def test_a_store_that_is_a_file_is_refused(command: str) -> None:
    Path("store").write_text("not a folder")
    code, _, err = fleetcast(*command.split())
    assert code == 2
    assert "is a file" in err
    assert Path("store").read_text() == "not a folder"


@pytest.mark.parametrize("command", ["nightly", "ingest"])
def test_a_source_without_its_folder_is_refused(command: str) -> None:
    Path("fleetcast.toml").write_text('[source]\nname = "files"\npath = "none"\n')
    code, _, err = fleetcast(command)
    assert code == 2
    assert "'none', does not exist" in err
    assert not Path("store", ".prefect").exists()


def test_a_membership_file_that_is_not_there_is_refused_before_anything_starts() -> None:
    Path("fleetcast.toml").write_text('[universe]\nmembership = "gone.csv"\n')
    code, _, err = fleetcast("nightly")
    assert code == 2
    assert "There is no membership file gone.csv" in err
    assert not Path("store", ".prefect").exists()


@pytest.mark.parametrize("command", ["nightly", "plan", "doctor"])
def test_a_source_that_nobody_knows_is_refused_by_file_and_field(command: str) -> None:
    Path("fleetcast.toml").write_text('[source]\nname = "filez"\npath = "bars"\n')
    code, _, err = fleetcast(command)
    assert code == 2
    assert "fleetcast.toml: source.name: There is no source 'filez'" in err
    assert "Did you mean 'files'?" in err


def test_a_date_in_the_future_is_refused_before_anything_starts() -> None:
    code, _, err = fleetcast("nightly", "--as-of", "2028-01-03")
    assert code == 2
    assert "as_of 2028-01-03 lies in the future" in err
    assert not Path("store", ".prefect").exists()


def test_a_date_before_the_first_bar_is_refused_before_anything_starts() -> None:
    assert fleetcast("ingest")[0] == 0
    code, _, err = fleetcast("nightly", "--as-of", "1999-01-04")
    assert code == 2
    assert "as_of 1999-01-04 lies before the first bar, of 2000-03-01" in err
    assert not Path("store", ".prefect").exists()


def test_what_is_no_date_is_refused() -> None:
    code, _, err = fleetcast("nightly", "--as-of", "yesterday")
    assert code == 2
    assert "yesterday" in err


def test_ingest_shows_what_came_and_adds_nothing_twice() -> None:
    code, out, err = fleetcast("ingest", "--format", "json")
    assert code == 0
    first = json.loads(out)
    assert (first["new"], first["quarantined"]) == (12154, 0)
    assert [one["instrument"] for one in first["instruments"]] == [
        "AAPL",
        "FB",
        "GOOG",
        "IBM",
        "MSFT",
    ]
    assert "Ingest: 12,154 new" in err
    code, out, _ = fleetcast("ingest")
    assert code == 0
    assert "0 new, 0 changed, 0 quarantined rows" in out


def test_an_unknown_symbol_is_told_and_the_others_go_on() -> None:
    Path("fleetcast.toml").write_text('[universe]\ninstruments = ["IBM", "MSTF"]\n')
    code, out, _ = fleetcast("ingest", "--format", "json")
    assert code == 3
    report = json.loads(out)
    assert report["new"] == 3270
    assert "MSTF" in report["problems"][0]
    assert "MSFT" in report["problems"][0]


def test_show_quarantine_of_bad_rows_in_every_format() -> None:
    Path("bars").mkdir()
    Path("bars", "ACME.csv").write_text(
        "date,open,high,low,close,volume\n"
        "2020-01-02,10,11,9,10,100\n"
        "2020-01-03,10,9,11,10,100\n"
        "2020-01-04,10,11,9,10,100\n"
    )
    Path("fleetcast.toml").write_text('[source]\nname = "files"\npath = "bars"\narchive = true\n')
    fleetcast("ingest")
    code, out, _ = fleetcast("show", "quarantine", "--format", "json")
    assert code == 0
    rows = json.loads(out)
    assert {row["rule"] for row in rows} == {"high_below_low", "not_a_session"}
    assert all(list(row) == DATASETS["quarantine"].schema.names for row in rows)
    code, out, _ = fleetcast("show", "quarantine", "--format", "csv", "-i", "ACME")
    assert len(list(csv.DictReader(io.StringIO(out)))) == 2
    code, out, _ = fleetcast("show", "quarantine")
    assert "quarantine: 2 rows" in out
    assert "high_below_low" in out


def test_show_before_any_run_says_how_to_start_one() -> None:
    fleetcast("ingest")
    code, out, err = fleetcast("show", "forecasts", "--format", "json")
    assert (code, json.loads(out)) == (0, [])
    assert "Start one with `fleetcast nightly`" in err
    code, out, err = fleetcast("show", "forecasts", "--instrument", "AAPLE")
    assert (code, out) == (2, "")
    assert "knows no instrument AAPLE. Did you mean AAPL?" in err


def test_report_before_any_run_says_how_to_start_one() -> None:
    fleetcast("ingest")
    code, _, err = fleetcast("report")
    assert code == 2
    assert "fleetcast nightly" in err


def test_show_does_not_change_the_store() -> None:
    fleetcast("ingest")
    before = sorted(str(path) for path in Path("store").rglob("*"))
    for what in ("forecasts", "runs", "quarantine", "models", "scores"):
        fleetcast("show", what)
    assert sorted(str(path) for path in Path("store").rglob("*")) == before
