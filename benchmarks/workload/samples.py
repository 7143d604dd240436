"""What is compared: jobs and hourly counts of a trace or of the generator, on the clock of the users."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from gcn_env.errors import UserError
from gcn_env.jobs.parse import csv_columns, decode, numbers, read_bytes
from gcn_env.jobs.rates import read_rates
from gcn_env.jobs.traces import load_trace

NO_JOBS = np.zeros(0)
FINE = 6  # fine steps an hour


@dataclass(frozen=True)
class Sample:
    """Whole local days of one source."""

    counts: np.ndarray  # float64 [hours] jobs that arrive (rates: mean requests/s)
    weekday: int  # of the first day, Monday 0; of a trace without dates: 0
    hour: np.ndarray = field(
        default_factory=lambda: NO_JOBS
    )  # float64 [n] h of arrival from the start; rates: none
    gang: np.ndarray = field(default_factory=lambda: NO_JOBS)  # float64 [n] devices
    work_h: np.ndarray = field(default_factory=lambda: NO_JOBS)  # float64 [n] h
    fine: np.ndarray = field(
        default_factory=lambda: NO_JOBS
    )  # float64 [6 x hours] of rates: means over 10 min

    def part(self, first_day, days):
        """`days` days from `first_day` on."""
        low, high = 24 * first_day, 24 * (first_day + days)
        inside = (self.hour >= low) & (self.hour < high)
        return Sample(
            self.counts[low:high],
            (self.weekday + first_day) % 7,
            self.hour[inside] - low,
            self.gang[inside],
            self.work_h[inside],
            self.fine[FINE * low : FINE * high],
        )

    @property
    def days(self):
        """Length [days]."""
        return len(self.counts) // 24


@dataclass(frozen=True)
class Source:
    """A real trace and the source of `world.yaml` that was fitted to it."""

    name: str  # in world.yaml
    file: str
    format: str
    what: str
    clock: str = ""  # IANA zone of the users; empty: the trace's own hours
    from_day: int = 0
    where: dict = field(default_factory=dict)  # whose durations and gangs
    column: str = ""  # of all arrivals [s], where the reader leaves out what needs no device
    weekday: int | None = None  # of the first day, where the trace has no dates but a weekend shows
    jobs: bool = True  # durations and gangs of the generator are fitted to this trace

    @property
    def path(self):
        """Below the folder of data."""
        return Path("jobs") / self.file

    @property
    def dated(self):
        """Its days of the week are known."""
        return bool(self.clock) or self.weekday is not None

    @property
    def is_rate(self):
        """Requests per second instead of jobs."""
        return self.format == "servegen"


_PACIFIC = "America/Los_Angeles"
SOURCES = (
    # its first week has ten jobs a day, then hundreds: the record was filling up
    Source("training", "train_philly_2017_sep18_nov12.csv.gz", "philly", "Philly 2017, GPU training", _PACIFIC, 8),
    # from day 115 on there are pods every day; days 121, 128, 135, 142 the quietest, then those after them: weekends
    Source("batch", "mixed_alibaba_gpu2023.csv.gz", "alibaba_pods", "Alibaba 2023, pods", "", 115,
           {"job_class": "BE"}, "arrival_s", 6),
    Source("hpc", "hpc_cerit_2013_part1.csv.gz", "cerit", "CERIT 2013, CPU cores", "Europe/Prague"),
    Source("nasa", "hpc_NASA-iPSC-1993-3.1-cln.swf.gz", "swf", "NASA iPSC/860 1993", _PACIFIC),
    Source("serving", "serve_alibaba_dlrm2025_d00_15.csv.gz", "alibaba_serving", "Alibaba 2025, new instances",
           column="arrival_s", jobs=False),
    Source("m-small", "infer_servegen_m-small_week1.csv.gz", "servegen", "ServeGen, requests", jobs=False),
    Source("m-mid", "infer_servegen_m-mid_week1.csv.gz", "servegen", "ServeGen, requests", jobs=False),
    Source("mm-image", "infer_servegen_mm-image_day1.csv.gz", "servegen", "ServeGen, requests", jobs=False),
)  # fmt: skip


def local_hours(hours, start, zone):
    """Hours after the local midnight before `start`, and the weekday of that day; clock changes included."""
    begin = dt.datetime.fromisoformat(start.replace("Z", "+00:00"))
    tz = ZoneInfo(zone)
    midnight = begin.astimezone(tz).replace(hour=0, minute=0, second=0, tzinfo=None)
    edges = [begin + dt.timedelta(hours=k) for k in range(int(hours.max()) + 2)] if len(hours) else [begin]
    shift = np.array([e.astimezone(tz).utcoffset().total_seconds() / 3600.0 for e in edges])
    base = (begin.replace(tzinfo=None) - midnight).total_seconds() / 3600.0
    return hours + base + shift[hours.astype(int)], midnight.weekday()


def arrivals(source, folder):
    """(hours of arrival from the first local day on, days, weekday of the first) of a job trace."""
    path = Path(folder) / source.path
    table, report = load_trace(path, source.format)
    hour, weekday = table.arrival_h, 0
    if source.clock:
        hour, weekday = local_hours(hour, report.start_utc, source.clock)
    if source.column:
        hour = _column(path, source.column) / 3600.0
    first = max(source.from_day, int(hour.min() // 24))
    days = int((hour.max() + 6.0) // 24) - first  # a last day of which 18 h were seen counts as whole
    hour = hour - 24 * first
    inside = (hour >= 0.0) & (hour < 24 * days)
    return hour[inside], days, source.weekday if source.weekday is not None else (weekday + first) % 7


def real(source, folder):
    """The open trace of a source as whole local days.

    Raises:
        UserError: if the folder has no such file.
    """
    path = Path(folder) / source.path
    if not path.is_file():
        raise UserError(f"{path}: no such file; give --data the folder that holds {source.path}")
    if source.is_rate:
        return _rates(path)
    came, days, weekday = arrivals(source, folder)
    counts = np.histogram(came, np.arange(24 * days + 1))[0].astype(float)
    table, report = load_trace(path, source.format, where=source.where)
    hour = table.arrival_h
    if source.clock:
        hour, _ = local_hours(hour, report.start_utc, source.clock)
    hour = hour - 24 * max(source.from_day, int(hour.min() // 24))
    inside = (hour >= 0.0) & (hour < 24 * days)
    return Sample(counts, weekday, hour[inside], table.gang[inside].astype(float), table.work_h[inside])


def _column(path, name):
    """The known values of a column of seconds, whatever became of their jobs."""
    values = numbers(csv_columns(decode(read_bytes(path), path), path), name, path, blank=True)
    return values[~np.isnan(values)]


def recorded(rate):
    """The rate without holes of the publisher: steps of zero requests, and their neighbours, which are cut short."""
    hole = rate <= 0.0
    return np.where(hole | np.roll(hole, 1) | np.roll(hole, -1), np.nan, rate)


def hourly_means(rate, per_hour):
    """Means over the hours; what was not recorded is filled linearly."""
    at = np.arange(len(rate))
    filled = np.interp(at, at[~np.isnan(rate)], rate[~np.isnan(rate)])
    return filled.reshape(-1, per_hour).mean(1)


def _rates(path):
    series = read_rates(path)
    rate = recorded(series.rate)
    return Sample(hourly_means(rate, round(1.0 / series.step_h)), 0, fine=rate)
