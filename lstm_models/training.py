"""Training of a fleet: which lane sits where, when it stops, and which weights it keeps.

Owns the bookkeeping around the compiled updates. Never touches their arithmetic, nor dates,
tables or files.

A compiled program holds `config.width` lanes. When a lane stops, the next one takes its place, so
programs are always full and always of one shape: a lane's bits depend on its own name, data and
config, never on who its neighbours are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from lstm_models.fleet import Fleet, Floats, LaneReport, linear_path, rounded, scaled_rows
from lstm_models.fleet_config import FleetConfig
from lstm_models.networks import Array, initial_weights
from lstm_models.scaling import Scaler
from lstm_models.updates import (
    CHECKED_WINDOWS,
    Data,
    Lanes,
    Weights,
    check_stride,
    training_program,
)
from lstm_models.windows import checks, generator, passes, require_window


@dataclass(frozen=True)
class Member:
    """One LSTM of the fleet: its unique name, its row of the series axis and its segments.

    Args:
        name: unique; it seeds initial weights and window order.
        series: index on the first axis of `inputs` and `targets`.
        fit: first row and stop row that the scaler and weights may learn from.
        early_stop: first row and stop row that decide when training stops.
    """

    name: str
    series: int
    fit: tuple[int, int]
    early_stop: tuple[int, int]


def fit(
    inputs: NDArray[np.floating],
    targets: NDArray[np.floating],
    members: Sequence[Member],
    skip: Floats,
    config: FleetConfig,
    *,
    report: Callable[[int, int], None] | None = None,
) -> Fleet:
    """Fit every member of a fleet, each with its own early stopping and best weights.

    Args:
        inputs: raw features `(series, row, feature)`.
        targets: `(series, row, lead)`, NaN where unknown.
        members: what to fit.
        skip: frozen linear path per member on raw features, `(member, feature + 1, lead)`,
            intercept last; a member learns what it leaves over.
        config: of all members.
        report: called with (lanes done, lanes) whenever a lane is done.

    Returns:
        The fitted fleet. A lane whose early-stop MSE stops being a finite number, or that has no
        known early-stop target, keeps the best weights it had (with a skip path, at worst those
        of update 0) and is reported as "diverged".

    Raises:
        ValueError: if there is no member, a name is not unique, a segment holds no window, or
            `skip` has slopes although `config.skip` is off.
    """
    names = tuple(member.name for member in members)
    if not names:
        raise ValueError("a fleet needs at least one member, received none")
    if len(set(names)) != len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"member names must be unique, received twice: {', '.join(repeated)}")
    for member in members:
        _require_windows(member, inputs.shape[1], config)
    if not config.skip and np.any(skip[:, :-1]):
        raise ValueError(
            "config.skip is off, but the skip path received has slopes: switch it on, or give "
            "slopes of zero"
        )
    learned = [_Learned.of(inputs, targets, m, skip[i]) for i, m in enumerate(members)]
    features, leads = inputs.shape[2], targets.shape[2]
    shape = (len(members), config.seeds)
    recurrence = np.zeros((*shape, config.units + features + 1, 4 * config.units), np.float32)
    head = np.zeros((*shape, config.units + 1, leads), np.float32)
    reports: dict[tuple[int, int], LaneReport] = {}

    pending = iter([(m, s) for m in range(len(members)) for s in range(config.seeds)])
    trainer = _Trainer(inputs, members, learned, config, leads)
    while trainer.fill(pending):
        for (m, s), w, v, lane_report in trainer.advance():
            recurrence[m, s], head[m, s] = w, v
            reports[m, s] = lane_report
            if report is not None:
                report(len(reports), len(members) * config.seeds)
    return Fleet(
        config=config,
        names=names,
        center=np.stack([one.scaler.center for one in learned]),
        spread=np.stack([one.scaler.spread for one in learned]),
        skip=np.asarray(skip, np.float64),
        scale=np.stack([one.scale for one in learned]),
        recurrence=recurrence,
        head=head,
        reports=tuple(
            tuple(reports[m, s] for s in range(config.seeds)) for m in range(len(members))
        ),
    )


def _require_windows(member: Member, rows: int, config: FleetConfig) -> None:
    """Refuse, before any work, a member whose segments hold no window."""
    for what, (first, stop) in (("fit", member.fit), ("early-stop", member.early_stop)):
        if not 0 <= first < stop <= rows:
            raise ValueError(
                f"{member.name}: the {what} rows must be a range inside 0 … {rows}, received "
                f"{first} … {stop}"
            )
    try:
        require_window(*member.fit, config.lookback)
    except ValueError as error:
        raise ValueError(f"{member.name}: {error}") from None
    context = config.lookback - check_stride(config)
    if member.early_stop[0] < context:
        raise ValueError(
            f"{member.name}: the early-stop rows begin at {member.early_stop[0]}, but a check "
            f"window of lookback={config.lookback} reaches {context} rows further back: begin "
            "later or shorten lookback"
        )


@dataclass(frozen=True)
class _Learned:
    """What is fitted to a member's fit rows before training: scaler, residuals and their scale."""

    scaler: Scaler
    scale: Floats
    residuals: Floats

    @classmethod
    def of(
        cls,
        inputs: NDArray[np.floating],
        targets: NDArray[np.floating],
        member: Member,
        skip: Floats,
    ) -> _Learned:
        features = inputs[member.series].astype(np.float64)
        first, stop = member.fit
        with np.errstate(invalid="ignore"):  # ∞ − ∞ is unknown, as it should be
            residuals = targets[member.series] - linear_path(features, skip)
        return cls(
            scaler=Scaler.fit(features[first:stop]),
            scale=Scaler.fit(residuals[first:stop]).spread,
            residuals=residuals,
        )


