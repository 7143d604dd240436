"""Validation of the plant kernels against published figures: `python benchmarks/validate_physics.py`."""
