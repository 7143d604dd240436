"""Validation of the generated work against real traces: `python benchmarks/validate_workload.py`."""
