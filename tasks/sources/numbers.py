"""Texts as numbers: which mark is the decimal one is found in the file as a whole, or stated.

Owns marks, groups of digits, K/M/B/T, percent and currency signs. Never touches a column's meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.sources.cells import Read, as_text
from tasks.storage.rows import as_mask

_SCALES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_GROUPING = (",", ".", " ", "'")
_END = r"(?:[eE][+-]?[0-9]{1,4}|[KMBTkmbt%])?$"
_DIGITS = rf"^[+-]?[0-9.,' ]+{_END}"
_SPARSE = 10
"""One decimal mark in so many may be another one: a typing error, which its row is held for."""
_SAMPLE = 10_000


class AmbiguousNumbersError(ValueError):
    """A file's numbers can be read in two ways. The message gives an example and the remedy."""


@dataclass(frozen=True)
class Marks:
    """How a file writes numbers.

    Attributes:
        decimal: what stands before the decimals.
        thousands: what may group digits; any of these characters.
        stated: whether a person said so, and not the file.
    """

    decimal: str = "."
    thousands: str = ""
    stated: bool = False


def find_marks(
    columns: Mapping[str, pa.ChunkedArray],
    witnesses: Iterable[pa.ChunkedArray] = (),
    *,
    decimal: str | None = None,
    thousands: str | None = None,
    foreign: bool = False,
) -> Marks:
    """How a file writes numbers: one decimal mark for all of its columns.

    A cell tells it by other than three digits behind a mark, by no or four digits before it, or by
    two marks in it. Where none does, "112.253" is 112 and a bit or 112 thousand. Four digits in a
    row then say that nothing is grouped: in the same column, and for a point in any column, unless
    the header is in a language that writes a decimal comma.

    Args:
        columns: name → texts, as `cells.as_text` gives them; axis (row).
        witnesses: texts of other columns, looked at only where `columns` do not tell.
        decimal: the decimal mark, where it is stated.
        thousands: what groups digits, where it is stated; "" for nothing.
        foreign: whether the header is in a language that writes a decimal comma.

    Raises:
        AmbiguousNumbersError: the file does not tell, or contradicts itself.
    """
    if decimal is not None or thousands in (",", "."):
        decimal = decimal or {",": ".", ".": ","}[str(thousands)]
        grouping = "".join(_GROUPING) if thousands is None else thousands
        return Marks(decimal, grouping.replace(decimal, ""), stated=thousands is not None)
    found = _find_decimal(columns, witnesses, foreign=foreign)
    grouping = "".join(_GROUPING) if thousands is None else thousands
    return Marks(found, grouping.replace(found, ""), stated=thousands is not None)


def _find_decimal(
    columns: Mapping[str, pa.ChunkedArray], witnesses: Iterable[pa.ChunkedArray], *, foreign: bool
) -> str:
    texts = {name: _numeric(column) for name, column in columns.items()}
    if not any(_any(text, ",") for text in texts.values()):
        if not any(_any(text, ".") for text in texts.values()):
            return "."
        if any(_count(text.slice(0, _SAMPLE), _decisive(".", ",")) for text in texts.values()):
            return "."
    found = _vote(texts.values()) or _vote(_numeric(one) for one in witnesses)
    if found:
        return found
    for mark, other in ((".", ","), (",", ".")):
        grouped = {name: text for name, text in texts.items() if _count(text, _grouped(mark))}
        if not grouped or any(_any(text, other) for text in texts.values()):
            continue
        same = any(_count(text, r"^[+-]?[0-9]{4,}") for text in grouped.values())
        if same or (mark == "." and not foreign and _any_ungrouped(texts.values())):
            return mark
    for name, text in texts.items():
        for mark in ".,":
            cells = text.filter(pc.match_substring_regex(text, _grouped(mark)))
            if len(cells):
                cell = cells[0].as_py()
                raise AmbiguousNumbersError(
                    f"its column {name!r} holds numbers such as {cell[:40]!r}, and nothing in the "
                    f"file tells whether {mark!r} is the decimal mark or groups thousands. State "
                    f'source.decimal = "{mark}" if it is the decimal mark, else '
                    f'source.decimal = "{"," if mark == "." else "."}"'
                )
    return "."


def _vote(texts: Iterable[pa.ChunkedArray]) -> str | None:
    point = comma = 0
    for text in texts:
        point += _count(text, _decisive(".", ","))
        comma += _count(text, _decisive(",", "."))
    if min(point, comma) * _SPARSE > max(point, comma):
        raise AmbiguousNumbersError(
            f"{point} of its numbers have a decimal point and {comma} a decimal comma. Write them "
            'one way, or state which counts: source.decimal = "." or ","'
        )
    if point == comma:
        return None
    return "." if point > comma else ","


def _decisive(mark: str, other: str) -> str:
    """Cells in which `mark` can be nothing but the decimal mark, whether it is there or not."""
    mark, other = re.escape(mark), re.escape(other)
    return "|".join(
        (
            rf"^[+-]?0?{mark}[0-9]",
            rf"^[^{mark}]*{mark}(?:[0-9]{{0,2}}|[0-9]{{4,}}){_END}",
            rf"^[+-]?[0-9]{{4,}}{mark}[0-9]*{_END}",
            rf"{mark}[0-9]+[eE]",
            rf"^[+-]?[0-9]{{1,3}}(?:{other}[0-9]{{3}})+{mark}[0-9]*{_END}",
            rf"^[+-]?[0-9]{{1,3}}(?:{other}[0-9]{{3}}){{2,}}{_END}",
        )
    )


