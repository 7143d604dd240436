"""TensorBoard event files, written with TensorBoard's own writer: no torch, no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt


class Events:
    """One run folder and an event file in it."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventFileWriter(str(folder))

    def __enter__(self) -> Events:
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

    def layout(self, groups: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """What the Custom Scalars tab shows: group -> chart -> regular expressions over tags."""
        from tensorboard.compat.proto import summary_pb2
        from tensorboard.plugins.custom_scalar import layout_pb2, metadata
        from tensorboard.util import tensor_util

        layout = layout_pb2.Layout(
            category=[
                layout_pb2.Category(
                    title=group,
                    chart=[
                        layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=[*tags]))
                        for title, tags in charts.items()
                    ],
                )
                for group, charts in groups.items()
            ]
        )
        entry = summary_pb2.Summary.Value(
            tag=metadata.CONFIG_SUMMARY_TAG,
            tensor=tensor_util.make_tensor_proto(layout.SerializeToString()),
            metadata=metadata.create_summary_metadata(),
        )
        self._add(summary_pb2.Summary(value=[entry]), 0)

    def experiment(self, columns: Sequence[str], metrics: Mapping[str, str]) -> None:
        """The HParams tab: its columns, and metrics (tag -> how it is called)."""
        from tensorboard.plugins.hparams import summary_v2 as hp

        named = [hp.Metric(tag, display_name=name) for tag, name in metrics.items()]
        self._add(hp.hparams_config_pb([hp.HParam(c) for c in columns], named, time_created_secs=0.0), 0)

    def session(self, name: str, values: Mapping[str, Any]) -> None:
        """This run's row of the HParams tab."""
        from tensorboard.plugins.hparams import summary_v2 as hp

        self._add(hp.hparams_pb(dict(values), trial_id=name, start_time_secs=0.0), 0)

    def _add(self, summary: Any, step: int) -> None:
        import time

        from tensorboard.compat.proto import event_pb2

        self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=step, summary=summary))
