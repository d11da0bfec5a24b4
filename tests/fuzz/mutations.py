"""Mutations of what a provider might send: torn, doubled, swapped, with poisoned cells."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

TOKENS = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b'"',
    b'""',
    b",",
    b";",
    b"\t",
    b"'",
    b"{",
    b"]",
    b"null",
    b"NaN",
    b"-inf",
    b"1e309",
    b"-0",
    b"1.234,5",
    b"1,234.5",
    b"99999999999999999999",
    b"0x1f",
    b"2024-02-30",
    b"0000-00-00",
    b"31/12/2024",
    b"1704205800",
    b"true",
    b"\xe2\x82\xac",
    b"\xc3",
    b"=1+1",
    b"#REF!",
    b"\\u0000",
    b"date",
    b"close",
)
"""What is put in: signs that readers stumble over, and cells that are no number or no date."""

Edit = tuple[str, float, float, bytes]
"""What is done, from where, to where (as parts of the whole), and what is put in."""

_KINDS = ("put", "replace", "cut", "double", "flip", "end", "swap", "lines")

_EDITS = st.tuples(
    st.sampled_from(_KINDS),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(TOKENS) | st.binary(max_size=6),
)


def edited(data: bytes, edits: Sequence[Edit]) -> bytes:
    """`data` after `edits`, one after another."""
    for kind, first, second, token in edits:
        start, end = sorted((int(first * len(data)), int(second * len(data))))
        near = min(end, start + 24)
        if kind == "put":
            data = data[:start] + token + data[start:]
        elif kind == "replace":
            data = data[:start] + token + data[near:]
        elif kind == "cut":
            data = data[:start] + data[near:]
        elif kind == "double":
            data = data[:end] + data[start:end][:400] + data[end:]
        elif kind == "flip" and data:
            data = data[:start] + bytes([data[start] ^ 1 << len(token) % 8]) + data[start + 1 :]
        elif kind == "end":
            data = data[: max(start, 1)]
        elif kind == "swap":
            data = data[:start] + data[start:end].replace(b",", token[:1]) + data[end:]
        else:
            lines = data.split(b"\n")
            here, there = int(first * len(lines)), int(second * len(lines))
            lines[here], lines[there] = lines[there], lines[here]
            data = b"\n".join(lines)
    return data


def mutations(corpus: Sequence[tuple[str, bytes]]) -> st.SearchStrategy[tuple[str, bytes]]:
    """A name and an input of `corpus` after one to six edits."""
    edits = st.lists(_EDITS, min_size=1, max_size=6)
    return st.builds(
        lambda one, many: (one[0], edited(one[1], many)), st.sampled_from(corpus), edits
    )
