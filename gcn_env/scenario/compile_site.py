"""Power supply beside the grid: shares of the design load in a scenario become kW, kWh and rates here."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from gcn_env.core.params import Geo, Site
from gcn_env.core.state import FAULTS, Array
from gcn_env.scenario.schema import Region, Scenario

# Faults a year and mean hours to repair, of one region's plant. [E]: orders of magnitude that operators recognise, not
# a fit; `supply.fault_scale` multiplies the rates.
FAULTS_PER_YEAR = {"fan": 2.0, "compressor": 1.0, "pump": 0.5, "tower": 0.5, "fouling": 0.5, "sensor": 2.0}
MEND_H = {"fan": 12.0, "compressor": 24.0, "pump": 8.0, "tower": 12.0, "fouling": 168.0, "sensor": 24.0}


def compile_site(scenario: Scenario, geo: Geo) -> Site:
    """Arrays of `core.params.Site` for the regions of a scenario whose design loads are `geo.design_kw`."""
    regions = list(scenario.regions.values())
    design = geo.design_kw

    def column(pick: Callable[[Region], float]) -> Array:
        return np.array([pick(r) for r in regions], np.float64)

    feeder = [math.inf if r.grid.feeder_share is None else r.grid.feeder_share for r in regions]
    battery_kwh = column(lambda r: r.supply.battery_h) * design
    scale = column(lambda r: r.supply.fault_scale)[:, None]
    return Site(
        feeder_kw=np.array(feeder) * design,
        ratchet=column(lambda r: r.grid.demand_ratchet_share),
        ups_kwh=column(lambda r: r.supply.ups_min / 60.0) * design,
        ups_fans=column(lambda r: float(r.supply.fans_on_ups)),
        generator_kw=column(lambda r: r.supply.generator_share) * design,
        generator_start=column(lambda r: r.supply.generator_start_probability),
        fuel_usd=column(lambda r: r.supply.fuel_usd_per_l),
        pv_kw=column(lambda r: r.supply.pv_share) * design,
        wind_kw=column(lambda r: r.supply.wind_share) * design,
        hub_m=column(lambda r: r.supply.hub_m),
        latitude=np.radians(column(lambda r: r.latitude_deg)),
        longitude_h=column(lambda r: r.longitude_deg / 15.0),
        battery_kwh=battery_kwh,
        battery_kw=column(lambda r: r.supply.battery_rate_per_h) * battery_kwh,
        battery_usd=column(lambda r: r.supply.battery_wear_usd_per_kwh),
        reuse_kw=column(lambda r: r.supply.heat_demand_share) * design,
        heat_usd=column(lambda r: r.supply.heat_usd_per_mwh / 1e3),
        faults=scale * np.array([FAULTS_PER_YEAR[f] for f in FAULTS]) / 8760.0,
        mend_h=np.repeat([[MEND_H[f] for f in FAULTS]], len(regions), 0),
        curtail=column(lambda r: r.grid.curtailment.per_year / 8760.0),
        curtail_notice_h=column(lambda r: r.grid.curtailment.notice_h),
        curtail_h=column(lambda r: r.grid.curtailment.mean_h),
        curtail_share=column(lambda r: r.grid.curtailment.depth_share),
        curtail_usd=column(lambda r: r.grid.curtailment.penalty_usd_per_mwh / 1e3),
        sensor_noise_k=float(scenario.sensors.noise_k),
        sensor_step_k=float(scenario.sensors.step_k),
        sensor_delay_h=scenario.sensors.delay_s / 3600.0,
    )
