"""Losses of the power chain between the meter and the IT (E44, E45), per kW of design IT power."""

from __future__ import annotations

from gcn_env.core.jit import kernel


@kernel()
def ups_loss(load, a0, a1, a2):
    """E44 UPS loss [kW/kW design] at `load` [kW/kW design]: no-load, linear and quadratic share."""
    return a0 + a1 * load + a2 * load * load


@kernel()
def pdu_loss(load, d0, d2):
    """E45 loss of distribution and transformers [kW/kW design] at `load` [kW/kW design]."""
    return d0 + d2 * load * load
