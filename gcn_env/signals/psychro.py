"""Moist air on whole arrays: from what weather files give to what cooling plants need.

Saturation over water and ice and the wet-bulb balance are ASHRAE Fundamentals 2017, chapter 1 (equations 3,
5, 6, 20, 33, 35). The dew point inverts the Magnus form over water, as the plants' own air model does.
Temperatures in degC, pressures in kPa, humidity ratios in kg water per kg dry air.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# degC: above the highest dew points of inhabited land stations save the Gulf and Red Sea coasts
MAX_DEW_C = 28.0
DRIEST = 0.02  # relative humidity; the driest hour of the open weather years has 4 % (Johannesburg)
_EPS = 0.621945  # ratio of molar masses, water over dry air


def site_pressure(elevation_m: float) -> float:
    """Standard pressure [kPa] at `elevation_m` [m] (ASHRAE eq. 3)."""
    return float(101.325 * (1.0 - 2.25577e-5 * elevation_m) ** 5.2559)


def saturation_pressure(temp_c: Array) -> Array:
    """Saturation vapour pressure [kPa] over ice below 0 degC and over water above (ASHRAE eq. 5 and 6)."""
    k = temp_c + 273.15
    ice = (
        -5.6745359e3 / k + 6.3925247 - 9.677843e-3 * k + 6.2215701e-7 * k**2 + 2.0747825e-9 * k**3
        - 9.484024e-13 * k**4 + 4.1635019 * np.log(k)
    )  # fmt: skip
    water = (
        -5.8002206e3 / k + 1.3914993 - 4.8640239e-2 * k + 4.1764768e-5 * k**2 - 1.4452093e-8 * k**3
        + 6.5459673 * np.log(k)
    )  # fmt: skip
    return np.asarray(np.exp(np.where(temp_c < 0.0, ice, water)) / 1000.0)


def humidity_from_vapour(vapour_kpa: Array, pressure_kpa: float) -> Array:
    """Humidity ratio of air with vapour pressure `vapour_kpa` (ASHRAE eq. 20)."""
    return np.asarray(_EPS * vapour_kpa / (pressure_kpa - vapour_kpa))


def saturated_ratio(temp_c: Array, pressure_kpa: float) -> Array:
    """Humidity ratio of saturated air."""
    return humidity_from_vapour(saturation_pressure(temp_c), pressure_kpa)


def dew_point(vapour_kpa: Array) -> Array:
    """Dew point over water [degC]: inverse of `p = 0.61078 exp(17.269 T / (T + 237.3))` (Murray 1967)."""
    a = np.log(vapour_kpa / 0.61078)
    return np.asarray(237.3 * a / (17.269 - a))


def vapour_from_dew(dew_c: Array) -> Array:
    """Vapour pressure [kPa] at a dew point; the inverse of `dew_point`."""
    return np.asarray(0.61078 * np.exp(17.269 * dew_c / (dew_c + 237.3)))


def humidity_from_wet_bulb(dry_c: Array, wet_c: Array, pressure_kpa: float) -> Array:
    """Humidity ratio from dry and wet bulb (ASHRAE eq. 33, 35); may fall below 0 for inconsistent pairs."""
    ws = saturated_ratio(wet_c, pressure_kpa)
    over_water = ((2501.0 - 2.326 * wet_c) * ws - 1.006 * (dry_c - wet_c)) / (
        2501.0 + 1.86 * dry_c - 4.186 * wet_c
    )
    over_ice = ((2830.0 - 0.24 * wet_c) * ws - 1.006 * (dry_c - wet_c)) / (
        2830.0 + 1.86 * dry_c - 2.1 * wet_c
    )
    return np.asarray(np.where(wet_c < 0.0, over_ice, over_water))


def dew_and_humidity(
    dry_c: Array, wet_c: Array, pressure_kpa: float, driest: float = DRIEST
) -> tuple[Array, Array]:
    """Dew point [degC] and humidity ratio [kg/kg] from dry and wet bulb.

    Air of less relative humidity than `driest`, which only rounding or a simulated pair can give, is taken as
    having that much; the dew point never exceeds the dry bulb.
    """
    saturated = saturated_ratio(dry_c, pressure_kpa)
    ratio = np.clip(humidity_from_wet_bulb(dry_c, wet_c, pressure_kpa), driest * saturated, saturated)
    vapour = pressure_kpa * ratio / (_EPS + ratio)
    return np.minimum(dew_point(vapour), dry_c), ratio


def wet_bulb(dry_c: Array, ratio: Array, pressure_kpa: float, steps: int = 40) -> Array:
    """Wet bulb [degC] from dry bulb and humidity ratio, by bisection of the ASHRAE balance (to 1e-9 K)."""
    low, high = dry_c - 60.0, np.array(dry_c, np.float64)
    for _ in range(steps):
        middle = 0.5 * (low + high)
        above = humidity_from_wet_bulb(dry_c, middle, pressure_kpa) > ratio
        high = np.where(above, middle, high)
        low = np.where(above, low, middle)
    return np.asarray(0.5 * (low + high))
