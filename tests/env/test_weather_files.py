"""EPW files named by a scenario, and what a world says of data that were not used as they were read."""

import gzip

import numpy as np
import pytest

from gcn_env import load_world
from gcn_env.describe import scenario_page
from gcn_env.errors import UserError
from gcn_env.signals.epw import read_epw
from tests.env.test_signal_files import epw_text, rows_of, write

# Somewhere (40 N, 73 W), where the test's EPW file is of
THERE = {"regions.north.latitude_deg": 40.5, "regions.north.longitude_deg": -73.5}


@pytest.fixture
def named(tmp_path):
    """Compile the smoke world with an EPW text as the northern region's weather."""

    def compiled(text=None, **changes):
        if text is not None:
            (tmp_path / "epw").mkdir(exist_ok=True)
            (tmp_path / "epw" / "x.epw").write_text(text)
        return load_world(
            "smoke", {**THERE, "regions.north.weather_file": "epw/x.epw", **changes}, data_dir=tmp_path
        )

    return compiled


def test_a_region_takes_the_weather_of_its_file(named, tmp_path):
    world = named(epw_text())
    year = read_epw(tmp_path / "epw" / "x.epw")
    plain = load_world("smoke", THERE)
    for row, hours in enumerate(world.bank.hours):
        np.testing.assert_array_equal(world.bank.values[row, :8760, 0, 2:], year.values)
        assert hours in (8760, 8784)
    np.testing.assert_array_equal(world.bank.values[:, :, 0, :2], plain.bank.values[:, :, 0, :2])
    np.testing.assert_array_equal(world.bank.values[:, :, 1], plain.bank.values[:, :, 1])
    np.testing.assert_array_equal(world.params.bank.values, world.bank.values)
    assert world.data_fingerprints["signals"] != plain.data_fingerprints["signals"]
    assert world.data_notes == plain.data_notes == ()
    assert "weather file epw/x.epw" in scenario_page(world)


def test_what_a_weather_file_lacks_is_said(named):
    text = epw_text(
        dry=lambda h: 99.9 if 50 <= h < 53 else 37.0,
        dew=lambda h: 32.0 if h == 9 else 20.0,
        wind=lambda h: 999.0,
    )
    with pytest.raises(UserError, match=r"regions\.north\.weather_file: .*x\.epw.*3 h missing.*max_gap_h"):
        named(text)
    world = named(text, **{"signals.gaps.policy": "interpolate", "signals.gaps.max_gap_h": 3})
    (note,) = world.data_notes
    for word in ("Somewhere", "1 h of dew point cut (highest 32 degC)", "drybulb: 3 h interpolated in 1 gap(s)",
                 "longest 3 h", "wind assumed"):  # fmt: skip
        assert word in note
    assert note in scenario_page(world)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, r"epw/x\.epw: no such file"),
        ("", "empty"),
        ("<html>404</html>", "begins with LOCATION"),
        (epw_text(change=lambda r: r[:-1]), "8759 hourly rows"),
        (epw_text(change=lambda r: r[4].__setitem__(6, "warm")), "'warm'"),
        (epw_text(change=lambda r: r[4].__setitem__(3, "25")), "hour 1 to 24"),
        (
            epw_text().replace(",40.0,-73.0,", ",40.0,73.0,"),
            r"longitude 73, 1\d,\d{3} km from the region.*source",
        ),
        (epw_text().replace(",40.0,-73.0,", ",north,-73.0,"), "latitude is 'north'"),
        (epw_text().replace(",5,0,0,", ",5\x00,0,0,"), "sky cover"),
    ],
)
def test_hostile_weather_files_are_one_clear_line(named, text, words):
    with pytest.raises(UserError, match=words) as caught:
        named(text)
    message = str(caught.value)
    assert message.startswith("regions.north.weather_file: ")
    assert "\n" not in message


def test_bytes_that_are_no_text(named, tmp_path):
    (tmp_path / "epw").mkdir()
    for raw, words in ((b"LOCATION,\xff\xfe\x00", "UTF-8"), (gzip.compress(b"x")[:9], "LOCATION|UTF-8")):
        (tmp_path / "epw" / "x.epw").write_bytes(raw)
        with pytest.raises(UserError, match=words):
            named()
    (tmp_path / "epw" / "x.epw").unlink()
    (tmp_path / "epw" / "x.epw").mkdir()
    with pytest.raises(UserError, match=r"no such file|cannot be read"):
        named()


