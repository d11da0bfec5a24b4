"""How often a compiled program was traced, whichever backend compiled it."""

from collections.abc import Callable

import keras


def traces(program: Callable[..., object]) -> int:
    """Traces so far: one per set of shapes that the program has met."""
    on_jax = keras.backend.backend() == "jax"
    count = getattr(program, "_cache_size" if on_jax else "experimental_get_tracing_count")
    return int(count())
