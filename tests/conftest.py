"""Settings that every test runs under. Fixtures live beside the tests that use them."""

import os
from contextlib import suppress
from importlib import import_module

from hypothesis import HealthCheck, settings

# Before anything imports Keras: the reference backend, unless `make test-jax` asks for the other.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Before anything imports TensorFlow: bytes that agree between machines, and no notes from native
# code. Before anything imports Prefect: nothing is reported to anybody.
os.environ.update(
    TF_CPP_MIN_LOG_LEVEL="3",
    TF_ENABLE_ONEDNN_OPTS="0",
    DO_NOT_TRACK="1",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
)

# TensorFlow brings a curl of its own, and Yahoo's has to be there first. Without it on JAX.
with suppress(ImportError):
    import_module("curl_cffi")

# Time is never asserted, and continuous integration tries the same examples each time.
settings.register_profile("fleetcast", deadline=None, derandomize="CI" in os.environ)
settings.register_profile(
    "fuzz", deadline=None, max_examples=10_000, suppress_health_check=list(HealthCheck)
)
settings.load_profile("fleetcast")