def test_a_file_of_another_place_needs_a_reason(named):
    moved = {"regions.north.latitude_deg": 50.1}
    with pytest.raises(UserError, match="km from the region"):
        named(epw_text(), **moved)
    world = named(epw_text(), **moved, **{"regions.north.source": "estimate, as windy, and no nearer file"})
    assert world.bank.values[0, 5, 0, 2] == 10.0


def test_a_weather_file_replaces_loans(named):
    with pytest.raises(UserError, match="weather_file takes the place of weather_shift_k"):
        named(epw_text(), **{"regions.north.weather_shift_k": 2, "regions.north.source": "estimate"})
    # without a fitted profile, price and carbon are borrowed and the weather is not
    world = named(
        epw_text(),
        **{
            "regions.north.profile": None, "regions.north.price_profile": "GB", "regions.north.carbon_profile": "GB",
            "regions.north.utc_offset_h": -5, "regions.north.elevation_m": 10, "regions.north.source": "estimate",
        },
    )  # fmt: skip
    assert world.bank.values[0, 5, 0, 2] == 10.0


def test_no_data_folder_is_said(monkeypatch):
    monkeypatch.delenv("GCN_DATA", raising=False)
    with pytest.raises(UserError, match="no data folder is named"):
        load_world("smoke", {**THERE, "regions.north.weather_file": "epw/x.epw"})


@pytest.fixture
def gappy(tmp_path):
    """Three years of both regions of the smoke world; the first lacks five hours of price in two gaps."""
    for region in ("DE-LU", "SG"):
        for year in (2021, 2022, 2023):
            for kind in ("price", "carbon", "weather"):
                rows = rows_of(kind, year)
                if (region, kind, year) == ("DE-LU", "price", 2021):
                    for h in (100, 101, 102, 500, 501):
                        rows[h] = rows[h].split(",")[0] + ","
                write(tmp_path, kind, region, year, rows)
    return tmp_path


FILES = {
    "signals.kind": "files",
    "signals.train": [2021],
    "signals.validation": [2022],
    "signals.test": [2023],
}
NOTE = "DE-LU 2021 price: 5 h interpolated in 2 gap(s), longest 3 h"


def test_a_world_says_what_was_interpolated(gappy):
    with pytest.raises(UserError, match=r"price: 5 h missing in 2 gap\(s\).*max_gap_h"):
        load_world("smoke", FILES, data_dir=gappy)
    with pytest.raises(UserError, match="at most 2 h"):
        load_world(
            "smoke", {**FILES, "signals.gaps": {"policy": "interpolate", "max_gap_h": 2}}, data_dir=gappy
        )
    world = load_world(
        "smoke", {**FILES, "signals.gaps": {"policy": "interpolate", "max_gap_h": 3}}, data_dir=gappy
    )
    assert world.data_notes == (NOTE,)
    assert f"- {NOTE}" in scenario_page(world)
    # 99, then nothing for three hours, then 3
    np.testing.assert_allclose(world.bank.values[0, 99:104, 0, 0], [99, 75, 51, 27, 3])


def test_the_commands_say_it_too(gappy, capsys, monkeypatch):
    import evaluate
    import train

    class StopHereError(Exception):
        pass

    def stop(*_, **__):
        raise StopHereError

    flags = ["signals.kind=files", "signals.train=[2021]", "signals.validation=[2022]", "signals.test=[2023]",
             "signals.gaps.policy=interpolate"]  # fmt: skip
    monkeypatch.setattr(evaluate, "name_policies", stop)
    monkeypatch.setattr(train.runs, "create", stop)
    for main, more in ((evaluate.main, []), (train.main, ["--config", "smoke"])):
        words = ["--scenario", "smoke", "--data", str(gappy), *more, "--set", *flags]
        with pytest.raises(StopHereError):
            main(words)
        assert f"data: {NOTE}\n" in capsys.readouterr().err
        with pytest.raises(StopHereError):
            main([*words, "--quiet"])
        assert "data:" not in capsys.readouterr().err
