from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import tasks.sources.bokeh
from tasks.actions import align_actions, check_adjusted, total_log_returns
from tasks.sources import Fetched, Source, SourceConfig, SourceError, open_source
from tasks.sources.protocol import BARS

ROWS = {"AAPL": 3270, "FB": 196, "GOOG": 2148, "IBM": 3270, "MSFT": 3270}

# From the companies' own records of splits and dividends: investor.apple.com and
# microsoft.com/investor, per share as paid on the ex-date.
SPLITS = [
    ("AAPL", date(2000, 6, 21), 2.0),
    ("AAPL", date(2005, 2, 28), 2.0),
    ("MSFT", date(2003, 2, 18), 2.0),
]
APPLE_DIVIDENDS = {
    date(2012, 8, 9): 2.65,
    date(2012, 11, 7): 2.65,
    date(2013, 2, 7): 2.65,
}
MICROSOFT_SPECIAL = (date(2004, 11, 15), 3.08)  # 3.00 special and 0.08 regular


@pytest.fixture(scope="module")
def source() -> Source:
    return open_source(SourceConfig())


@pytest.fixture(scope="module")
def fetched(source: Source) -> Fetched:
    return source.fetch()


def of(table: pa.Table, instrument: str) -> pa.Table:
    return table.filter(pc.equal(table["instrument"], instrument))


def actions_of(fetched: Fetched, instrument: str, kind: str) -> dict[date, float]:
    rows = of(fetched.actions, instrument).to_pylist()
    return {row["session"]: row["value"] for row in rows if row["action"] == kind}


def test_it_is_an_archive_of_raw_prices(source: Source) -> None:
    assert isinstance(source, Source)
    assert (source.name, source.price_basis, source.archive) == ("bokeh", "raw", True)
    assert source.lag == timedelta(hours=1)
    assert source.instruments() == tuple(ROWS)


def test_every_row_is_read(fetched: Fetched) -> None:
    counts = {
        row["values"]: row["counts"]
        for row in pc.value_counts(fetched.bars["instrument"]).to_pylist()
    }
    assert counts == ROWS
    assert fetched.problems == ()
    assert fetched.bars.schema == BARS
    assert fetched.defects is None


def test_the_first_row_is_the_file_s(fetched: Fetched) -> None:
    assert fetched.bars.slice(0, 1).to_pylist() == [
        {
            "instrument": "AAPL",
            "session": date(2000, 3, 1),
            "open": 118.56,
            "high": 132.06,
            "low": 118.5,
            "close": 130.31,
            "volume": 9616100.0,
        }
    ]
    assert fetched.original.slice(0, 1).to_pylist()[0]["Open"] == "118.56"


def test_the_splits_are_those_that_happened(fetched: Fetched) -> None:
    rows = fetched.actions.filter(pc.equal(fetched.actions["action"], "split")).to_pylist()
    assert [(row["instrument"], row["session"], row["value"]) for row in rows] == SPLITS


def test_the_dividends_are_those_that_were_paid(fetched: Fetched) -> None:
    assert actions_of(fetched, "AAPL", "dividend") == pytest.approx(APPLE_DIVIDENDS, abs=1e-9)
    microsoft = actions_of(fetched, "MSFT", "dividend")
    assert microsoft[MICROSOFT_SPECIAL[0]] == pytest.approx(MICROSOFT_SPECIAL[1], abs=1e-9)
    assert microsoft[date(2003, 2, 19)] == pytest.approx(0.08, abs=1e-9)
    assert len(microsoft) == 37
    ibm = actions_of(fetched, "IBM", "dividend")
    assert len(ibm) == 52  # four a year, for thirteen years
    assert ibm[date(2013, 2, 6)] == pytest.approx(0.85, abs=1e-9)
    assert not actions_of(fetched, "GOOG", "dividend")
    assert not actions_of(fetched, "FB", "dividend")


@pytest.mark.parametrize("instrument", ROWS)
def test_total_returns_are_the_provider_s_adjusted_closes(
    fetched: Fetched, instrument: str
) -> None:
    assert fetched.adjusted_close is not None
    bars = of(fetched.bars.append_column("adjusted", fetched.adjusted_close), instrument)
    actions = of(fetched.actions, instrument)
    session = bars["session"].to_numpy().astype("datetime64[D]")
    close = bars["close"].to_numpy()
    step = align_actions(
        session,
        actions["session"].to_numpy().astype("datetime64[D]"),
        actions["action"].to_numpy(),
        actions["value"].to_numpy(),
    )
    returns = total_log_returns(close, session, step.split_ratio, step.dividend, "raw")
    assert check_adjusted(returns, bars["adjusted"].to_numpy()) < 1e-9
    raw = total_log_returns(close, session, np.ones(len(close)), np.zeros(len(close)), "raw")
    if actions.num_rows:
        assert check_adjusted(raw, bars["adjusted"].to_numpy()) > 1e-3


def test_a_part_is_that_part(source: Source, fetched: Fetched) -> None:
    part = source.fetch(["MSFT", "FB"], first=date(2003, 2, 18), last=date(2012, 12, 31))
    assert set(pc.unique(part.bars["instrument"]).to_pylist()) == {"MSFT", "FB"}
    assert pc.min_max(part.bars["session"]).as_py() == {
        "min": date(2003, 2, 18),
        "max": date(2012, 12, 31),
    }
    assert part.bars.num_rows == part.original.num_rows == len(part.adjusted_close or [])
    # The split falls on the first session asked for: the bar before it was still looked at.
    assert actions_of(part, "MSFT", "split") == {date(2003, 2, 18): 2.0}
    whole = actions_of(fetched, "MSFT", "dividend")
    within = {day: value for day, value in whole.items() if day.year < 2013}
    assert actions_of(part, "MSFT", "dividend") == within


def test_an_unknown_instrument_brings_nothing(source: Source) -> None:
    assert source.fetch(["GOGO"]).bars.num_rows == 0


def test_the_archive_flag_and_the_lag_can_be_set() -> None:
    source = open_source(SourceConfig(archive=False, lag_minutes=0))
    assert (source.archive, source.lag) == (False, timedelta(0))


def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.sources.bokeh, "find_spec", lambda _: None)
    with pytest.raises(SourceError, match=r"bokeh_sampledata, which is not installed"):
        open_source(SourceConfig())


def test_without_its_file_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.sources.bokeh, "_FILE", Path("gone.csv.gz"))
    with pytest.raises(SourceError, match=r"holds no gone\.csv\.gz"):
        open_source(SourceConfig())


def test_reading_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tasks.sources import SourceConfig, open_source;"
        "open_source(SourceConfig()).fetch(['FB']);"
        "print([m for m in ('bokeh_sampledata', 'tensorflow', 'keras', 'prefect')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