def _grouped(mark: str) -> str:
    return rf"^[+-]?[1-9][0-9]{{0,2}}(?:{re.escape(mark)}[0-9]{{3}})+{_END}"


def _numeric(text: pa.ChunkedArray) -> pa.ChunkedArray:
    text = _plain_signs(text.drop_null())
    return text.filter(pc.match_substring_regex(text, _DIGITS))


def _any(text: pa.ChunkedArray, mark: str) -> bool:
    return bool(pc.any(pc.match_substring(text, mark)).as_py())


def _any_ungrouped(texts: Iterable[pa.ChunkedArray]) -> bool:
    return any(_count(text, r"^[+-]?[0-9]{4,}") for text in texts)


def _count(text: pa.ChunkedArray, pattern: str) -> int:
    return int(pc.sum(pc.match_substring_regex(text, pattern)).as_py() or 0)


def read_numbers(
    column: pa.ChunkedArray,
    marks: Marks | None = None,
    *,
    suffixes: bool = False,
    percent: float | None = None,
) -> Read:
    """Finite numbers. NaN and what stands for nothing is null; infinity and text is wrong.

    Digits are grouped in all of a column or nowhere: where half of its numbers of four and more
    digits are not, those that are can't be read.

    Args:
        column: numbers, or texts.
        marks: how texts write numbers; None: with a decimal point and without groups.
        suffixes: whether K, M, B and T are thousand, million, billion and trillion.
        percent: what "1 %" is; None: a percent sign is wrong.

    Raises:
        pa.ArrowException: the column holds lists or other things that are no cells.
    """
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = column.cast(pa.float64(), safe=False)
        if pc.all(pc.is_finite(values), min_count=0).as_py() and not values.null_count:
            return Read(values, np.zeros(len(values), dtype=bool))
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
        return _finite(values, present=pc.is_valid(values))
    text = as_text(column)
    marks = marks or Marks()
    if marks.decimal == ".":
        try:
            return _finite(text.cast(pa.float64()), present=pc.is_valid(text))
        except pa.ArrowInvalid:
            pass
    values = _parse(text, marks, suffixes=suffixes, percent=percent)
    return _finite(values, present=pc.is_valid(text))


def _parse(
    text: pa.ChunkedArray, marks: Marks, *, suffixes: bool, percent: float | None
) -> pa.ChunkedArray:
    text = _plain_signs(text)
    scale = np.ones(len(text))
    scales = {**(_SCALES if suffixes else {}), **({} if percent is None else {"%": percent})}
    for suffix, factor in scales.items():
        there = as_mask(pc.fill_null(pc.ends_with(text, suffix, ignore_case=True), False))
        scale[there] = factor
    if scales:
        text = pc.replace_substring_regex(
            text, rf" ?[{''.join(scales)}{''.join(scales).lower()}]$", ""
        )
    decimal = re.escape(marks.decimal)
    groups = [rf"[0-9]{{1,3}}(?:{re.escape(one)}[0-9]{{3}})+" for one in marks.thousands]
    if groups and not marks.stated:
        several = _count(text, rf"^[+-]?(?:{'|'.join(groups)})(?:{decimal}|$)")
        together = _count(text, rf"^[+-]?[0-9]{{4,}}(?:{decimal}|$)")
        if together >= max(several, 1):
            groups = []
    whole = "|".join(("[0-9]+", *groups))
    shape = rf"^[+-]?(?:(?:{whole})(?:{decimal}[0-9]*)?|{decimal}[0-9]+)(?:[eE][+-]?[0-9]{{1,4}})?$"
    fits = pc.fill_null(pc.match_substring_regex(text, shape), False)
    text = pc.if_else(fits, text, pa.scalar(None, pa.string()))
    for mark in marks.thousands:
        text = pc.replace_substring(text, mark, "")
    text = pc.replace_substring(text, marks.decimal, ".")
    return pc.multiply(text.cast(pa.float64()), pa.array(scale))


def _plain_signs(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Without currency signs; blanks and apostrophes that group digits as ASCII has them."""
    if _count(text, r"[^\x00-\x7f]"):
        text = pc.replace_substring_regex(text, "[\u00a0\u2009\u202f]", " ")
        text = pc.replace_substring(text, "\u2019", "'")
        text = pc.replace_substring(text, "\u2212", "-")
    if _count(text, r"^[+-]?[$€£¥]"):
        text = pc.replace_substring_regex(text, r"^([+-]?)[$€£¥] ?", r"\1")
    return text


def _finite(values: pa.ChunkedArray, present: pa.ChunkedArray) -> Read:
    finite = pc.fill_null(pc.is_finite(values), False)
    values = pc.if_else(finite, values, pa.scalar(None, pa.float64()))
    return Read(values, as_mask(present) & ~as_mask(finite))
