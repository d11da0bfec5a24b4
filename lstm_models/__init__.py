"""LSTM fleets on arrays: windows, networks, baselines, scores, intervals, checkpoints.

Owns everything numerical. Never touches tables, dates, orchestration, or any file but checkpoints.
"""
