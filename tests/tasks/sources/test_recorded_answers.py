"""Recorded answers of the real providers, where they lie beside the repository."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from tasks.sources.alphavantage import read_alphavantage
from tasks.sources.answers import Answer, ProviderError, RequestError, TryAgainError, as_json
from tasks.sources.binance import read_candles, read_page
from tasks.sources.fred import read_fred
from tasks.sources.protocol import Fetched
from tasks.sources.provider import Wanted
from tasks.sources.stooq import read_stooq
from tasks.sources.tiingo import read_tiingo

RECORDED = Path(__file__).parents[4] / "shared" / "data" / "payloads"

pytestmark = pytest.mark.skipif(
    not RECORDED.is_dir(), reason="the folder ../shared/data/payloads is absent"
)


def wanted(symbol: str = "X") -> Wanted:
    return Wanted("ME", symbol, date(1700, 1, 1), None)


def whole(fetched: Fetched) -> list[tuple[date, float, float | None]]:
    """Session, close and volume of rows of which nothing was misread."""
    assert fetched.defects is not None
    assert fetched.defects["rule"].null_count == fetched.bars.num_rows
    assert fetched.problems == ()
    rows = fetched.bars.sort_by("session").to_pylist()
    return [(row["session"], row["close"], row["volume"]) for row in rows]


def body(name: str) -> Answer:
    return Answer((RECORDED / name).read_bytes(), measured=True)


def cassette(name: str) -> Answer:
    answer, *_ = json.loads((RECORDED / "tiingo" / name).read_text())
    return Answer(answer["body_text"].encode(), measured=True)


def test_stooq() -> None:
    rows = whole(read_stooq(body("stooq/tsla_us_d_pl_head.csv").text, wanted()))
    assert rows[:2] == [
        (date(2010, 6, 28), 1.13333, None),
        (date(2010, 6, 29), 1.59267, 281749140.0),
    ]
    assert len(rows) == 10
    rows = whole(read_stooq(body("stooq/spx_d_pl_head_no_volume.csv").text, wanted()))
    assert rows[0] == (date(1789, 5, 1), 0.51, None)
    assert rows[-1] == (date(2023, 3, 17), 3916.64, 5740077852.0)
    rows = whole(read_stooq(body("stooq/wig20_d_en_head.csv").text, wanted()))
    assert rows[-1] == (date(1991, 5, 21), 95.5, 14750.0)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("error_no_data_AS_REPORTED.txt", RequestError),
        ("error_no_data_pl_AS_REPORTED.txt", RequestError),
        ("error_rate_limit_AS_REPORTED.txt", ProviderError),
    ],
)
def test_stooq_s_errors(name: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as error:
        read_stooq(body(f"stooq/{name}").text, wanted())
    assert type(error.value) is kind


def test_fred() -> None:
    rows = whole(read_fred(body("fred/DEXUSEU_old_header_dot_missing.csv").text, wanted("DEXUSEU")))
    assert len(rows) == 9
    assert rows[3:5] == [(date(2015, 7, 2), 1.1090, None), (date(2015, 7, 6), 1.1076, None)]
    answer = body("fred/DGS_new_header_blank_missing.csv").text
    assert len(whole(read_fred(answer, wanted("DGS10")))) == 4
    assert whole(read_fred(answer, wanted("DGS1MO"))) == []


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("ticker_price_with_date.json", 2),
        ("ticker_price_pandas_daily_equivalent_requesting_json_or_csv.json", 10),
    ],
)
def test_tiingo(name: str, count: int) -> None:
    fetched = read_tiingo(cassette(name), wanted())
    rows = whole(fetched)
    assert len(rows) == count
    assert rows[0] in {
        (date(2015, 1, 2), 529.55, 1327870.0),
        (date(2018, 1, 5), 1110.29, 1493389.0),
    }
    assert fetched.adjusted_close is not None
    assert fetched.adjusted_close.to_pylist() == fetched.bars["close"].to_pylist()
    assert fetched.actions.num_rows == 0


@pytest.mark.parametrize("name", ["invalid_url.json", "ticker_price_with_date_csv.json"])
def test_what_tiingo_answers_elsewhere_is_no_list_of_rows(name: str) -> None:
    with pytest.raises(TryAgainError):
        read_tiingo(cassette(name), wanted())


def test_alphavantage() -> None:
    plain = read_alphavantage(body("alphavantage/TIME_SERIES_DAILY_TSLA.json"), wanted())
    assert whole(plain) == [
        (date(2021, 4, 22), 719.69, 35590255.0),
        (date(2021, 4, 23), 729.4, 27703323.0),
    ]
    assert plain.adjusted_close is None
    name = "alphavantage/TIME_SERIES_DAILY_ADJUSTED_TSLA_head5.json"
    adjusted = read_alphavantage(body(name), wanted())
    assert whole(adjusted)[-2:] == whole(plain)
    assert adjusted.adjusted_close is not None
    assert adjusted.adjusted_close.to_pylist() == adjusted.bars["close"].to_pylist()
    assert adjusted.actions.num_rows == 0


def test_alphavantage_s_errors() -> None:
    told = json.loads((RECORDED / "alphavantage/errors_http200_AS_REPORTED.json").read_text())
    kinds = []
    for one in told:
        with pytest.raises((RequestError, TryAgainError)) as error:
            read_alphavantage(Answer(json.dumps(one["body"]).encode(), measured=True), wanted())
        kinds.append(type(error.value))
    assert kinds == [TryAgainError, ProviderError, RequestError]
    with pytest.raises(TryAgainError):  # minutes are no days
        read_alphavantage(body("alphavantage/intraday_1min_MSFT_mock_time_series.json"), wanted())


def test_binance() -> None:
    page = read_page(body("binance/klines_BTCUSDT_1d_head5.json"))
    rows = whole(read_candles(page, wanted()))
    assert rows[0] == (date(2021, 12, 7), 50588.95, 38253.46877)
    assert len(rows) == 5
    quarters = read_candles(as_json(body("binance/klines_BTCUSDT_15m_head3.json")), wanted())
    assert quarters.defects is not None
    assert quarters.defects["rule"].to_pylist() == ["not_a_date"] * 3
    with pytest.raises(RequestError, match="Invalid symbol"):
        read_page(body("binance/error_400_AS_REPORTED.json"))
