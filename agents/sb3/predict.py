"""Prediction for observations that carry their own mask, of any fleet size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

Array = npt.NDArray[Any]


def to_tensors(obs: Mapping[str, Array], device: torch.device) -> tuple[dict[str, Tensor], bool]:
    """Observation arrays as float tensors with a leading batch axis, and whether they came with one."""
    batched = np.ndim(obs["mask"]) == 2
    tensors = {k: torch.as_tensor(np.asarray(v, np.float32), device=device) for k, v in obs.items()}
    return (tensors if batched else {k: v.unsqueeze(0) for k, v in tensors.items()}), batched


class AnySize(BasePolicy):
    """Stable-Baselines3's `predict`, without its reshaping to the sizes that the policy was trained on."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Array | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, Any]:
        """Legal choices for one observation or a batch of them; `state` is handed back."""
        self.set_training_mode(False)
        tensors, batched = to_tensors(observation, self.device)
        with torch.no_grad():
            actions = self._predict(tensors, deterministic).cpu().numpy()
        return (actions if batched else actions[0]), state
