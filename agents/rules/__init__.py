"""Rule-based policies: placement and cooling rules that act on the same observations, through the same step."""

from agents.rules import cooling, placement, predictive, reset, static

__all__ = ["cooling", "placement", "predictive", "reset", "static"]  # importing a module registers its rules
