"""docs/data.md against the code that it describes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks.bars import RULES, ValidationConfig
from tasks.doubts import STALE, TOLERANCE
from tasks.sources import SourceConfig, open_source
from tasks.sources.headers import KNOWN

TEXT = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def table(heading: str) -> dict[str, str]:
    """First cell (without marks) → second cell, of the table whose head starts with `heading`."""
    lines = TEXT.split("\n")
    start = next(place for place, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[cells[0].strip("`")] = cells[1]
    return rows


def test_every_rule_is_documented_in_its_own_words() -> None:
    assert table("rule") == {name: rule.meaning for name, rule in RULES.items()}
    assert list(table("rule")) == list(RULES)


def test_every_known_header_is_documented() -> None:
    assert table("meaning") == {name: ", ".join(known) for name, known in KNOWN.items()}


def test_thresholds_are_documented_with_their_defaults() -> None:
    config = ValidationConfig()
    text = " ".join(TEXT.split())
    for name, value in config.model_dump(exclude={"severity"}).items():
        shown = f"{value:.0%}".replace("%", " %") if name == "jump_reverts" else f"{value:g}"
        shown = "0.01 %" if name == "range_tolerance" else shown
        assert re.search(
            rf"`validation\.{name}` \({shown}\)|`validation\.{name}`, {shown}\)", text
        ), name
    assert config.range_tolerance == pytest.approx(1e-4)
    assert f"`source.lag_minutes` ({SourceConfig().lag_minutes})" in text
    assert f"older than {STALE.days} days" in text
    assert f"above {TOLERANCE:.1%}".replace("%", " %") in text


def test_the_counts_of_the_embedded_source_are_documented() -> None:
    fetched = open_source(SourceConfig()).fetch()
    counts = {
        row["values"]: row["counts"]
        for row in fetched.bars["instrument"].value_counts().to_pylist()
    }
    for shown in ("AAPL, IBM, MSFT (3,270", "GOOG (2,148)", "FB (196)"):
        number = int(re.sub(r"\D", "", shown.split("(")[1]))
        for name in shown.split(" (")[0].split(", "):
            assert counts[name] == number
        assert shown in TEXT
    kinds = fetched.actions["action"].to_pylist()
    assert (kinds.count("split"), kinds.count("dividend")) == (3, 92)  # one of them special


@pytest.mark.parametrize("basis", ["raw", "split_adjusted", "total_return"])
def test_every_price_basis_is_documented(basis: str) -> None:
    assert basis in table("`price_basis`")