@dataclass
class _Place:
    """A place in the program while one lane trains in it."""

    lane: tuple[int, int]
    starts: Iterator[int]
    initial: float = np.nan
    best_mse: float = np.inf
    best_update: int = 0
    best: tuple[Array, Array] = (np.empty(0, np.float32), np.empty(0, np.float32))
    misses: int = 0
    history: tuple[tuple[int, float], ...] = ()


class _Trainer:
    """Keeps the program's places full and its NumPy state; one `advance` is one program call."""

    def __init__(
        self,
        inputs: NDArray[np.floating],
        members: Sequence[Member],
        learned: Sequence[_Learned],
        config: FleetConfig,
        leads: int,
    ) -> None:
        self.raw, self.members, self.learned, self.config = inputs, members, learned, config
        # Check windows may reach past the last row, and those that fill up a lane's list lie at the
        # very end: rows are added there for them, whose targets are unknown.
        stride = check_stride(config)
        width, rows, features = config.width, rounded(inputs.shape[1] + stride), inputs.shape[2]
        longest = max(m.early_stop[1] - m.early_stop[0] for m in members)
        pieces = -(-longest // (stride * CHECKED_WINDOWS))
        self.inputs = np.zeros((width, rows, features + 1), np.float32)
        self.targets = np.full((width, rows, leads), np.nan, np.float32)
        self.check_targets = self.targets.copy()
        self.check_starts = np.zeros((pieces, width, CHECKED_WINDOWS), np.int32)
        w = np.zeros((width, config.units + features + 1, 4 * config.units), np.float32)
        v = np.zeros((width, config.units + 1, leads), np.float32)
        self.lanes = Lanes(
            Weights(w, w.copy(), w.copy()),
            Weights(v, v.copy(), v.copy()),
            np.zeros(width, np.float32),
        )
        self.places: list[_Place | None] = [None] * width

    def fill(self, pending: Iterator[tuple[int, int]]) -> bool:
        """Give free places to the next lanes; False once nothing is left to train."""
        for place, occupant in enumerate(self.places):
            if occupant is None and (lane := next(pending, None)) is not None:
                self._seat(place, lane)
        return any(self.places)

    def _seat(self, place: int, lane: tuple[int, int]) -> None:
        member, learned, config = self.members[lane[0]], self.learned[lane[0]], self.config
        rows = self.inputs.shape[1]
        self.inputs[place] = scaled_rows(self.raw[member.series], learned.scaler, rows)
        for array, (first, stop) in (
            (self.targets, member.fit),
            (self.check_targets, member.early_stop),
        ):
            array[place] = np.nan
            array[place, first:stop] = learned.residuals[first:stop] / learned.scale
        starts = checks(*member.early_stop, config.lookback, check_stride(config))
        filled = np.full(self.check_starts[:, place].size, rows - config.lookback)
        filled[: len(starts)] = starts
        self.check_starts[:, place] = filled.reshape(-1, CHECKED_WINDOWS)
        random = generator(member.name, lane[1], "windows")
        w, v = initial_weights(
            member.name,
            lane[1],
            features=self.inputs.shape[2] - 1,
            leads=self.targets.shape[2],
            config=config,
        )
        for array in (*self.lanes.recurrence, *self.lanes.head, self.lanes.updates):
            array[place] = 0.0
        self.lanes.recurrence.value[place], self.lanes.head.value[place] = w, v
        windows = passes(*member.fit, config.lookback, config.burn_in, random)
        self.places[place] = _Place(lane, windows)

    def advance(self) -> Iterator[tuple[tuple[int, int], Array, Array, LaneReport]]:
        """Check and update every lane once; yield those that are done, with their best weights."""
        config = self.config
        starts = np.zeros((config.check_every, config.width, config.windows_per_update), np.int32)
        for index, place in enumerate(self.places):
            if place is not None:
                drawn = list(islice(place.starts, config.check_every * config.windows_per_update))
                starts[:, index] = np.reshape(drawn, starts[:, index].shape)
        before = self.lanes
        data = Data(self.inputs, self.targets, self.check_targets)
        after, checked, _ = training_program(config)(before, data, starts, self.check_starts)
        self.lanes = Lanes(
            Weights(*(np.array(a) for a in after.recurrence)),
            Weights(*(np.array(a) for a in after.head)),
            np.array(after.updates),
        )
        mse = np.asarray(checked, np.float64)
        for index, place in enumerate(self.places):
            if place is None:
                continue
            status = self._judge(place, index, before, float(mse[index]))
            if status is not None:
                yield (
                    place.lane,
                    *place.best,
                    LaneReport(
                        status,
                        int(before.updates[index]),
                        place.best_update,
                        place.initial,
                        place.best_mse,
                        place.history,
                    ),
                )
                self.places[index] = None

    def _judge(self, place: _Place, index: int, lanes: Lanes, mse: float) -> str | None:
        """Note a lane's check; its final status if it is done, None if it goes on."""
        update = int(lanes.updates[index])
        place.history += ((update, mse),)
        if update == 0:
            place.initial = place.best_mse = mse
            place.best = (lanes.recurrence.value[index].copy(), lanes.head.value[index].copy())
        elif mse < place.best_mse:
            place.best_mse, place.best_update, place.misses = mse, update, 0
            place.best = (lanes.recurrence.value[index].copy(), lanes.head.value[index].copy())
        else:
            place.misses += 1
        if not np.isfinite(mse):
            return "diverged"
        if place.misses >= self.config.patience or update >= self.config.max_updates:
            return "trained"
        return None
