from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from flows.show import (
    QUARANTINE_SHOWN,
    NothingToShowError,
    Shown,
    as_csv,
    as_json,
    as_table,
    select,
    why_empty,
)
from tasks import runs
from tasks.schemas import DATASETS
from tasks.store import Store
from tests.tasks.report.class_rows import class_forecasts, night

NIGHTS = (date(2013, 2, 28), date(2013, 3, 1))
HOUR = timedelta(hours=1)


def filled(dataset: str, **values: object) -> dict[str, Any]:
    """A row of a dataset: what is given, else a plain value of the column's type."""
    row: dict[str, Any] = {}
    for field in DATASETS[dataset].schema:
        if field.name in values:
            row[field.name] = values[field.name]
        elif field.nullable or field.name in {"known_at", "row_hash", "assumed", "op"}:
            continue
        elif pa.types.is_string(field.type):
            words = (field.metadata or {}).get(b"one_of", b"text").decode()
            row[field.name] = words.split(", ")[0]
        elif pa.types.is_timestamp(field.type):
            row[field.name] = datetime(2013, 3, 1, tzinfo=UTC)
        elif pa.types.is_date(field.type):
            row[field.name] = date(2013, 3, 1)
        else:
            row[field.name] = 1
    return row


def write(store: Store, dataset: str, *rows: dict[str, Any]) -> None:
    names = [field for field in DATASETS[dataset].schema if field.name in rows[0]]
    table = pa.Table.from_pylist(list(rows), schema=pa.schema(names))
    now = rows[0].get("made_at", datetime(2013, 3, 1, 12, tzinfo=UTC))
    if DATASETS[dataset].fact:
        store.commit_facts(dataset, table, now=now)
    else:
        store.append_once(dataset, table, now=now)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.open(tmp_path_factory.mktemp("show") / "store")
    for session in NIGHTS:
        as_of = datetime(session.year, session.month, session.day, 22, tzinfo=UTC)
        run = runs.pin(
            store,
            runs.Moment(session, as_of, "live"),
            config_hash="config",
            shards={"shard-0000": ("A", "B")},
            now=as_of + HOUR,
        )
        stamp = {"run_id": run.run_id, "as_of": as_of, "made_at": as_of + HOUR}
        for name in ("A", "B"):
            identity = f"{name}{session}"
            compared = {"comparison_id": identity, "instrument": None, "method": name}
            write(store, "comparisons", filled("comparisons", **compared, **stamp))
            forecast = {"forecast_id": identity, "instrument": name, "cutoff": session}
            write(store, "forecasts", filled("forecasts", **forecast, **stamp))
            if name == "A" or session == NIGHTS[0]:  # B was not due again
                model = {"model_id": identity, "instrument": name, "refit_session": session}
                write(store, "models", filled("models", **model, **stamp))
                score = {"score_id": identity, "instrument": name, "skill": None}
                write(store, "scores", filled("scores", **score, **stamp))
    for name, day in (("A", 28), ("B", 1)):
        month = 2 if day == 28 else 3
        known = datetime(2013, month, day, 23, tzinfo=UTC)
        write(
            store,
            "quarantine",
            filled("quarantine", quarantine_id=name, instrument=name, known_at=known),
        )
    return store


@pytest.mark.parametrize("shown", [one for one in Shown if one is not Shown.LIVE])
def test_json_objects_have_the_columns_of_the_dataset(store: Store, shown: Shown) -> None:
    rows = json.loads(as_json(select(store, shown)))
    assert rows
    for row in rows:
        assert list(row) == DATASETS[shown].schema.names
        assert all(not isinstance(value, list | dict) for value in row.values())


@pytest.fixture
def classes(tmp_path: Path) -> Store:
    return night(tmp_path / "classes")


def test_lists_are_arrays_in_json_and_json_in_csv(classes: Store) -> None:
    rows = select(classes, Shown.FORECASTS, instruments=["IBM"])
    forecast = {row["kind"]: row for row in class_forecasts(instruments=["IBM"])}
    for written in (json.loads(as_json(rows)), list(csv.DictReader(io.StringIO(as_csv(rows))))):
        kinds = [row["kind"] for row in written]
        for kind, expected in forecast.items():
            row = written[kinds.index(kind)]
            for name in ("probabilities", "edges"):
                value = json.loads(row[name]) if isinstance(row[name], str) else row[name]
                assert value == expected[name]
        assert written[kinds.index("many_to_many")]["edges"] in (None, "")


def test_a_list_holds_nothing_that_json_cannot_say(classes: Store) -> None:
    rows = select(classes, Shown.FORECASTS, instruments=["IBM"])
    place = rows.schema.get_field_index("edges")
    endless = pa.array([[0.0, float("inf")]] * rows.num_rows, rows.schema.field(place).type)
    rows = rows.set_column(place, rows.schema.field(place), endless)
    assert json.loads(as_json(rows))[0]["edges"] == [0.0, None]
    assert next(csv.DictReader(io.StringIO(as_csv(rows))))["edges"] == "[0.0, null]"


