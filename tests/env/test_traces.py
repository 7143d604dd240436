"""Readers of traces: windows, bounds, reports, and what they say of files they cannot use."""

import gzip
import importlib.util

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcn_env.jobs import parse
from gcn_env.jobs.formats import FORMATS
from gcn_env.jobs.traces import (
    TRACE_FORMATS,
    fingerprint,
    load_trace,
    read_trace,
    trace_extent_h,
)
from gcn_env.signals.errors import DataError, MissingDataError

SWF = """; Version: 2.2
; UnixStartTime: 749458803
; Note: two jobs never ran
    1    0   -1  1451  128  -1  -1    -1  -1  -1  1  1  1 -1 -1 -1 -1 -1
    2 3600   -1  3600   -1  -1  -1     8  -1 2097152  1  1  1 -1 -1 -1 -1 -1
    3 7200   -1    -1   16  -1  -1    -1  -1  -1  5  1  1 -1 -1 -1 -1 -1
    4 9000   -1    60   -1  -1  -1    -1  -1  -1  0  1  1 -1 -1 -1 -1 -1
    5 8000   -1     0    1  -1 1048576 -1 -1  -1  1  1  1 -1 -1 -1 -1 -1
"""
GENERIC = "arrival_h,duration_h,gang,memory_gib,data_gb\n1,2,4,16,\n30.5,0.001,300,,7\n0,500,1,8,1\n"
PHILLY = "job_id,arrival_utc,duration_s,n_gpu,group\n"


@pytest.fixture
def write(tmp_path):
    """Write a text (gzip if the name says so) and return its path."""

    def _write(text, name="trace.csv"):
        path = tmp_path / name
        data = text.encode() if isinstance(text, str) else text
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return _write


# --------------------------------------------------------------------------------------------- what is read


def test_swf(write):
    table, report = load_trace(write(SWF, "log.swf.gz"), "swf")
    # hour 0 is UTC midnight before the first job, which came at 07:00:03
    assert table.arrival_h == pytest.approx([7.0008333, 8.0008333, 9.2230556])
    assert table.gang.tolist() == [128, 8, 1]
    assert table.work_h == pytest.approx([1451 / 3600, 1.0, 1e-5])
    assert table.memory_gib[1:] == pytest.approx([2.0, 1.0])  # requested, used
    assert report.dropped == {"unknown duration": 1, "no device": 1}
    assert report.clipped == {"gang": 0, "long": 0, "short": 1}
    assert report.start_utc == "1993-10-01T00:00:00Z"
    assert report.rows == 5
    assert table.window_h == 24.0


def test_swf_without_a_clock(write):
    text = "\n".join(line for line in SWF.splitlines() if not line.startswith(";"))
    table, report = load_trace(write(text, "log.swf"), "swf")
    assert table.arrival_h[0] == 0.0
    assert report.start_utc is None
    assert load_trace(write("; UnixStartTime: soon\n" + text, "b.swf"), "swf")[1].start_utc is None


def test_generic(write):
    table, report = load_trace(write(GENERIC), "csv")
    assert table.arrival_h.tolist() == [0.0, 1.0, 30.5]
    assert table.gang.tolist() == [1, 4, 300]
    assert table.work_h.tolist() == [500.0, 2.0, 0.001]
    assert table.memory_gib[:2].tolist() == [8.0, 16.0]
    assert table.memory_gib[2] > 0  # blank: filled
    assert table.data_gb[[0, 2]].tolist() == [1.0, 7.0]
    assert table.window_h == 48.0
    assert report.filled == ("memory_gib", "data_gb", "checkpoint_h", "comm")


def test_bounds_are_clipped_and_counted(write):
    table, report = load_trace(write(GENERIC), "csv", max_gang=100, max_h=100.0, min_h=0.5)
    assert table.gang.tolist() == [1, 4, 100]
    assert table.work_h.tolist() == [100.0, 2.0, 0.5]
    assert report.clipped == {"gang": 1, "long": 1, "short": 1}
    assert report.clipped_work == pytest.approx((100 + 8 + 50) / (500 + 8 + 0.3))
    assert "1 clipped (gang)" in str(report)


def test_windows_count_from_their_start(write):
    table, report = load_trace(write(GENERIC), "csv", (24, 48))
    assert table.arrival_h.tolist() == [6.5]
    assert table.window_h == 24.0
    assert report.dropped == {"outside the window": 2}


