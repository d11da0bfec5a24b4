"""What is forecast and how: the part of the configuration that decides a forecast's bytes.

Owns the settings of targets, model, training and evaluation. Never touches where or when they run.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lstm_models.fleet_config import KINDS, Kind
from tasks.gate import GateConfig

Target = Literal["log_return", "log_volatility"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TargetsConfig(_Frozen):
    """Which quantities many_to_many forecasts, and how many sessions ahead.

    The class kinds forecast the next session's log return, whatever stands here.
    """

    names: tuple[Target, ...] = Field(
        default=("log_return", "log_volatility"), min_length=1, description="What is forecast."
    )
    horizon: int = Field(
        default=5,
        ge=1,
        le=60,
        description="Sessions ahead; every lead from 1 to this one gets a forecast.",
    )
    max_stale: int = Field(
        default=5,
        ge=0,
        description="Sessions that the newest bar may be old; an older one gives no forecast.",
    )

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"names must be distinct, received {list(self.names)}")
        return self


class ModelConfig(_Frozen):
    """The networks that every instrument gets."""

    kinds: tuple[Kind, ...] = Field(
        default=("many_to_many",),
        min_length=1,
        description="Kinds of network, each in a fleet of its own: many_to_many forecasts the "
        "targets at every lead, direction the probability that the next session rises, "
        "quantile_class those of ten classes of its return.",
    )
    bidirectional: tuple[Kind, ...] = Field(
        default=("quantile_class",),
        description="Kinds whose LSTM reads its window both ways; many_to_many can't: it would "
        "read its own answers.",
    )
    units: int = Field(default=32, ge=1, le=1024, description="Units of each LSTM.")
    lookback: int = Field(
        default=100, ge=2, le=2000, description="Sessions that an LSTM looks back."
    )
    burn_in: int = Field(
        default=20,
        ge=0,
        description="Steps at a window's start that give no loss: the state is still settling.",
    )
    seeds: int = Field(
        default=2,
        ge=1,
        le=32,
        description="LSTMs per instrument from different initial weights, averaged.",
    )
    skip: bool = Field(
        default=True,
        description="Learn what a frozen linear forecast leaves over, not everything from nothing.",
    )

    @field_validator("kinds", "bidirectional")
    @classmethod
    def _kinds_are_distinct(cls, kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
        """In one order, so that the order in a file changes nothing."""
        if len(set(kinds)) != len(kinds):
            raise ValueError(f"kinds must be distinct, received {list(kinds)}")
        return tuple(kind for kind in KINDS if kind in kinds)

    @field_validator("bidirectional")
    @classmethod
    def _forecasts_stay_unread(cls, kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
        if "many_to_many" in kinds:
            raise ValueError(
                "many_to_many can't be bidirectional: at every step an LSTM that reads backwards "
                "has read the very sessions that the step is to forecast, and would only repeat "
                "them. Leave it out of bidirectional"
            )
        return kinds

    @model_validator(mode="after")
    def _burn_in_leaves_steps(self) -> Self:
        if self.burn_in >= self.lookback:
            raise ValueError(
                f"burn_in must be less than lookback ({self.lookback}), received {self.burn_in}"
            )
        return self


class TrainingConfig(_Frozen):
    """How a fleet is fitted, and when it is due again."""

    learning_rate: float = Field(
        default=3e-3, gt=0, le=1, description="Largest step of the optimiser."
    )
    warmup_updates: int = Field(
        default=20,
        ge=0,
        description="Updates over which the learning rate rises to its full value.",
    )
    weight_decay: float = Field(
        default=3.0, ge=0, description="Decoupled weight decay, as a multiple of the learning rate."
    )
    clip_norm: float = Field(
        default=1.0, gt=0, description="Largest gradient norm of one instrument's LSTM."
    )
    windows_per_update: int = Field(
        default=32, ge=1, description="Windows of each instrument in one update."
    )
    check_every: int = Field(
        default=5, ge=1, description="Updates between two looks at the early-stop segment."
    )
    patience: int = Field(
        default=8, ge=1, description="Looks without a better one until an instrument's LSTM stops."
    )
    max_updates: int = Field(
        default=300, ge=1, description="Updates after which training ends in any case."
    )
    refit_every: int = Field(
        default=63,
        ge=1,
        description="Sessions between two trainings, counted on the exchange's calendar.",
    )
    cold_every: int = Field(
        default=1,
        ge=1,
        description="Trainings between two that start from nothing; the ones between start from "
        "the weights of the training before. 1: each starts from nothing.",
    )
    champion: bool = Field(
        default=False,
        description="Whether a retrained network must not do clearly worse than that of the refit "
        "before, which else stays.",
    )
    shard_size: int = Field(
        default=50, ge=1, description="Instruments that are trained together as one unit of work."
    )
    fleet_width: int = Field(
        default=32, ge=1, description="Networks that are computed side by side; fewer are padded."
    )
    processes: int | None = Field(
        default=None,
        ge=1,
        description="Shards at the same time, each in a process of its own. Unset: one per core, "
        "never more than there are shards, fewer where memory is short.",
    )


class EvaluationConfig(_Frozen):
    """The walk-forward plan, in sessions. Inside a fold: fit, early stop, gate, calibrate, test."""

    folds: int = Field(
        default=4, ge=1, description="Walk-forward folds; the newest one forecasts tonight."
    )
    min_fit: int = Field(
        default=378,
        ge=50,
        description="Fewest sessions to fit on; an instrument with less gets a baseline.",
    )
    early_stop: int = Field(
        default=252, ge=20, description="Sessions that decide when training stops."
    )
    gate: int = Field(default=252, ge=20, description="Sessions that decide what is published.")
    calibrate: int = Field(
        default=126, ge=60, description="Sessions whose errors give the intervals."
    )
    test: int = Field(
        default=252, ge=1, description="Sessions that score what was decided without them."
    )
    embargo: int | None = Field(
        default=None,
        ge=0,
        description="Sessions left out between two segments. Unset: the horizon.",
    )
    fit_sessions: int | None = Field(
        default=None,
        ge=50,
        description="Most sessions to fit on: a rolling window. Unset: all, an expanding one.",
    )
    folds_per_refit: int = Field(
        default=1,
        ge=1,
        description="Neighbouring test folds that share one training, that of the oldest of them.",
    )
    levels: tuple[float, ...] = Field(
        default=(0.8, 0.95),
        min_length=1,
        description="Shares of outcomes that the intervals are to hold; tables show the first.",
    )
    drift_sessions: int = Field(
        default=63,
        ge=20,
        description="Matured sessions whose intervals tell whether the coverage has drifted.",
    )
    drift_significance: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="Level of the one-sided test of under-coverage that raises the drift flag.",
    )
    gate_rule: GateConfig = GateConfig()

    @field_validator("levels")
    @classmethod
    def _levels_are_shares(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0.0 < level < 1.0 for level in levels):
            raise ValueError(f"each must be above 0 and below 1, received {list(levels)}")
        if len(set(levels)) != len(levels):
            raise ValueError(f"levels must be distinct, received {list(levels)}")
        return levels

    @model_validator(mode="after")
    def _fit_window_is_long_enough(self) -> Self:
        if self.fit_sessions is not None and self.fit_sessions < self.min_fit:
            raise ValueError(
                f"fit_sessions must be at least min_fit ({self.min_fit}), "
                f"received {self.fit_sessions}"
            )
        return self

    @property
    def level(self) -> float:
        """The level that tables show: the first."""
        return self.levels[0]


class ForecastSettings(_Frozen):
    """Everything that, together with the facts known at `as_of`, determines a forecast."""

    targets: TargetsConfig = TargetsConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _embargo_covers_horizon(self) -> Self:
        embargo = self.evaluation.embargo
        if embargo is not None and embargo < self.targets.horizon:
            raise ValueError(
                f"evaluation.embargo must be at least targets.horizon ({self.targets.horizon}), "
                f"or a target of one segment would lie in the next; received {embargo}"
            )
        return self

    @model_validator(mode="after")
    def _windows_fit(self) -> Self:
        lookback, rows = self.model.lookback, self.evaluation.min_fit
        if lookback > rows:
            raise ValueError(
                f"model.lookback must be at most evaluation.min_fit ({rows}), or no window would "
                f"fit into the shortest fit segment; received {lookback}"
            )
        return self

    @property
    def forecasts(self) -> tuple[tuple[Kind, Target], ...]:
        """What is forecast, in order: each kind of network with each of its targets."""
        return tuple(
            (kind, target)
            for kind in self.model.kinds
            for target in (self.targets.names if kind == "many_to_many" else ("log_return",))
        )

    @property
    def embargo(self) -> int:
        """Sessions left out between two segments: the stated number, or the horizon."""
        embargo = self.evaluation.embargo
        return self.targets.horizon if embargo is None else embargo
