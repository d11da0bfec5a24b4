"""Installed packages that bring a source: the one of docs/data.md, and broken ones."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from tasks.sources import Source, SourceConfig, SourceError, open_source
from tasks.sources.plug_ins import PlugIn

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def documented() -> str:
    """The example's code."""
    (code,) = re.findall(r"```python\n(.*?)```", TEXT.split("## A source of your own")[1], re.S)
    assert isinstance(code, str)
    return code


def install(site: Path, code: str, name: str = "acme", package: str = "acme-bars") -> None:
    """Puts a package into `site` as an installer does: its module, and what it says of itself."""
    module = package.replace("-", "_")
    site.mkdir(exist_ok=True)
    (site / f"{module}.py").write_text(code)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fleetcast.sources]\n{name} = {module}:open_acme\n")


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    folder = tmp_path / "bars"
    folder.mkdir()
    rows = [{"day": "2024-01-02", "last": 185.64}, {"day": "2024-01-03", "last": 184.25}]
    (folder / "AAPL.json").write_text("\n".join(map(json.dumps, rows)))
    (folder / "MSFT.json").write_text(
        json.dumps({"day": "soon", "last": 1})
        + "\n"
        + json.dumps({"day": "2024-01-02", "last": 370.87})
    )
    return folder


Installer = Callable[..., None]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installer]:
    """Installs into a folder that this process looks into, until the test is over."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)
    yield lambda code, **options: install(site, code, **options)
    for module in set(sys.modules) - before:
        if module.startswith("acme"):
            del sys.modules[module]


def opened(folder: Path) -> Source:
    return open_source(SourceConfig(name="acme", options={"folder": str(folder)}))


def test_the_documented_example_is_short_and_works_in_a_process_of_its_own(
    tmp_path: Path, bars: Path
) -> None:
    assert len([line for line in documented().splitlines() if line.strip()]) < 40
    install(tmp_path / "site", documented())
    stated = TEXT.split("## A source of your own")[1]
    assert 'acme = "acme_bars:open_acme"' in stated  # as `install` registers it
    (config,) = re.findall(r"```toml\n(\[source\].*?)```", stated, re.S)
    code = f"""
        import tomllib
        from tasks.sources import SourceConfig, open_source
        source = open_source(SourceConfig(**tomllib.loads({config!r})["source"]))
        print(source.fetch(source.instruments()).bars["close"].to_pylist())
    """
    (tmp_path / "acme").symlink_to(bars)
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{ROOT}"},
    )
    assert answer.stdout == "[185.64, 184.25, 1.0, 370.87]\n", answer.stderr


def test_it_is_found_by_its_name_and_keeps_the_protocol(installed: Installer, bars: Path) -> None:
    with pytest.raises(SourceError, match="There is no source 'acme'"):
        opened(bars)
    installed(documented())
    source = opened(bars)
    assert isinstance(source, Source)
    assert (source.name, source.price_basis, source.archive) == ("acme", "raw", False)
    assert (source.incremental, source.batch_size) == (False, 100)
    assert source.lag == SourceConfig().lag
    assert source.instruments() == ("AAPL", "MSFT")
    fetched = source.fetch(["AAPL"], date(2024, 1, 3), date(2024, 1, 3))
    assert fetched.bars["close"].to_pylist() == [184.25]
    with pytest.raises(SourceError, match="Did you mean 'acme'"):
        open_source(SourceConfig(name="akme"))


def test_its_own_errors_are_told_as_they_are(installed: Installer) -> None:
    installed(documented())
    with pytest.raises(
        SourceError, match=r"^source.options.folder is '\.'|which is no folder"
    ) as e:
        opened(Path("nowhere"))
    assert "plug-in" not in str(e.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "    incremental: bool = False",
            "    more: bool = False",
            "its incremental must be True, ",
        ),
        ("    batch_size: int | None = 100", "    x: int = 1", "batch_size.*received nothing"),
        ("int | None = 100", "int | None = 0", "its batch_size must be.*received 0"),
        ("int | None = 100", "int | None = True", "its batch_size must be.*received True"),
        ('"raw"', '"adjusted"', "its price_basis must be one of raw, .*received 'adjusted'"),
        (
            "config.name, folder, config.lag",
            "config.name, folder, 60",
            "its lag must be.*received 60",
        ),
        ("config.name, folder", '"other", folder', "its name must be 'acme'.*received 'other'"),
        ("def fetch", "def fetched", "its fetch must be a method.*received nothing"),
        ("import numpy as np", "import nampy as np", "can't be opened: ModuleNotFoundError.*nampy"),
        ("def open_acme", "def open", "can't be opened: AttributeError.*open_acme"),
        ("if not folder", "1 / 0; folder", "can't be opened: .*"),
        ("return Acme(config.name, folder, config.lag)", "return None", "no source: its name must"),
    ],
)
def test_what_is_no_source_is_refused_and_says_whose_it_is(
    installed: Installer, bars: Path, before: str, after: str, message: str
) -> None:
    assert before in documented()
    installed(documented().replace(before, after))
    with pytest.raises(SourceError, match=message) as caught:
        opened(bars)
    assert "acme_bars:open_acme of acme-bars 1.0" in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "return between(",
            "return len(wanted) or between(",
            "must return a .*Fetched; received int",
        ),
        ("return between(", "1 / 0; (", "failed: ZeroDivisionError: division by zero"),
        (
            "return read_table(Table(rows, meaning, instrument, malformed, instrument))",
            "from tasks.sources import Fetched; return Fetched(bars=rows, original=rows)",
            "failed: ValueError: bars must have the columns",
        ),
        ("sorted(file.stem for", "sorted(len(file.stem) for", "its instruments as texts; received"),
    ],
)
def test_what_it_brings_is_checked(
    installed: Installer, bars: Path, before: str, after: str, message: str
) -> None:
    assert before in documented()
    installed(documented().replace(before, after))
    with pytest.raises(SourceError, match=message) as caught:
        opened(bars).fetch(opened(bars).instruments())
    assert "acme-bars 1.0" in str(caught.value)


def test_two_packages_of_one_name_are_refused(installed: Installer, bars: Path) -> None:
    installed(documented())
    installed(documented(), package="acme-other")
    with pytest.raises(SourceError, match=r"Several.*acme_bars.*acme_other.*all but one"):
        opened(bars)


def test_a_built_in_source_stays_what_it_is(installed: Installer) -> None:
    installed(documented(), name="bokeh")
    assert open_source(SourceConfig()).instruments()[0] == "AAPL"
    assert not isinstance(open_source(SourceConfig()), PlugIn)
