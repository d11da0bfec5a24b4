"""Mutations of real inputs, which must end in rows, quarantine or a clear error."""
