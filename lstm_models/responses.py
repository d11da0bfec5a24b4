"""From the outputs of a member's lanes to its forecast: means, or probabilities.

Owns how each kind joins the linear path and averages its lanes. Never touches Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm_models.fleet_config import Kind

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Response:
    """How a kind's forecast is made; all arrays `(window, output)`.

    Attributes:
        of_lane: from the linear path and one lane's outputs to what is averaged over lanes.
        of_member: from the linear path, that average and the outputs' scale to the forecast.
    """

    of_lane: Callable[[Floats, Floats], Floats]
    of_member: Callable[[Floats, Floats, Floats], Floats]


def sigmoid(logits: Floats) -> Floats:
    """Probability of class 1 from its logit; exact for both signs and without overflow."""
    power = np.exp(-np.abs(logits))
    return np.where(logits >= 0.0, 1.0, power) / (1.0 + power)


def softmax(logits: Floats) -> Floats:
    """Probabilities from logits on the last axis; the largest logit is taken out first."""
    power = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(power / power.sum(axis=-1, keepdims=True))


def _averaged_probabilities(activation: Callable[[Floats], Floats]) -> Response:
    return Response(
        of_lane=lambda linear, outputs: activation(linear + outputs),
        of_member=lambda linear, average, scale: average,  # noqa: ARG005 - as every kind is called
    )


RESPONSES: Mapping[Kind, Response] = {
    "many_to_many": Response(
        of_lane=lambda linear, outputs: outputs,  # noqa: ARG005 - as every kind is called
        of_member=lambda linear, average, scale: linear + average * scale,
    ),
    "direction": _averaged_probabilities(sigmoid),
    "quantile_class": _averaged_probabilities(softmax),
}
