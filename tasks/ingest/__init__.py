"""Ingest: from a source to facts in the store, with an account of what came of every row.

Owns what is asked for, when a fact is taken to have been known, and the order of commits. Never
touches how a source reads, what makes a row bad, or how facts are compared and written.
"""

from tasks.ingest.batches import Progress, ingest
from tasks.ingest.report import IngestReport, InstrumentCounts, InvariantError

__all__ = ["IngestReport", "InstrumentCounts", "InvariantError", "Progress", "ingest"]
