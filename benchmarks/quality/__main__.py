"""Measure the quality of the forecasts, and write benchmarks/QUALITY.md.

    python -m benchmarks.quality [--write benchmarks/QUALITY.md] [--groups stocks indices bokeh]
    python -m benchmarks.quality --selection

With `--selection` the test years are cut off before anything is computed: that is where recipes are
compared. Every other run looks at the test years, and is counted in the file.
"""

from __future__ import annotations

import argparse
import datetime as dt
import platform
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.quality import classics, tables
from benchmarks.quality.data import GROUPS, Group, load
from benchmarks.quality.study import Panel, walk_forward
from tasks.settings import EvaluationConfig, ForecastSettings, ModelConfig, TargetsConfig

HORIZON = 10
FORECASTS = (
    ("many_to_many", "log_volatility"),
    ("many_to_many", "log_return"),
    ("direction", "log_return"),
    ("quantile_class", "log_return"),
)
HEADINGS = {
    ("many_to_many", "log_volatility"): "Log volatility",
    ("many_to_many", "log_return"): "Log return",
    ("direction", "log_return"): "Direction",
    ("quantile_class", "log_return"): "Deciles",
}
MARK = "<!-- Below: made by python -m benchmarks.quality -->\n"


def settings_of(group: Group) -> ForecastSettings:
    """The product's defaults, with a horizon of 10 and the group's test years."""
    return ForecastSettings(
        targets=TargetsConfig(horizon=HORIZON),
        model=ModelConfig(kinds=("many_to_many", "direction", "quantile_class")),
        evaluation=EvaluationConfig(folds=group.test_folds),
    )


def measured(group: Group, *, selection: bool, kinds: set[str]) -> dict[tuple[str, str], Panel]:
    """Every forecast of a group."""
    settings = settings_of(group)
    cut = settings.evaluation.test * group.test_folds + HORIZON if selection else 0
    series = load(group, without_last=cut)
    makers = classics.estimators()
    found: dict[tuple[str, str], Panel] = {}
    for kind, target in settings.forecasts:
        if kind not in kinds:
            continue
        started = time.perf_counter()
        found[kind, target] = walk_forward(series, settings, kind, target)
        _report(f"{group.name} {kind} {target}", started)
        if kind == "many_to_many" and makers:
            started = time.perf_counter()
            panel = found[kind, target]
            found[kind, target] = classics.with_classics(panel, series, settings, makers)
            _report(f"{group.name} {target}, classical methods", started)
    return found


def _report(what: str, started: float) -> None:
    print(f"# {what}: {time.perf_counter() - started:.0f} s", flush=True)


def page(found: dict[str, dict[tuple[str, str], Panel]]) -> Iterator[str]:
    """The tables, forecast by forecast."""
    groups = {group.name: group for group in GROUPS}
    for forecast in FORECASTS:
        held = {name: panels[forecast] for name, panels in found.items() if forecast in panels}
        if not held:
            continue
        yield f"## {HEADINGS[forecast]}"
        for name, panel in held.items():
            yield f"\n### {groups[name].what}\n"
            yield from _table(panel)
        yield ""
    shown = [
        (name, panels[forecast])
        for name, panels in found.items()
        for forecast in FORECASTS[:2]
        if forecast in panels
    ]
    if shown:
        level = EvaluationConfig().level
        yield f"## Intervals\n\nOf what is published, nominally {level:.0%}.\n"
        yield from tables.intervals(shown, level)
        yield "\n## Classical univariate methods\n"
        yield from tables.classical(shown)


def _table(panel: Panel) -> Iterator[str]:
    if panel.target == "log_volatility":
        yield from tables.volatility(panel)
    elif panel.kind == "many_to_many":
        yield from tables.returns(panel)
    else:
        yield from tables.classes(panel)


def head(command: str, seconds: float) -> str:
    """When, with what, by which command."""
    names = ["fleetcast", "tensorflow", "numpy", "skfolio", "arch", "bokeh_sampledata"]
    if classics.estimators():
        names.append("statsforecast")
    packages = [f"{name} {_version(name)}" for name in names]
    return (
        f"Measured {dt.datetime.now(tz=dt.UTC):%Y-%m-%d} by `{command}` in {seconds / 60:.0f} "
        f"minutes. Python {platform.python_version()}, {', '.join(packages)}. Seeds come from "
        "names: the networks' from instrument and fold, the bootstraps' from what they compare.\n"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(unpacked)"


def main() -> None:
    """Run and print, or write below the mark of a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", type=Path, help="file to write below its mark")
    parser.add_argument("--selection", action="store_true", help="on the years before the test")
    parser.add_argument(
        "--groups", nargs="+", choices=[group.name for group in GROUPS], default=None
    )
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=["many_to_many", "direction", "quantile_class"],
        default=["many_to_many", "direction", "quantile_class"],
    )
    options = parser.parse_args()
    started = time.perf_counter()
    found = {
        group.name: measured(group, selection=options.selection, kinds=set(options.kinds))
        for group in GROUPS
        if options.groups is None or group.name in options.groups
    }
    lines = "\n".join(page(found))
    seconds = time.perf_counter() - started
    command = "make quality" if options.write else "python -m benchmarks.quality"
    text = f"{head(command, seconds)}\n{lines}\n"
    if options.write is None:
        print(text)
        return
    above = options.write.read_text(encoding="utf-8").split(MARK)[0]
    options.write.write_text(f"{above}{MARK}\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
