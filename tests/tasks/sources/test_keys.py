from __future__ import annotations

import pytest

from tasks.sources import SourceConfig, SourceError
from tasks.sources.keys import api_key, key_variable


def test_a_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIINGO_API_KEY", " 0123abc\n")
    assert api_key(SourceConfig(name="tiingo"), "TIINGO_API_KEY") == "0123abc"


@pytest.mark.parametrize("value", [None, "", "  "])
@pytest.mark.parametrize(
    ("block", "remedy"),
    [(None, r'source.key_block = "\.\.\."'), ("mine", "block 'mine'.*nothing came from it")],
)
def test_a_missing_key_is_told_with_where_it_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, value: str | None, block: str | None, remedy: str
) -> None:
    monkeypatch.delenv("TIINGO_API_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("TIINGO_API_KEY", value)
    with pytest.raises(SourceError, match=f"'tiingo' needs a key.*TIINGO_API_KEY.*{remedy}"):
        api_key(SourceConfig(name="tiingo", key_block=block), "TIINGO_API_KEY")


@pytest.mark.parametrize("value", ["hunter2\r\nHost: evil", "hunter2 hunter2", "hüнter2"])
def test_what_can_be_no_key_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("FRED_API_KEY", value)
    with pytest.raises(SourceError, match="FRED_API_KEY holds no key") as caught:
        api_key(SourceConfig(name="fred"), "FRED_API_KEY")
    assert "nter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("tiingo", "TIINGO_API_KEY"),
        ("sql", "FLEETCAST_SQL_PASSWORD"),
        ("acme-bars.eu", "ACME_BARS_EU_API_KEY"),
    ],
)
def test_every_source_has_its_variable(name: str, variable: str) -> None:
    assert key_variable(name) == variable


def test_a_source_without_a_key_takes_no_block() -> None:
    with pytest.raises(ValueError, match='"yahoo" takes no key_block'):
        SourceConfig(name="yahoo", key_block="mine")
