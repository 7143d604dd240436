"""Trained policies as small safe files: an ONNX graph, a manifest, recorded observations. No torch, no pickle."""

from agents.bundle.load import Bundle, open_bundle, summary
from agents.bundle.policy import BundlePolicy, load_bundle_policy

__all__ = ["Bundle", "BundlePolicy", "load_bundle_policy", "open_bundle", "summary"]
