"""How good the forecasts are, on data that comes with packages: `python -m benchmarks.quality`.

Owns the benchmark behind benchmarks/QUALITY.md. The product never imports it.
"""
