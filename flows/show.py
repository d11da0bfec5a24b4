"""What the store holds, for people and programs: a table, CSV, or JSON with the dataset's columns.

Owns the choice of rows and the writing of values. Never changes the store.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from rich import box
from rich.table import Table
from rich.text import Text

from flows.quarantine_command import with_short_ids
from tasks.discoveries import discoveries
from tasks.live_scores import LIVE
from tasks.report.run_view import view_run
from tasks.schemas import DATASETS
from tasks.store import Store


class Shown(StrEnum):
    """What can be shown: a dataset, or the live skill that is pooled from one."""

    FORECASTS = "forecasts"
    SCORES = "scores"
    LIVE = "live"
    QUARANTINE = "quarantine"
    RUNS = "runs"
    MODELS = "models"
    COMPARISONS = "comparisons"


class NothingToShowError(LookupError):
    """What was asked for can't be there; the message says what is."""


_NEWEST_OF = {
    Shown.SCORES: ("instrument", "target", "kind"),
    Shown.MODELS: ("instrument", "target", "kind"),
}
"""Datasets whose newest `as_of` is shown per these columns: the rest have one for all rows."""

_COLUMNS = {
    Shown.FORECASTS: (
        "instrument target kind lead target_session mean lower upper level volatility "
        "probability_up probabilities method reason"
    ),
    Shown.SCORES: (
        "instrument target kind segment fold method lead count mse log_loss skill brier accuracy "
        "auc rps coverage last_cutoff"
    ),
    Shown.LIVE: (
        "target kind method baseline first last sessions instruments pairs backfilled skill "
        "backtest coverage level"
    ),
    Shown.QUARANTINE: "id op instrument session rule reason",
    Shown.RUNS: "run_id session as_of origin status made_at message",
    Shown.MODELS: (
        "instrument target kind refit_session cutoff status best_update early_stop_mse "
        "initial_early_stop_mse reason"
    ),
    Shown.COMPARISONS: (
        "instrument target kind method baseline skill dm_t dm_p cw_p q_value mcs_p spa_p better"
    ),
}
"""Columns of the table for people, if any row has them; CSV and JSON have all of them."""

_NUMBERS = dict.fromkeys(("skill", "backtest", "coverage", "level"), pa.float64())
_COUNTS = dict.fromkeys(("sessions", "instruments", "pairs", "backfilled"), pa.int64())
_DATES = dict.fromkeys(("first", "last"), pa.date32())
_LIVE_SCHEMA = pa.schema(
    [
        (name, {**_NUMBERS, **_COUNTS, **_DATES}.get(name, pa.string()))
        for name in _COLUMNS[Shown.LIVE].split()
    ]
)

_IF_ANY = frozenset(
    ["volatility", "probability_up", "probabilities", "log_loss", "brier", "accuracy", "auc", "rps"]
) | frozenset(["cw_p", "q_value", "mcs_p", "spa_p", "better"])
"""Columns of the table that only some kinds fill: left out where no row does."""

_DECIMALS = {"skill": 4, "backtest": 4, "dm_t": 2} | dict.fromkeys(
    ("dm_p", "cw_p", "q_value", "mcs_p", "spa_p", "coverage"), 3
)
"""Of figures in the table; others have four digits."""

_NARROW = frozenset([Shown.SCORES, Shown.LIVE, Shown.COMPARISONS, Shown.QUARANTINE])
"""What has many columns, or long words: no lines between them."""

QUARANTINE_SHOWN = 100
"""Most rows of the quarantine in the table; CSV and JSON have all of them."""

_LEFT_SHOWN = 5
"""Of how many instruments and rules it is said how many rows the table leaves out."""


def select(
    store: Store,
    shown: Shown,
    *,
    day: date | None = None,
    instruments: Sequence[str] = (),
    everything: bool = False,
) -> pa.Table:
    """The rows of a dataset that a person asks for.

    Args:
        store: where they are.
        shown: the dataset.
        day: only what runs up to this session knew; quarantine: what was known by its end, UTC.
        instruments: only these.
        everything: forecasts of every night, scores and models of every refit, live scores of
            single forecasts among them; else the newest.

    Raises:
        NothingToShowError: an instrument is not known to the store, or rows have none.
        StoreError: the store can't be read.
    """
    if shown is Shown.LIVE:
        return _live(store, day, instruments)
    if instruments:
        if "instrument" not in DATASETS[shown].schema.names:
            raise NothingToShowError(f"{shown} are not of one instrument: leave --instrument out.")
        check_instruments(store, instruments)
    if shown is Shown.QUARANTINE:
        as_of = None if day is None else end_of(day)
        rows = store.read(shown, as_of=as_of)
        if instruments:
            rows = rows.filter(pc.is_in(rows["instrument"], value_set=pa.array(instruments)))
        if not everything:
            rows = rows.filter(pc.not_equal(rows["op"], "release"))
    else:
        rows = store.read(shown, instruments=list(instruments) or None)
        if day is not None:
            rows = _up_to(store, shown, rows, day)
        if shown is Shown.SCORES and not everything:
            rows = rows.filter(pc.not_equal(rows["segment"], LIVE))
        if not everything:
            rows = _newest(shown, rows)
    return rows