def test_cores_make_devices(write):
    text = (
        "job_id,arrival_utc,queue_wait_s,duration_s,cpu_cores,mem_gib\n0,2013-01-01T05:00:00Z,0,3600,40,80\n"
    )
    table = read_trace(write(text), "cerit", cores_per_device=16)
    assert table.gang.tolist() == [3]
    assert table.memory_gib == pytest.approx([80 / 3])


def test_rows_are_picked_by_column(write):
    text = PHILLY + "".join(f"{i},2017-09-18T0{i}:00:00Z,60,1,{'ab'[i % 2]}\n" for i in range(5))
    path = write(text)
    table, report = load_trace(path, "philly", where={"group": "a"})
    assert len(table.gang) == 3
    assert report.dropped == {"not picked": 2}
    assert report.rows == 5
    assert len(read_trace(path, "philly", where={"group": ("a", "b")}).gang) == 5
    with pytest.raises(DataError, match="did you mean 'group'"):
        read_trace(path, "philly", where={"grup": "a"})
    with pytest.raises(DataError, match="no row with"):
        read_trace(path, "philly", where={"group": "c"})
    with pytest.raises(DataError, match="no named columns"):
        read_trace(write(SWF, "a.swf"), "swf", where={"group": "c"})


def test_pods_that_never_ran_are_counted(write):
    text = (
        "job_id,arrival_s,scheduled_s,end_s,n_gpu,job_class,status\n"
        "0,0,10,3610,1,BE,Failed\n1,5,,9,1,LS,Pending\n2,7,8,9,0,LS,Running\n3,8,9,7209,8,LS,Running\n4,9,3609,,2,LS,Running\n"
    )
    table, report = load_trace(write(text), "alibaba_pods")
    assert table.gang.tolist() == [1, 8, 2]
    assert table.work_h.tolist() == [1.0, 2.0, 1.0]
    assert report.dropped == {"never scheduled": 1, "no device": 1}
    assert report.censored == 2


def test_serving_instances_are_cut_at_the_last_time_seen(write):
    text = "arrival_s,scheduled_s,end_s,n_gpu\n,,100,1\n3600,3600,,1\n7200,7200,10800,1\n7300,7300,,0\n"
    table, report = load_trace(write(text), "alibaba_serving")
    assert table.work_h.tolist() == [2.0, 1.0]
    assert report.dropped == {"alive at start": 1, "no device": 1}
    assert report.censored == 1


def test_requests(write):
    images = "arrival_s,exec_s,status,images\n0,36,SUCCEED,4\n1,0,PENDING,1\n2,18,FAILED,\n3,,FAILED,1\n"
    table, report = load_trace(write(images), "genai")
    assert table.work_h.tolist() == [0.01, 0.005]
    assert report.dropped == {"never scheduled": 1, "unknown duration": 1}
    tokens = "arrival_s,context_tokens,generated_tokens\n0,1500,13\n1,0,0\n"
    table = read_trace(write(tokens, "tokens.csv"), "azure_llm")
    assert table.work_h[0] * 3600 == pytest.approx(0.498)  # the paper's 493 ms end to end
    assert table.work_h[1] == 1e-5
    assert table.gang.tolist() == [8, 8]


def test_hour_zero_is_a_midnight(write):
    late = PHILLY + "0,2017-09-20T23:30:00Z,60,1,a\n1,2017-09-21T00:30:00Z,60,1,a\n"
    table, report = load_trace(write(late), "philly")
    assert table.arrival_h.tolist() == [23.5, 24.5]
    assert report.extent_h == 48.0
    assert trace_extent_h(write(late), "philly") == 48.0
    stamped = PHILLY + "0,2017-09-20 23:30,60,1,a\n1,2017-09-21T00:30:00.500+00:00,60,1,a\n"
    assert read_trace(write(stamped, "b.csv"), "philly").arrival_h[0] == 23.5


def test_a_changed_file_is_read_again(write):
    path = write(GENERIC)
    before, first = load_trace(path, "csv")
    write(GENERIC + "2,2,2,2,2\n")
    after, second = load_trace(path, "csv")
    assert len(after.gang) == len(before.gang) + 1
    assert first.fingerprint != second.fingerprint == fingerprint(path)


