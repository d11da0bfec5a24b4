"""What the two Lightning libraries share: our validation as a callback, early stopping, settings.

Owns when a Lightning training is looked at and stopped. Never touches a model's insides.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from pytorch_lightning.callbacks import LambdaCallback

from benchmarks.peers.trial import EarlyStopping

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}
"""Trainer settings: no files, no output, which also costs the peer less."""


def silence() -> None:
    """Keep Lightning from talking between our lines."""
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning.pytorch", "darts", "neuralforecast"):
        logging.getLogger(name).setLevel(logging.ERROR)


def watching(
    check: Callable[[Any], float], every: int | None, patience: int, limit: int
) -> tuple[Any, dict[str, Any]]:
    """A callback that checks, stops, and keeps the best weights.

    Args:
        check: from the module to its validation MSE.
        every: optimiser steps between checks; None for once an epoch.
        patience: checks without improvement before it stops.
        limit: checks after which it stops anyway; 0 for none.

    Returns:
        The callback, and a dictionary that holds the best weights under "best" when training ends.
    """
    stopping = EarlyStopping(patience, limit)
    kept: dict[str, Any] = {}

    def look(trainer: Any, module: Any) -> None:  # noqa: ANN401
        module.eval()
        if stopping.better(check(module)):
            kept["best"] = deepcopy(module.state_dict())
        module.train()
        trainer.should_stop = trainer.should_stop or stopping.stop

    def after_step(trainer: Any, module: Any, *_: object) -> None:  # noqa: ANN401
        if every is not None and trainer.global_step % every == 0:
            look(trainer, module)

    def after_epoch(trainer: Any, module: Any) -> None:  # noqa: ANN401
        if every is None:
            look(trainer, module)

    callback = LambdaCallback(on_train_batch_end=after_step, on_train_epoch_end=after_epoch)
    return callback, kept
