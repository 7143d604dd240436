"""Synthetic years against the real ones they were fitted on, which may not be carried: skips where absent.

The yardstick is how much real years differ from each other. `pytest -s` prints the table of distances.
"""

from itertools import combinations

import numpy as np
import pytest

from gcn_env.signals.climatology import climatology
from gcn_env.signals.epw import read_epw
from gcn_env.signals.errors import MissingDataError
from gcn_env.signals.series import find_file, read_csv, read_years
from gcn_env.signals.synthetic import synthetic_year

YEARS = (2021, 2022, 2023)
COLUMN = {"price": 0, "carbon": 1, "drybulb": 2, "wetbulb": 3}


@pytest.fixture(scope="module")
def folder(root):
    for path in (root / "shared" / "data" / "open", root.parent / "shared" / "data" / "open"):
        if path.is_dir():
            return path
    pytest.skip("no shared/data/open beside or in the checkout: nothing real to compare with")


@pytest.fixture(scope="module")
def real(folder):
    """profile -> variable -> {year: values without gaps}."""
    out = {}
    for name in climatology().names:
        out[name] = {v: {} for v in COLUMN}
        for year in YEARS:
            for kind in ("price", "carbon", "weather"):
                try:
                    path = find_file(folder, kind, name, year)
                except MissingDataError:
                    continue
                for variable, values in read_csv(path, kind, year).items():
                    if variable in COLUMN:
                        out[name][variable][year] = values[np.isfinite(values)]
    out["BR-SP"]["price"] = {2021: out["BR-SP"]["price"][2021]}  # at its floor price nearly all of 2022-23
    return out


@pytest.fixture(scope="module")
def synthetic():
    """(profile, calendar year) -> [8760, 6] at that year's levels."""
    names = list(climatology().names)
    priced = [n if n != "ZA" else "DE-LU" for n in names]
    out = {}
    for year in YEARS:
        values = synthetic_year(names, 2023 + year, 5, priced, calendar_levels=year)
        out |= {(n, year): values[:8760, i] for i, n in enumerate(names)}
    return out


def distance(a, b):
    """Kolmogorov-Smirnov: the largest gap between two empirical distributions."""
    grid = np.concatenate([a, b])
    a, b = np.sort(a), np.sort(b)
    below = [np.searchsorted(x, grid, side="right") / len(x) for x in (a, b)]
    return np.abs(below[0] - below[1]).max()


def relative(variable, values):
    """Prices over their median and carbon over its mean: the level of a year is drawn, not fitted."""
    if variable == "price":
        return values / np.median(values)
    return values / values.mean() if variable == "carbon" else values


def distances(real, synthetic, name, variable):
    """Mean distance between real years, and between real and synthetic years of the same level."""
    years = {y: relative(variable, v) for y, v in real[name][variable].items()}
    between = [distance(years[a], years[b]) for a, b in combinations(years, 2)]
    made = [
        distance(v, relative(variable, synthetic[name, y][:, COLUMN[variable]])) for y, v in years.items()
    ]
    return (np.mean(between) if between else np.nan), np.mean(made)


def test_distributions_lie_as_near_as_real_years_do(real, synthetic):
    wrong, ratios = [], []
    print(f"\n{'profile':12} " + " ".join(f"{v + ' real/made':>20}" for v in COLUMN))
    for name in climatology().names:
        cells = []
        for variable in COLUMN:
            if not real[name][variable]:
                cells.append(f"{'':>20}")
                continue
            between, made = distances(real, synthetic, name, variable)
            cells.append(f"{between:>12.3f} {made:.3f}  ")
            limit = max(0.12, 1.4 * between) if between > 0 else 0.2
            if made > limit:
                wrong.append((name, variable, round(between, 3), round(made, 3)))
            if between > 0:
                ratios.append(made / between)
        print(f"{name:12} " + " ".join(cells))
    print(f"median of made over real: {np.median(ratios):.2f}")
    assert not wrong, f"(profile, variable, real-real, real-synthetic): {wrong}"
    assert np.median(ratios) < 1.2


def test_daily_shape_and_memory(real, synthetic):
    """The mean day of price and carbon, and how long anomalies last; means over the real and as many made years."""
    for name in ("US-NY-NYIS", "DE-LU", "US-CAL-CISO", "GB", "US-TEX-ERCO"):
        for variable, least in (("price", 0.75), ("carbon", 0.7), ("drybulb", 0.97)):
            shapes, memory = [], []
            years = list(real[name][variable])
            for series in (
                [real[name][variable][y] for y in years],
                [synthetic[name, y][:, COLUMN[variable]].astype(float) for y in years],
            ):
                series = [relative(variable, x) for x in series]
                if variable == "price":
                    series = [np.arcsinh(4 * x) for x in series]
                shapes.append(
                    np.mean([x[: len(x) // 24 * 24].reshape(-1, 24).mean(0) for x in series], axis=0)
                )
                memory.append(
                    np.mean([[np.corrcoef(x[:-k], x[k:])[0, 1] for k in (1, 24)] for x in series], axis=0)
                )
            assert np.corrcoef(*shapes)[0, 1] > least, (name, variable)
            np.testing.assert_allclose(memory[1], memory[0], atol=0.15, err_msg=f"{name} {variable}")


def test_neighbours_correlate_as_observed(folder):
    """Daily means of dry-bulb anomalies in PJM, New York and Ontario, two real and four made years."""
    names = ["CA-ON", "US-MIDA-PJM", "US-NY-NYIS"]
    values, _, _ = read_years(folder, names, [2021, 2023], max_gap_h=48)
    made = np.stack([synthetic_year(names, y, 9) for y in (1, 2, 3, 5)])

    def correlation(v):
        day = v[:, :8760, :, 2].astype(float).reshape(-1, 365, 24, 3).mean(2)
        t = 2 * np.pi * np.arange(365) / 365
        season = np.stack([np.ones(365), np.cos(t), np.sin(t), np.cos(2 * t), np.sin(2 * t)], 1)
        rest = day - season @ np.linalg.lstsq(season, day.mean(0), rcond=None)[0]
        return np.corrcoef(rest.reshape(-1, 3).T)

    np.testing.assert_allclose(correlation(made), correlation(values), atol=0.15)


def test_real_years_read_whole(folder):
    values, hours, filled = read_years(folder, ["DE-LU", "US-NY-NYIS"], [2021], max_gap_h=24)
    assert hours.tolist() == [8760]
    assert np.isfinite(values).all()
    assert {(f.region, f.variable, f.hours) for f in filled} == {("DE-LU", "price", 24)}


def test_real_epw_files(folder):
    files = sorted((folder / "epw").glob("*.epw.gz"))
    if not files:
        pytest.skip("no EPW files in shared/data/open/epw")
    for path in files:
        year = read_epw(path)
        assert np.isfinite(year.values).all()
        assert year.values[:, 2].max() <= 28.001
        if "Phoenix" in path.name:
            assert year.capped_h > 0
            hottest = year.values[:, 0].reshape(365, 24).mean(0).argmax()
            assert (hottest - 7) % 24 in range(13, 18)  # mid-afternoon by local time
