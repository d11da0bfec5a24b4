"""How often the gate publishes noise, and how often it finds a true advantage of a given size.

    python -m benchmarks.gate_simulation [--repetitions 120] [--refits 5] [--seed 0]

Owns a simulated world whose true skill is known. Never touches a store or a network. The world is
shaped like log volatility: forecasts are judged on the mean over `horizon` leads of squared errors
that overlap, have fat tails (Student t, 5 degrees of freedom) and are correlated between
instruments (ρ = 0.5), and the candidate differs from the baseline by a persistent amount f.

With u the error of the best mixture of the two forecasts, the baseline's error is u − (½ + a) f
and the candidate's u + (½ − a) f. The candidate's expected advantage is then 2a E[f²]: none at
a = 0, and at a = −½ the baseline is that best mixture and f is pure noise. Their mean, the
"combination", has error u − a f and is level with the baseline at a = −¼.
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.gate import Candidate, GateConfig, decide
from tasks.kinds import default_baseline

Floats = NDArray[np.float64]
TARGET, KIND = "log_volatility", "many_to_many"
BASELINE = default_baseline(KIND, TARGET)


@dataclass(frozen=True)
class World:
    """What is true: how many instruments and sessions, and how the candidate differs.

    Attributes:
        advantages: `a` of each instrument.
        sessions: Gate sessions in all.
        folds: Walk-forward folds that share them out evenly.
        horizon: Leads that the loss is the mean of.
        difference: Standard deviation of f, where that of u is 1.
        persistence: Autocorrelation of f from one session to the next.
        correlation: Correlation between instruments of both u and f.
    """

    advantages: tuple[float, ...]
    sessions: int = 1008
    folds: int = 4
    horizon: int = 5
    difference: float = 0.15
    persistence: float = 0.95
    correlation: float = 0.5

    def skill(self, advantage: float) -> float:
        """Return the candidate's true skill score against the baseline."""
        spread = self.difference**2
        return 2 * advantage * spread / (1 + (0.5 + advantage) ** 2 * spread)


@dataclass(frozen=True)
class Published:
    """Rates over repetitions.

    Attributes:
        passed: Share of repetitions in which anything but the baseline was published.
        instruments: `(instrument,)` share of repetitions in which its candidate was published.
    """

    passed: float
    instruments: Floats


@dataclass(frozen=True)
class Nights(Published):
    """Rates over the refits of repetitions.

    Attributes:
        flips: How often a year an instrument's published method changed from refit to refit.
    """

    flips: float


def losses(world: World, generator: np.random.Generator) -> dict[str, Floats]:
    """Draw one history: method → `(instrument, session)` mean squared error over leads."""
    count, sessions, horizon = len(world.advantages), world.sessions, world.horizon

    def correlated(draws: Floats) -> Floats:
        own, common = draws[:-1], draws[-1:]
        mixed = np.sqrt(1 - world.correlation) * own + np.sqrt(world.correlation) * common
        return np.asarray(mixed)

    shocks = correlated(generator.standard_t(5, (count + 1, sessions + horizon)) / np.sqrt(5 / 3))
    sums = np.cumsum(np.pad(shocks, ((0, 0), (1, 0))), axis=1)
    u = np.stack(
        [
            (sums[:, 1 + lead : 1 + lead + sessions] - sums[:, 1 : 1 + sessions]) / np.sqrt(lead)
            for lead in range(1, horizon + 1)
        ],
        axis=-1,
    )
    f = correlated(generator.normal(size=(count + 1, sessions)))
    for session in range(1, sessions):
        f[:, session] *= np.sqrt(1 - world.persistence**2)
        f[:, session] += world.persistence * f[:, session - 1]
    f = world.difference * f[..., None]
    a = np.asarray(world.advantages)[:, None, None]
    errors = {BASELINE: u - (0.5 + a) * f, "lstm": u + (0.5 - a) * f, "combination": u - a * f}
    return {method: (error**2).mean(axis=-1) for method, error in errors.items()}


