"""Imports run one way, and importing the command line costs nothing it does not need."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "tasks", "lstm_models")
NUMPY_ONLY = ["lstm_models.baselines", "lstm_models.scores", "lstm_models.intervals"]


def check_contracts(folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the import contracts of pyproject.toml on the packages under `folder`."""
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command"
    return subprocess.run(
        [sys.executable, "-c", f"{code}; lint_imports_command(['--no-cache'])"],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the packages, with the contracts, that a test may spoil."""
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_are_kept() -> None:
    answer = check_contracts(ROOT)
    assert answer.returncode == 0, answer.stdout
    assert "0 broken" in answer.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("lstm_models/scores.py", "import tasks.schemas", "Imports run one way"),
        ("tasks/schemas.py", "import flows.cli", "Imports run one way"),
        ("lstm_models/windows.py", "import pandas", "lstm_models knows arrays"),
        ("tasks/schemas.py", "import prefect", "tasks are plain functions"),
        ("lstm_models/scores.py", "import lstm_models.fleet", "NumPy only"),
    ],
)
def test_a_broken_contract_is_seen(copy: Path, module: str, line: str, contract: str) -> None:
    spoilt = copy / module
    spoilt.write_text(f"{line}\n" + spoilt.read_text().replace("from __future__", "# "))
    answer = check_contracts(copy)
    assert answer.returncode == 1
    broken = [told for told in answer.stdout.splitlines() if told.endswith("BROKEN")]
    assert any(contract in told for told in broken), answer.stdout


def loaded_by(module: str) -> set[str]:
    """Top-level packages in memory after a fresh interpreter imported `module`."""
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True
    )
    return {name.partition(".")[0] for name in json.loads(answer.stdout)}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("flows.cli", {"tensorflow", "keras", "prefect"}),
        ("tasks.store", {"tensorflow", "keras", "prefect"}),
        ("tasks.train", {"tensorflow", "keras", "prefect"}),
        ("tasks.forecast", {"tensorflow", "keras", "prefect"}),
        *((module, {"tensorflow", "keras", "prefect", "pandas"}) for module in NUMPY_ONLY),
    ],
)
def test_import_loads_nothing_heavy(module: str, heavy: set[str]) -> None:
    loaded = loaded_by(module)
    assert module.partition(".")[0] in loaded
    assert loaded & heavy == set()


def test_loading_is_seen_where_it_happens() -> None:
    assert {"keras", "tensorflow"} <= loaded_by("lstm_models.fleet")
