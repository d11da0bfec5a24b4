from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.schemas import DATASETS, INSTANT
from tasks.storage.facts import StoreError, conform, distinct, earliest, hashed, latest
from tests.tasks.store_rows import NIGHT, bar, bars

BARS = DATASETS["bars"]
STAMPS = {"known_at": NIGHT, "assumed": False, "op": "upsert", "row_hash": ""}

# Few keys, instants and hashes: most examples hold several rows of one key, many of them tied.
FACTS = st.lists(
    st.tuples(
        st.sampled_from(["A", "B"]),
        st.integers(0, 1),
        st.integers(0, 2),
        st.sampled_from(["0", "1", "2"]),
    ),
    unique=True,
    max_size=12,
)


def fact_table(rows: list[tuple[str, int, int, str]]) -> pa.Table:
    return pa.table(
        {
            "instrument": pa.array([row[0] for row in rows], pa.string()),
            "session": pa.array([date(2024, 1, 2 + row[1]) for row in rows], pa.date32()),
            "known_at": pa.array([NIGHT + timedelta(hours=row[2]) for row in rows], INSTANT),
            "row_hash": pa.array([row[3] for row in rows], pa.string()),
        }
    )


@given(FACTS, st.randoms(use_true_random=False))
def test_one_row_per_key_whatever_the_order(
    rows: list[tuple[str, int, int, str]], random: Random
) -> None:
    ranked = sorted(rows, key=lambda row: row[2:])
    last = {row[:2]: row for row in ranked}
    first = {row[:2]: row for row in reversed(ranked)}
    shuffled = random.sample(rows, len(rows))
    for choose, chosen in ((latest, last), (earliest, first)):
        expected = fact_table([chosen[key] for key in sorted(chosen)])
        assert choose(fact_table(shuffled), BARS.key).equals(expected)


def test_columns_left_out_are_filled_and_put_in_order() -> None:
    rows = bars({name: bar(1.0)[name] for name in ("close", "session", "instrument", "source")})
    rows = rows.append_column("price_basis", pa.array(["raw"]))
    got = conform(rows, BARS, STAMPS)
    assert got.schema.equals(BARS.schema)
    assert got.to_pylist()[0] | {"source": ""} == {
        "instrument": "AAPL",
        "session": date(2024, 1, 2),
        "open": None,
        "high": None,
        "low": None,
        "close": 1.0,
        "volume": None,
        "price_basis": "raw",
        "source": "",
        **STAMPS,
    }


def test_what_pandas_makes_of_columns_fits() -> None:
    frame = bars(bar(1.0, known_at=NIGHT), bar(2.0, instrument="IBM", known_at=NIGHT)).to_pandas()
    frame["volume"] = [np.nan, 3]
    frame["known_at"] = frame["known_at"].astype("datetime64[ns, UTC]")
    got = conform(pa.Table.from_pandas(frame, preserve_index=False), BARS, STAMPS)
    assert got["volume"].to_pylist() == [None, 3.0]
    assert got["known_at"].to_pylist() == [NIGHT, NIGHT]
    assert got["session"].to_pylist() == [date(2024, 1, 2)] * 2


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (bars({**bar(1.0), "clsoe": 2.0}), "no column 'clsoe'"),
        (bars(bar(1.0)).drop_columns(["close"]), "bars.close is missing"),
        (bars(bar(1.0), bar(float("nan"), instrument="IBM")), "bars.close may not be null or NaN"),
        (bars({**bar(1.0), "close": None}), "bars.close"),
        (bars({**bar(1.0), "close": "dear"}), "bars.close can't hold"),
        (bars({**bar(1.0), "session": datetime(2024, 1, 2, 9, tzinfo=UTC)}), "bars.session"),
        (bars({**bar(1.0), "session": datetime(2024, 1, 2, 9)}), "bars.session"),  # noqa: DTZ001
        (bars({**bar(1.0), "op": "Retract"}), "one of: upsert, retract. Received: 'Retract'"),
        (bars({**bar(1.0), "price_basis": "adjusted"}), "bars.price_basis must be one of"),
        (bars({**bar(1.0), "known_at": datetime(2024, 1, 2)}), "without a time zone"),  # noqa: DTZ001
    ],
)
def test_rows_that_do_not_fit_are_refused_by_name(rows: pa.Table, named: str) -> None:
    with pytest.raises(StoreError, match=named.replace("(", r"\(")):
        conform(rows, BARS, STAMPS)


def test_rows_of_one_key_that_agree_are_one() -> None:
    early, late = NIGHT - timedelta(days=1), NIGHT
    rows = bars(
        bar(1.0, known_at=late),
        bar(1.0 + 1e-12, known_at=early),
        bar(2.0, instrument="IBM", known_at=late),
    )
    for order in ([0, 1, 2], [2, 1, 0]):
        got = distinct(hashed(conform(rows.take(order), BARS, STAMPS), BARS), BARS)
        assert got["instrument"].to_pylist() == ["AAPL", "IBM"]
        assert got["close"].to_pylist() == [1.0 + 1e-12, 2.0]
        assert got["known_at"].to_pylist() == [early, late]


def test_rows_of_one_key_that_disagree_are_refused() -> None:
    rows = bars(bar(3.0, instrument="IBM"), bar(1.0), bar(1.1))
    rows = hashed(conform(rows, BARS, STAMPS), BARS)
    with pytest.raises(StoreError, match="instrument=AAPL, session=2024-01-02"):
        distinct(rows, BARS)


def test_stamps_are_not_part_of_the_hash_and_all_else_is() -> None:
    def hash_of(row: dict[str, object]) -> str:
        rows = hashed(conform(bars(row), BARS, STAMPS), BARS)
        return str(rows["row_hash"][0].as_py())

    assert hash_of(bar(1.0)) == hash_of(bar(1.0, known_at=NIGHT + timedelta(days=1), assumed=True))
    others = [bar(1.1), bar(1.0, volume=None), bar(1.0, op="retract"), bar(1.0, source="else")]
    assert len({hash_of(row) for row in [bar(1.0), *others]}) == 5
