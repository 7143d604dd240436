"""Moist air: scalar kernels for the running step, and the same relations over arrays for load time.

E1 saturation pressure (Magnus/Tetens over water), E2 humidity ratio, E3 dew point, E4 wet bulb. Temperatures
in degC, pressures in kPa, humidity ratios in kg water per kg dry air, relative humidity in percent.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gcn_env.core.jit import kernel

Array = npt.NDArray[np.float64]

CP_AIR = 1.006  # kJ/(kg K), dry air
CP_WATER = 4.186  # kJ/(kg K)
LATENT_KJ_PER_KG = 2430.0  # evaporation near 30 degC
SEA_LEVEL_KPA = 101.325


@kernel()
def saturation_kpa_at(t_c):
    """E1 saturation pressure over water [kPa] of one temperature [degC], held to -60..99 degC."""
    t = min(max(t_c, -60.0), 99.0)
    return 0.61078 * math.exp(17.269 * t / (t + 237.3))


@kernel()
def saturation_ratio_at(t_c, kpa):
    """E2 humidity ratio of saturated air [kg/kg]; below boiling at `kpa`, else held at 95 % vapour."""
    e = min(saturation_kpa_at(t_c), 0.95 * kpa)
    return 0.622 * e / (kpa - e)


def pressure_kpa(elevation_m: float) -> float:
    """Barometric pressure [kPa] at an elevation [m], standard atmosphere."""
    return float(SEA_LEVEL_KPA * (1.0 - 2.2558e-5 * elevation_m) ** 5.2559)


def saturation_kpa(t_c: Array) -> Array:
    """E1 saturation pressure [kPa] of temperatures [degC]."""
    t = np.clip(np.asarray(t_c, np.float64), -60.0, 99.0)
    out: Array = 0.61078 * np.exp(17.269 * t / (t + 237.3))
    return out


def humidity_ratio(t_c: Array, rh_percent: Array, kpa: float = SEA_LEVEL_KPA) -> Array:
    """E2 humidity ratio [kg/kg] of air at `t_c` [degC] and `rh_percent` (held to 1..100)."""
    e = np.minimum(np.clip(rh_percent, 1.0, 100.0) / 100.0 * saturation_kpa(t_c), 0.95 * kpa)
    out: Array = 0.622 * e / (kpa - e)
    return out


def dew_point_c(ratio: Array, kpa: float = SEA_LEVEL_KPA) -> Array:
    """E3 dew point [degC] of a humidity ratio [kg/kg], the inverse of E1."""
    w = np.asarray(ratio, np.float64)
    a = np.log(np.maximum(w * kpa / (0.622 + w), 1e-4) / 0.61078)
    out: Array = 237.3 * a / (17.269 - a)
    return out


def wet_bulb_c(t_c: Array, rh_percent: Array, kpa: float = SEA_LEVEL_KPA) -> Array:
    """E4 wet bulb [degC]: the psychrometric balance solved by bisection, at any pressure and below freezing.

    Stull's explicit fit (sea level, -20..50 degC) differs from this by 0.29 K rms over nine weather years;
    load time can afford the balance itself.
    """
    t = np.asarray(t_c, np.float64)
    w = humidity_ratio(t, rh_percent, kpa)
    low, high = np.minimum(t - 60.0, dew_point_c(w, kpa) - 1.0), t.copy()
    for _ in range(50):
        mid = 0.5 * (low + high)
        at_mid = humidity_ratio(mid, np.full_like(mid, 100.0), kpa)
        # w at wet bulb: ((2501 - 2.326 Twb) w_s - 1.006 (T - Twb)) / (2501 + 1.86 T - 4.186 Twb)
        upper = (2501.0 - 2.326 * mid) * at_mid - CP_AIR * (t - mid)
        implied = upper / (2501.0 + 1.86 * t - CP_WATER * mid)
        wet = implied > w
        high, low = np.where(wet, mid, high), np.where(wet, low, mid)
    out: Array = np.minimum(0.5 * (low + high), t)
    return out