def test_a_table_has_no_column_that_no_row_fills(classes: Store, store: Store) -> None:
    def heads(shown: Shown, rows: pa.Table) -> set[object]:
        return {column.header for column in as_table(shown, rows).columns}

    of_classes = {"probability_up", "probabilities"}
    assert of_classes <= heads(Shown.FORECASTS, select(classes, Shown.FORECASTS))
    assert not of_classes & heads(Shown.FORECASTS, select(store, Shown.FORECASTS))
    scores = {"log_loss", "brier", "accuracy", "auc", "rps"}
    assert scores <= heads(Shown.SCORES, select(classes, Shown.SCORES))
    assert not scores & heads(Shown.SCORES, select(store, Shown.SCORES))
    assert "coverage" in heads(Shown.SCORES, select(store, Shown.SCORES))
    console = Console(width=300)
    with console.capture() as captured:
        console.print(as_table(Shown.FORECASTS, select(classes, Shown.FORECASTS)))
    assert "0.469 0.531" in captured.get()


@pytest.mark.parametrize("shown", [one for one in Shown if one is not Shown.LIVE])
def test_csv_has_the_columns_of_the_dataset(store: Store, shown: Shown) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(select(store, shown)))))
    assert rows
    assert list(rows[0]) == DATASETS[shown].schema.names


def test_comparisons_are_pooled_first_and_say_on_how_many_a_method_is_better(
    tmp_path: Path,
) -> None:
    store = Store.open(tmp_path)
    own = [("A", "lstm", 0.05), ("B", "lstm", 0.5), ("C", "lstm", None), ("A", "har", 0.01)]
    rows = [
        filled("comparisons", comparison_id=f"{n} {m}", instrument=n, method=m, q_value=q)
        for n, m, q in [(None, "lstm", None), (None, "zero", None), *own]
    ]
    write(store, "comparisons", *[row | {"q_value": row.get("q_value")} for row in rows])
    write(store, "forecasts", filled("forecasts", instrument="A"))
    shown = select(store, Shown.COMPARISONS)
    assert shown.num_rows == len(json.loads(as_json(shown))) == 6
    table = as_table(Shown.COMPARISONS, shown)
    heads = [str(column.header) for column in table.columns]
    assert table.row_count == 2
    assert "instrument" not in heads
    better = list(table.columns[heads.index("better")].cells)
    assert [str(cell) for cell in better] == ["1 of 3", "–"]
    assert "reason" not in heads
    one = select(store, Shown.COMPARISONS, instruments=["A"])
    of_one = as_table(Shown.COMPARISONS, one)
    assert of_one.row_count == 2
    assert "q_value" in [column.header for column in of_one.columns]


def test_dates_and_instants_are_iso(store: Store) -> None:
    row = json.loads(as_json(select(store, Shown.RUNS)))[0]
    assert row["session"] == "2013-02-28"
    assert row["as_of"] == "2013-02-28T22:00:00Z"


def test_what_is_absent_is_null_and_so_is_what_json_cannot_say(store: Store) -> None:
    rows = select(store, Shown.SCORES)
    assert json.loads(as_json(rows))[0]["skill"] is None
    endless = rows.set_column(
        rows.schema.get_field_index("mse"), "mse", pa.array([float("inf")] * rows.num_rows)
    )
    assert json.loads(as_json(endless))[0]["mse"] is None


def test_forecasts_are_those_of_the_newest_night(store: Store) -> None:
    rows = select(store, Shown.FORECASTS)
    assert rows["forecast_id"].to_pylist() == ["A2013-03-01", "B2013-03-01"]
    assert select(store, Shown.FORECASTS, everything=True).num_rows == 4


def test_as_of_a_day_they_are_those_of_the_last_night_up_to_it(store: Store) -> None:
    rows = select(store, Shown.FORECASTS, day=date(2013, 2, 28))
    assert rows["forecast_id"].to_pylist() == ["A2013-02-28", "B2013-02-28"]


def test_models_and_scores_are_each_instruments_newest(store: Store) -> None:
    newest = ["A2013-03-01", "B2013-02-28"]
    assert select(store, Shown.MODELS)["model_id"].to_pylist() == newest
    assert select(store, Shown.SCORES)["score_id"].to_pylist() == newest
    assert select(store, Shown.MODELS, everything=True).num_rows == 3


def test_one_instrument(store: Store) -> None:
    for shown in (Shown.FORECASTS, Shown.MODELS, Shown.SCORES, Shown.QUARANTINE):
        rows = select(store, shown, instruments=["B"])
        assert set(rows["instrument"].to_pylist()) == {"B"}
    with pytest.raises(NothingToShowError, match="runs are not of one instrument"):
        select(store, Shown.RUNS, instruments=["B"])


def test_quarantine_as_it_was_known_by_the_end_of_a_day(store: Store) -> None:
    assert select(store, Shown.QUARANTINE).num_rows == 2
    rows = select(store, Shown.QUARANTINE, day=date(2013, 2, 28))
    assert rows["quarantine_id"].to_pylist() == ["A"]
    assert select(store, Shown.QUARANTINE, day=date(2013, 2, 27)).num_rows == 0


