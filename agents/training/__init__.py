"""Training: from a recipe and a world to a run folder with a policy in it."""

from agents.training.learner import check_device
from agents.training.loop import train
from agents.training.policy import TrainedPolicy, load_policy
from agents.training.shipped import load_shipped
from agents.training.steward import Flag, Interrupted

__all__ = ["Flag", "Interrupted", "TrainedPolicy", "check_device", "load_policy", "load_shipped", "train"]
