"""CSV and EPW readers: what is right is read exactly, what is wrong is one clear error."""

import datetime as dt
import gzip
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcn_env.signals.bank import file_bank, synthetic_bank
from gcn_env.signals.epw import HOURS, read_epw, with_weather
from gcn_env.signals.errors import DataError, MissingDataError
from gcn_env.signals.series import FILES, Filled, fill_gaps, read_csv, read_years

YEAR = 2023
HEADERS = {kind: ",".join(header) for kind, (header, _) in FILES.items()}


def hours(year):
    start = dt.datetime(year, 1, 1)
    n = int((dt.datetime(year + 1, 1, 1) - start).total_seconds() // 3600)
    return [(start + dt.timedelta(hours=h)).strftime("%Y-%m-%dT%H:%MZ") for h in range(n)]


def rows_of(kind, year, shift=0.0):
    """Plain rows: price h mod 100, carbon 300, weather 20 / 15 degC."""
    tail = {
        "price": lambda h: f"{h % 100 + shift:g}",
        "carbon": lambda h: "300,250,0",
        "weather": lambda h: "20.0,60,15.0",
    }[kind]
    return [f"{stamp},{tail(h)}" for h, stamp in enumerate(hours(year))]


def write(folder, kind, region, year, rows, packed=False):
    (folder / kind).mkdir(parents=True, exist_ok=True)
    text = "\n".join([HEADERS[kind], *rows]) + "\n"
    path = folder / kind / f"{region}_{year}.csv"
    if packed:
        path = path.with_suffix(".csv.gz")
        path.write_bytes(gzip.compress(text.encode(), 1))
    else:
        path.write_text(text)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with two regions, 2023 and the leap year 2024."""
    folder = tmp_path_factory.mktemp("data")
    for region, shift in (("GB", 0.0), ("SG", 1000.0)):
        for year in (YEAR, 2024):
            for kind in FILES:
                write(folder, kind, region, year, rows_of(kind, year, shift), packed=region == "SG")
    return folder


@pytest.fixture
def broken(data, tmp_path):
    """Write one changed file into a copy, read it, and return the error's message."""

    def check(kind, change, error=DataError, **options):
        folder = tmp_path / "copy"
        if not folder.exists():
            shutil.copytree(data, folder)
        rows = rows_of(kind, YEAR)
        rows = change(rows) or rows
        path = write(folder, kind, "GB", YEAR, rows)
        with pytest.raises(error) as caught:
            read_years(folder, ["GB"], [YEAR], **options)
        message = str(caught.value)
        assert str(path) in message
        return message

    return check


def test_values_go_where_they_belong(data):
    bank = file_bank(data, ["GB", "SG"], {"train": [YEAR], "test": [2024]})
    assert bank.values.shape == (2, 8784, 2, 8)
    assert bank.hours.tolist() == [8760, 8784]
    assert bank.weekday.tolist() == [6, 0]
    h = np.arange(8784) % 100
    np.testing.assert_array_equal(bank.values[1, :, 0, 0], h)
    np.testing.assert_array_equal(bank.values[0, :8760, 1, 0], h[:8760] + 1000)
    np.testing.assert_array_equal(bank.values[0, 8760:, 1, 0], bank.values[0, 8736:8760, 1, 0])
    np.testing.assert_allclose(bank.values[..., 1], 300)
    np.testing.assert_allclose(bank.values[0, 0, 0, 2:4], [20, 15])
    assert bank.values[0, 0, 0, 4] == pytest.approx(11.8, abs=0.2)  # dew point of 20 / 15 degC
    assert bank.values[0, 0, 0, 5] == pytest.approx(0.0086, abs=2e-4)
    assert bank.filled == ()


def test_price_of_another_region_and_own_elevation(data, tmp_path):
    values, n, filled = read_years(data, ["GB", "GB"], [YEAR], price_profiles=["GB", "SG"])
    np.testing.assert_array_equal(values[0, :, 1, 0] - values[0, :, 0, 0], 1000)
    assert (n.tolist(), filled) == ([8760], ())
    for kind in FILES:
        write(tmp_path, kind, "MOON", YEAR, rows_of(kind, YEAR))
    with pytest.raises(DataError, match="elevation"):
        read_years(tmp_path, ["MOON"], [YEAR])
    high, _, _ = read_years(tmp_path, ["MOON"], [YEAR], elevation_m={"MOON": 2500.0})
    assert high[0, 0, 0, 5] > values[0, 0, 0, 5]  # thinner air holds more water at the same wet bulb


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("price", lambda r: r.__setitem__(41, r[41].split(",")[0] + ",NaN"), ["line 43", "'NaN'", "empty"]),
        ("price", lambda r: r.__setitem__(5, r[5].split(",")[0] + ",abc"), ["line 7", "'abc'"]),
        ("price", lambda r: r.__setitem__(5, r[5].split(",")[0] + ",1_0"), ["line 7", "'1_0'"]),
        ("price", lambda r: r.__setitem__(5, r[5].split(",")[0] + ",inf"), ["line 7", "'inf'"]),
        ("price", lambda r: r.__setitem__(5, r[5].split(",")[0] + ",99999"), ["'99999'", "50000"]),
        ("carbon", lambda r: r.__setitem__(9, r[9].split(",")[0] + ",-1,0,0"), ["line 11", "_lca_", "'-1'"]),
        ("weather", lambda r: r.__setitem__(9, r[9].split(",")[0] + ",15,60,20"), ["line 11", "swapped"]),
        ("weather", lambda r: [",".join([a, c, b, d]) for a, b, c, d in (x.split(",") for x in r)],
         ["drybulb_degC", "'60'"]),
        ("price", lambda r: r.__setitem__(7, r[6]), ["line 9", "repeated"]),
        ("price", lambda r: r.insert(7, r[2]), ["line 9", "back in time"]),
        ("price", lambda r: r.pop(7) and None, ["line 9", "skips 2023-01-01T07:00Z"]),
        ("price", lambda r: r[:-5], ["8755 rows of 8760", "2023-12-31T19:00Z"]),
        ("price", lambda r: [*r, "2024-01-01T00:00Z,5"], ["8761 rows", "8760"]),
        ("price", lambda r: r.__setitem__(3, "2023-01-01 03:00,5"), ["line 5", "YYYY-MM-DDTHH:MMZ"]),
        ("price", lambda r: r.__setitem__(0, "2022-01-01T00:00Z,5"), ["line 2", "outside the year 2023"]),
        ("price", lambda r: r.__setitem__(3, r[3] + ",5"), ["line 5", "3 fields, not 2"]),
    ],
)  # fmt: skip
def test_errors_name_line_value_and_remedy(broken, kind, change, words):
    message = broken(kind, change)
    assert all(w in message for w in words), message


