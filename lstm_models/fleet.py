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
from lstm_models.linear_path import linear_path
from lstm_models.networks import Array, fold_scaling, keras_member
from lstm_models.responses import RESPONSES
from lstm_models.scaling import Scaler
from lstm_models.updates import prediction_program

Floats = NDArray[np.float64]
ROW_STEP = 512
"""Row counts are rounded up to a multiple of this, so that a longer history seldom recompiles."""
PREDICTED_WINDOWS = 16
"""Windows per lane in one prediction program: few, since a night asks for one, and a fold for some
hundreds."""


@dataclass(frozen=True)
class LaneReport:
    """How the training of one lane went.

    Losses are those of the early-stop rows: MSEs in units of the member's residual variance, or
    cross-entropies in nats. `history` has (updates, loss) at every check.
    """

    status: str
    updates: int
    best_update: int
    initial_loss: float
    best_loss: float
    history: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Fleet:
    """A fitted fleet.

    Attributes:
        names: of the members, in order.
        center, spread: of the features, `(member, feature)`.
        skip: linear path on raw features, intercept last, `(member, feature + 1, output)`: means,
            or logits.
        scale: of the outputs, `(member, output)`: of the residuals, or 1 for logits.
        edges: upper edges of all classes but the last, `(member, class − 1)`; none for means.
        recurrence: `(member, seed, direction, units + feature + 1, 4·units)`.
        head: `(member, seed, direction·units + 1, output)`.
        reports: per member and seed; empty for a fleet that was loaded.
    """

    config: FleetConfig
    names: tuple[str, ...]
    center: Floats
    spread: Floats
    skip: Floats
    scale: Floats
    edges: Floats
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
            edges=self.edges[at],
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
        model_name = "".join(c if c.isalnum() else "_" for c in name)
        return keras_member(lanes, skip, kind=self.config.kind, name=model_name)

    def predict(
        self, inputs: NDArray[np.floating], series: Sequence[int], cutoffs: NDArray[np.integer]
    ) -> Floats:
        """The ungated forecast at each cutoff, from a window of `lookback` rows that ends there.

        Args:
            inputs: raw features `(series, row, feature)`; rows up to a cutoff are read, none
                after it.
            series: index into `inputs` per member.
            cutoffs: `(member, window)`, rows; −1 asks for nothing there.

        Returns:
            `(member, window, output)`: means per lead in target units; the probability of a rise;
            or the probability of every class. NaN where the cutoff is −1 or where the window holds
            a value that is not finite.

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
        response = RESPONSES[self.config.kind]
        linear = np.zeros((*cutoffs.shape, self.scale.shape[1]))
        for m, row in enumerate(series_of):
            linear[m, asked[m]] = linear_path(inputs[row, cutoffs[m][asked[m]]], self.skip[m])
        average = np.zeros_like(linear)
        for m, chunk, outputs in self._outputs(inputs, series_of, cutoffs):
            with np.errstate(invalid="ignore"):  # what is infinite is no forecast: see below
                forecast = response.of_lane(linear[m, chunk], outputs)
            average[m, chunk] += forecast / self.config.seeds
        predictions = np.full_like(linear, np.nan)
        for m, row in enumerate(series_of):
            forecast = response.of_member(linear[m], average[m], self.scale[m])[asked[m]]
            whole = _whole_windows(inputs[row], cutoffs[m][asked[m]], self.config.lookback)
            predictions[m, asked[m]] = np.where(whole[:, None], forecast, np.nan)
        return predictions

    def _outputs(
        self,
        inputs: NDArray[np.floating],
        series_of: NDArray[np.integer],
        cutoffs: NDArray[np.integer],
    ) -> Iterator[tuple[int, slice, Floats]]:
        """Raw outputs of every lane: member, which of its windows, and `(window, output)`.

        Of a series only the rows that its windows reach are scaled and sent: tonight's forecast of
        a long history reads one window.
        """
        program, width = prediction_program(self.config.lookback), self.config.width
        first, longest = _reach(cutoffs, self.config.lookback)
        lanes = [(m, s) for m in range(len(self.names)) for s in range(self.config.seeds)]
        for block in _blocks(lanes, width):
            padded = np.zeros((width, rounded(longest), inputs.shape[2] + 1), np.float32)
            for place, (m, _) in enumerate(block):
                scaler = Scaler(self.center[m], self.spread[m])
                reached = inputs[series_of[m], first[m] : first[m] + longest]
                padded[place] = scaled_rows(reached, scaler, padded.shape[1])
            recurrence = stacked([self.recurrence[m, s] for m, s in block], width)
            head = stacked([self.head[m, s] for m, s in block], width)
            for begin in range(0, cutoffs.shape[1], PREDICTED_WINDOWS):
                chunk = slice(begin, begin + PREDICTED_WINDOWS)
                starts = np.zeros((width, PREDICTED_WINDOWS), np.int32)
                for place, (m, _) in enumerate(block):
                    wanted = cutoffs[m, chunk] - self.config.lookback + 1 - first[m]
                    starts[place, : len(wanted)] = np.maximum(wanted, 0)
                outputs = np.asarray(program(recurrence, head, padded, starts), np.float64)
                for place, (m, _) in enumerate(block):
                    yield m, chunk, outputs[place, : len(cutoffs[m, chunk])]


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


def _reach(cutoffs: NDArray[np.integer], lookback: int) -> tuple[NDArray[np.integer], int]:
    """First row that the windows of each member reach, and how many rows the longest reach has."""
    last = cutoffs.max(axis=1)
    earliest = np.where(cutoffs >= 0, cutoffs, last[:, None]).min(axis=1)
    first = np.maximum(earliest - lookback + 1, 0)
    return first, int(np.max(last - first, initial=0)) + 1


def _blocks(lanes: Sequence[tuple[int, int]], width: int) -> Iterator[Sequence[tuple[int, int]]]:
    return (lanes[first : first + width] for first in range(0, len(lanes), width))


def _whole_windows(
    features: NDArray[np.floating], cutoffs: NDArray[np.integer], lookback: int
) -> NDArray[np.bool_]:
    """Whether every value in the window that ends at a cutoff is finite, `(cutoff,)`."""
    bad = np.concatenate([[0], np.cumsum(~np.isfinite(features).all(axis=1))])
    whole: NDArray[np.bool_] = bad[cutoffs + 1] == bad[cutoffs + 1 - lookback]
    return whole
