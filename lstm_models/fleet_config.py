"""The settings of a fleet.

Owns their meaning and their limits. Never touches Keras: settings are read where it is not loaded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class FleetConfig:
    """Everything that shapes a fleet of many-to-many LSTMs and its training.

    Args:
        units: size of the LSTM's state.
        lookback: input steps of a window.
        burn_in: first steps of a window, without loss, on which the state settles.
        seeds: networks per member, averaged; each has its own initial weights and windows.
        skip: whether a frozen linear path stands beside the LSTM, which then learns its residual.
        learning_rate: of AdamW, reached after `warmup_updates` updates, linearly.
        warmup_updates: see `learning_rate`.
        weight_decay: decoupled; a weight shrinks by learning_rate × weight_decay an update.
        clip_norm: largest gradient norm of a lane.
        windows_per_update: windows a lane sees in one update.
        check_every: updates between two looks at the early-stop rows.
        patience: looks without improvement after which a lane stops.
        max_updates: updates after which a lane stops anyway.
        width: lanes that a compiled program holds; empty places are padded, so that results do
            not depend on how many members there are.
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

    def __post_init__(self) -> None:
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
