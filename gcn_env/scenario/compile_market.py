"""Pools that are rented, and spare devices that are let."""

from __future__ import annotations

from typing import Any

import numpy as np

from gcn_env.core.params import Market
from gcn_env.core.state import Array
from gcn_env.scenario.schema import Scenario

_WEEK_H = 168.0


def compile_market(s: Scenario) -> Market:
    """Prices and habits of owners and renters, by pool in the order of the fleet."""
    pools = [pool for region in s.regions.values() for pool in region.pools.values()]

    def rented(pick: Any, own: float) -> Array:
        return np.array([own if p.rent is None else pick(p.rent) for p in pools], np.float64)

    return Market(
        rent_usd=rented(lambda r: r.usd_per_device_h, 0.0),
        sigma=rented(lambda r: r.sigma, 0.0),
        phi=rented(lambda r: r.phi, 0.0),
        reclaim=rented(lambda r: r.reclaims_per_week / _WEEK_H, 0.0),
        notice_h=rented(lambda r: r.notice_h, 0.0),
        absent_h=rented(lambda r: r.absent_mean_h, 1.0),
        let_usd=np.array([0.0 if p.let is None else p.let.usd_per_device_h for p in pools]),
        let_share=np.array([0.0 if p.let is None else p.let.demand_share for p in pools]),
    )
