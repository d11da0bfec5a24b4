"""When and where the work runs: configuration, Prefect flows and the command line.

Owns composition. Never touches arrays or rows itself: it calls `tasks`.
"""
