"""The datasets of `tasks.schemas`, as the last part of docs/store.md shows them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tasks.schemas import DATASETS, Dataset
from tasks.storage.columns import words_of

PAGE = Path(__file__).parents[2] / "docs" / "store.md"
MARK = "<!-- Made from tasks/schemas.py by: python -m tests.tasks.store_documentation -->\n"


def datasets() -> str:
    return "\n".join(_section(dataset) for dataset in DATASETS.values())


def _section(dataset: Dataset) -> str:
    kind = "facts" if dataset.fact else "derived rows"
    key = ", ".join(dataset.key)
    lines = [
        f"### {dataset.name}",
        "",
        f"One row is {dataset.meaning}. Holds {kind}; key: {key}.",
        "",
        "| column | type | unit | meaning |",
        "|---|---|---|---|",
        *(_line(field) for field in dataset.schema),
    ]
    return "\n".join(lines) + "\n"


def _line(field: pa.Field) -> str:
    unit = field.metadata.get(b"unit", b"").decode()
    meaning = field.metadata[b"meaning"].decode()
    words = words_of(field)
    if words:
        meaning = f"{meaning} ({', '.join(words)})"
    kind = (
        str(field.type).replace("timestamp[us, tz=UTC]", "timestamp").replace("date32[day]", "date")
    )
    kind = f"{kind}?" if field.nullable else kind
    return f"| {field.name} | {kind} | {unit} | {meaning} |"


def write() -> None:
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.split(MARK)[0] + MARK + "\n" + datasets(), encoding="utf-8")


if __name__ == "__main__":
    write()
