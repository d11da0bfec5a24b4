"""Gradients of a plain Keras layer by the automatic differentiation of the backend in use."""

from collections.abc import Callable

import keras
import numpy as np
from numpy.typing import NDArray

from lstm_models.recurrence import Tensor

Floats = NDArray[np.float32]


def loss_and_gradients(
    layer: keras.Layer, inputs: Floats, loss: Callable[[Tensor], Tensor]
) -> tuple[float, list[Floats]]:
    """`loss` of the layer's output, and its gradient by each of the layer's trainable variables."""
    if keras.backend.backend() == "jax":
        import jax

        def of(values: list[Tensor]) -> Tensor:
            return loss(layer.stateless_call(values, layer.non_trainable_variables, inputs)[0])

        values = [variable.value for variable in layer.trainable_variables]
        total, gradients = jax.value_and_grad(of)(values)
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            total = loss(layer(inputs))
        gradients = tape.gradient(total, layer.trainable_weights)
    return float(total), [np.asarray(gradient) for gradient in gradients]
