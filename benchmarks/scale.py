"""What a network costs when there are 20, 200, 1,000 or 5,000 of them: time, memory, checkpoints.

    python -m benchmarks.scale [--lanes 20 200 1000 5000] [--processes 2] [--json FILE]

A lane is one network: an instrument's, of one walk-forward fold and one seed. Instruments have 20
years of made-up daily bars; recipe, folds and seeds are the defaults of the nightly run, so that
5,000 lanes are the whole walk-forward of 500 instruments. Shards are trained in child processes,
one core each, as the nightly run does it; then new ones load every checkpoint and forecast.

Owns shards, clocks and tables. Never touches the work, which is in `benchmarks.scale_shard`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")  # the product is one core's

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.resident import watched
from benchmarks.scale_shard import Costs, Shard, forecast, train
from flows.progress import Display, from_children, showing
from flows.workers import Workers, default_processes
from tasks.settings import ForecastSettings

GIB = 2**30
REQUIREMENTS = (
    "cost per lane within 15 % from 200 to 5,000 lanes; at 5,000: peak below 4 GiB, training below "
    "20 minutes, loading and forecasting below 10 s"
)


@dataclass(frozen=True)
class Measured:
    """One size. Seconds, unless the name says otherwise; "core" is processor time of children.

    `start_core` is importing, compiling and drawing bars; `core_per_lane` is training without them.
    `write`, `load` and `forecast` are wall seconds of all shards over the number of processes;
    `forecast` compiles, and TensorFlow is loaded before all three.
    """

    lanes: int
    processes: int
    shards: int
    load_average: float
    wall: float
    start_core: float
    core_per_lane: float
    updates_per_lane: float
    gflops: float
    product_share: float
    peak_gib: float
    checkpoint_mib: float
    write: float
    load: float
    forecast: float
    walk_forward_core: float


def main() -> None:
    """Measure each size and print."""
    options = _parser().parse_args()
    settings = ForecastSettings()
    if options.max_updates:
        fewer = settings.training.model_copy(update={"max_updates": options.max_updates})
        settings = settings.model_copy(update={"training": fewer})
    each = (settings.evaluation.folds + 1) * settings.model.seeds
    console = Console(stderr=True)
    product = large_product()
    print(_machine(), f"load {os.getloadavg()[0]:.1f}", sep=", ")
    print(f"one large float32 product on one core: {product / 1e9:.0f} GFLOP/s")
    measured: list[Measured] = []
    for lanes in options.lanes:
        with tempfile.TemporaryDirectory() as folder, showing(console) as shown:
            shards = _shards(max(lanes // each, 1), options, settings, Path(folder))
            measured.append(_measure(shards, options.processes, product, shown))
        print(_table(measured[-1:]) if len(options.lanes) > 1 else "", end="", flush=True)
    print(_table(measured))
    print(*judged(measured), sep="\n")
    if options.json:
        answer = {"machine": _machine(), "product_gflops": product / 1e9}
        rows = [asdict(one) for one in measured]
        options.json.write_text(json.dumps({**answer, "sizes": rows}, indent=1))


def _measure(
    shards: list[Shard], processes: int | None, product: float, shown: Display
) -> Measured:
    """Train, write, load and forecast one size."""
    processes = min(processes or default_processes(len(shards)), len(shards))
    load = os.getloadavg()[0]
    began = time.perf_counter()
    with watched() as peak:
        trained = _run("train", train, shards, processes, shown)
        wall = time.perf_counter() - began
        forecasts = _run("forecast", forecast, shards, processes, shown)
    lanes = sum(one.lanes for one in trained)
    core = sum(one.cpu["train"] for one in trained)
    rate = sum(one.operations for one in trained) / core

    def waited(costs: list[Costs], part: str) -> float:
        return sum(one.wall[part] for one in costs) / processes

    files = sum(shard.checkpoint.stat().st_size for shard in shards)
    return Measured(
        lanes=lanes,
        processes=processes,
        shards=len(shards),
        load_average=load,
        wall=wall,
        start_core=sum(one.cpu["prepare"] + one.cpu["compile"] for one in trained),
        core_per_lane=core / lanes,
        updates_per_lane=sum(one.updates for one in trained) / lanes,
        gflops=rate / 1e9,
        product_share=rate / product,
        peak_gib=peak.bytes / GIB,
        checkpoint_mib=files / 2**20,
        write=waited(trained, "write"),
        load=waited(forecasts, "load"),
        forecast=waited(forecasts, "forecast"),
        walk_forward_core=sum(one.cpu.get("walk forward", 0.0) for one in trained),
    )


def _run(
    step: str,
    work: Callable[..., Costs],
    shards: list[Shard],
    processes: int,
    shown: Display,
) -> list[Costs]:
    """Every shard in children of its own; progress with the time left."""
    shown.begin(step, f"{step.capitalize()} {len(shards)} shard(s) on {processes} process(es)")
    shown.expect(step, len(shards))
    workers = Workers(processes, from_children(shown))
    try:
        with ThreadPoolExecutor(processes) as threads:
            labels = [f"{step} shard-{number:04d}" for number in range(len(shards))]
            done = list(
                threads.map(
                    lambda one: workers.run(one[0], work, one[1]), zip(labels, shards, strict=True)
                )
            )
    finally:
        workers.close()
    shown.end(step)
    return done


def _shards(
    instruments: int, options: argparse.Namespace, settings: ForecastSettings, folder: Path
) -> list[Shard]:
    """Shards of at most `--shard` instruments, as the nightly run plans them."""
    size = min(options.shard, instruments)
    return [
        Shard(
            first=first,
            count=min(size, instruments - first),
            sessions=options.sessions,
            settings=settings,
            checkpoint=folder / f"{first:05d}.safetensors",
            walk_forward=options.walk_forward,
        )
        for first in range(0, instruments, size)
    ]


def large_product(size: int = 2048, repeats: int = 5) -> float:
    """Floating-point operations per second of a large float32 product, the fastest of a few."""
    square = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        square @ square
        seconds.append(time.process_time() - began)
    return 2.0 * size**3 / min(seconds)


def _table(measured: list[Measured]) -> str:
    """The sizes as columns of numbers, plain text."""
    table = Table("", *(f"{one.lanes:,} lanes" for one in measured), box=None, pad_edge=False)
    rows: dict[str, Callable[[Measured], str]] = {
        "processes, shards": lambda m: f"{m.processes}, {m.shards}",
        "load before": lambda m: f"{m.load_average:.1f}",
        "training, wall s": lambda m: f"{m.wall:.1f}",
        "start-up, core s": lambda m: f"{m.start_core:.1f}",
        "training per lane, core s": lambda m: f"{m.core_per_lane:.3f}",
        "updates per lane": lambda m: f"{m.updates_per_lane:.0f}",
        "per lane and update, core ms": lambda m: (
            f"{m.core_per_lane / m.updates_per_lane * 1e3:.2f}"
        ),
        "useful GFLOP/s a core": lambda m: f"{m.gflops:.0f}",
        "share of a large product": lambda m: f"{m.product_share:.0%}",
        "peak memory, GiB": lambda m: f"{m.peak_gib:.2f}",
        "checkpoints, MiB": lambda m: f"{m.checkpoint_mib:.1f}",
        "write, s": lambda m: f"{m.write:.2f}",
        "load, s": lambda m: f"{m.load:.2f}",
        "forecast, s": lambda m: f"{m.forecast:.2f}",
        "walk-forward predictions, core s": lambda m: f"{m.walk_forward_core:.1f}",
    }
    for name, text in rows.items():
        table.add_row(name, *map(text, measured))
    console = Console(width=40 + 14 * len(measured))
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def judged(measured: list[Measured]) -> list[str]:
    """The requirements, and what the sizes at hand say of them."""
    said = [f"required: {REQUIREMENTS}"]
    flat = [one for one in measured if one.lanes >= 200]
    if len(flat) > 1:
        base = flat[0]
        ratios = ", ".join(
            f"{one.lanes:,}: {one.core_per_lane / base.core_per_lane:.2f}" for one in flat[1:]
        )
        said.append(f"cost per lane relative to {base.lanes:,} lanes: {ratios}")
    largest = max(measured, key=lambda one: one.lanes)
    for what, value, limit, unit in (
        ("peak memory", largest.peak_gib, 4.0, "GiB"),
        ("training", largest.wall / 60.0, 20.0, "min"),
        ("load and forecast", largest.load + largest.forecast, 10.0, "s"),
    ):
        verdict = "kept" if value < limit else "MISSED"
        said.append(
            f"{what} at {largest.lanes:,} lanes: {value:.2f} {unit}, limit {limit:g}: {verdict}"
        )
    return said


def _machine() -> str:
    names = ("tensorflow", "keras", "numpy")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {sys.version.split()[0]}, {packages}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lanes", type=int, nargs="+", default=[20, 200, 1000, 5000])
    parser.add_argument("--sessions", type=int, default=5040, help="daily bars of an instrument")
    parser.add_argument("--shard", type=int, default=50, help="most instruments in a shard")
    parser.add_argument("--processes", type=int, help="children at once; else one per core")
    parser.add_argument("--max-updates", type=int, help="stop early: to try the script")
    parser.add_argument("--walk-forward", action="store_true", help="predict all test rows, too")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    return parser


if __name__ == "__main__":
    main()