def test_an_unknown_instrument_is_named(store: Store) -> None:
    with pytest.raises(NothingToShowError, match="knows no instrument C"):
        select(store, Shown.FORECASTS, instruments=["A", "C"])


def test_nothing_to_show_says_what_there_is(store: Store, tmp_path: Path) -> None:
    day = date(2013, 2, 1)
    assert select(store, Shown.FORECASTS, day=day, instruments=["A"]).num_rows == 0
    assert why_empty(store, Shown.FORECASTS, day, ["A"]) == (
        f"The store {store.url} holds no forecasts of A of a run up to 2013-02-01. Its runs are of "
        "sessions 2013-02-28 to 2013-03-01: `fleetcast show runs`."
    )
    empty = Store.open(tmp_path / "empty")
    assert json.loads(as_json(select(empty, Shown.MODELS))) == []
    assert "there was no run yet. Start one with" in why_empty(empty, Shown.MODELS, None, [])


@pytest.mark.parametrize("shown", [one for one in Shown if one is not Shown.LIVE])
def test_a_table_for_people_has_a_line_per_row(store: Store, shown: Shown) -> None:
    rows = select(store, shown)
    table = as_table(shown, rows)
    assert table.row_count == rows.num_rows
    console = Console(width=200, record=True)
    with console.capture() as captured:
        console.print(table)
    assert f"{shown}: {rows.num_rows} row" in captured.get()


def test_markup_in_a_reason_is_shown_as_it_is(store: Store) -> None:
    rows = select(store, Shown.QUARANTINE)
    marked = rows.set_column(
        rows.schema.get_field_index("reason"), "reason", pa.array(["[red]x[/red]"] * rows.num_rows)
    )
    console = Console(width=300)
    with console.capture() as captured:
        console.print(as_table(Shown.QUARANTINE, marked))
    assert "[red]x[/red]" in captured.get()


def _quarantined(rows: list[tuple[str, str, str]]) -> pa.Table:
    said = [
        filled(
            "quarantine",
            quarantine_id=f"{place:08x}" + "0" * 56,
            instrument=name,
            rule=rule,
            op="hold",
        )
        | {"row": row, "reason": "why", "session": date(2024, 1, 5)}
        for place, (name, rule, row) in enumerate(rows)
    ]
    return pa.Table.from_pylist(said, schema=DATASETS["quarantine"].schema)


def _printed(rows: pa.Table) -> str:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(as_table(Shown.QUARANTINE, rows))
    return captured.get()


def test_the_quarantine_fits_80_columns_with_the_row_as_it_came() -> None:
    rows = [
        ("AAPL", "split_misadjusted", '{"Date": "2024-01-05", "Close": "1,5", "Volume": null}'),
        ("AV-L-1wk-bad-stock-split-fixed", "not_a_date", "no object"),
    ]
    lines = _printed(_quarantined(rows)).splitlines()
    assert max(map(len, lines)) <= 80
    for words in (("hold", "AAPL", "2024-01-05", "split_misadjusted", "why"), ("not_a_date",)):
        assert any(all(word in line for word in words) for line in lines), words
    text = " ".join(" ".join(lines).split())
    assert "2024-01-05 1,5" in text
    assert "no object" in text


def test_of_a_full_quarantine_the_rare_rows_are_shown_and_the_rest_counted() -> None:
    rows = [("^SPX", "not_a_session", "{}")] * QUARANTINE_SHOWN + [("TSLA", "bad_range", "{}")] * 2
    assert "; all with" not in _printed(_quarantined(rows[2:]))
    table = as_table(Shown.QUARANTINE, _quarantined(rows))
    assert table.row_count == QUARANTINE_SHOWN
    text = " ".join(_printed(_quarantined(rows)).split())
    assert text.count("bad_range") == 2
    assert "and 2 of ^SPX by not_a_session; all with" in text


def test_live_skill_is_shown_pooled_and_single_live_scores_only_among_all(tmp_path: Path) -> None:
    from tests.tasks.example_store import example_store
    from tests.tasks.report.test_live import add_live

    store = example_store(tmp_path / "store")
    assert select(store, Shown.LIVE).num_rows == 0
    assert "holds no live score" in why_empty(store, Shown.LIVE, None, ())
    scores = select(store, Shown.SCORES).num_rows
    add_live(store, nights=2)
    assert select(store, Shown.SCORES).num_rows == scores
    everything = select(store, Shown.SCORES, everything=True)
    assert everything.num_rows == scores + 2 * 3 * 10
    published, lstm = json.loads(as_json(select(store, Shown.LIVE)))
    assert (published["method"], lstm["method"]) == ("published", "lstm")
    assert (published["pairs"], published["sessions"], published["first"]) == (20, 2, "2013-01-03")
    assert published["skill"] == pytest.approx(0.75)
    assert select(store, Shown.LIVE, day=date(2012, 1, 1)).num_rows == 0
    with pytest.raises(NothingToShowError, match="leave --instrument out"):
        select(store, Shown.LIVE, instruments=["IBM"])