def _live(store: Store, day: date | None, instruments: Sequence[str]) -> pa.Table:
    """Live skill under the settings of the newest run, or of the newest of sessions up to `day`."""
    if instruments:
        raise NothingToShowError(
            "live skill is pooled over all instruments: leave --instrument out. Single forecasts "
            "are in the scores: show scores --all, segment live."
        )
    runs = [row for row in store.read("runs").to_pylist() if day is None or row["session"] <= day]
    done = [row for row in runs if row["status"] != "failed"]
    newest = max(done, key=lambda row: (row["as_of"], row["made_at"], row["run_id"]), default=None)
    found = () if newest is None else view_run(store, newest["run_id"]).live
    return pa.Table.from_pylist(
        [{name: getattr(one, name) for name in _LIVE_SCHEMA.names} for one in found],
        schema=_LIVE_SCHEMA,
    )


def check_instruments(store: Store, instruments: Sequence[str]) -> None:
    """Refuses names that the store does not know.

    Raises:
        NothingToShowError: there is one; the message has a similar one.
        StoreError: the store can't be read.
    """
    known = {
        name
        for dataset in ("bars", "quarantine", "forecasts")
        for name in pc.unique(store.read(dataset, columns=["instrument"])["instrument"]).to_pylist()
        if name is not None
    }
    for name in instruments:
        if name not in known:
            close = get_close_matches(name, sorted(known), n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise NothingToShowError(f"The store {store.url} knows no instrument {name}.{hint}")


def as_json(rows: pa.Table) -> str:
    """A list of objects whose keys are the columns; dates and instants as ISO text."""
    return json.dumps(_plain(rows), indent=2, ensure_ascii=False, allow_nan=False)


def as_csv(rows: pa.Table) -> str:
    """A header line and a line per row; what is absent is empty, a list is JSON."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows.column_names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: json.dumps(v) if isinstance(v, list) else v for name, v in row.items()}
        for row in _plain(rows)
    )
    return text.getvalue()


def as_table(shown: Shown, rows: pa.Table) -> Table:
    """The main columns, in a table for people."""
    if shown is Shown.COMPARISONS:
        rows = _pooled(rows)
    title = _title(shown, rows)
    if shown is Shown.QUARANTINE:
        rows, left = _rarest(with_short_ids(rows))
    table = Table(title=title, title_justify="left", header_style="bold", caption_justify="left")
    if shown is Shown.QUARANTINE and left:
        told = ", ".join(f"{count:,} of {name} by {rule}" for (name, rule), count in left)
        table.caption = Text(f"and {told}; all with --format csv or json")
    if shown in _NARROW:
        table.box, table.padding, table.show_edge = box.SIMPLE_HEAD, (0, 1, 0, 0), False
    names = [
        name
        for name in _COLUMNS[shown].split()
        if name in rows.column_names
        and not (name in _IF_ANY and rows[name].null_count == rows.num_rows)
    ]
    for name in names:
        number = pa.types.is_floating(rows[name].type) or pa.types.is_integer(rows[name].type)
        whole = shown is Shown.QUARANTINE and name in ("id", "op", "session", "rule")
        justify: Literal["left", "right"] = "right" if number else "left"
        most = 16 if shown is Shown.QUARANTINE and name == "instrument" else None
        table.add_column(name, justify=justify, overflow="fold", no_wrap=whole, max_width=most)
    for row in rows.to_pylist():
        cells = {name: Text(_cell(row[name], name)) for name in names}
        if shown is Shown.QUARANTINE:
            cells["reason"].append(f"\n{_as_it_came(row['row'])}", style="dim")
        table.add_row(*cells.values())
    return table


def _rarest(rows: pa.Table) -> tuple[pa.Table, list[tuple[tuple[str, str], int]]]:
    """As many rows as are shown, and how many are left out, by instrument and rule.

    Where some must be left out, those of which there are many: one cause holds them all.
    """
    if rows.num_rows <= QUARANTINE_SHOWN:
        return rows, []
    names = (_cell(name) for name in rows["instrument"].to_pylist())
    keys = list(zip(names, rows["rule"].to_pylist(), strict=True))
    many = Counter(keys)
    order = sorted(range(len(keys)), key=lambda place: many[keys[place]])
    kept = sorted(order[:QUARANTINE_SHOWN])
    left = many - Counter(keys[place] for place in kept)
    return rows.take(kept), left.most_common(_LEFT_SHOWN)


def _as_it_came(row: str) -> str:
    """The values of a row in quarantine, without their columns' names; what is no object, whole."""
    try:
        values = json.loads(row)
    except ValueError:
        return row
    if not isinstance(values, dict):
        return row
    return " ".join(str(one) for one in values.values() if one not in (None, ""))


def _pooled(rows: pa.Table) -> pa.Table:
    """The rows pooled over instruments, each with how many it is better on; else rows as they are.

    Better: a q value of at most `tasks.discoveries.DISCOVERY`.
    """
    pooled = rows.filter(pc.is_null(rows["instrument"]))
    if pooled.num_rows == 0:
        return rows
    found = discoveries(rows.to_pylist())
    names = ("target", "kind", "method", "baseline")
    keys = [tuple(row[name] for name in names) for row in pooled.to_pylist()]
    better = ["{} of {}".format(*found[key]) if key in found else None for key in keys]
    pooled = pooled.drop_columns(["instrument"])
    return pooled.append_column("better", pa.array(better, pa.string()))


def _newest(shown: Shown, rows: pa.Table) -> pa.Table:
    """Rows of the newest `as_of`: of all, or per instrument where each has its own."""
    if shown is Shown.RUNS or rows.num_rows == 0:
        return rows
    if shown not in _NEWEST_OF:
        return rows.filter(pc.equal(rows["as_of"], pc.max(rows["as_of"])))
    names = list(_NEWEST_OF[shown])
    newest: dict[tuple[Any, ...], datetime] = {}
    keys = list(zip(*(rows[name].to_pylist() for name in names), strict=True))
    instants = rows["as_of"].to_pylist()
    for key, instant in zip(keys, instants, strict=True):
        newest[key] = max(instant, newest.get(key, instant))
    keep = [newest[key] == instant for key, instant in zip(keys, instants, strict=True)]
    return rows.filter(pa.array(keep, pa.bool_()))


def _up_to(store: Store, shown: Shown, rows: pa.Table, day: date) -> pa.Table:
    if shown is Shown.RUNS:
        return rows.filter(pc.less_equal(rows["session"], pa.scalar(day)))
    runs = store.read("runs", columns=["run_id", "session"])
    of_then = runs.filter(pc.less_equal(runs["session"], pa.scalar(day)))["run_id"]
    return rows.filter(pc.is_in(rows["run_id"], value_set=of_then.combine_chunks()))


def why_empty(store: Store, shown: Shown, day: date | None, instruments: Sequence[str]) -> str:
    """Why `select` found no row, for people."""
    if shown is Shown.LIVE:
        return (
            f"The store {store.url} holds no live score of the newest run's settings: a forecast "
            "is scored on the first night that knows the close of the session that it was for."
        )
    where = f"The store {store.url} holds no {shown}"
    if instruments:
        where += f" of {', '.join(instruments)}"
    if day is not None:
        where += f" known by {day}" if shown is Shown.QUARANTINE else f" of a run up to {day}"
    if shown is Shown.QUARANTINE:
        return f"{where}: every row that came was fit to be a bar, or none came."
    sessions = store.read("runs", columns=["session"])["session"]
    if len(sessions) == 0:
        return f"{where}: there was no run yet. Start one with `fleetcast nightly`."
    ends = pc.min_max(sessions).as_py()
    return (
        f"{where}. Its runs are of sessions {ends['min']} to {ends['max']}: `fleetcast show runs`."
    )


def _title(shown: Shown, rows: pa.Table) -> str:
    title = f"{shown}: {rows.num_rows:,} row{'' if rows.num_rows == 1 else 's'}"
    if shown is Shown.FORECASTS and rows.num_rows:
        instants = pc.unique(rows["as_of"])
        if len(instants) == 1:
            title += f", as of {_cell(instants[0].as_py())}"
    if shown is Shown.QUARANTINE and rows.num_rows > QUARANTINE_SHOWN:
        title += f", {QUARANTINE_SHOWN} of them shown, of the rarest kinds"
    if "better" in rows.column_names:
        title += ", pooled over instruments; of each with --instrument, or --format json"
    return title


def end_of(day: date) -> datetime:
    """The last instant of a day, UTC."""
    return datetime.combine(day, time(), tzinfo=UTC) + timedelta(days=1, microseconds=-1)


def _plain(rows: pa.Table) -> list[dict[str, Any]]:
    return [{name: _json(value) for name, value in row.items()} for row in rows.to_pylist()]


def _json(value: object) -> object:
    if isinstance(value, list):
        return [_json(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no infinity
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return value


def _cell(value: object, name: str = "") -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return f"{value:.{_DECIMALS[name]}f}" if name in _DECIMALS else f"{value:.4g}"
    if isinstance(value, list):
        return " ".join(f"{one:.3f}" for one in value)
    return str(value)
