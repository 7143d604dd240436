"""The signal bank: hourly years of all regions as one array, and which years belong to which split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gcn_env.errors import nearest
from gcn_env.signals.calendar import first_weekday, year_hours
from gcn_env.signals.errors import DataError

if TYPE_CHECKING:
    from gcn_env.signals.series import Filled

Array = npt.NDArray[Any]

# order of core.state.PRICE..HUMID, CLOUD, WIND
COLUMNS = ("price", "carbon", "drybulb", "wetbulb", "dewpoint", "humidity", "cloud", "wind")
UNITS = ("USD/MWh", "gCO2e/kWh", "degC", "degC", "degC", "kg/kg", "1", "m/s")


@dataclass(frozen=True, eq=False)
class SignalBank:
    """Hourly signals: 8784 h x R regions x 8 columns x 4 bytes a year, 1.4 MB for five regions.

    Attributes:
        values: float32 [Y, 8784, R, 8], C-contiguous; years of 8760 h are continued by repeating their last
            day.
        hours: int64 [Y] 8760 or 8784.
        weekday: int64 [Y] weekday of 1 January, Monday 0.
        labels: year id of each row.
        split_rows: split name -> int64 row numbers, in the order the years were given.
        profiles: profile or file region of each region.
        filled: what interpolation put into series (files only).
        notes: what was changed, filled in or assumed in weather files, a line each.
    """

    values: Array
    hours: Array
    weekday: Array
    labels: tuple[int, ...]
    split_rows: dict[str, Array]
    profiles: tuple[str, ...]
    filled: tuple[Filled, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def n_regions(self) -> int:
        """R."""
        return int(self.values.shape[2])

    @property
    def nbytes(self) -> int:
        """Bytes held by the values."""
        return int(self.values.nbytes)

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits over shape and values: equal banks have equal fingerprints."""
        digest = hashlib.sha256(str(self.values.shape).encode())
        digest.update(np.ascontiguousarray(self.values).data)
        return digest.hexdigest()[:12]

    def rows(self, split: str) -> Array:
        """Row numbers of a split.

        Raises:
            DataError: if there is no such split.
        """
        if split not in self.split_rows:
            raise DataError(
                f"no split {split!r}{nearest(split, self.split_rows)} (splits: {', '.join(self.split_rows)})"
            )
        return self.split_rows[split]


def check_splits(splits: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    """The years of all splits in order.

    Raises:
        DataError: no splits, an empty one, or a year named twice.
    """
    owner: dict[int, str] = {}
    for split, years in splits.items():
        if not len(years):
            raise DataError(f"split {split!r} has no years; give it at least one or leave it out")
        for year in years:
            if year in owner:
                both = (
                    f"splits {owner[year]!r} and {split!r}"
                    if owner[year] != split
                    else f"split {split!r} twice"
                )
                raise DataError(f"year {year} is in {both}; a year belongs to one split only")
            owner[year] = split
    if not owner:
        raise DataError("no splits given; a bank needs at least one, for example {'train': [1, 2, 3]}")
    return tuple(owner)


def _assembled(
    values: Array, splits: Mapping[str, Sequence[int]], profiles: Sequence[str], filled: tuple[Filled, ...]
) -> SignalBank:
    labels = check_splits(splits)
    row = {year: i for i, year in enumerate(labels)}
    if not np.isfinite(values).all():  # cannot happen by construction; kernels rely on it
        raise DataError("a signal is not finite; please report this with the scenario")
    values.setflags(write=False)
    return SignalBank(
        values=values,
        hours=np.array([year_hours(y) for y in labels], np.int64),
        weekday=np.array([first_weekday(y) for y in labels], np.int64),
        labels=labels,
        split_rows={s: np.array([row[y] for y in years], np.int64) for s, years in splits.items()},
        profiles=tuple(profiles),
        filled=filled,
    )


def synthetic_bank(
    profiles: Sequence[str],
    splits: Mapping[str, Sequence[int]],
    seed: int,
    price_profiles: Sequence[str] | None = None,
) -> SignalBank:
    """A bank of synthetic years.

    Args:
        profiles: fitted profile of each region.
        splits: split name -> year ids (0 or more); a year may be in one split only.
        seed: 0 or more.
        price_profiles: whose price each region pays, where not its own (ZA has none).

    Raises:
        DataError: see `synthetic.synthetic_year` and `check_splits`.
    """
    from gcn_env.signals.synthetic import synthetic_years

    return _assembled(
        synthetic_years(profiles, check_splits(splits), seed, price_profiles), splits, profiles, ()
    )


def file_bank(
    data_dir: Path | str,
    profiles: Sequence[str],
    splits: Mapping[str, Sequence[int]],
    max_gap_h: int = 0,
    price_profiles: Sequence[str] | None = None,
    elevation_m: Mapping[str, float] | None = None,
    seed: int = 0,
) -> SignalBank:
    """A bank of real years; see `series.read_years` for the arguments and errors.

    Cloud cover and wind are not in the files: they are drawn from `seed` as `sky` says.
    """
    from gcn_env.signals.series import read_years

    years = check_splits(splits)
    values, _, filled = read_years(data_dir, profiles, years, max_gap_h, price_profiles, elevation_m, seed)
    return _assembled(values, splits, profiles, filled)
