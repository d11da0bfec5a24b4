"""What a fleet is trained on: its members, the arrays they read, and what is refused.

Owns the checks before any work. Never touches how training goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm_models.classes import checked_edges
from lstm_models.fleet import Fleet, Floats
from lstm_models.fleet_config import FleetConfig
from lstm_models.supervision import SUPERVISION, Supervision
from lstm_models.updates import check_stride
from lstm_models.warm_start import require_same_network
from lstm_models.windows import require_window


@dataclass(frozen=True)
class Member:
    """One LSTM of the fleet: its unique name, its row of the series axis and its segments.

    Args:
        name: unique; it seeds initial weights and window order.
        series: index on the first axis of `inputs` and `targets`.
        fit: first row and stop row that the scaler and weights may learn from.
        early_stop: first row and stop row that decide when training stops.
        edges: of the classes, `class − 1` increasing log returns; none for many_to_many.
        start: name of the member of an older fleet whose weights it starts from.
    """

    name: str
    series: int
    fit: tuple[int, int]
    early_stop: tuple[int, int]
    edges: tuple[float, ...] = ()
    start: str | None = None


@dataclass(frozen=True)
class TrainingSet:
    """The arguments of `training.fit`, checked; see there for shapes and for what is refused."""

    inputs: NDArray[np.floating]
    targets: NDArray[np.floating]
    members: Sequence[Member]
    skip: Floats
    config: FleetConfig
    start: Fleet | None

    def __post_init__(self) -> None:
        names = [member.name for member in self.members]
        if not names:
            raise ValueError("a fleet needs at least one member, received none")
        if len(set(names)) != len(names):
            repeated = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"member names must be unique, received twice: {', '.join(repeated)}")
        for member in self.members:
            _require_windows(member, self.inputs.shape[1], self.config)
            _require_edges(member, self.config)
        self._require_arrays()
        self._require_start()

    @property
    def features(self) -> int:
        """Columns of the inputs."""
        return int(self.inputs.shape[2])

    @property
    def outputs(self) -> int:
        """Outputs of each network."""
        return self.config.outputs(self.targets.shape[2])

    def supervision(self, m: int) -> Supervision:
        """What member `m` learns from, made when asked for: it is as long as a whole series."""
        member = self.members[m]
        features = self.inputs[member.series].astype(np.float64)
        return SUPERVISION[self.config.kind](
            features, self.targets[member.series], self.skip[m], member.edges, member.fit
        )

    def _require_arrays(self) -> None:
        kind, leads = self.config.kind, self.targets.shape[2]
        if self.config.classes and leads != 1:
            raise ValueError(
                f"{kind} forecasts the next session alone: targets must have one lead, received "
                f"{leads}"
            )
        expected = (len(self.members), self.features + 1, self.outputs)
        if self.skip.shape != expected:
            raise ValueError(
                f"skip must be (member, feature + 1, output) = {expected} for {kind}, received "
                f"{self.skip.shape}"
            )
        if not self.config.skip and np.any(self.skip[:, :-1]):
            raise ValueError(
                "config.skip is off, but the skip path received has slopes: switch it on, or give "
                "slopes of zero"
            )

    def _require_start(self) -> None:
        start = self.start
        if start is not None:
            require_same_network(
                start, features=self.features, outputs=self.outputs, config=self.config
            )
        known = set() if start is None else set(start.names)
        for member in self.members:
            if member.start is not None and member.start not in known:
                had = "no fleet was" if start is None else f"the {len(known)} members were"
                raise ValueError(
                    f"{member.name} is to start from {member.start!r}, which is not in what to "
                    f"start from ({had} given): give a fleet that has it, or leave start out"
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


def _require_edges(member: Member, config: FleetConfig) -> None:
    """Refuse edges that do not make the classes of the kind."""
    wanted = max(config.classes - 1, 0)
    if len(member.edges) != wanted:
        raise ValueError(
            f"{member.name}: {config.kind} needs {wanted} edges of classes, received "
            f"{len(member.edges)}"
        )
    try:
        if wanted:
            checked_edges(member.edges)
    except ValueError as error:
        raise ValueError(f"{member.name}: {error}") from None
