"""CSV bytes as a table of texts, without losing a line that has too few or too many cells.

Owns encodings, separators, quotes and line ends. Never touches what a cell means.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import zlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

LINE = "line"
"""The column that holds the whole text of a line whose cells could not be told apart."""

_SEPARATORS = ",;\t|"
_BLOCK = 1 << 24
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class DelimitedError(Exception):
    """The bytes are no CSV with a header. The message says what they are."""


@dataclass(frozen=True)
class Delimited:
    """A CSV as it came.

    Attributes:
        header: the columns' names, trimmed; a nameless column is called "column N".
        rows: one row per line that is not empty, all columns texts; and `LINE`, null but for a
            malformed line, whose other cells are null.
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


def read_delimited(data: bytes, separator: str | None = None) -> Delimited:
    """The header and the rows of a CSV.

    Args:
        data: UTF-8 or UTF-16 with or without a byte-order mark, else read as Latin-1.
        separator: between cells; None: the most frequent of comma, semicolon, tab and bar in the
            header.

    Raises:
        DelimitedError: there is no line, or no name in the header.
    """
    text = _decode(data).replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")
    first, _, body = text.partition("\n")
    if not text.strip():
        raise DelimitedError("it is empty")
    separator = separator or max(_SEPARATORS, key=first.count)
    header = _names(first, separator)
    lines = body.encode("utf-8")
    clear, unclear = _split_unclear(lines, separator)
    table, ragged = _parse(clear, header, separator)
    repaired, overlong = _repair(ragged, len(header), separator)
    table = _assemble(header, table, repaired, [*overlong, *unclear])
    if table.num_rows != (expected := _count_lines(lines)):
        raise DelimitedError(f"only {table.num_rows} of its {expected} lines could be told apart")
    return Delimited(header, table, pc.is_valid(table[LINE]).to_numpy())


def _decode(data: bytes) -> str:
    if data.startswith(_UTF_16):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _names(line: str, separator: str) -> tuple[str, ...]:
    try:
        cells = next(csv.reader([line], delimiter=separator, strict=False))
    except (csv.Error, StopIteration) as error:
        raise DelimitedError(f"its header can't be read ({error})") from error
    names = [cell.strip() or f"column {place}" for place, cell in enumerate(cells, start=1)]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise DelimitedError(f"its header names {twice[0]!r} more than once")
    if LINE in names:
        names[names.index(LINE)] = f"{LINE} "
    return tuple(names)


def _split_unclear(lines: bytes, separator: str) -> tuple[bytes, list[str]]:
    """Lines apart whose quotes leave open where a cell, or the line itself, would end."""
    if b'"' not in lines:
        return lines, []
    every = pa.array([line for line in lines.decode("utf-8").split("\n") if line], pa.string())
    quoted, plain = r'"(?:[^"]|"")*"', rf'[^"{_escaped(separator)}]*'
    cell = rf"(?:{quoted}|{plain})"
    clear = pc.match_substring_regex(every, rf"^{cell}(?:{_escaped(separator)}{cell})*$")
    kept = pc.binary_join(pa.array([every.filter(clear).to_pylist()]), "\n")[0].as_py()
    return kept.encode("utf-8"), every.filter(pc.invert(clear)).to_pylist()


def _escaped(separator: str) -> str:
    return rf"\x{{{ord(separator):x}}}"


def _parse(lines: bytes, header: tuple[str, ...], separator: str) -> tuple[pa.Table, list[str]]:
    schema = pa.schema([(name, pa.string()) for name in header])
    ragged: list[str] = []

    def put_aside(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row.text)
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


def _repair(ragged: list[str], columns: int, separator: str) -> tuple[list[list[str]], list[str]]:
    """Short lines filled up with empty cells, long ones freed of empty cells; and what is left."""
    repaired: list[list[str]] = []
    overlong: list[str] = []
    for line in ragged:
        try:
            cells = next(csv.reader([line], delimiter=separator))
        except csv.Error:
            overlong.append(line)
            continue
        if any(cell.strip() for cell in cells[columns:]):
            overlong.append(line)
        else:
            repaired.append([*cells, *[""] * columns][:columns])
    return repaired, overlong


def _assemble(
    header: tuple[str, ...], table: pa.Table, repaired: list[list[str]], malformed: list[str]
) -> pa.Table:
    cells = [[row[place] for row in repaired] for place in range(len(header))]
    none: list[str | None] = [None] * len(malformed)
    more = [pa.array([*column, *none], pa.string()) for column in cells]
    lines = [*[None] * (table.num_rows + len(repaired)), *malformed]
    columns = [
        pa.chunked_array([*table[name].chunks, extra], pa.string())
        for name, extra in zip(header, more, strict=True)
    ]
    return pa.table([*columns, pa.array(lines, pa.string())], names=[*header, LINE])


def _count_lines(lines: bytes) -> int:
    ends = np.flatnonzero(np.frombuffer(lines + b"\n", dtype=np.uint8) == ord("\n"))
    return int((np.diff(ends, prepend=-1) > 1).sum())