def test_tables_do_not_share_memory(write):
    path = write(GENERIC)
    one = read_trace(path, "csv")
    one.work_h[:] = 9.0
    assert read_trace(path, "csv").work_h.tolist() == [500.0, 2.0, 0.001]


# -------------------------------------------------------------------------------------------- what is not


def test_missing_file_names_the_nearest(write):
    path = write(GENERIC, "philly.csv")
    with pytest.raises(MissingDataError, match=r"did you mean 'philly\.csv'"):
        read_trace(path.with_name("phily.csv"), "csv")
    with pytest.raises(MissingDataError, match="no such file"):
        fingerprint(path.parent / "none" / "x")
    with pytest.raises(DataError, match="cannot be read"):
        read_trace(path.parent, "csv")


@pytest.mark.parametrize(
    ("text", "form", "says"),
    [
        ("", "csv", "empty"),
        ("\n\n", "csv", "no header"),
        ("arrival_h,duration_h,gang\n", "csv", "empty trace"),
        ("arrival_h,duration_h,gang,gang\n1,1,1,1\n", "csv", "named twice: gang"),
        ("arrival_h,duration_h,gang\n1,2\n", "csv", "row 1 has 2 fields, the header 3"),
        ("arrival_h,duration_h,gangs\n1,2,3\n", "csv", "no column 'gang'; did you mean 'gangs'"),
        ("arrival_h,duration_h,gang,memory_gb\n1,2,3,4\n", "csv", "did you mean 'memory_gib'"),
        ("arrival_h,duration_h,gang\n1,x,3\n", "csv", "row 1, duration_h is 'x', which is not a number"),
        ("arrival_h,duration_h,gang\n1,1,3\n1,nan,3\n", "csv", "row 2, duration_h is 'nan'"),
        ("arrival_h,duration_h,gang\n1,inf,3\n", "csv", "finite"),
        ("arrival_h,duration_h,gang\n1,-2,3\n", "csv", "row 1, duration_h is -2; it must not be negative"),
        ("arrival_h,duration_h,gang\n-1,2,3\n", "csv", "arrival_h is -1"),
        ("arrival_h,duration_h,gang\n1,2,0\n", "csv", "at least one device"),
        ("arrival_h,duration_h,gang\n1,2,1e9\n", "csv", "set max_gang"),
        ("arrival_h,duration_h,gang,comm\n1,2,3,1.1\n", "csv", "share"),
        ("arrival_h,duration_h,gang,data_gb\n1,2,3,-1\n", "csv", "data_gb is -1"),
        (PHILLY, "philly", "empty trace"),
        (PHILLY + "0,2017-09-18T09:22:17Z,60,0,a\n", "philly", "none can run .1 no device"),
        (PHILLY + "0,2017-13-18T09:22:17Z,60,1,a\n", "philly", "row 1, arrival_utc is '2017-13"),
        (PHILLY + "0,now,60,1,a\n", "philly", "a UTC time like"),
        (PHILLY + "0,2017-09-18T09:22:17+02:00,60,1,a\n", "philly", "UTC time"),
        (PHILLY + "0,0217-09-18T09:22:17Z,60,1,a\n", "philly", "UTC time"),
        (PHILLY + "0,,60,1,a\n", "philly", "UTC time"),
        (PHILLY + "0,2017-09-18T09:22:17Z,,1,a\n", "philly", "not a number"),
        (PHILLY + "0,2017-09-18T09:22:17Z,60,1,a\n", "cerit", "looks like format 'philly'"),
        (GENERIC, "philly", "looks like format 'csv'"),
        (GENERIC, "swf", "not 18"),
        (SWF.replace("1451", "x"), "swf", "job line 1, field 4 is 'x'"),
        (SWF.replace("1451", "-7"), "swf", "run time is -7"),
        ("; only: a header\n", "swf", "no job line"),
        (b"\xff\xfe\x00arrival", "csv", "not UTF-8"),
        (b"\x1f\x8b\x08broken", "csv", "corrupt gzip"),
        (gzip.compress(GENERIC.encode())[:-9], "csv", "corrupt gzip"),
    ],
)
def test_files_that_are_not_what_they_should_be(write, text, form, says):
    with pytest.raises(DataError, match=says):
        read_trace(write(text), form)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"format": "phily"}, "did you mean 'philly'"),
        ({"format": "csv", "window_h": (0, 72)}, "length"),
        ({"format": "csv", "window_h": (40, 48)}, "no job arrives in 40-48 h"),
        ({"format": "csv", "window_h": (5, 2)}, "from < to"),
        ({"format": "csv", "max_gang": 0}, "max_gang"),
        ({"format": "csv", "max_h": 1.0, "min_h": 2.0}, "min_h <= max_h"),
        ({"format": "csv", "min_h": -1.0}, "min_h"),
        ({"format": "csv", "min_h": float("nan")}, "min_h"),
        ({"format": "csv", "cores_per_device": 0}, "cores_per_device"),
        ({"format": "csv", "kind": "hcp"}, "did you mean 'hpc'"),
    ],
)
def test_requests_that_cannot_be_met(write, arguments, says):
    with pytest.raises(DataError, match=says):
        read_trace(write(GENERIC), **arguments)