def test_gaps_are_errors_unless_allowed(broken):
    def change(rows):
        for h in (100, 101, 102, 500):
            rows[h] = rows[h].split(",")[0] + ","

    message = broken("price", change)
    assert all(
        w in message for w in ["GB price", "4 h missing in 2 gap", "2023-01-05T04:00Z", "max_gap_h"]
    ), message
    assert "3 h from 2023-01-05T04:00Z" in broken("price", change, max_gap_h=2)


def test_gaps_are_interpolated_and_reported(data, tmp_path):
    shutil.copytree(data, tmp_path / "d")
    rows = rows_of("price", YEAR)
    for h in (0, 1, 150, 151, 8759):
        rows[h] = rows[h].split(",")[0] + ","
    write(tmp_path / "d", "price", "GB", YEAR, rows)
    bank = file_bank(tmp_path / "d", ["GB", "GB"], {"train": [YEAR]}, max_gap_h=2)
    got = bank.values[0, :8760, 0, 0]
    np.testing.assert_allclose(got[[0, 1, 2]], 2)  # nearest value at the year's ends
    np.testing.assert_allclose(got[149:153], [49, 50, 51, 52])
    assert got[8759] == got[8758]
    assert bank.filled == (Filled("GB", YEAR, "price", 5, 3, 2),)
    assert "5 h interpolated in 3 gap(s), longest 2 h" in str(bank.filled[0])


@given(gaps=st.lists(st.tuples(st.integers(0, 8750), st.integers(1, 9)), min_size=1, max_size=6))
def test_interpolation_keeps_what_is_there(gaps):
    truth = np.sin(np.arange(8760) / 7.0)
    values = truth.copy()
    for start, length in gaps:
        values[start : start + length] = np.nan
    missing = np.isnan(values)
    report = fill_gaps(values, 60, "GB", YEAR, "price", "file")
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(values[~missing], truth[~missing])
    assert np.abs(values).max() <= 1.0
    assert report.hours == missing.sum()


