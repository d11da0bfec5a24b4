"""Freed memory stays with the process, where the C library can do that."""

import platform
import subprocess
import sys

import pytest

PIECE, CALLS = 32 * 2**20, 20
SCRIPT = f"""
import resource, sys
import numpy as np
from lstm_models.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({CALLS}):
        np.ones({PIECE}, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
assert keep_freed_memory()
faults()
print(given_back, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own switch")
def test_pages_are_not_asked_for_again() -> None:
    """In a process of its own: the switch lasts as long as the process."""
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    given_back, kept = map(int, done.stdout.split())
    assert kept < given_back / 10