@given(st.binary(max_size=300), st.sampled_from([f for f in TRACE_FORMATS if f != "parquet"]))
def test_noise_is_a_data_error(tmp_path, noise, form):
    path = tmp_path / "noise"
    path.write_bytes(noise)
    with pytest.raises(DataError):
        read_trace(path, form)


cell = st.one_of(
    st.text(max_size=8),
    st.floats().map(str),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(["2017-09-18T09:22:17Z", "2017-02-30", "NaT", "now", "", "0", "1e308", "-1", "PENDING"]),
)


@given(st.data(), st.sampled_from(sorted(FORMATS)))
def test_any_cells_give_a_table_or_a_data_error(tmp_path, data, form):
    names = FORMATS[form].needs
    rows = data.draw(st.lists(st.tuples(*[cell] * len(names)), max_size=4))
    path = tmp_path / "cells.csv"
    text = "\n".join([",".join(names), *(",".join(f'"{c}"' for c in row) for row in rows)])
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        table = read_trace(path, form)
    except DataError:
        return
    assert np.isfinite(table.work_h).all()
    assert (table.gang >= 1).all()
    assert (table.arrival_h < table.window_h).all()


@given(
    st.lists(st.tuples(st.floats(0, 500), st.floats(0, 1e4), st.integers(1, 5000)), min_size=1, max_size=30),
    st.integers(1, 2000),
)
def test_generic_files_come_back_as_written(tmp_path, jobs, max_gang):
    path = tmp_path / "jobs.csv"
    path.write_text("arrival_h,duration_h,gang\n" + "".join(f"{a!r},{d!r},{g}\n" for a, d, g in jobs))
    table, report = load_trace(path, "csv", max_gang=max_gang)
    first_day = 24.0 * (min(a for a, _, _ in jobs) // 24.0)
    expected = sorted(jobs, key=lambda j: j[0])
    assert table.arrival_h == pytest.approx([a - first_day for a, _, _ in expected], abs=1e-6)
    assert sorted(table.gang.tolist()) == sorted(min(g, max_gang) for _, _, g in jobs)
    assert report.clipped["gang"] == sum(g > max_gang for _, _, g in jobs)
    assert np.sum(table.work_h) == pytest.approx(sum(max(d, 1e-5) for _, d, _ in jobs))


def test_parquet(tmp_path, monkeypatch):
    path = tmp_path / "jobs.parquet"
    path.write_bytes(b"PAR1")
    if importlib.util.find_spec("pyarrow") is None:
        with pytest.raises(DataError, match=r"gcn-env\[parquet\]"):
            read_trace(path, "parquet")
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pytest.raises(DataError, match="not a Parquet file"):
        read_trace(path, "parquet")
    columns = {"arrival_h": [1.0, 2.0], "duration_h": [3.0, 0.5], "gang": [4, 1], "data_gb": [None, 2.5]}
    pq.write_table(pa.table(columns), path)
    table = read_trace(path, "parquet")
    assert table.gang.tolist() == [4, 1]
    assert table.data_gb[1] == 2.5
    monkeypatch.setattr(parse.importlib, "import_module", lambda _: (_ for _ in ()).throw(ImportError()))
    with pytest.raises(DataError, match=r"gcn-env\[parquet\]"):
        parse.parquet_columns(path)
