"""A fitted fleet: the LSTMs of many members, used like one model.

Owns the weights, predictions and the way to plain Keras. Never touches training, dates or files.

A member is one instrument's LSTM for one target and one fold; each of its seeds is a *lane*.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np
from numpy.typing import NDArray

from lstm_models.fleet_config import FleetConfig
from lstm_models.networks import Array, fold_scaling, keras_member
from lstm_models.scaling import Scaler
from lstm_models.updates import prediction_program

Floats = NDArray[np.float64]
ROW_STEP = 512
"""Row counts are rounded up to a multiple of this, so that a longer history seldom recompiles."""
PREDICTED_WINDOWS = 64
"""Windows per lane in one prediction program."""


@dataclass(frozen=True)
class LaneReport:
    """How the training of one lane went; MSEs are in units of the member's residual variance."""

    status: str
    updates: int
    best_update: int
    initial_mse: float
    best_mse: float
    history: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Fleet:
    """A fitted fleet.

    Attributes:
        names: of the members, in order.
        center, spread: of the features, `(member, feature)`.
        skip: linear path on raw features, intercept last, `(member, feature + 1, lead)`.
        scale: of the residuals, `(member, lead)`.
        recurrence: `(member, seed, units + feature + 1, 4·units)`.
        head: `(member, seed, units + 1, lead)`.
        reports: per member and seed; empty for a fleet that was loaded.
    """

    config: FleetConfig
    names: tuple[str, ...]
    center: Floats
    spread: Floats
    skip: Floats
    scale: Floats
    recurrence: Array
    head: Array
    reports: tuple[tuple[LaneReport, ...], ...] = ()

    def index(self, name: str) -> int:
        """Position of a member.

        Raises:
            KeyError: naming the members there are.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(
                f"no member {name!r} in this fleet; it has {', '.join(self.names[:10])}"
                f"{' …' if len(self.names) > 10 else ''}"
            ) from None

    def select(self, names: Sequence[str]) -> Fleet:
        """The fleet of these members only, in this order.

        Raises:
            KeyError: if one of them is not in this fleet.
        """
        at = [self.index(name) for name in names]
        return replace(
            self,
            names=tuple(names),
            center=self.center[at],
            spread=self.spread[at],
            skip=self.skip[at],
            scale=self.scale[at],
            recurrence=self.recurrence[at],
            head=self.head[at],
            reports=tuple(self.reports[i] for i in at) if self.reports else (),
        )

    def member(self, name: str) -> keras.Model:
        """One member as a plain Keras model; see `networks.keras_member`."""
        i = self.index(name)
        lanes = [
            fold_scaling(
                self.recurrence[i, s],
                self.head[i, s],
                self.center[i],
                self.spread[i],
                self.scale[i],
            )
            for s in range(self.config.seeds)
        ]
        skip: Floats | None = self.skip[i]
        if not self.config.skip:
            for _, dense in lanes:
                dense[1] += self.skip[i, -1].astype(np.float32)
            skip = None
        return keras_member(lanes, skip, name="".join(c if c.isalnum() else "_" for c in name))

    def predict(
        self, inputs: NDArray[np.floating], series: Sequence[int], cutoffs: NDArray[np.integer]
    ) -> Floats:
        """The ungated mean at each cutoff, from a window of `lookback` rows that ends there.

        Args:
            inputs: raw features `(series, row, feature)`; rows up to a cutoff are read, none
                after it.
            series: index into `inputs` per member.
            cutoffs: `(member, window)`, rows; −1 asks for nothing there.

        Returns:
            `(member, window, lead)`, in target units; NaN where the cutoff is −1 or where the
            window holds a value that is not finite.

        Raises:
            ValueError: if a cutoff has fewer than `lookback` rows up to it, or is no row at all.
        """
        asked = cutoffs >= 0
        if np.any(cutoffs >= inputs.shape[1]):
            raise ValueError(
                f"a cutoff must be one of the {inputs.shape[1]} rows, received row "
                f"{int(cutoffs.max())}"
            )
        if np.any(cutoffs[asked] < self.config.lookback - 1):
            raise ValueError(
                f"a cutoff needs lookback={self.config.lookback} rows up to it, received row "
                f"{int(cutoffs[asked].min())}"
            )
        series_of = np.asarray(series)
        leads = self.scale.shape[1]
        predictions = np.full((*cutoffs.shape, leads), np.nan)
        program = prediction_program(self.config.lookback)
        lanes = [(m, s) for m in range(len(self.names)) for s in range(self.config.seeds)]
        columns = range(0, cutoffs.shape[1], PREDICTED_WINDOWS)
        residual = np.zeros((*cutoffs.shape, leads))
        for block in _blocks(lanes, self.config.width):
            padded = np.zeros(
                (self.config.width, rounded(inputs.shape[1]), inputs.shape[2] + 1), np.float32
            )
            for place, (m, _) in enumerate(block):
                scaler = Scaler(self.center[m], self.spread[m])
                padded[place] = scaled_rows(inputs[series_of[m]], scaler, padded.shape[1])
            recurrence = stacked([self.recurrence[m, s] for m, s in block], self.config.width)
            head = stacked([self.head[m, s] for m, s in block], self.config.width)
            for first in columns:
                chunk = slice(first, first + PREDICTED_WINDOWS)
                starts = np.zeros((self.config.width, PREDICTED_WINDOWS), np.int32)
                for place, (m, _) in enumerate(block):
                    wanted = cutoffs[m, chunk]
                    starts[place, : len(wanted)] = np.maximum(wanted - self.config.lookback + 1, 0)
                outputs = np.asarray(program(recurrence, head, padded, starts), np.float64)
                for place, (m, _) in enumerate(block):
                    width = len(cutoffs[m, chunk])
                    residual[m, chunk] += outputs[place, :width] / self.config.seeds
        for m, row in enumerate(series_of):
            at = cutoffs[m][asked[m]]
            linear = linear_path(inputs[row, at], self.skip[m])
            whole = _whole_windows(inputs[row], at, self.config.lookback)
            mean = linear + residual[m][asked[m]] * self.scale[m]
            predictions[m, asked[m]] = np.where(whole[:, None], mean, np.nan)
        return predictions


def linear_path(features: NDArray[np.floating], coefficients: Floats) -> Floats:
    """Linear map `(row, feature)` to `(row, lead)`; `coefficients (feature + 1, lead)`.

    Summed column by column: a matrix product may round a row differently when the number of rows
    changes, and a forecast must not depend on how many are asked for at once. A column whose
    coefficients are zero is not read, so that what it holds, or lacks, does not matter.
    """
    total = np.broadcast_to(coefficients[-1], (len(features), coefficients.shape[1])).copy()
    for column, slopes in zip(features.T.astype(np.float64), coefficients[:-1], strict=True):
        if np.any(slopes):
            with np.errstate(invalid="ignore"):  # ∞ − ∞ is unknown, as it should be
                total += column[:, None] * slopes
    return total


def rounded(count: int, step: int = ROW_STEP) -> int:
    """`count` rounded up to a multiple of `step`."""
    return -(-count // step) * step


def scaled_rows(features: NDArray[np.floating], scaler: Scaler, rows: int) -> Array:
    """`(rows, feature + 1)`: standardised features, zeros where unknown, and the bias' 1."""
    padded = np.zeros((rows, features.shape[1] + 1), np.float32)
    scaled = scaler.scale(features)
    with np.errstate(over="ignore"):  # beyond float32: infinite, and so the lane diverges
        padded[: len(features), :-1] = np.where(np.isfinite(scaled), scaled, 0.0)
    padded[:, -1] = 1.0
    return padded


def stacked(arrays: Sequence[Array], width: int) -> Array:
    """`(width, …)`: the arrays, then zeros."""
    stacked = np.zeros((width, *arrays[0].shape), np.float32)
    stacked[: len(arrays)] = arrays
    return stacked


def _blocks(lanes: Sequence[tuple[int, int]], width: int) -> Iterator[Sequence[tuple[int, int]]]:
    return (lanes[first : first + width] for first in range(0, len(lanes), width))


def _whole_windows(
    features: NDArray[np.floating], cutoffs: NDArray[np.integer], lookback: int
) -> NDArray[np.bool_]:
    """Whether every value in the window that ends at a cutoff is finite, `(cutoff,)`."""
    bad = np.concatenate([[0], np.cumsum(~np.isfinite(features).all(axis=1))])
    whole: NDArray[np.bool_] = bad[cutoffs + 1] == bad[cutoffs + 1 - lookback]
    return whole
