"""Learning on a GPU, where there is one; where there is none, asking for it is refused before anything is written."""

import pytest
import torch

from agents import runs
from agents.training import load_policy, train
from agents.training.checkpoints import latest
from gcn_env.errors import UserError
from tests.agents.fakes import FakeSim, world
from tests.agents.test_training import After, fake, small
from train import main

pytestmark = pytest.mark.stepless

HERE = torch.cuda.is_available()
on_gpu = pytest.mark.skipif(not HERE, reason="torch sees no CUDA device here")


@pytest.mark.skipif(HERE, reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused(tmp_path, capsys):
    assert main(["--config", "smoke", "--device", "cuda", "--run", str(tmp_path / "run")]) == 2
    assert "sees no CUDA device here; take auto or cpu" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    run = runs.create(tmp_path / "other", small(), world(), "test")
    with pytest.raises(UserError, match="CUDA"):
        train(world(), small(), run, quiet=True, factory=fake, device="cuda")


@on_gpu
@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_it_learns_there_stops_and_goes_on_here(tmp_path, algo):
    """Begun and interrupted on the GPU, resumed there and then on the processor; the policy is the same on both."""
    from agents.training import Interrupted

    recipe = small(algo)
    run = runs.create(tmp_path / "run", recipe, world(), "test")
    with pytest.raises(Interrupted):
        train(
            world(),
            recipe,
            run,
            quiet=True,
            factory=fake,
            device="cuda",
            flag=After(3 if algo == "ppo" else 30),
        )
    train(world(), recipe, run, resume=True, quiet=True, factory=fake, device="cuda")
    more = small(algo, timesteps=2 * recipe.timesteps)
    train(world(), more, run, resume=True, quiet=True, factory=fake, device="cpu")
    assert latest(run)["timesteps"] >= more.timesteps
    policy = load_policy(run.path, world())
    sim = FakeSim(world(), 5, view=recipe.view)
    sim.reset(range(5))
    actions, _ = policy.predict(sim.obs, deterministic=True)
    assert sim.legal(actions).all()


@on_gpu
def test_auto_takes_it(tmp_path):
    from agents.training.learner import build

    learner = build(world(), small(), "auto", fake)
    assert learner.model.device.type == "cuda"
    assert all(p.is_cuda for p in learner.model.policy.parameters())
