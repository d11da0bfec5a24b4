"""Beneath the store: places and files, Delta tables, columns, and what makes rows facts.

Owns the way down to disk. Never touches what a dataset means: that is `tasks.schemas`.
"""
