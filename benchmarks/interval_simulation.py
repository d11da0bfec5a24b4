"""Do intervals hold when the world changes: constant, rolling and adaptive widths side by side.

    python -m benchmarks.interval_simulation [--series 200] [--seed 0]

Owns worlds whose errors shift in ways that the scale does not see. Never touches a store.

A forecast of zero is bounded at level 0.8 at leads 1 and 5, from row 126 of the errors on, as in a
fold; the leads are sums of the next sessions' shocks, Student t with 6 degrees of freedom, so that
the longer ones overlap. The shift comes at row 378. The "constant width" is the conformal quantile
of the first 126 rows, kept.
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lstm_models.adaptive_intervals import STEP, adaptive_bounds
from lstm_models.intervals import conformal_bounds
from lstm_models.scores import covered, interval_score

Floats = NDArray[np.float64]
LEVEL, LEADS = 0.8, (1, 5)
CALIBRATE, SHIFT, ROWS, WINDOW = 126, 378, 882, 252
ROLLING = 126
"""Sessions over which the worst coverage is looked for."""


@dataclass(frozen=True)
class World:
    """What every shock is multiplied by and moved by, by row `(row,)`."""

    size: Floats
    bias: Floats


def _worlds() -> Mapping[str, World]:
    rows = np.arange(ROWS + max(LEADS))
    after = rows >= SHIFT
    still, ones = np.zeros(len(rows)), np.ones(len(rows))
    ramp = np.clip((rows - SHIFT) / 252, 0.0, 1.0)
    return {
        "nothing changes": World(ones, still),
        "variance doubles": World(np.where(after, np.sqrt(2.0), 1.0), still),
        "variance ×4": World(np.where(after, 2.0, 1.0), still),
        "variance ×4 within a year": World(1.0 + ramp, still),
        "variance ×¼": World(np.where(after, 0.5, 1.0), still),
        "bias of one deviation": World(ones, np.where(after, 1.0, 0.0)),
        "calm and storm, 63 each": World(np.where(rows // 63 % 2, 2.0, 1.0), still),
    }


def outcomes(world: World, series: int, generator: np.random.Generator) -> Floats:
    """Draw `(series, row, lead)` sums of the next shocks, in units of their first deviation."""
    shocks = generator.standard_t(6, (series, len(world.size))) / np.sqrt(1.5)
    shocks = shocks * world.size + world.bias
    sums = [
        sliding_window_view(shocks[:, 1:], lead, axis=1).sum(axis=-1)[:, : ROWS - max(LEADS)]
        for lead in range(1, max(LEADS) + 1)
    ]
    return np.stack(sums, axis=-1)


Bounded = Callable[[Floats], tuple[Floats, Floats]]


def constant(targets: Floats) -> tuple[Floats, Floats]:
    """The conformal interval of the first 126 rows, for ever."""
    at = np.array([CALIBRATE])
    found = conformal_bounds(
        np.zeros_like(targets),
        targets,
        np.ones(targets.shape[:2]),
        at,
        level=LEVEL,
        window=CALIBRATE,
    )
    shape = targets[:, CALIBRATE:].shape
    return np.broadcast_to(found.lower, shape), np.broadcast_to(found.upper, shape)


def tracked(step: float) -> Bounded:
    """The adaptive interval; of step 0 the rolling conformal one."""

    def bounded(targets: Floats) -> tuple[Floats, Floats]:
        found = adaptive_bounds(
            np.zeros_like(targets),
            targets,
            np.ones(targets.shape[:2]),
            np.arange(CALIBRATE, targets.shape[1]),
            levels=(LEVEL,),
            window=WINDOW,
            step=step,
        )
        return found.lower[0], found.upper[0]

    return bounded


METHODS: Mapping[str, Bounded] = {
    "constant width": constant,
    "rolling conformal": tracked(0.0),
    "adaptive": tracked(STEP),
}


def figures(targets: Floats, bounded: Bounded, lead: int) -> tuple[float, float, float]:
    """Coverage, worst coverage of 126 sessions in a row, mean interval score.

    The worst is found in each series by itself, and the median series is reported.
    """
    lower, upper = (bound[..., lead - 1] for bound in bounded(targets))
    truth = targets[:, CALIBRATE:, lead - 1]
    hits = covered(lower, upper, truth)
    worst = sliding_window_view(hits, ROLLING, axis=1).mean(axis=-1).min(axis=1)
    score = interval_score(lower, upper, truth, level=LEVEL).mean()
    return float(hits.mean()), float(np.median(worst)), float(score)


def main() -> None:
    """Print the table of docs/scores.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(
        f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}, NumPy {np.__version__}, {options.series} series, "
        f"seed {options.seed}\n"
    )
    print("| scenario | method | coverage at lead 1, 5 | worst 126 | interval score |")
    print("|---|---|---|---|---|")
    for name, world in _worlds().items():
        targets = outcomes(world, options.series, np.random.default_rng(options.seed))
        for method, bounded in METHODS.items():
            found = np.array([figures(targets, bounded, lead) for lead in LEADS])
            share, worst, score = found.T
            print(
                f"| {name} | {method} | {100 * share[0]:.1f}, {100 * share[1]:.1f} % "
                f"| {100 * worst[0]:.0f}, {100 * worst[1]:.0f} % "
                f"| {score[0]:.2f}, {score[1]:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
