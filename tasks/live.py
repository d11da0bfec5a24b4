"""Trained models on tonight's facts: their networks and what stands beside them, as published.

Owns the way from a checkpoint to predictions. Never touches which of them is published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.methods import Predicted, restore_beside
from tasks.store import Store
from tasks.train import Model
from tasks.walkforward import Subject, predict_fold


@dataclass(frozen=True)
class Live:
    """A live model on tonight's facts: every method from the start of the calibrate segment."""

    first: int
    predicted: Predicted


def live_forecasts(
    store: Store, subjects: Sequence[tuple[Subject, Model]]
) -> dict[tuple[str, str, str], Live]:
    """What trained models and the baselines beside them say, from their checkpoints.

    Raises:
        StoreError: a checkpoint can't be read.
        CheckpointError: a checkpoint is damaged.
    """
    trained = [(one, m) for one, m in subjects if m.checkpoint is not None]
    if not trained:
        return {}
    from lstm_models import checkpoint as checkpoints

    live: dict[tuple[str, str, str], Live] = {}
    for path in sorted({m.checkpoint for _, m in trained if m.checkpoint is not None}):
        fleet, extra, notes = checkpoints.load(store.read_file(path), source=path)
        group = [(one, m) for one, m in trained if m.checkpoint == path]
        about = [notes["models"][m.model_id] for _, m in group]
        firsts = [
            int(np.searchsorted(one.series.sessions, np.datetime64(note["calibrate"])))
            for (one, _), note in zip(group, about, strict=True)
        ]
        predicted = predict_fold(
            fleet,
            [note["member"] for note in about],
            [one for one, _ in group],
            [(first, len(one.series)) for first, (one, _) in zip(firsts, group, strict=True)],
        )
        for (one, m), note, first, lstm in zip(group, about, firsts, predicted, strict=True):
            own = f"{m.model_id}/"
            tensors = {
                name.removeprefix(own): array
                for name, array in extra.items()
                if name.startswith(own)
            }
            beside = restore_beside(one.kind, tensors, note["rows"])
            live[key_of(one)] = Live(first, beside.predict(one, lstm, first))
    return live


def key_of(one: Subject) -> tuple[str, str, str]:
    """Instrument, kind and target."""
    return one.instrument, one.kind, one.target
