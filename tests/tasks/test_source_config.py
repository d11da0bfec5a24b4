"""What a [source] may say: whatever makes no sense is refused, and no secret is repeated."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.sources.config import SourceConfig


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/v1?token=sesame12",
        "https://api.example.com/v1#sesame12",
    ],
)
def test_a_base_url_has_no_query_that_could_hold_a_key(url: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        SourceConfig(name="tiingo", base_url=url)
    (error,) = refusal.value.errors()
    assert error["loc"] == ("base_url",)
    assert "TIINGO_API_KEY, or into source.key_block" in error["msg"]
    assert "sesame12" not in error["msg"]


def test_a_base_url_may_have_a_port_and_a_path() -> None:
    url = "http://127.0.0.1:8080/proxy/tiingo"
    assert SourceConfig(name="tiingo", base_url=url).base_url == url


@pytest.mark.parametrize("symbols", [{"SPX": ""}, {"SPX": " "}, {" ": "^spx"}])
def test_a_symbol_names_something(symbols: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="names nothing. Expected an instrument and the"):
        SourceConfig(name="stooq", symbols=symbols)


@pytest.mark.parametrize("mark", [",", "."])
def test_one_mark_is_not_both_decimal_and_thousands(mark: str) -> None:
    with pytest.raises(ValidationError, match="decimal and thousands are both"):
        SourceConfig.model_validate(
            {"name": "files", "path": "bars", "decimal": mark, "thousands": mark}
        )
