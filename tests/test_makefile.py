"""The Makefile answers a person who does not know it."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], check=False, cwd=ROOT, capture_output=True, text=True
    )


def test_help_lists_every_target_and_is_what_make_alone_prints() -> None:
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.M)
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", text, re.M))
    printed = make("help").stdout
    listed = re.findall(r"^  make ([a-z0-9-]+) +\S", printed, re.M)
    assert targets == set(phony.split()) == set(listed)
    assert len(listed) == len(set(listed))
    assert make().stdout == printed


def test_unknown_target_lists_the_known_ones() -> None:
    answer = make("nightlly")
    assert answer.returncode == 2
    assert "there is no target 'nightlly'" in answer.stderr
    assert "make nightly " in answer.stderr


def test_nightly_and_test_run_what_the_readme_promises() -> None:
    nightly = make("--dry-run", "nightly").stdout
    assert '.venv/bin/fleetcast nightly --store "./store"' in nightly
    assert "prepare_environment.py\n" in nightly
    test = make("--dry-run", "test", "ARGS=-x").stdout
    assert (
        ".venv/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile -x" in test
    )
    assert "prepare_environment.py --dev" in test
    on_jax = make("--dry-run", "test-jax", "ARGS=-x").stdout
    assert "KERAS_BACKEND=jax .venv-jax/bin/python -m pytest tests/lstm_models -x" in on_jax
    assert "prepare_environment.py --jax" in on_jax
