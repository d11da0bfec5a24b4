"""The settings of a fleet.

Owns their meaning and their limits. Never touches Keras: settings are read where it is not loaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["many_to_many", "direction", "quantile_class"]
"""What a network forecasts: a path of means, whether the next return is a rise, its decile."""
KINDS: tuple[Kind, ...] = get_args(Kind)
CLASSES: Mapping[Kind, int] = {"direction": 2, "quantile_class": 10}
"""Classes of the kinds that forecast a distribution over classes of the next return."""

Optimizer = Literal["adamw", "rmsprop"]


@dataclass(frozen=True)
class FleetConfig:
    """Everything that shapes a fleet of LSTMs of one kind, and its training.

    Args:
        units: size of the LSTM's state.
        lookback: input steps of a window.
        burn_in: first steps of a window, without loss, on which the state settles; where the loss
            stands at the last step alone (see `supervised_from`), it is not read.
        seeds: networks per member, averaged; each has its own initial weights and windows.
        skip: whether a frozen linear path stands beside the LSTM, which then learns its residual.
        learning_rate: of the optimiser, reached after `warmup_updates` updates, linearly.
        warmup_updates: see `learning_rate`.
        weight_decay: decoupled; a weight shrinks by learning_rate × weight_decay an update.
        clip_norm: largest gradient norm of a lane.
        windows_per_update: windows a lane sees in one update.
        check_every: updates between two looks at the early-stop rows.
        patience: looks without improvement after which a lane stops.
        max_updates: updates after which a lane stops anyway.
        width: lanes that a compiled program holds; empty places are padded, so that results do
            not depend on how many members there are.
        kind: what the network forecasts.
        bidirectional: whether a second LSTM reads the window backwards; None for the kind's own
            default, which is yes for quantile_class alone.
    """

    units: int = 32
    lookback: int = 100
    burn_in: int = 20
    seeds: int = 2
    skip: bool = True
    learning_rate: float = 3e-3
    warmup_updates: int = 20
    weight_decay: float = 3.0
    clip_norm: float = 1.0
    windows_per_update: int = 32
    check_every: int = 5
    patience: int = 8
    max_updates: int = 300
    width: int = 32
    kind: Kind = "many_to_many"
    bidirectional: bool | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, received {self.kind!r}")
        if self.kind == "many_to_many" and self.bidirectional:
            raise ValueError(
                "a bidirectional many_to_many network is refused: at each step its backward LSTM "
                "has read the very sessions that the step is to forecast, so it would read its own "
                "answers. Leave bidirectional off for many_to_many"
            )
        for name in (
            "units",
            "seeds",
            "windows_per_update",
            "check_every",
            "patience",
            "max_updates",
            "width",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, received {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be a finite number above 0, received {getattr(self, name)}"
                )
        for name in ("warmup_updates", "weight_decay"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be a finite number, 0 or more, received {getattr(self, name)}"
                )
        if not 0 <= self.burn_in < self.lookback:
            raise ValueError(
                f"burn_in must lie in 0 … lookback - 1 = {self.lookback - 1}, "
                f"received {self.burn_in}"
            )

    @property
    def both_ways(self) -> bool:
        """Whether a second LSTM reads the window backwards."""
        if self.bidirectional is None:
            return self.kind == "quantile_class"
        return self.bidirectional

    @property
    def directions(self) -> int:
        """LSTMs of one lane."""
        return 2 if self.both_ways else 1

    @property
    def dense(self) -> bool:
        """Whether every step after the burn-in carries a loss, or the last one of a window alone.

        Read both ways, only the last step's forecast has not seen its own answer.
        """
        return self.kind != "quantile_class" and not self.both_ways

    @property
    def supervised_from(self) -> int:
        """First step of a window that carries a loss."""
        return self.burn_in if self.dense else self.lookback - 1

    @property
    def optimizer(self) -> Optimizer:
        """AdamW, but RMSprop for quantile_class."""
        return "rmsprop" if self.kind == "quantile_class" else "adamw"

    @property
    def classes(self) -> int:
        """Classes of the kind; 0 for many_to_many, which has none."""
        return CLASSES.get(self.kind, 0)

    def outputs(self, leads: int) -> int:
        """Numbers the network gives at a step: a mean per lead, one logit, or one per class."""
        return {"many_to_many": leads, "direction": 1, "quantile_class": self.classes}[self.kind]
