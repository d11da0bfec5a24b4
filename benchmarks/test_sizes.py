"""How often each test finds something where nothing is, and where a known advantage is.

    python -m benchmarks.test_sizes [--repetitions 1000] [--sets 200] [--seed 0]

Owns simulated losses whose truth is known. Never touches a store or a network. The world is that of
`benchmarks.gate_simulation`: losses are means over `horizon` leads of squared errors that overlap
and have fat tails, and two forecasts differ by a persistent amount f.
"""

from __future__ import annotations

import argparse
import datetime as dt
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from benchmarks.gate_simulation import BASELINE, World, losses
from tasks.directional import pesaran_timmermann
from tasks.discoveries import benjamini_hochberg
from tasks.model_sets import REPETITIONS, model_set
from tasks.significance import clark_west, diebold_mariano, hac_test

Floats = NDArray[np.float64]
LEVEL = 0.05
SET_LEVEL = 0.1
LEVEL_WITH, BETTER, NOISE = 0.0, 0.5, -0.5
"""The `a` of the world: the two forecasts are level, the candidate is better by 2.2 %, and the
candidate is the baseline plus noise, which is the null of Clark and West."""


@dataclass(frozen=True)
class Rates:
    """Shares of repetitions that reject at the level: under the null, and under the alternative."""

    size: float
    power: float


def loss_tests(horizon: int, *, sessions: int, repetitions: int, seed: int) -> dict[str, Rates]:
    """Rates of the HAC test, Diebold–Mariano and Clark–West on single series of losses."""
    generator = np.random.default_rng(seed)
    rejected: dict[str, dict[float, list[bool]]] = {}
    for advantage in (LEVEL_WITH, BETTER, NOISE):
        # Independent histories, drawn at once.
        world = World((advantage,) * repetitions, sessions, horizon=horizon, correlation=0.0)
        drawn = losses(world, generator)
        # ½ (e₁² + e₂²) less the squared error of the mean of both forecasts is f²/4.
        squares = 4 * (0.5 * (drawn[BASELINE] + drawn["lstm"]) - drawn["combination"])
        for one, two, apart in zip(drawn[BASELINE], drawn["lstm"], squares, strict=True):
            for name, test in (
                ("HAC, one-sided", hac_test(one - two, horizon=horizon)),
                (
                    "HAC, two-sided",
                    hac_test(one - two, horizon=horizon, alternative="two-sided"),
                ),
                ("Diebold-Mariano, HLN", diebold_mariano(one, two, horizon=horizon)),
                ("Clark-West", clark_west(one, two, apart, horizon=horizon)),
            ):
                found = rejected.setdefault(name, {}).setdefault(advantage, [])
                found.append(test.p_value <= LEVEL)
    return {
        name: Rates(
            float(np.mean(of[NOISE if name == "Clark-West" else LEVEL_WITH])),
            float(np.mean(of[LEVEL_WITH if name == "Clark-West" else BETTER])),
        )
        for name, of in rejected.items()
    }


def direction(
    horizon: int, *, sessions: int, repetitions: int, seed: int, edge: float = 0.08
) -> Rates:
    """Rates of Pesaran–Timmermann: persistent calls of returns over `horizon` sessions.

    Under the alternative a share `edge` of the calls is replaced by what comes; the rest is luck.
    """
    generator = np.random.default_rng(seed)
    rejected = []
    for informed in (False, True):
        found = []
        for _ in range(repetitions):
            steps = generator.standard_t(5, sessions + horizon) + 0.05
            came = np.convolve(steps, np.ones(horizon), "valid")[:sessions] > 0.0
            runs = np.cumsum(generator.uniform(size=sessions) < 0.1)  # a call lasts ten sessions
            calls = generator.uniform(size=sessions)[runs] < 0.6
            if informed:
                knows = generator.uniform(size=sessions) < edge
                calls = np.where(knows, came, calls)
            test = pesaran_timmermann(
                sessions, float((came == calls).mean()), float(came.mean()), float(calls.mean())
            )
            found.append(test.p_value <= LEVEL)
        rejected.append(float(np.mean(found)))
    return Rates(*rejected)


