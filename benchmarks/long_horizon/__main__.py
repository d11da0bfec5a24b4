"""Reproduce the table and write it down.

    python -m benchmarks.long_horizon PATH/exchange_rate.txt [--horizons 96 192 336 720]
        [--write benchmarks/LONG_HORIZON.md] [--validation]

`--validation` scores the validation rows alone: that is how a recipe is chosen. Every other call
scores the test rows.

Owns the command line and the file's outline. Never touches figures.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

if __name__ == "__main__":  # one core, and bytes that agree between machines
    os.environ.update(
        OPENBLAS_NUM_THREADS="1",
        OMP_NUM_THREADS="1",
        TF_NUM_INTRAOP_THREADS="1",
        TF_NUM_INTEROP_THREADS="1",
        TF_ENABLE_ONEDNN_OPTS="0",
        TF_CPP_MIN_LOG_LEVEL="3",
    )

from benchmarks.long_horizon import meaning, published, tables
from benchmarks.long_horizon.experiment import Outcome, run
from benchmarks.long_horizon.protocol import BATCH, Floats, Split, standardised
from benchmarks.long_horizon.series import NAMES, BadTick, bad_ticks, read, without

PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "pyarrow")


def main(arguments: list[str] | None = None) -> int:
    """Measure and print, or write; 1 if Repeat misses the published figures."""
    options = _parser().parse_args(arguments)
    began = time.process_time()
    try:
        rates = read(options.path)
        split = Split.of(len(rates))
        for horizon in options.horizons:
            split.cutoffs("validation", horizon)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    ticks = bad_ticks(rates)
    versions = {"as it is": rates, "without the bad ticks": without(rates, ticks)}
    outcomes: dict[str, list[Outcome]] = {name: [] for name in versions}
    for horizon in sorted(set(options.horizons)):
        for name, data in versions.items():
            print(f"{horizon} rows ahead, the file {name} …", file=sys.stderr, flush=True)
            levels = standardised(data, split)
            outcomes[name].append(run(levels, split, horizon, NAMES, test=not options.validation))
    if options.validation:
        for name, found in outcomes.items():
            print(f"Validation, the file {name}:\n\n{tables.validation_table(found)}\n")
        return 0
    raw, cleaned = outcomes.values()
    head = _head(options, rates, time.process_time() - began)
    text = "\n\n".join([*head, *_body(raw, cleaned, split, ticks)]) + "\n"
    if options.write:
        options.write.write_text(text)
    else:
        print(text, end="")
    return int(len(rates) == published.ROWS and "FAILED" in meaning.check_sentence(raw))


def _head(options: argparse.Namespace, rates: Floats, seconds: float) -> list[str]:
    """When, with what and on what."""
    digest = hashlib.sha256(options.path.read_bytes()).hexdigest()
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    horizons = " ".join(map(str, sorted(set(options.horizons))))
    return [
        "# Long horizons: a published table, reproduced",
        f"{datetime.now(UTC).date()}, Python {platform.python_version()}, {packages}, "
        f"{platform.machine()}; {seconds:.0f} s of processor time on one core. Written by",
        f"    python -m benchmarks.long_horizon PATH/{options.path.name} --horizons {horizons} "
        "--write FILE",
        f"Data: {len(rates)} rows of {len(NAMES)} daily exchange rates (Lai et al. 2018, LSTNet), "
        f"SHA-256 {digest[:16]}…, not part of this repository. Errors are in units of each series' "
        "training standard deviation. Published figures: Zeng et al. (2023), arXiv:2205.13504, "
        "table 2.",
    ]


def _body(
    raw: list[Outcome], cleaned: list[Outcome], split: Split, ticks: tuple[BadTick, ...]
) -> list[str]:
    """Tables and sentences."""
    return [
        meaning.check_sentence(raw),
        "## The file as it is",
        f"Test, the last incomplete batch of {BATCH} windows left out, as in the published code:",
        tables.scores_table(raw, batch=BATCH, beside_published=True),
        "Test, all windows:",
        tables.scores_table(raw, batch=1, beside_published=False),
        "## Without the bad ticks",
        "Test, the last incomplete batch left out:",
        tables.scores_table(cleaned, batch=BATCH, beside_published=False),
        "Test, all windows:",
        tables.scores_table(cleaned, batch=1, beside_published=False),
        "## The LSTM against Repeat",
        "*Skill* is the mean over series of 1 − MSE / Repeat's; *t, p* are those of the gate's "
        "one-sided HAC test; *apart* is how many windows fit without an overlap. *Networks that "
        "left Repeat* are those for which any update was better on validation than none.",
        "The file as it is:",
        tables.evidence_table(raw),
        "Without the bad ticks:",
        tables.evidence_table(cleaned),
        "## What it means",
        "\n".join(f"- {line}" for line in meaning.meaning(raw, cleaned, split)),
        "## What was done",
        "\n".join(f"- {line}" for line in meaning.protocol(split, ticks)),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.long_horizon",
        description="A published table of long-horizon forecasts, reproduced.",
    )
    parser.add_argument("path", type=Path, help="exchange_rate.txt: eight columns, no header")
    parser.add_argument("--horizons", type=int, nargs="+", default=list(published.HORIZONS))
    parser.add_argument("--write", type=Path, help="file to write; else it is printed")
    parser.add_argument(
        "--validation", action="store_true", help="leave the test rows alone: to choose a recipe"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
