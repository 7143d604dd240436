"""`bundle:DIR` as a policy: Stable-Baselines3's `predict` over ONNX Runtime; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agents.bundle.graph import part
from agents.bundle.load import Bundle, open_bundle, session
from agents.bundle.manifest import INPUTS, BundleError
from gcn_env.core.state import N_HEADS

Array = npt.NDArray[Any]

_PLACING = ("choices", "placement")
_PLACING_INPUTS = [name for name in INPUTS if name != "mask_cooling"]


class Answer(NamedTuple):
    """What a joint graph says of a batch of observations; forbidden choices have a logit near -1e30."""

    actions: Array  # int64 [N, Q + 5R]
    placement: Array  # float32 [N, Q, P + 1] logits; 0 leave, p = pool p-1
    cooling: Array  # float32 [N, 5R, L] logits
    value: Array  # float32 [N]
    choices: Array  # int64 [N, Q]: of `actions` those of jobs, which need no more than `placement` does


class BundlePolicy:
    """A checked bundle as a policy, for any fleet with the same columns and levels."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.view: str = bundle.manifest.view
        self.session = session(bundle.graph)
        self._names = list(bundle.outputs)

    def __reduce__(self) -> tuple[Any, ...]:
        return BundlePolicy, (
            self.bundle,
        )  # to other processes as its checked bytes: a session cannot travel

    def answer(self, observation: Mapping[str, Array]) -> Answer:
        """All outputs of a joint graph for observations with a leading batch axis."""
        return Answer(*self.session.run(self._names, feed_joint(observation, self.bundle.manifest.levels)))

    def place(self, observation: Mapping[str, Array]) -> tuple[Array, Array]:
        """`choices` and `placement` alone, by the part of a joint graph that they need: two thirds of its time."""
        feed = feed_joint(observation, self.bundle.manifest.levels)
        del feed["mask_cooling"]
        choices, placement = self.placing.run(_PLACING, feed)
        return choices, placement

    @cached_property
    def placing(self) -> Any:
        """The session of `place`: an evaluation never needs it, a server opens it before it serves."""
        return session(part(self.bundle.graph, _PLACING_INPUTS, _PLACING))

    def predict(
        self,
        observation: Mapping[str, Array],
        state: Any = None,
        episode_start: Array | None = None,
        deterministic: bool = True,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Any]:
        """Legal choices `[B, Q + 5R]` (joint) or `[B]` (sequential); `state` is handed back.

        With `deterministic=False`, choices are drawn from the graph's distribution by `rng`.
        """
        batched = np.ndim(observation["mask"]) == 2
        obs = {
            k: np.asarray(v, np.float32) if batched else np.asarray(v, np.float32)[None]
            for k, v in observation.items()
        }
        if self.view == "joint":
            out = self.answer(obs)
            actions = out.actions if deterministic else _drawn(out, rng or np.random.default_rng())
        else:
            actions, scores, _ = self.session.run(self._names, {k: obs[k] for k in self.bundle.inputs})
            if not deterministic:
                actions = _draw(scores, rng or np.random.default_rng())
        chosen: Array = np.asarray(actions, np.int64)
        return (chosen if batched else chosen[0]), state


def feed_joint(obs: Mapping[str, Array], levels: int) -> dict[str, Array]:
    """What a joint graph is given: the observation, its mask in two parts."""
    n, q, p = obs["pairs"].shape[:3]
    r, mask, split = obs["regions"].shape[1], obs["mask"], q * (p + 1)
    names = ("jobs", "pools", "regions", "pairs", "globals")
    return {k: obs[k] for k in names} | {
        "mask_placement": mask[:, :split].reshape(n, q, p + 1),
        "mask_cooling": mask[:, split:].reshape(n, N_HEADS * r, levels),
    }


def _draw(logits: Array, rng: np.random.Generator) -> Array:
    """A sample of each row's softmax: the argmax of logits plus Gumbel noise."""
    return np.asarray((logits + rng.gumbel(size=logits.shape)).argmax(-1))


def _drawn(out: Answer, rng: np.random.Generator) -> Array:
    return np.concatenate([_draw(out.placement, rng), _draw(out.cooling, rng)], 1)


def check_levels(bundle: Bundle, world: Any, what: str) -> None:
    """Refuse a world whose heads have another number of levels.

    Raises:
        BundleError: naming both numbers.
    """
    if bundle.manifest.levels != world.n_levels:
        raise BundleError(
            f"{what} was trained with {bundle.manifest.levels} levels per cooling head; {world.name} has "
            f"{world.n_levels} (decisions.cooling_levels)"
        )


def load_bundle_policy(path: str | Path, world: Any, signer: str | None = None) -> BundlePolicy:
    """The policy of the bundle in folder `path`, for `world`.

    Raises:
        BundleError: with the reason why the bundle is refused.
    """
    bundle = open_bundle(path, signer)
    check_levels(bundle, world, f"bundle {path}")
    return BundlePolicy(bundle)