def test_a_year_of_nothing_is_an_error():
    with pytest.raises(DataError, match="8760 h missing"):
        fill_gaps(np.full(8760, np.nan), 9000, "GB", YEAR, "price", "file")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"profiles": ["FR"]}, "regions there: GB, SG"),
        ({"profiles": ["GB"], "years": [2022]}, "years of GB there: 2023, 2024"),
        ({"profiles": []}, "0 profiles"),
        ({"profiles": ["GB"], "price_profiles": ["GB", "SG"]}, "2 price profiles"),
        ({"profiles": ["GB"], "max_gap_h": -1}, "max_gap_h is -1"),
    ],
)
def test_requests_that_cannot_be_met(data, options, words):
    options.setdefault("years", [YEAR])
    with pytest.raises(DataError, match=words):
        read_years(data, **options)


def test_missing_folder_and_doubled_file(data, tmp_path):
    (tmp_path / "price").mkdir()
    with pytest.raises(FileNotFoundError, match="no GB_2023"):
        read_years(tmp_path, ["GB"], [YEAR])
    shutil.rmtree(tmp_path / "price")
    with pytest.raises(MissingDataError, match="needs price/, carbon/ and weather/"):
        read_years(tmp_path, ["GB"], [YEAR])
    write(tmp_path, "price", "GB", YEAR, rows_of("price", YEAR))
    write(tmp_path, "price", "GB", YEAR, rows_of("price", YEAR), packed=True)
    with pytest.raises(DataError, match="plain and compressed"):
        read_years(tmp_path, ["GB"], [YEAR])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"time,price\n", "header is 'time,price', expected 'timestamp_utc,price_usd_per_mwh'"),
        (b"timestamp_utc,price_usd_per_mwh\n\xff\xfe\n", "not UTF-8"),
        (b"\x1f\x8b", "UTF-8"),
    ],
)
def test_files_that_are_something_else(tmp_path, content, words):
    path = tmp_path / "GB_2023.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_csv(path, "price", YEAR)


@settings(max_examples=30)
@given(cut=st.floats(0.0, 0.999), flip=st.integers(0, 10**6))
def test_damaged_gzip_is_one_clear_error(tmp_path_factory, cut, flip):
    path = tmp_path_factory.mktemp("gz") / "GB_2023.csv.gz"
    packed = gzip.compress("\n".join([HEADERS["price"], *rows_of("price", YEAR)]).encode(), 1)
    path.write_bytes(packed[: int(cut * len(packed))])
    with pytest.raises(DataError):
        read_csv(path, "price", YEAR)
    flipped = bytearray(packed)
    flipped[10 + flip % (len(packed) - 18)] ^= 0x55
    path.write_bytes(bytes(flipped))
    with pytest.raises(DataError):
        read_csv(path, "price", YEAR)


