"""TensorBoard files of an evaluation, written with TensorBoard's own writer: no torch, no TensorFlow.

One sub-run per policy, so that policies share a chart; figures and pages are in the sub-run `report`. Scalars
of `kpi`, `kpi_usd` and `kpi_more` have the paired episode as their step, those of `timeline` the hour of the
first episode; `kpi_iqm` holds the interquartile means, which the HParams tab tabulates.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from agents import stats
from agents.compare import Comparison
from agents.evaluation import Results
from agents.figures import slug
from gcn_env.metrics import HEADLINE, KPIS
from gcn_env.record import FLEET, Record

REPORT_RUN = "report"


def write(
    folder: Path,
    results: Results,
    comparison: Comparison,
    images: Mapping[str, bytes],
    pages: Mapping[str, str],
) -> None:
    """Write event files below `folder`, which must not hold any yet.

    Args:
        folder: what `tensorboard --logdir` is to be pointed at.
        results: measured.
        comparison: of the results.
        images: PNG files by tag.
        pages: Markdown by tag.
    """
    with BoardRun(folder / REPORT_RUN) as run:
        run.experiment()
        for tag, text in pages.items():
            run.text(tag, text)
        for tag, png in images.items():
            run.image(f"figures/{tag}", png)
    for name in results.policies:
        with BoardRun(folder / slug(name)) as run:
            run.session(name, learned=name in results.learned)
            for row, values in zip(KPIS.rows, results.kpis[results.policies.index(name)].T, strict=True):
                what = f"{row.doc} [{row.unit}]; step: paired episode"
                run.scalars(kpi_tag(row.name), values, what)
            for kpi in HEADLINE:
                value = float(stats.iqm(results.kpi(kpi, name)))
                unit = KPIS.rows[KPIS.index(kpi)].unit
                run.scalars(f"kpi_iqm/{kpi}", np.array([value]), f"interquartile mean over episodes [{unit}]")
            if name in results.records:
                for tag, (values, unit) in hourly(results.records[name]).items():
                    run.scalars(f"timeline/{tag}", values, f"[{unit}]; first episode, step: hour")


def kpi_tag(name: str) -> str:
    """Tag of a key figure: headline figures share the first group, money terms and the rest have theirs."""
    if name in HEADLINE:
        return f"kpi/{name}"
    return f"kpi_usd/{name.removeprefix('usd_')}" if name.startswith("usd_") else f"kpi_more/{name}"


def hourly(record: Record) -> dict[str, tuple[npt.NDArray[Any], str]]:
    """Fleet series of a record's first episode: tag to (values `[T]`, unit)."""
    fleet = {n: record.fleet[0, :, i] for i, n in enumerate(FLEET.names)}
    return {
        "bill_kusd": (record.usd[0].sum(axis=-1).cumsum() / 1e3, "kUSD so far"),
        "grid_mw": (record.region("grid").sum(axis=-1) / 1e3, "MW from the grid"),
        "load_percent": (100 * record.region("load").mean(axis=-1), "% of devices, mean over regions"),
        "hottest_inlet_c": (record.region("hot").max(axis=-1), "degC, hottest region"),
        "cooling_percent": (
            100 * record.region("cooling").sum(axis=-1) / np.maximum(record.region("it").sum(axis=-1), 1e-9),
            "% of IT power",
        ),
        "queued_device_h": (
            record.region("queue").sum(axis=-1),
            "device-hours waiting at pools or on the way",
        ),
        "jobs_pending": (fleet["pending"], "jobs waiting for a decision"),
        "jobs_running": (fleet["running"], "jobs running"),
    }


class BoardRun:
    """One run folder and its event file."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventFileWriter(str(folder))

    def __enter__(self) -> BoardRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def scalars(self, tag: str, values: npt.NDArray[Any], description: str) -> None:
        """One series; values that are not finite are left out."""
        from tensorboard.compat.proto import summary_pb2
        from tensorboard.plugins.scalar.metadata import create_summary_metadata
        from tensorboard.util import tensor_util

        metadata = create_summary_metadata(display_name="", description=description)
        for step, value in enumerate(values):
            if np.isfinite(value):
                proto = tensor_util.make_tensor_proto(np.float32(value))
                entry = summary_pb2.Summary.Value(tag=tag, tensor=proto, metadata=metadata)
                self._add(summary_pb2.Summary(value=[entry]), step)

    def text(self, tag: str, markdown: str) -> None:
        """A page for the Text tab."""
        from tensorboard.compat.proto import summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
        from tensorboard.plugins.text.metadata import create_summary_metadata

        shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=1)])
        tensor = tensor_pb2.TensorProto(
            dtype=types_pb2.DT_STRING, string_val=[markdown.encode()], tensor_shape=shape
        )
        metadata = create_summary_metadata(display_name="", description="")
        entry = summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=metadata)
        self._add(summary_pb2.Summary(value=[entry]), 0)

    def image(self, tag: str, png: bytes) -> None:
        """A picture for the Images tab."""
        from tensorboard.compat.proto import summary_pb2

        width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))  # PNG's IHDR chunk
        picture = summary_pb2.Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=png
        )
        self._add(summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, image=picture)]), 0)

    def experiment(self) -> None:
        """Columns of the HParams tab."""
        from tensorboard.plugins.hparams import summary_v2 as hp

        columns = [hp.HParam("kind"), hp.HParam("placement"), hp.HParam("cooling")]
        metrics = [
            hp.Metric(f"kpi_iqm/{n}", display_name=f"{n} [{KPIS.rows[KPIS.index(n)].unit}]") for n in HEADLINE
        ]
        self._add(hp.hparams_config_pb(columns, metrics, time_created_secs=0.0), 0)

    def session(self, policy: str, *, learned: bool) -> None:
        """This policy's row of the HParams tab."""
        from tensorboard.plugins.hparams import summary_v2 as hp

        placement, _, cooling = policy.removeprefix("rule:").partition("+")
        values = {
            "kind": "learned" if learned else "rule",
            "placement": "learned" if learned else placement,
            "cooling": "learned" if learned else cooling or "none",
        }
        self._add(hp.hparams_pb(values, trial_id=policy, start_time_secs=0.0), 0)

    def _add(self, summary: Any, step: int) -> None:
        import time

        from tensorboard.compat.proto import event_pb2

        self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=step, summary=summary))
