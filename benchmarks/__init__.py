"""Measurements: each module is a script that runs both sides and prints a table."""
