"""Photograph a page, for looking at it: `python -m tests.browser.screenshot PAGE PNG --width 375`.

Owns the command line only. Never part of the product: docs/report.md says when to use it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.browser.chromium import NAMES, Browser, find_browser


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("png", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, help="only so many pixels from the top")
    parser.add_argument("--scale", type=float, default=1.0, help="device pixels per CSS pixel")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--print", action="store_true", dest="on_paper")
    wanted = parser.parse_args()
    path = find_browser()
    if path is None:
        raise SystemExit(f"no browser found: install one of {', '.join(NAMES)}")
    with Browser(path) as browser:
        page = browser.new_page()
        media = "print" if wanted.on_paper else ""
        page.show(wanted.width, dark=wanted.dark, media=media, scale=wanted.scale)
        page.open(wanted.page.resolve().as_uri())
        page.screenshot(wanted.png, height=wanted.height)


if __name__ == "__main__":
    main()
