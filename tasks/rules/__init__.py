"""The rules that rows and actions are judged by: one file per family, one table of all.

Owns what makes a row doubtful. Never touches the store or a file.
"""
