"""Verbs of `python -m agents`, a module a group; each adds its parsers and says what runs them."""
