"""Traces of one's own: the page of the schema, its worked example, mapping, tenants, and every open file by name."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

import gcn_env
from agents.__main__ import main
from gcn_env.jobs.generic import COLUMNS, schema_page
from gcn_env.jobs.inventory import read_clients, read_nodes
from gcn_env.jobs.rates import RATE_FORMATS, read_rates
from gcn_env.jobs.rows import offered_devices
from gcn_env.jobs.traces import TRACE_FORMATS, load_trace, read_trace
from gcn_env.signals.errors import DataError

PAGE = (Path(__file__).resolve().parents[2] / "gcn_env" / "jobs" / "README.md").read_text()
HEAD = "arrival_h,duration_h,gang"


@pytest.fixture
def write(tmp_path):
    def _write(text, name="own.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return _write


# ------------------------------------------------------------------------------------------------- the page


def block(language):
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.S)[1]


def test_page_is_not_stale(capsys):
    assert PAGE.split("<!-- schema -->\n")[1] == schema_page(), (
        "run: python -m agents describe --jobs, and put it below the marker"
    )
    assert main(["describe", "--jobs"]) == 0
    assert capsys.readouterr().out == schema_page()
    for name in (*TRACE_FORMATS, *RATE_FORMATS):
        assert f"`{name}`" in PAGE


def test_worked_example(tmp_path, monkeypatch, capsys):
    (tmp_path / "team.csv").write_text(block("csv"))
    (tmp_path / "team.yaml").write_text(block("yaml"))
    monkeypatch.chdir(tmp_path)
    seen = {}
    exec(block("python"), seen)
    table, report = seen["table"], seen["report"]
    assert "5 jobs, 1 outside the window, 1 clipped (long)" in capsys.readouterr().out
    assert table.arrival_h[0] == pytest.approx(8 + 10 / 60)
    assert table.gang.tolist() == [8, 16, 1, 4, 8]
    assert table.least.tolist() == [4, 0, 0, 2, 8]
    assert table.work_h.tolist() == [1.5, 12.0, 0.5, 2.0, 4.0]
    assert report.start_utc == "2024-03-04T00:00:00Z"
    world = gcn_env.load_world("team.yaml", data_dir=tmp_path)
    assert world.data_fingerprints["team.csv"] == report.fingerprint
    work, spec = world.params.work, world.scenario.jobs["training"]
    s = world.source_names.index("training")
    assert work.rows[:, s].tolist() == [2, 2, 1]
    rows = slice(work.first[0, s], work.first[0, s] + 2)
    assert work.least[rows].tolist() == [4, np.ceil(16 * spec.least_share)]
    assert work.rank[rows].tolist() == [5, 2]
    assert len(set(work.owner[rows].tolist())) == 2
    assert len(work.quota) == 3  # vision, language, and everybody else
    # resampled in load: copies times what a window offers is the load that is asked for
    fleet = world.params.fleet
    capacity = (fleet.devices * fleet.speed[work.kind[s]]).sum()
    windows = (spec.trace.train_h, spec.trace.validation_h, spec.trace.test_h)
    tables = [
        read_trace(
            "team.csv", "csv", w, max_h=12, max_gang=spec.max_gang, min_h=spec.min_h, columns=spec.trace.columns,
            where=spec.trace.where,
        )
        for w in windows
    ]  # fmt: skip
    assert work.rate[s] * np.mean([offered_devices(t) for t in tables]) == pytest.approx(spec.load * capacity)


def test_every_column_is_told_and_read(write):
    values = {
        "arrival_utc": "2024-01-01T05:00:00Z", "duration_s": "3600", "gang": "8", "min_devices": "2", "priority": "7",
        "tenant": "lab", "memory_gib": "10", "data_gb": "3", "checkpoint_h": "0.5", "comm": "0.25",
    }  # fmt: skip
    both = {"arrival_h", "arrival_s", "duration_h"}
    assert set(values) | both == {c.name for c in COLUMNS}
    table, report = load_trace(write(",".join(values) + "\n" + ",".join(values.values()) + "\n"), "csv")
    row = {name: column[0] for name, column in table._asdict().items() if name not in ("window_h", "tenants")}
    assert row == {
        "arrival_h": 5.0, "gang": 8, "work_h": 1.0, "memory_gib": 10, "data_gb": 3, "checkpoint_h": 0.5, "comm": 0.25,
        "least": 2, "priority": 7, "tenant": 0,
    }  # fmt: skip
    assert table.tenants == ("lab",)
    assert report.filled == ()


# ------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{HEAD},min_devices\n1,1,4,5\n", "row 1, min_devices is 5; 1..gang is needed"),
        (f"{HEAD},min_devices\n1,1,4,0\n", "min_devices is 0"),
        (f"{HEAD},priority\n1,1,4,10\n", "a whole number 0..9"),
        (f"{HEAD},priority\n1,1,4,1.5\n", "a whole number 0..9"),
        (f"{HEAD},priority\n1,1,4,-1\n", "must not be negative"),
        (f"{HEAD},arrival_s\n1,1,4,3600\n", "arrival_h and arrival_s say the same"),
        ("arrival_h,gang\n1,4\n", "no column 'duration_h'.*one of duration_h, duration_s is needed"),
        ("duration_h,gang\n1,4\n", "one of arrival_h, arrival_s, arrival_utc"),
        (f"{HEAD},tenants\n1,1,4,a\n", "unknown column 'tenants'; did you mean 'tenant'"),
    ],
)
def test_rows_outside_the_schema(write, text, says):
    with pytest.raises(DataError, match=says):
        read_trace(write(text), "csv")


@pytest.mark.parametrize(
    ("format", "columns", "says"),
    [
        ("csv", {"gangs": "gang"}, "maps to 'gangs'; did you mean 'gang'"),
        ("csv", {"gang": "gpu"}, "no column 'gpu'"),
        ("philly", {"gang": "n_gpu"}, "names its own"),
        ("swf", {"gang": "n_gpu"}, "names its own"),
    ],
)
def test_mappings_that_are_none(write, format, columns, says):
    with pytest.raises(DataError, match=says):
        read_trace(write(f"{HEAD}\n1,1,4\n"), format, columns=columns)


def test_a_mapping_may_swap_names(write):
    path = write("gang,arrival_h,duration_h,note\n5,2,1,x\n")
    assert read_trace(path, "csv", columns={"gang": "arrival_h", "arrival_h": "gang"}).gang[0] == 2


def test_empty_cells_are_not_said(write):
    text = f"{HEAD},min_devices,priority,tenant\n1,1,4,,,\n2,1,8,2,0,b\n3,1,8,8,3,a\n"
    table = read_trace(write(text), "csv", max_gang=4)
    assert table.least.tolist() == [0, 2, 4]  # never more than its gang, which was clipped
    assert table.priority.tolist() == [-1, 0, 3]
    assert [table.tenants[k] if k >= 0 else "" for k in table.tenant] == ["", "b", "a"]
    assert read_trace(write(text), "csv", cores_per_device=4).least.tolist() == [0, 1, 2]


def test_hours_count_from_the_file_whichever_rows_are_picked(write):
    path = write(f"{HEAD},tenant\n1,1,4,a\n50,1,8,b\n")
    assert read_trace(path, "csv", where={"tenant": "b"}).arrival_h.tolist() == [50.0]
    assert load_trace(path, "csv", where={"tenant": "a"})[1].extent_h == 72.0


# ---------------------------------------------------------------------------------------------------- files


def parquet(path, columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_is_the_same_as_csv(tmp_path, write):
    if importlib.util.find_spec("pyarrow") is None:
        with pytest.raises(DataError, match=r"pip install 'gcn-env\[parquet\]'"):
            read_rates(write("PAR1", "rates.parquet"), format="parquet")
        pytest.skip("pyarrow is not installed: pip install 'gcn-env[parquet]'")
    import datetime as dt

    utc = [dt.datetime(2024, 1, 1, 5, tzinfo=dt.UTC), dt.datetime(2024, 1, 2, 6, 30, tzinfo=dt.UTC)]
    own = parquet(
        tmp_path / "own.parquet",
        {
            "when": utc,
            "duration_h": [1.0, 2.5],
            "gang": [8, 2],
            "min_devices": [None, 1],
            "tenant": ["a", None],
        },
    )
    table = read_trace(own, "parquet", columns={"arrival_utc": "when"})
    assert table.arrival_h.tolist() == [5.0, 30.5]
    assert table.least.tolist() == [0, 1]
    assert table.tenant.tolist() == [0, -1]
    rates = parquet(tmp_path / "rates.parquet", {"start_h": [0.0, 1.0, 2.0], "rate_per_s": [5, 6, 7]})
    assert read_rates(rates, format="parquet").rate.tolist() == [5.0, 6.0, 7.0]


def clients(path):
    """The clients' mean rates, each over the time it was seen, add up to the service's and at most 12 % more."""
    of = read_clients(path)
    day = "day1" if "mm-image" in path.name else "week1"
    total = read_rates(path.with_name(path.name.replace("clients", day))).rate.mean()
    assert 0.99 < of.mean_rate_per_s.sum() / total < 1.12
    assert ((of.active_share >= 0) & (of.active_share <= 1)).all()
    return len(of.active_share)


def nodes(path):
    of = read_nodes(path)
    assert ((of.n_gpu == 0) == np.array([t == "" for t in of.gpu_type])).all()
    work = read_trace(path.with_name("mixed_alibaba_gpu2023.csv.gz"), "alibaba_pods")
    assert 0.0 < offered_devices(work) < of.n_gpu.sum()
    return len(of.n_gpu)


def jobs(format):
    return lambda path: load_trace(path, format)[1].rows


def rates(path):
    return len(read_rates(path).rate)


OPEN = {  # every file of the folder: reader, rows
    "hpc_NASA-iPSC-1993-3.1-cln.swf.gz": (jobs("swf"), 18239),
    "hpc_cerit_2013_part1.csv.gz": (jobs("cerit"), 7765),
    "infer_alibaba_genai_d00_13.csv.gz": (jobs("genai"), 13217),
    "infer_azure_llm2023_code.csv.gz": (jobs("azure_llm"), 8819),
    "infer_servegen_m-mid_clients.csv.gz": (clients, 109),
    "infer_servegen_m-mid_week1.csv.gz": (rates, 1008),
    "infer_servegen_m-small_clients.csv.gz": (clients, 43),
    "infer_servegen_m-small_week1.csv.gz": (rates, 1008),
    "infer_servegen_mm-image_clients.csv.gz": (clients, 35),
    "infer_servegen_mm-image_day1.csv.gz": (rates, 144),
    "mixed_alibaba_gpu2023.csv.gz": (jobs("alibaba_pods"), 8152),
    "nodes_alibaba_gpu2023.csv.gz": (nodes, 1523),
    "serve_alibaba_dlrm2025_d00_15.csv.gz": (jobs("alibaba_serving"), 13340),
    "train_philly_2017_sep18_nov12.csv.gz": (jobs("philly"), 62042),
}


def test_every_open_file_has_a_reader(job_traces):
    assert {p.name for p in job_traces.iterdir()} == set(OPEN)
    for name, (read, rows) in OPEN.items():
        assert read(job_traces / name) == rows, name


def test_a_mapped_trace_is_the_trace(job_traces):
    """Philly through the generic schema: the same jobs, and its virtual clusters as tenants."""
    path = job_traces / "train_philly_2017_sep18_nov12.csv.gz"
    names = {"arrival_utc": "arrival_utc", "duration_s": "duration_s", "gang": "n_gpu", "tenant": "group"}
    own, theirs = read_trace(path, "csv", columns=names, kind="training"), read_trace(path, "philly")
    for name in ("arrival_h", "gang", "work_h", "memory_gib", "comm"):
        np.testing.assert_array_equal(getattr(own, name), getattr(theirs, name))
    assert len(own.tenants) == 13
    assert np.bincount(own.tenant).max() / len(own.tenant) == pytest.approx(0.5046, abs=1e-3)


def test_scenarios_may_map_and_pick(tmp_path):
    spec = yaml.safe_load(block("yaml"))["jobs"]["training"]["trace"]
    assert set(spec["columns"]) <= {c.name for c in COLUMNS}
    (tmp_path / "team.csv").write_text(block("csv"))
    (tmp_path / "team.yaml").write_text(block("yaml"))
    from gcn_env.errors import UserError

    with pytest.raises(UserError, match="did you mean 'gang'"):
        gcn_env.load_world(
            tmp_path / "team.yaml", {"jobs.training.trace.columns": {"gangs": "gpus"}}, tmp_path
        )
