"""Tables of an older schema version, brought up to today's: new columns, new words about old ones.

Owns what an upgrade changes. Never touches a row: in rows from before, a new column is null.
"""

from __future__ import annotations

import pyarrow as pa
from deltalake import DeltaTable, Field

from tasks.schemas import Dataset


def upgrade(table: DeltaTable, dataset: Dataset, properties: dict[str, str]) -> None:
    """Gives the table the dataset's columns and their metadata, and last the `properties`.

    An upgrade that was broken off, or that two processes begin at once, is gone through again.

    Args:
        table: of an older version, at its newest commit; changed in place.
        dataset: what it is to hold.
        properties: that say which version it now has.

    Raises:
        DeltaError: it can't be changed.
    """
    there = {field.name: field for field in pa.schema(table.schema().to_arrow())}
    new = [field for field in dataset.schema if field.name not in there]
    if new:
        table.alter.add_columns([Field.from_arrow(field) for field in new])
    for field in dataset.schema:
        metadata = dict(field.metadata or {})
        if field.name in there and dict(there[field.name].metadata or {}) != metadata:
            words = {key.decode(): value.decode() for key, value in metadata.items()}
            table.alter.set_column_metadata(field.name, words)
    table.alter.set_table_properties(properties, raise_if_not_exists=False)
