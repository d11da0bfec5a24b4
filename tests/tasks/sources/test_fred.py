from __future__ import annotations

from datetime import date

import pytest

from tasks.sources import SourceConfig
from tasks.sources.answers import RequestError
from tasks.sources.fred import open_fred, read_fred
from tasks.sources.provider import Wanted
from tasks.sources.rate_limit import Clock
from tests.tasks.sources.provider_server import FakeClock, ProviderServer, Reply

WANTED = Wanted("EURUSD", "DEXUSEU", date(1990, 1, 1), None)


@pytest.mark.parametrize(("header", "nothing"), [("DATE", "."), ("observation_date", "")])
def test_old_and_new_answers(header: str, nothing: str) -> None:
    text = f"{header},DEXUSEU\n2015-07-02,1.1\n2015-07-03,{nothing}\n2015-07-06,1.2\n"
    fetched = read_fred(text, WANTED)
    assert fetched.bars.select(["instrument", "session", "close"]).to_pylist() == [
        {"instrument": "EURUSD", "session": date(2015, 7, 2), "close": 1.1},
        {"instrument": "EURUSD", "session": date(2015, 7, 6), "close": 1.2},
    ]
    assert fetched.bars["open"].null_count == fetched.bars["volume"].null_count == 2


def test_one_series_of_several() -> None:
    text = "observation_date,DGS1,DEXUSEU\n2015-07-02,0.3,1.1\n2015-07-03,,1.3\n2015-07-06,0.2,\n"
    fetched = read_fred(text, WANTED)
    assert fetched.bars["close"].to_pylist() == [1.1, 1.3]
    assert fetched.original.column_names == ["observation_date", "DEXUSEU"]


@pytest.mark.parametrize(
    ("line", "rule"), [("2015-07-99,1", "not_a_date"), ("2015-07-07,x", "not_a_number")]
)
def test_a_row_that_can_t_be_read_is_marked_and_kept(line: str, rule: str) -> None:
    fetched = read_fred(f"DATE,DEXUSEU\n2015-07-02,1.1\n{line}\n", WANTED)
    assert fetched.defects is not None
    assert fetched.defects["rule"].to_pylist() == [None, rule]


def test_a_malformed_line_is_kept() -> None:
    fetched = read_fred("DATE,DEXUSEU\n2015-07-02,1.1\n2015-07-03,1.1,9\n", WANTED)
    assert fetched.defects is not None
    assert fetched.defects["rule"].to_pylist() == [None, "malformed_line"]


@pytest.mark.parametrize(
    "text", ["", "DATE,OTHER\n2015-07-02,1\n", "DEXUSEU\n1\n", "PK\x03\x04zip"]
)
def test_an_answer_of_another_thing_is_told(text: str) -> None:
    with pytest.raises(RequestError, match="FRED's answer"):
        read_fred(text, WANTED)


def test_a_page_where_csv_belongs_is_told(server: ProviderServer, time: FakeClock) -> None:
    page = "<!DOCTYPE html><html><head><title>FRED - Page Not Found</title>"
    good = Reply("observation_date,B\n2024-01-02,1.5\n")
    server.answer = lambda asked: good if asked.query["id"] == "B" else Reply(page, status=404)
    config = SourceConfig(name="fred", base_url=server.url, attempts=2)
    fetched = open_fred(config, Clock(time.now, time.sleep)).fetch(
        ["A", "B"], date(2024, 1, 1), date(2024, 1, 31)
    )
    assert fetched.bars["close"].to_pylist() == [1.5]
    assert "HTTP 404: 'FRED - Page Not Found'" in fetched.problems[0].message
    assert dict(server.asked[1].query) == {"id": "B", "cosd": "2024-01-01", "coed": "2024-01-31"}
    assert server.asked[1].path == "/graph/fredgraph.csv"
