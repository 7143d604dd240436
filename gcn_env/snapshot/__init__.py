"""A live cluster as a `State` of batch one, so that the simulator's own encoder serves it."""

from gcn_env.snapshot.document import document, units
from gcn_env.snapshot.live import LiveFleet, Report

__all__ = ["LiveFleet", "Report", "document", "units"]
