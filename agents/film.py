"""A film of an episode: the fleet on the map, up to two policies side by side, one frame an hour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.evaluation import episode_seeds
from agents.units import Policy, Progress
from gcn_env.errors import UserError, nearest
from gcn_env.render import frame
from gcn_env.sim import Sim

KINDS = (".gif", ".mp4")
FRAMES_PER_S = 8  # hours of the episode in a second
Frame = npt.NDArray[np.uint8]


def film(
    path: Path,
    world: Any,
    policies: Mapping[str, Policy],
    seed: int,
    split: str,
    progress: Progress | None = None,
) -> None:
    """Film the first episode.

    Args:
        path: `.gif`, or `.mp4` where the extra `video` is installed.
        world: compiled scenario.
        policies: one or two, by name.
        seed: base of the episode seeds.
        split: data window.
        progress: called with (what, share done).

    Raises:
        UserError: for another kind of file, more than two policies, or a missing package.
    """
    if path.suffix not in KINDS:
        raise UserError(f"--video {path}: wanted a file {' or '.join(KINDS)}{nearest(path.suffix, KINDS)}")
    if not 1 <= len(policies) <= 2:
        raise UserError(
            f"--video takes one or two policies side by side, not {len(policies)}: {', '.join(policies)}"
        )
    writer = _gif if path.suffix == ".gif" else _mp4
    path.parent.mkdir(parents=True, exist_ok=True)
    writer(path, _frames(world, policies, seed, split, progress))


def _frames(
    world: Any, policies: Mapping[str, Policy], seed: int, split: str, progress: Progress | None
) -> Iterator[Frame]:
    """One picture an hour, policies side by side, each with its name."""
    players = [Player(world, name, policy, seed, split) for name, policy in policies.items()]
    hours = int(np.ceil(world.horizon * world.step_h))
    for hour in range(hours):
        if progress is not None:
            progress("film", hour / hours)
        yield np.concatenate([player.picture() for player in players], axis=1)
        for player in players:
            player.until(hour + 1.0)
    yield np.concatenate([player.picture() for player in players], axis=1)


class Player:
    """One policy in its own copy of the episode."""

    def __init__(self, world: Any, name: str, policy: Policy, seed: int, split: str) -> None:
        view: Any = getattr(policy, "view", "joint")
        self.name, self.policy, self.memory = name, policy, None
        self.sim = Sim(world, 1, split=split, view=view, autoreset=False)
        self.sim.reset(episode_seeds(seed, 1))
        self.begins, self.world = np.ones(1, np.bool_), world

    @property
    def hour(self) -> float:
        """Hours of the episode that have passed."""
        return float(self.sim.state.clock.step[0]) * float(self.world.step_h)

    def until(self, hour: float) -> None:
        """Step up to an hour of the episode, or to its end."""
        sim = self.sim
        while not sim.done[0] and self.hour < hour - 1e-9:
            actions, self.memory = self.policy.predict(
                sim.obs, state=self.memory, episode_start=self.begins, deterministic=True
            )
            sim.step(actions)
            self.begins[:] = False

    def picture(self) -> Frame:
        """The fleet now, under the policy's name."""
        from PIL import Image, ImageDraw, ImageFont

        image = frame(self.sim)
        band = Image.new("RGB", (image.shape[1], 30), "white")
        ImageDraw.Draw(band).text((14, 15), self.name, "#0072B2", ImageFont.load_default(17), "lm")
        return np.concatenate([np.asarray(band), image])


def _gif(path: Path, frames: Iterator[Frame]) -> None:
    from PIL import Image

    def small(x: Frame) -> Any:
        """As it is kept: a byte a pixel. A week of full frames would take 600 MB."""
        picture = Image.fromarray(x).resize((x.shape[1] * 3 // 4, x.shape[0] * 3 // 4))
        return picture.quantize(96, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)

    first, *rest = map(small, frames)
    first.save(path, save_all=True, append_images=rest, duration=1000 // FRAMES_PER_S, loop=0, optimize=False)


def _mp4(path: Path, frames: Iterator[Frame]) -> None:
    try:
        import imageio.v2 as imageio
        import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"{path}: films in MP4 need one more package ({error}): pip install 'gcn-env[video]', or name a .gif"
        ) from None
    with imageio.get_writer(path, fps=FRAMES_PER_S, codec="libx264", macro_block_size=2) as out:
        for picture in frames:
            out.append_data(picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2])
