"""The steps of a night, as plain functions on tables, from source to publishing.

Owns what happens to rows. Never touches orchestration: `flows` decides when and where a step runs.
"""