def false_discoveries(
    horizon: int, *, sessions: int, repetitions: int, seed: int, instruments: int = 20
) -> Rates:
    """Benjamini–Hochberg over instruments, half of them better: as size the false discovery rate.

    The power is the share of the better ones that are found at q ≤ 10 %.
    """
    generator = np.random.default_rng(seed)
    world = World((BETTER, LEVEL_WITH) * (instruments // 2), sessions, horizon=horizon)
    false, found = [], []
    for _ in range(repetitions):
        drawn = losses(world, generator)
        tests = [
            hac_test(one - two, horizon=horizon).p_value
            for one, two in zip(drawn[BASELINE], drawn["lstm"], strict=True)
        ]
        called = np.array([q is not None and q <= SET_LEVEL for q in benjamini_hochberg(tests)])
        false.append(called[1::2].sum() / max(called.sum(), 1))
        found.append(called[::2].mean())
    return Rates(float(np.mean(false)), float(np.mean(found)))


def model_sets(
    horizon: int, *, sessions: int, repetitions: int, seed: int, samples: int = REPETITIONS
) -> tuple[Rates, Rates]:
    """Rates of the Model Confidence Set and of SPA over four methods, two of them equally best.

    Of the set, as size how often a best method is missing from the set of 90 %, and as power the
    share of worse methods that are not in it. Of SPA, how often a best and a worse method is found
    to be beaten.
    """
    generator = np.random.default_rng(seed)
    missing, left, beaten, found = [], [], [], []
    spread = np.array([0.15, 0.15, 0.45, 0.45])
    for _ in range(repetitions):
        table = _four(horizon, sessions, spread, generator)
        own = int(generator.integers(2**31))
        answer = model_set(table, horizon=horizon, seed=own, repetitions=samples)
        kept = np.array([p is not None and p > SET_LEVEL for p in answer.mcs])
        called = np.array([p is not None and p <= LEVEL for p in answer.spa])
        missing.append(not kept[:2].all())
        left.append(1.0 - kept[2:].mean())
        beaten.append(called[:2].mean())
        found.append(called[2:].mean())
    return (
        Rates(float(np.mean(missing)), float(np.mean(left))),
        Rates(float(np.mean(beaten)), float(np.mean(found))),
    )


def _four(horizon: int, sessions: int, spread: Floats, generator: np.random.Generator) -> Floats:
    """Losses of methods that each add their own persistent noise, `(session, method)`."""
    shocks = generator.standard_t(5, sessions + horizon) / np.sqrt(5 / 3)
    sums = np.cumsum(np.pad(shocks, (1, 0)))
    leads = np.arange(1, horizon + 1)
    places = np.arange(1, sessions + 1)[:, None]
    u = (sums[places + leads - 1] - sums[places - 1]) / np.sqrt(leads)
    f = generator.normal(size=(sessions, len(spread)))
    for session in range(1, sessions):
        f[session] = np.sqrt(1 - 0.95**2) * f[session] + 0.95 * f[session - 1]
    return np.asarray(((u[:, :, None] + (spread * f)[:, None, :]) ** 2).mean(axis=1))


def main() -> None:
    """Print the table of docs/scores.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--sets", type=int, default=200, help="repetitions of the bootstraps")
    parser.add_argument("--samples", type=int, default=300, help="of each bootstrap")
    parser.add_argument("--sessions", type=int, default=1008)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    horizons = (1, 5, 10)
    table: dict[str, list[Rates]] = {}
    for horizon in horizons:
        of = {"sessions": options.sessions, "seed": options.seed}
        for name, rates in loss_tests(horizon, repetitions=options.repetitions, **of).items():
            table.setdefault(name, []).append(rates)
        table.setdefault("Pesaran-Timmermann", []).append(
            direction(horizon, repetitions=options.repetitions, **of)
        )
        table.setdefault("Benjamini-Hochberg, 20 instruments", []).append(
            false_discoveries(horizon, repetitions=options.repetitions // 5, **of)
        )
        mcs, spa = model_sets(horizon, repetitions=options.sets, samples=options.samples, **of)
        table.setdefault("Model Confidence Set", []).append(mcs)
        table.setdefault("SPA, consistent", []).append(spa)
    print(
        f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}, NumPy {np.__version__}, arch {version('arch')}, "
        f"{options.sessions:,} sessions, {options.repetitions:,} repetitions "
        f"({options.repetitions // 5} of Benjamini-Hochberg, {options.sets} of the bootstraps, of "
        f"{options.samples} samples each), "
        f"seed {options.seed}\n"
    )
    heads = [f"{what}, H = {h}" for what in ("size", "power") for h in horizons]
    print(f"| test | nominal | {' | '.join(heads)} |")
    print("|---|---|" + "---|" * len(heads))
    for name, of_horizons in table.items():
        nominal = SET_LEVEL if name.startswith(("Benjamini", "Model")) else LEVEL
        cells = [one.size for one in of_horizons] + [one.power for one in of_horizons]
        written = " | ".join(f"{100 * cell:.1f} %" for cell in cells)
        print(f"| {name} | {100 * nominal:.0f} % | {written} |")


if __name__ == "__main__":
    main()
