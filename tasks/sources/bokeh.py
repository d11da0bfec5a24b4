"""Real daily bars that come with the package `bokeh_sampledata`: AAPL, IBM, MSFT, GOOG and FB.

Owns finding the file in the installed package. Never imports the package.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from tasks.sources.config import SourceConfig
from tasks.sources.files import FilesSource
from tasks.sources.protocol import SourceError

_FILE = Path("_data") / "stocks.csv.gz"


def open_bokeh(config: SourceConfig) -> FilesSource:
    """The embedded default: raw prices from 2000-03-01 to 2013-03-01, an archive.

    Splits and dividends are derived from its adjusted closes, which reinvest at the close of the
    ex-date and hold no rounding.

    Raises:
        SourceError: the package or its file is not there.
    """
    return FilesSource(
        path=str(_locate()),
        price_basis="raw",
        archive=True if config.archive is None else config.archive,
        adjusted_close=config.adjusted_close or "derive",
        config=config,
    )


def _locate() -> Path:
    found = find_spec("bokeh_sampledata")
    if found is None or found.origin is None:
        raise SourceError(
            "The source 'bokeh' needs the package bokeh_sampledata, which is not installed. "
            "Install it (pip install bokeh_sampledata), or name another source."
        )
    path = Path(found.origin).parent / _FILE
    if not path.is_file():
        raise SourceError(
            f"The package bokeh_sampledata holds no {_FILE} (looked for {path}). Install the "
            "version that fleetcast is locked to, or name another source."
        )
    return path
