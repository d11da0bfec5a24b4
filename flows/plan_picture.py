"""The fold plan as a picture of text: a bar per fold over the sessions, a letter per segment.

Owns which cell shows what. Never touches a terminal: colour is there for those that show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from rich.text import Text

from tasks.fold_plan import SEGMENTS, FoldPlan
from tasks.folds import Fold

GAP = "·"
_STYLES = {
    "fit": "blue",
    "early_stop": "cyan",
    "gate": "yellow",
    "calibrate": "magenta",
    "test": "green",
}
LETTERS = {segment: segment[0].upper() for segment in SEGMENTS}


@dataclass(frozen=True)
class _Part:
    """Rows that are drawn alike: a segment, or None for an embargo."""

    segment: str | None
    first: int
    stop: int


def picture(plan: FoldPlan, columns: int) -> list[Text]:
    """The lines, oldest fold first, then the years and the meaning of the letters.

    Every segment and every embargo gets a cell at least, however short it is, at the cost of the
    segment before it; so the picture is to scale only where there is room.

    Args:
        plan: with folds.
        columns: how wide a line may be; below 40 it is taken as 40.
    """
    labels = {fold.index: label(fold) for fold in plan.folds}
    margin = max(map(len, labels.values())) + 1
    cells = max(columns, 40) - margin
    lines = []
    for fold in reversed(plan.folds):
        line = Text(labels[fold.index].ljust(margin))
        for letter, segment in bar(fold, len(plan.sessions), cells):
            line.append(letter, _STYLES.get(segment or "", "dim"))
        line.rstrip()
        lines.append(line)
    meaning = Text(" " * margin)
    for segment, letter in LETTERS.items():
        meaning.append(letter, _STYLES[segment]).append(f" {segment.replace('_', ' ')}  ")
    return [*lines, Text(" " * margin + _years(plan, cells)), meaning.append(f"{GAP} embargo")]


def label(fold: Fold) -> str:
    """What a fold is called in front of its bar."""
    return f"fold {fold.index}" if fold.index else "tonight"


def bar(fold: Fold, rows: int, cells: int) -> list[tuple[str, str | None]]:
    """One letter per cell, and the segment that it stands for; None: an embargo, or nothing."""
    parts = _parts(fold)
    ends = [0] * len(parts)
    after = cells + 1
    for place in reversed(range(len(parts))):
        scaled = round(parts[place].stop * cells / rows)
        after = ends[place] = max(min(scaled, after - 1), place + 1)
    start = min(round(parts[0].first * cells / rows), ends[0] - 1)
    drawn: list[tuple[str, str | None]] = [(" ", None)] * start
    for part, end in zip(parts, ends, strict=True):
        letter = GAP if part.segment is None else LETTERS[part.segment]
        drawn += [(letter, part.segment)] * (end - len(drawn))
    return drawn + [(" ", None)] * (cells - len(drawn))


def _parts(fold: Fold) -> list[_Part]:
    """What is not empty, in order of time, the embargoes between."""
    held = [(name, *getattr(fold, name)) for name in SEGMENTS]
    segments = [_Part(name, first, stop) for name, first, stop in held if stop > first]
    parts = segments[:1]
    for before, after in pairwise(segments):
        if after.first > before.stop:
            parts.append(_Part(None, before.stop, after.first))
        parts.append(after)
    return parts


def _years(plan: FoldPlan, cells: int) -> str:
    """The year where it begins, as far as there is room."""
    years = plan.sessions.astype("datetime64[Y]").astype(int) + 1970
    begins = np.flatnonzero(np.diff(years, prepend=years[0] - 1))
    line = ""
    for row in begins:
        cell = round(int(row) * cells / len(plan.sessions))
        if cell + 4 <= cells and (not line or cell > len(line)):
            line = line.ljust(cell) + str(years[row])
    return line
