"""Photographs of pages that draw themselves by scripts, once they show what they are about.

Owns the waiting. Never starts a browser or a server.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from tests.browser.chromium import Page
from tests.system.api import PATIENCE

_SETTLED = """[...document.images].every(one => !one.src || (one.complete && one.naturalWidth > 0))
    && !document.querySelector('.animate-pulse, .animate-spin')"""


def photograph(
    page: Page, url: str, file: Path, *, shows: Sequence[str], size: tuple[int, int]
) -> str:
    """Opens a page, and writes a picture of it to `file` once nothing on it changes any more.

    Args:
        page: a browser's.
        url: what to open.
        file: a PNG.
        shows: words that the page shows in the end.
        size: width and height of the screen in CSS pixels.

    Returns:
        The page's text.

    Raises:
        AssertionError: it never shows them, or never rests.
    """
    page.show(size[0], height=size[1])
    page.open(url)
    end = time.monotonic() + PATIENCE / 10
    before = b""
    while time.monotonic() < end:
        text: str = page.ask("document.body.innerText")
        if all(one in text for one in shows) and page.ask(_SETTLED):
            page.screenshot(file, whole=False, height=size[1])
            if file.read_bytes() == before:
                return text
            before = file.read_bytes()
        time.sleep(0.5)
    missing = [one for one in shows if one not in text]
    raise AssertionError(f"{url} does not show {missing}, or does not rest. It shows:\n{text}")
