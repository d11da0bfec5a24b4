"""The arrays that a training program works on, and how a lane is put into one of its places.

Owns tensors of one fixed shape. Never touches which lane sits where, or for how long.

They stay with the backend between two calls: only the rows of a place that is filled anew are
sent there, so what training holds does not grow with the number of lanes that wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from keras import ops

from lstm_models.fleet import rounded
from lstm_models.fleet_config import FleetConfig
from lstm_models.networks import Array
from lstm_models.optimisers import Weights
from lstm_models.recurrence import Tensor
from lstm_models.supervision import Segment, Supervision
from lstm_models.updates import Data, Lanes, check_stride, checked_windows
from lstm_models.windows import Starts


@dataclass(frozen=True)
class Seat:
    """What a place is filled with: the data and first weights of one lane.

    `inputs (row, feature + 1)` as `scaled_rows` gives them, in `ProgramState.rows` rows; the
    supervision of all rows and the segments that may read it; `check_starts (window,)`; and
    `weights`, recurrence and head.
    """

    inputs: Array
    supervision: Supervision
    fit: Segment
    early_stop: Segment
    check_starts: Starts
    weights: tuple[Array, Array]


class ProgramState:
    """The arguments of `updates.training_program`, all but the windows of its updates.

    Args:
        config: of the fleet.
        rows: of a series.
        features: of a series.
        leads: columns of its targets.
        longest_check: most early-stop rows of any lane.

    Attributes:
        rows: of the program, more than those of a series: check windows may reach past the last
            row, and those that fill up a lane's list lie at the very end, where nothing is known.
        lanes: what training changes.
        data: what training reads.
        check_starts: `(piece, lane, window)`.
    """

    def __init__(
        self, config: FleetConfig, *, rows: int, features: int, leads: int, longest_check: int
    ) -> None:
        stride, together = check_stride(config), checked_windows(config)
        width, outputs = config.width, config.outputs(leads)
        self.config = config
        self.rows = rounded(rows + stride)
        recurrence = (config.directions, config.units + features + 1, 4 * config.units)
        head = (config.directions * config.units + 1, outputs)
        self.lanes = Lanes(
            Weights(*(ops.zeros((width, *recurrence)) for _ in Weights._fields)),
            Weights(*(ops.zeros((width, *head)) for _ in Weights._fields)),
            ops.zeros(width),
        )
        self.data = Data(
            inputs=ops.zeros((width, self.rows, features + 1)),
            targets=ops.full((width, self.rows, leads), np.nan),
            check_targets=ops.full((width, self.rows, leads), np.nan),
            offsets=ops.zeros((width, self.rows, outputs)) if config.classes else None,
        )
        pieces = -(-longest_check // (stride * together))
        self.check_starts = np.zeros((pieces, width, together), np.int32)

    def seat(self, places: Sequence[int], seats: Sequence[Seat]) -> None:
        """Fill places with lanes that have not been updated yet."""
        if not places:
            return
        at = np.array(places)[:, None]

        def put(array: Tensor, rows: Sequence[Array]) -> Tensor:
            return ops.scatter_update(array, at, np.stack(rows))

        def fresh(weights: Weights, values: Sequence[Array]) -> Weights:
            zeros = [np.zeros_like(value) for value in values]
            return Weights(*map(put, weights, (values, zeros, zeros)))

        self.data = Data(
            put(self.data.inputs, [seat.inputs for seat in seats]),
            put(self.data.targets, [self._targets(seat, seat.fit) for seat in seats]),
            put(self.data.check_targets, [self._targets(seat, seat.early_stop) for seat in seats]),
            put(self.data.offsets, [self._offsets(seat) for seat in seats])
            if self.config.classes
            else None,
        )
        self.lanes = Lanes(
            fresh(self.lanes.recurrence, [seat.weights[0] for seat in seats]),
            fresh(self.lanes.head, [seat.weights[1] for seat in seats]),
            put(self.lanes.updates, [np.zeros((), np.float32) for _ in seats]),
        )
        for place, seat in zip(places, seats, strict=True):
            filled = np.full(self.check_starts[:, place].size, self.rows - self.config.lookback)
            filled[: len(seat.check_starts)] = seat.check_starts
            self.check_starts[:, place] = filled.reshape(self.check_starts[:, place].shape)

    def _targets(self, seat: Seat, segment: Segment) -> Array:
        """`(row, column)`, NaN outside the segment."""
        targets = seat.supervision.targets
        rows = np.full((self.rows, targets.shape[1]), np.nan, np.float32)
        with np.errstate(over="ignore"):  # beyond float32 is unknown
            rows[slice(*segment)] = targets[slice(*segment)]
        return rows

    def _offsets(self, seat: Seat) -> Array:
        """`(row, output)`, 0 past the end of the series."""
        offsets = seat.supervision.offsets
        assert offsets is not None  # noqa: S101 - the kinds with classes have them
        rows = np.zeros((self.rows, offsets.shape[1]), np.float32)
        rows[: len(offsets)] = offsets
        return rows
