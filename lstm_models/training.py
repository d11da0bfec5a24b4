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

from lstm_models.fleet import Fleet, Floats, LaneReport, scaled_rows
from lstm_models.fleet_config import FleetConfig
from lstm_models.networks import Array, initial_weights
from lstm_models.program_state import ProgramState, Seat
from lstm_models.scaling import Scaler
from lstm_models.training_set import Member, TrainingSet
from lstm_models.updates import check_stride, training_program
from lstm_models.warm_start import carried_over
from lstm_models.windows import checks, generator, passes

__all__ = ["Member", "fit"]

SEATED_TOGETHER = 64
"""Lanes that are sent to the program in one piece: wide programs are filled without a second copy
of all their data."""


def fit(
    inputs: NDArray[np.floating],
    targets: NDArray[np.floating],
    members: Sequence[Member],
    skip: Floats,
    config: FleetConfig,
    *,
    start: Fleet | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Fleet:
    """Fit every member of a fleet, each with its own early stopping and best weights.

    Args:
        inputs: raw features `(series, row, feature)`.
        targets: `(series, row, lead)`, NaN where unknown; for the kinds with classes the next
            session's raw log return, one lead.
        members: what to fit.
        skip: frozen linear path per member on raw features, `(member, feature + 1, output)`,
            intercept last: means, whose residual a member learns, or logits, to which it adds.
        config: of all members.
        start: an older fleet, for members that name one of its members to start from; its weights
            then take the place of the initial ones, as the same function of raw features, and so
            are those of update 0.
        report: called with (lanes done, lanes) whenever a lane is done.

    Returns:
        The fitted fleet. A lane whose early-stop loss stops being a finite number, or that has no
        known early-stop target, keeps the best weights it had (with a skip path, at worst those
        of update 0) and is reported as "diverged".

    Raises:
        ValueError: if there is no member, a name is not unique, a segment holds no window, edges
            do not fit the kind, `skip` has slopes although `config.skip` is off, or a member
            cannot start from what it names.
    """
    training_set = TrainingSet(inputs, targets, members, skip, config, start)
    scalers = [_scaler(training_set, m) for m in range(len(members))]
    scale = np.stack([training_set.supervision(m).scale for m in range(len(members))])
    lanes = [(m, s) for m in range(len(members)) for s in range(config.seeds)]
    state, shape = config.units, (len(members), config.seeds)
    recurrence = np.zeros(
        (*shape, config.directions, state + training_set.features + 1, 4 * state), np.float32
    )
    head = np.zeros((*shape, config.directions * state + 1, training_set.outputs), np.float32)
    reports: dict[tuple[int, int], LaneReport] = {}
    pending = iter(lanes)
    trainer = _Trainer(training_set, scalers, scale)
    while trainer.fill(pending):
        for lane, w, v, lane_report in trainer.advance():
            recurrence[lane], head[lane], reports[lane] = w, v, lane_report
            if report is not None:
                report(len(reports), len(lanes))
    return Fleet(
        config=config,
        names=tuple(member.name for member in members),
        center=np.stack([scaler.center for scaler in scalers]),
        spread=np.stack([scaler.spread for scaler in scalers]),
        skip=np.asarray(skip, np.float64),
        scale=scale,
        edges=np.array([member.edges for member in members], np.float64),
        recurrence=recurrence,
        head=head,
        reports=tuple(
            tuple(reports[m, s] for s in range(config.seeds)) for m in range(len(members))
        ),
    )


def _scaler(training_set: TrainingSet, m: int) -> Scaler:
    """The features' scaler of a member, from its fit rows."""
    member = training_set.members[m]
    return Scaler.fit(training_set.inputs[member.series, slice(*member.fit)])


@dataclass
class _Place:
    """A place in the program while one lane trains in it."""

    lane: tuple[int, int]
    starts: Iterator[int]
    best_loss: float = np.inf
    best_update: int = 0
    best: tuple[Array, Array] = (np.empty(0, np.float32), np.empty(0, np.float32))
    misses: int = 0
    history: tuple[tuple[int, float], ...] = ()

    def judge(self, loss: float, recurrence: Array, head: Array, config: FleetConfig) -> str | None:
        """Note a check of these weights; the lane's final status if it is done, None if not."""
        update = len(self.history) * config.check_every
        self.history += ((update, loss),)
        if update == 0 or loss < self.best_loss:
            self.best_loss, self.best_update, self.misses = loss, update, 0
            self.best = recurrence.copy(), head.copy()
        else:
            self.misses += 1
        if not np.isfinite(loss):
            return "diverged"
        if self.misses >= config.patience or update >= config.max_updates:
            return "trained"
        return None

    def report(self, status: str) -> LaneReport:
        updates, initial = self.history[-1][0], self.history[0][1]
        return LaneReport(status, updates, self.best_update, initial, self.best_loss, self.history)


class _Trainer:
    """Keeps the program's places full; one `advance` is one program call."""

    def __init__(self, training_set: TrainingSet, scalers: Sequence[Scaler], scale: Floats) -> None:
        self.set, self.scalers, self.scale = training_set, scalers, scale
        self.state = ProgramState(
            training_set.config,
            rows=training_set.inputs.shape[1],
            features=training_set.features,
            leads=training_set.targets.shape[2],
            longest_check=max(m.early_stop[1] - m.early_stop[0] for m in training_set.members),
        )
        self.places: list[_Place | None] = [None] * training_set.config.width

    def fill(self, pending: Iterator[tuple[int, int]]) -> bool:
        """Give free places to the next lanes; False once nothing is left to train."""
        free = [place for place, occupant in enumerate(self.places) if occupant is None]
        while places := list(zip(islice(free, SEATED_TOGETHER), pending, strict=False)):
            free = free[len(places) :]
            self.state.seat(
                [place for place, _ in places], [self._seat(place, lane) for place, lane in places]
            )
        return any(self.places)

    def _seat(self, place: int, lane: tuple[int, int]) -> Seat:
        config, (m, seed) = self.set.config, lane
        member = self.set.members[m]
        random = generator(member.name, seed, "windows")
        first, stop = member.fit
        windows = passes(first, stop, config.lookback, config.supervised_from, random)
        first, stop = member.early_stop
        self.places[place] = _Place(lane, windows)
        return Seat(
            inputs=scaled_rows(self.set.inputs[member.series], self.scalers[m], self.state.rows),
            supervision=self.set.supervision(m),
            fit=member.fit,
            early_stop=member.early_stop,
            check_starts=checks(first, stop, config.lookback, check_stride(config)),
            weights=self._first_weights(m, seed),
        )

    def _first_weights(self, m: int, seed: int) -> tuple[Array, Array]:
        """Those of update 0: drawn, or carried over from the fleet to start from."""
        member = self.set.members[m]
        if self.set.start is not None and member.start is not None:
            return carried_over(
                self.set.start,
                member.start,
                seed,
                scaler=self.scalers[m],
                scale=self.scale[m],
                skip=self.set.skip[m],
            )
        return initial_weights(
            member.name,
            seed,
            features=self.set.features,
            outputs=self.set.outputs,
            config=self.set.config,
        )

    def advance(self) -> Iterator[tuple[tuple[int, int], Array, Array, LaneReport]]:
        """Check and update every lane once; yield those that are done, with their best weights."""
        config, state = self.set.config, self.state
        starts = np.zeros((config.check_every, config.width, config.windows_per_update), np.int32)
        for index, place in enumerate(self.places):
            if place is not None:
                drawn = list(islice(place.starts, config.check_every * config.windows_per_update))
                starts[:, index] = np.reshape(drawn, starts[:, index].shape)
        before = state.lanes
        state.lanes, checked, _ = training_program(config)(
            before, state.data, starts, state.check_starts
        )
        losses = np.asarray(checked, np.float64)
        weights = np.asarray(before.recurrence.value), np.asarray(before.head.value)
        for index, place in enumerate(self.places):
            if place is None:
                continue
            status = place.judge(float(losses[index]), weights[0][index], weights[1][index], config)
            if status is not None:
                yield place.lane, *place.best, place.report(status)
                self.places[index] = None
