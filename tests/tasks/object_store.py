"""A real S3 API for tests: moto's server, with one bucket.

In a process of its own: calls of the table library that hold Python's lock would wait for it
forever.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch
from urllib.request import Request, urlopen

from tasks.storage import places

BUCKET = "fleetcast"
_PATIENCE = 60.0
"""Seconds that the server may take to start, on a machine that is busy."""


@contextmanager
def object_store() -> Iterator[str]:
    """The address of a bucket that this process, and those that it starts, find by environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        patch.dict(os.environ, environment),
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server,
    ):
        try:
            _make_bucket(f"http://127.0.0.1:{port}/{BUCKET}", server)
            places._filesystem.cache_clear()
            yield f"s3://{BUCKET}"
        finally:
            places._filesystem.cache_clear()
            server.terminate()


def _make_bucket(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _PATIENCE
    make = Request(url, method="PUT")  # noqa: S310  our own server
    while True:
        try:
            urlopen(make, timeout=10).close()  # noqa: S310
            return
        except OSError:  # nobody there, or busy
            if server.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.05)
