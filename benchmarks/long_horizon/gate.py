"""Repeat or the LSTM: the product's gate on the validation windows.

Owns how windows become rows of the `statistics` dataset. Never touches the rule: `tasks.gate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from benchmarks.long_horizon.protocol import Errors, Rows
from tasks.differentials import pair_losses
from tasks.gate import Decision, GateConfig, decide
from tasks.significance import LossTest, hac_test

CONFIG = GateConfig(candidates=("lstm",))
"""The rule of the nightly run with its own levels; the only candidate is the LSTM."""
METHODS = ("zero", "lstm")
"""Repeat is called as in the product, where forecasting no change is the baseline `zero`."""


@dataclass(frozen=True)
class Comparison:
    """The LSTM against Repeat on one segment.

    Attributes:
        windows: that overlap, one row apart.
        apart: of them that share no target: windows over horizon, rounded up; they are not all
            independent, but no more of them are.
        test: one-sided HAC test of the mean over series of (Repeat's MSE − the LSTM's), each over
            Repeat's; its mean is the skill.
    """

    windows: int
    apart: int
    test: LossTest


def compared(
    repeat: Errors, lstm: Errors, cutoffs: Rows, names: Sequence[str], horizon: int
) -> Comparison:
    """Put the difference of two methods' squared errors to the test."""
    pairs = pair_losses(_statistics(repeat, lstm, cutoffs, names), *METHODS)
    test = hac_test(pairs.pooled(), horizon=horizon)
    return Comparison(len(cutoffs), -(-len(cutoffs) // horizon), test)


def decisions(
    repeat: Errors, lstm: Errors, cutoffs: Rows, names: Sequence[str], horizon: int
) -> tuple[Decision, ...]:
    """What the gate publishes of each series, sorted by name."""
    return decide(_statistics(repeat, lstm, cutoffs, names), CONFIG, horizon=horizon)


def chosen(
    decided: Sequence[Decision], repeat: Errors, lstm: Errors, names: Sequence[str]
) -> Errors:
    """The errors of what the gate publishes, series by series."""
    method = {decision.instrument: decision.method for decision in decided}
    published = np.array([method[name] == "lstm" for name in names])
    return Errors(
        np.where(published, lstm.squared, repeat.squared),
        np.where(published, lstm.absolute, repeat.absolute),
    )


def _statistics(repeat: Errors, lstm: Errors, cutoffs: Rows, names: Sequence[str]) -> pa.Table:
    """Rows of the `statistics` dataset. Rows of the file have no dates: the n-th is day n."""
    series, windows = len(names), len(cutoffs)
    count = len(METHODS) * series * windows
    days = (np.datetime64("1970-01-01", "D") + cutoffs).astype("datetime64[D]")
    losses = np.stack([repeat.squared.T, lstm.squared.T])
    return pa.table(
        {
            "evaluation_id": pa.array(np.tile(np.repeat(names, windows), len(METHODS)).tolist()),
            "instrument": pa.array(np.tile(np.repeat(names, windows), len(METHODS)).tolist()),
            "target": pa.array(["log_return"] * count),
            "kind": pa.array(["many_to_many"] * count),
            "method": pa.array(np.repeat(METHODS, series * windows).tolist()),
            "fold": pa.array(np.zeros(count, np.int32)),
            "segment": pa.array(["gate"] * count),
            "cutoff": pa.array(np.tile(days, len(METHODS) * series)),
            "loss": pa.array(losses.ravel()),
        }
    )
