"""Compilation, one name for both backends: a function of tensors becomes one XLA program.

Owns the only backend-specific lines of the library. Never touches what is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` with XLA; it is traced again only for shapes it has not met.

    Raises:
        RuntimeError: if Keras runs on a backend other than TensorFlow or JAX.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415 - only the backend in use is loaded

        compiled_function: Callable[..., Any] = tf.function(
            function, jit_compile=True, autograph=False
        )
        return compiled_function
    if backend == "jax":
        import jax  # noqa: PLC0415 - only the backend in use is loaded

        jitted: Callable[..., Any] = jax.jit(function)
        return jitted
    raise RuntimeError(
        f"fleets run on the Keras backends 'tensorflow' and 'jax', received {backend!r}: "
        "set KERAS_BACKEND=tensorflow"
    )
