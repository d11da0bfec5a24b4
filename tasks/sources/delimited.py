"""CSV bytes as a table of texts, without losing a line that has too few or too many cells.

Owns encodings, separators, quotes and line ends. Never touches what a cell means.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from tasks.storage.rows import take

LINE = "line"
"""The column that holds the whole text of a line whose cells could not be told apart."""

_SEPARATORS = ",;\t|"
_BLOCK = 1 << 24
_LONGEST_LINE = 1 << 20
"""Longer lines are no rows of bars, and would not fit in a block."""
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
"""No header has one, and nearly every binary file begins with some."""
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class DelimitedError(Exception):
    """The bytes are no CSV with a header. The message says what they are."""


@dataclass(frozen=True)
class Delimited:
    """A CSV as it came.

    Attributes:
        header: the columns' names, trimmed; a nameless column is called "column N".
        rows: one row per line that is not empty, in their order, all columns texts; and `LINE`,
            null but for a malformed line, whose other cells are null.
        malformed: which rows are malformed; axis (row).
    """

    header: tuple[str, ...]
    rows: pa.Table
    malformed: npt.NDArray[np.bool_]


def unzip(data: bytes) -> bytes:
    """The content of gzip `data`.

    Raises:
        DelimitedError: it is cut off or damaged.
    """
    try:
        return gzip.decompress(data)
    except EOFError as error:
        raise DelimitedError("the gzip file is cut off before its end") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DelimitedError(f"the gzip file is damaged ({error})") from error


def read_delimited(
    data: bytes, separator: str | None = None, header: Sequence[str] = ()
) -> Delimited:
    """The header and the rows of a CSV.

    Args:
        data: UTF-8 or UTF-16 with or without a byte-order mark, else read as Latin-1.
        separator: between cells; None: the most frequent of comma, semicolon, tab and bar in the
            first line, or the one that gives as many cells as `header` has names.
        header: the columns' names, of a file whose first line is a row.

    Raises:
        DelimitedError: there is no line, no text in the first one, or no name in the header.
    """
    text = _decode(data).replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")
    first, _, body = text.partition("\n")
    if not text.strip():
        raise DelimitedError("it is empty")
    if not header and (control := _CONTROL.search(first)):
        raise DelimitedError(
            f"it is no text: its first line has the byte 0x{ord(control[0]):02X}. Expected a CSV "
            "with a header; a Parquet file has to be called .parquet, a spreadsheet saved as CSV"
        )
    if re.fullmatch(r"sep=.", first):  # a line by which spreadsheets tell each other
        separator = separator or first[-1]
        first, _, body = body.partition("\n")
    separator = separator or _find_separator(first, len(header))
    names = _names(list(header)) if header else _names(_cells(first, separator))
    body = text if header else body
    while "\n\n" in body:
        body = body.replace("\n\n", "\n")
    lines = body.strip("\n").encode("utf-8")
    clear, unclear, places = _split_unclear(lines, separator)
    table, ragged = _parse(clear, names, separator)
    table = _assemble(names, table, ragged, unclear, places=places, separator=separator)
    if table.num_rows != (expected := _count_lines(lines)):
        raise DelimitedError(f"only {table.num_rows} of its {expected} lines could be told apart")
    return Delimited(names, table, pc.is_valid(table[LINE]).to_numpy())


def _find_separator(line: str, columns: int) -> str:
    fitting = [one for one in _SEPARATORS if line.count(one) + 1 == columns > 1]
    return fitting[0] if fitting else max(_SEPARATORS, key=line.count)


def _decode(data: bytes) -> str:
    if data.startswith(_UTF_16):
        return data.decode("utf-16", errors="replace")
    text = data.decode("utf-8-sig", errors="replace")
    damaged = text.count("\ufffd")
    if not damaged:
        return text
    # A few broken characters among whole ones are damage; none that is whole is another encoding.
    whole = len(text) - len(text.encode("ascii", errors="ignore")) - damaged
    return text if damaged <= whole else data.decode("latin-1")


def _cells(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator, strict=False))
    except (csv.Error, StopIteration) as error:
        raise DelimitedError(f"its header can't be read ({error})") from error


def _names(cells: list[str]) -> tuple[str, ...]:
    names = [cell.strip() or f"column {place}" for place, cell in enumerate(cells, start=1)]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise DelimitedError(f"its header names {twice[0]!r} more than once")
    if LINE in names:
        names[names.index(LINE)] = f"{LINE} "
    return tuple(names)


def _split_unclear(lines: bytes, separator: str) -> tuple[bytes, list[str], npt.NDArray[np.int64]]:
    """Lines apart whose quotes leave open where a cell, or the line itself, would end.

    Returns:
        The other lines; those set apart; their places among all lines.
    """
    ends = np.flatnonzero(np.frombuffer(lines + b"\n", dtype=np.uint8) == ord("\n"))
    long = bool((np.diff(ends, prepend=-1) > _LONGEST_LINE).any())
    if b'"' not in lines and not long:
        return lines, [], np.zeros(0, dtype=np.int64)
    every = pa.array(lines.decode("utf-8").split("\n"), pa.large_string())
    quoted, plain = r'"(?:[^"]|"")*"', rf'[^"{_escaped(separator)}]*'
    cell = rf"(?:{quoted}|{plain})"
    short = pc.less_equal(pc.binary_length(every), _LONGEST_LINE)
    tried = pc.if_else(short, every, pa.scalar('"', pa.large_string()))
    clear = pc.match_substring_regex(tried, rf"^{cell}(?:{_escaped(separator)}{cell})*$")
    kept = "\n".join(every.filter(clear).to_pylist())
    unclear = pc.invert(clear)
    places = np.flatnonzero(unclear.to_numpy(zero_copy_only=False))
    return kept.encode("utf-8"), every.filter(unclear).to_pylist(), places


def _escaped(separator: str) -> str:
    return rf"\x{{{ord(separator):x}}}"


def _parse(
    lines: bytes, header: tuple[str, ...], separator: str
) -> tuple[pa.Table, dict[int, str]]:
    """The lines with as many cells as the header; and the others by their place among `lines`."""
    schema = pa.schema([(name, pa.string()) for name in header])
    ragged: dict[int, str] = {}

    def put_aside(row: arrow_csv.InvalidRow) -> str:
        ragged[row.number - 1] = row.text
        return "skip"

    if not lines.strip(b"\n"):
        return schema.empty_table(), ragged
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(lines),
            read_options=arrow_csv.ReadOptions(
                column_names=list(header), use_threads=False, block_size=_BLOCK
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=separator,
                quote_char='"' if b'"' in lines else False,
                invalid_row_handler=put_aside,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=schema,
                strings_can_be_null=False,
                quoted_strings_can_be_null=False,
                check_utf8=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise DelimitedError(f"it can't be read as CSV ({error})") from error
    return table, ragged


def _repair(line: str, columns: int, separator: str) -> list[str] | None:
    """A short line filled up with empty cells, a long one freed of empty cells; None: neither."""
    try:
        cells = next(csv.reader([line], delimiter=separator))
    except (csv.Error, StopIteration):
        return None
    if any(cell.strip() for cell in cells[columns:]):
        return None
    return [*cells, *[""] * columns][:columns]


def _assemble(
    header: tuple[str, ...],
    table: pa.Table,
    ragged: dict[int, str],
    unclear: list[str],
    *,
    places: npt.NDArray[np.int64],
    separator: str,
) -> pa.Table:
    """All lines in their order, the malformed ones with nothing but `LINE`."""
    count = table.num_rows + len(ragged) + len(unclear)
    clear = np.delete(np.arange(count), places)
    odd = clear[list(ragged)] if ragged else clear[:0]
    plain = np.setdiff1d(clear, odd, assume_unique=True)
    repaired = [_repair(line, len(header), separator) for line in ragged.values()]
    lines = [line for line, cells in zip(ragged.values(), repaired, strict=True) if cells is None]
    whole = [cells is not None for cells in repaired]
    rows = [cells for cells in repaired if cells is not None]
    order = np.concatenate([plain, odd[whole], odd[[not one for one in whole]], places])
    malformed = [*lines, *unclear]
    none: list[str | None] = [None] * len(malformed)
    more = [
        pa.array([*(row[place] for row in rows), *none], pa.string())
        for place in range(len(header))
    ]
    told = pa.array([*[None] * (table.num_rows + len(rows)), *malformed], pa.string())
    columns = [
        pa.chunked_array([*table[name].chunks, extra], pa.string())
        for name, extra in zip(header, more, strict=True)
    ]
    assembled = pa.table([*columns, told], names=[*header, LINE])
    return take(assembled, np.argsort(order, kind="stable"))


def _count_lines(lines: bytes) -> int:
    return lines.count(b"\n") + 1 if lines else 0