@settings(max_examples=60)
@given(data=st.data())
def test_any_damage_to_the_text_is_an_error_or_harmless(tmp_path_factory, data):
    """Drop, double, swap, cut or overwrite a line: never another exception, never silence."""
    rows = rows_of("weather", YEAR)
    at = data.draw(st.integers(0, 8758))
    kind = data.draw(st.sampled_from(["drop", "double", "swap", "cut", "write", "columns"]))
    if kind == "drop":
        del rows[at]
    elif kind == "double":
        rows.insert(at, rows[at])
    elif kind == "swap":
        rows[at], rows[at + 1] = rows[at + 1], rows[at]
    elif kind == "cut":
        rows[at] = rows[at][: data.draw(st.integers(0, 17))]
    elif kind == "columns":
        a, b, c, d = rows[at].split(",")
        rows[at] = ",".join([a, d, c, b])
    else:
        rows[at] = data.draw(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30))
    path = tmp_path_factory.mktemp("w") / "GB_2023.csv"
    path.write_text("\n".join([HEADERS["weather"], *rows]), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_csv(path, "weather", YEAR)
    assert str(path) in str(caught.value)


# ---------------------------------------- EPW


def epw_text(
    offset=-5.0, change=None, dry=lambda h: 10.0 + h % 24, dew=lambda h: 5.0,
    sun=lambda h: 300.0 * (8 <= h % 24 < 16), wind=lambda h: 2.0 + h % 24 / 4,
):  # fmt: skip
    rows = []
    day = dt.datetime(2001, 1, 1)
    for h in range(HOURS):
        d = day + dt.timedelta(hours=h)
        rows.append([str(1990 + d.month), str(d.month), str(d.day), str(d.hour + 1), "0", "?", f"{dry(h):g}",
                     f"{dew(h):g}", "50", "101325", *["0"] * 3, f"{sun(h):g}", *["0"] * 7, f"{wind(h):g}", "5",
                     *["0"] * 12])  # fmt: skip
    if change:
        rows = change(rows) or rows
    head = [f"LOCATION,Somewhere,XX,YYY,TMY3,1,40.0,-73.0,{offset},100.0", *["X"] * 7]
    return "\n".join([*head, *(",".join(r) for r in rows)]) + "\n"


def test_epw_moves_to_utc(tmp_path):
    path = tmp_path / "x.epw"
    path.write_text(epw_text())
    year = read_epw(path)
    assert (year.place, year.latitude, year.utc_offset_h, year.elevation_m) == (
        "Somewhere",
        40.0,
        -5.0,
        100.0,
    )
    # local hour 0 (printed as 1) is 05 UTC
    assert year.values[5, 0] == 10.0
    assert year.values[4, 0] == 33.0
    np.testing.assert_allclose(year.values[:, 2], 5.0, atol=1e-5)
    assert (year.values[:, 1] <= year.values[:, 0]).all()
    assert "used as it is" in year.report()
    path.write_text(epw_text(offset=5.5))
    assert read_epw(path).values[18, 0] == pytest.approx(
        0.5 * (33.0 + 10.0)
    )  # halfway between 23 and 0 local


def test_epw_faulty_dew_points_are_cut_and_reported(tmp_path):
    path = tmp_path / "x.epw"
    path.write_text(epw_text(dry=lambda h: 37.0, dew=lambda h: 32.0 if h < 7 else 20.0))
    year = read_epw(path)
    assert (year.capped_h, year.highest_dew_c) == (7, 32.0)
    assert year.values[:, 2].max() == pytest.approx(28.0)
    assert "7 h of dew point cut (highest 32 degC)" in year.report()


def test_epw_missing_values(tmp_path):
    path = tmp_path / "x.epw"
    path.write_text(epw_text(dry=lambda h: 99.9 if 50 <= h < 53 else 12.0))
    with pytest.raises(DataError, match="3 h missing"):
        read_epw(path)
    year = read_epw(path, max_gap_h=3)
    np.testing.assert_allclose(year.values[:, 0], 12.0, rtol=1e-6)
    assert year.filled[0].hours == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("hello\n", "begins with LOCATION"),
        (epw_text(offset=99.0), "UTC offset"),
        (epw_text(change=lambda r: r.pop(4) and None), "line 13"),
        (epw_text(change=lambda r: r[:-1]), "8759 hourly rows"),
        (epw_text(change=lambda r: r[4].__setitem__(6, "x")), "'x'"),
        (epw_text(change=lambda r: r[4].__setitem__(6, "80")), "80 degC"),
        (epw_text(change=lambda r: r.__setitem__(4, ["1", "2"])), "2 fields"),
    ],
)
def test_epw_errors(tmp_path, text, words):
    path = tmp_path / "x.epw"
    path.write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_epw(path)
    assert str(path) in str(caught.value)


def test_epw_weather_in_a_bank(tmp_path):
    path = tmp_path / "x.epw.gz"
    path.write_bytes(gzip.compress(epw_text().encode(), 1))
    year = read_epw(path)
    bank = synthetic_bank(["GB", "SG"], {"train": [2023, 2024]}, 0)
    other = with_weather(bank, {1: year})
    np.testing.assert_array_equal(other.values[..., 0, :], bank.values[..., 0, :])
    np.testing.assert_array_equal(other.values[..., 1, :2], bank.values[..., 1, :2])
    np.testing.assert_array_equal(other.values[1, :HOURS, 1, 2:], year.values)
    np.testing.assert_array_equal(other.values[1, HOURS:, 1, 2:], year.values[-24:])
    assert other.fingerprint != bank.fingerprint
    assert other.notes == ()  # nothing had to be changed