def statistics_table(history: dict[str, Floats], folds: int) -> pa.Table:
    """Return a history of losses as gate rows of the `statistics` dataset, fold 0 the newest."""
    count, sessions = next(iter(history.values())).shape
    size = len(history) * count * sessions
    grid = np.indices((len(history), count, sessions)).reshape(3, size)
    methods, instruments, session = grid

    def repeated(values: Sequence[str], codes: NDArray[np.int64]) -> pa.Array:
        return pa.array(values).take(pa.array(codes))

    def same(value: str) -> pa.Array:
        return pa.repeat(value, size)

    names = [f"I{position:03}" for position in range(count)]
    first = np.datetime64("2000-01-03", "D")
    return pa.table(
        {
            "evaluation_id": repeated([f"{name} {TARGET}" for name in names], instruments),
            "instrument": repeated(names, instruments),
            "target": same(TARGET),
            "kind": same(KIND),
            "method": repeated(list(history), methods),
            "fold": pa.array((folds - 1 - session * folds // sessions).astype(np.int32)),
            "segment": same("gate"),
            "cutoff": pa.array(first + session, pa.date32()),
            "loss": pa.array(np.concatenate([loss.ravel() for loss in history.values()])),
        }
    )


def simulate(world: World, config: GateConfig, *, repetitions: int, seed: int) -> Published:
    """Let the gate decide over many histories of one world."""
    generator = np.random.default_rng(seed)
    chosen = np.zeros((repetitions, len(world.advantages)), dtype=np.bool_)
    for repetition in range(repetitions):
        table = statistics_table(losses(world, generator), world.folds)
        decisions = decide(table, config, horizon=world.horizon)
        chosen[repetition] = [decision.method != BASELINE for decision in decisions]
    return Published(float(chosen.any(axis=1).mean()), chosen.mean(axis=0))


def live_on(
    world: World,
    rules: Sequence[GateConfig],
    *,
    repetitions: int,
    seed: int,
    refits: int = 13,
    refit_every: int = 63,
) -> list[Nights]:
    """Let several rules decide at every refit on the same histories, each along its fold plan.

    At each refit the folds move on by `refit_every` sessions: old losses go, new ones come. A
    session's loss is the same whichever refit's network is judged on it.
    """
    generator = np.random.default_rng(seed)
    count = len(world.advantages)
    chosen = np.empty((len(rules), repetitions, refits, count), dtype=object)
    length = world.sessions + refit_every * (refits - 1)
    for repetition in range(repetitions):
        history = losses(replace(world, sessions=length), generator)
        for refit in range(refits):
            seen = slice(refit_every * refit, refit_every * refit + world.sessions)
            table = statistics_table(
                {method: loss[:, seen] for method, loss in history.items()}, world.folds
            )
            for place, rule in enumerate(rules):
                decisions = decide(table, rule, horizon=world.horizon)
                chosen[place, repetition, refit] = [decision.method for decision in decisions]
    moved = (chosen[:, :, 1:] != chosen[:, :, :-1]).sum(axis=(1, 2, 3))
    moved = moved / (repetitions * count * max(refits - 1, 1))
    return [
        Nights(
            float((one != BASELINE).any(axis=2).mean()),
            (one != BASELINE).mean(axis=(0, 1)),
            float(flip * 252 / refit_every),
        )
        for one, flip in zip(chosen, moved, strict=True)
    ]


BOTH: tuple[Candidate, ...] = ("lstm", "combination")
SCENARIOS: tuple[tuple[str, tuple[float, float], tuple[Candidate, ...]], ...] = (
    ("pure noise", (-0.5, -0.5), BOTH),
    ("combination level, lstm worse", (-0.25, -0.25), BOTH),
    ("the same, the combination the only candidate", (-0.25, -0.25), ("combination",)),
    ("lstm level, the only candidate", (0.0, 0.0), ("lstm",)),
    ("lstm level, combination better", (0.0, 0.0), BOTH),
    ("lstm better", (0.25, 0.25), BOTH),
    ("lstm better", (0.5, 0.5), BOTH),
    ("better for one half, noise for the other", (0.5, -0.5), BOTH),
)
"""The truth, the advantages of every other instrument in turn, and the candidates."""


def main() -> None:
    """Print the table of docs/scores.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repetitions", type=int, default=120)
    parser.add_argument("--refits", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--instruments", type=int, nargs="+", default=[4])
    options = parser.parse_args()
    rule = GateConfig()
    print(
        f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}, NumPy {np.__version__}, "
        f"{options.repetitions} repetitions of {options.refits} refits, seed {options.seed}, "
        f"significance {rule.significance:g}, to stay {rule.keep_significance:g}, "
        f"{World((0.0,)).sessions:,} gate sessions; without → with hysteresis\n"
    )
    print(
        "| in truth | skill of lstm | instruments | something published | an instrument's share "
        "| changes a year |\n|---|---|---|---|---|---|"
    )
    for name, advantages, candidates in SCENARIOS:
        for count in options.instruments:
            world = World(advantages * (count // 2))
            kept = GateConfig(candidates=candidates)
            forgetful = kept.model_copy(update={"keep_significance": kept.significance})
            found = live_on(
                world,
                (forgetful, kept),
                repetitions=options.repetitions,
                seed=options.seed,
                refits=options.refits,
            )
            skills = " / ".join(f"{100 * world.skill(a):+.1f}" for a in sorted(set(advantages)))
            cells = [
                " → ".join(f"{100 * one.passed:.0f}" for one in found) + " %",
                " → ".join(_shares(one, advantages) for one in found) + " %",
                " → ".join(f"{one.flips:.2f}" for one in found),
            ]
            print(f"| {name} | {skills} % | {count} | {' | '.join(cells)} |", flush=True)


def _shares(found: Nights, advantages: tuple[float, float]) -> str:
    """The mean share, or that of either half where they differ."""
    halves = [found.instruments[start::2].mean() for start in (1, 0)]
    shown = halves if advantages[0] != advantages[1] else [found.instruments.mean()]
    return " / ".join(f"{100 * share:.0f}" for share in shown)


if __name__ == "__main__":
    main()
