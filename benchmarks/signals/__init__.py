"""Synthetic signals against real ones: measures, tables and figures of `validate_signals.py`."""
