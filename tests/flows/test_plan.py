"""The plan as people and programs see it: a picture that counts, a table, JSON, and why not."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from flows.config import FleetcastConfig
from flows.failures import Refused
from flows.plan_command import as_text, find, show
from flows.plan_picture import GAP, LETTERS, bar, picture
from tasks.fold_plan import SEGMENTS, plan_of_calendar
from tasks.folds import plan
from tasks.settings import EvaluationConfig, ForecastSettings
from tests.tasks.markets import ANT, TONIGHT, bars_table, exchange, garch, store_with

NOW = datetime(2024, 6, 21, 12, tzinfo=UTC)


def evaluation(folds_per_refit: int = 1) -> EvaluationConfig:
    return EvaluationConfig(
        folds=2, min_fit=120, early_stop=30, gate=40, calibrate=60, test=40,
        folds_per_refit=folds_per_refit,
    )  # fmt: skip


def config(store: Path, folds_per_refit: int = 1) -> FleetcastConfig:
    base = FleetcastConfig()
    return base.model_copy(
        update={
            "store": base.store.model_copy(update={"url": str(store)}),
            "source": base.source.model_copy(update={"name": "made up"}),
            "training": base.training.model_copy(update={"refit_every": 5}),
            "evaluation": evaluation(folds_per_refit),
        }
    )


class _Source:
    archive = True
    lag = FleetcastConfig().source.lag


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("flows.plan_command.open_source", lambda _: _Source())
    names = ("ANT", "BEE", "CAT")
    tables = [bars_table(name, ANT) for name in names]
    store_with(tmp_path / "store", *tables, bars_table("FLY", garch(5, 200)))
    return tmp_path / "store"


def shown(store: Path, folds_per_refit: int = 1, width: int = 100) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        show(console, find(config(store, folds_per_refit), None, now=NOW))
    return captured.get()


@given(
    st.integers(0, 200), st.integers(0, 3000), st.integers(1, 60), st.integers(30, 200),
    st.integers(1, 3),
)  # fmt: skip
def test_every_segment_and_every_embargo_has_a_cell_in_order(
    first: int, more: int, test: int, cells: int, every: int
) -> None:
    some = evaluation(every).model_copy(update={"test": test, "folds": 60})
    rows = first + 300 + more
    for fold in plan(first, rows, some, 5):
        line = bar(fold, rows, cells)
        assert len(line) == cells
        runs = [
            letter for letter, before in zip(line, [None, *line], strict=False) if letter != before
        ]
        told = [letter for letter, _ in runs if letter != " "]
        expected: list[str] = []
        for segment in SEGMENTS[: 5 if fold.index else 4]:
            expected += [LETTERS[segment], GAP]
        assert told == expected[:-1]


def test_a_picture_with_room_is_to_scale() -> None:
    """Twenty rows to a cell, and an embargo of one cell."""
    lengths = dict.fromkeys(("test", "gate", "early_stop", "calibrate", "min_fit"), 100)
    folds = plan(100, 1000, EvaluationConfig(folds=1, **lengths), 20)
    assert ["".join(letter for letter, _ in bar(fold, 1000, 50)) for fold in folds] == [
        "     FFFFFFFFFFFFFFFFFFFFFFFFFF·EEEEE·GGGGG·CCCCC ",
        "     FFFFFFFFFFFFFFFFFFFFF·EEEEE·GGGGG·CCCCC·TTTTT",
    ]


def test_letters_tell_the_segments_apart() -> None:
    assert sorted(LETTERS.values()) == sorted({*LETTERS.values()})
    assert list(LETTERS) == list(SEGMENTS)


def test_a_narrow_terminal_gets_lines_that_fit() -> None:
    one = plan_of_calendar(exchange(), ForecastSettings(), last=TONIGHT)
    for columns in (40, 80, 200):
        lines = picture(one, columns)
        assert [line.plain[:7].strip() for line in lines[:5]] == [
            "fold 4", "fold 3", "fold 2", "fold 1", "tonight",
        ]  # fmt: skip
        assert max(len(line.plain) for line in lines[:6]) <= columns
    assert "2020" in lines[5].plain


def test_most_alike_are_drawn_and_the_rest_has_a_line(store: Path) -> None:
    text = shown(store)
    assert "ANT, BEE, CAT: 478 sessions" in text
    assert "FLY: 198 sessions of history, the LSTM needs 395" in text
    assert "To train: 36 networks for 4 instruments (18 log_return, 18 log_volatility)" in text
    assert "share" not in text
    shared = shown(store, folds_per_refit=2)
    assert "fold 1 is forecast by the networks of fold 2" in shared
    assert "To train: 24 networks" in shared


def test_json_says_all_of_it(store: Path) -> None:
    found = find(config(store, 2), None, now=NOW)
    told = json.loads(as_text(found))
    assert told["networks"] == 24
    ant, fly = told["instruments"][0], told["instruments"][3]
    assert (ant["instrument"], ant["sessions"], ant["trainings"]) == ("ANT", 478, 2)
    assert [fold["trained_with"] for fold in ant["folds"]] == [0, 2, 2]
    assert ant["folds"][0]["test"] is None
    for segment in SEGMENTS:
        assert ant["folds"][1][segment].keys() == {"first", "last", "sessions"}
    assert ant["folds"][1]["test"]["sessions"] == 40
    assert (fly["folds"], fly["trainings"]) == ([], 0)
    assert "needs 395" in fly["reason"]


def test_one_instrument_or_a_hint(store: Path) -> None:
    (one,) = find(config(store), "FLY", now=NOW).plans
    assert one.instrument == "FLY"
    with pytest.raises(Refused, match="knows no instrument FLX. Did you mean FLY"):
        find(config(store), "FLX", now=NOW)


def test_without_a_store_it_is_the_calendars_and_says_so(store: Path) -> None:
    found = find(config(store.parent / "none"), None, now=NOW)
    assert found.note is not None
    assert "There is no store at" in found.note
    assert "every session of XNYS" in found.note
    assert [len(one.folds) for one in found.plans] == [3]
    assert json.loads(as_text(found))["note"] == found.note
    assert not (store.parent / "none").exists()
