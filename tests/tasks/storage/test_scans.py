"""What the errors of libraries become inside our own."""

from __future__ import annotations

import pytest

from tasks.storage.scans import first_line

NESTED = (
    "Generic LocalFileSystem error\n"
    "  \x1b[31m↳\x1b[0m Unable to copy data to file\n"
    "   \x1b[31m↳\x1b[0m No space left on device (os error 28)\n"
)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("No such table.", "No such table"),
        ("No such table\nat src/lib.rs:12", "No such table"),
        (
            NESTED,
            "Generic LocalFileSystem error: Unable to copy data to file: "
            "No space left on device (os error 28)",
        ),
        ("", "OSError"),
    ],
)
def test_the_first_line_and_the_causes_below_it_are_told(said: str, expected: str) -> None:
    assert first_line(OSError(said)) == expected
