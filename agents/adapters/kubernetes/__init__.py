"""Kubernetes: scheduler extender, scheduling gates, MultiKueue, and what they tell the server of the cluster.

Only `api` and what stands on it (`fleet`, `gates`, `multikueue`) need httpx; a server is without it.
"""

from agents.adapters.kubernetes.extender import MAX_SCORE, arguments, filter_nodes, prioritize_nodes
from agents.adapters.kubernetes.pods import DEFAULTS, Nodes, PodError, job_of, node_pattern, pod_defaults

__all__ = [
    "DEFAULTS", "MAX_SCORE", "Nodes", "PodError", "arguments", "filter_nodes", "job_of", "node_pattern",
    "pod_defaults", "prioritize_nodes",
]  # fmt: skip
