"""Benchmarks that are kept: `python -m bench` runs them all and writes RESULTS.md."""
