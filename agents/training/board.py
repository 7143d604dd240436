"""What TensorBoard shows of a training run beside the learner's own scalars: pages, a layout, a row of HParams."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.events import Events
from agents.recipe import Recipe, flat
from agents.runs import RunFolder

LAYOUT = {  # of the Custom Scalars tab
    "Is it worth anything?": {
        "validation cost, and the best rule's [USD per episode]": ["eval/total_usd", "eval/best_rule_usd"],
        "validation cost over the best rule's [%]": ["eval/over_best_rule_percent"],
        "validation: late jobs [share]": ["eval/late_share"],
        "validation: latency misses [share]": ["eval/slo_miss_share"],
        "validation: heat above the limit [K h]": ["eval/excursion_kh"],
    },
    "What it pays for, in training": {
        "reward per control step (-1: the scenario's reference cost)": ["reward/total"],
        "energy, demand, carbon": ["reward/energy", "reward/demand", "reward/carbon"],
        "late work, latency credits, restarts": ["reward/late", "reward/slo", "reward/restart"],
        "PUE": ["kpi/pue"],
        "late jobs [share]": ["kpi/late_share"],
    },
    "Learning": {
        "loss": ["train/loss", "train/value_loss", "train/policy_gradient_loss"],
        "divergence from the policy before": ["train/approx_kl"],
        "entropy loss": ["train/entropy_loss"],
        "explained variance": ["train/explained_variance"],
        "learning rate": ["train/learning_rate"],
        "environment steps per second": ["time/fps"],
    },
}
METRICS = {
    "final/best_usd": "best validation cost [USD per episode]",
    "final/over_best_rule_percent": "best against the best rule [%]",
    "final/last_usd": "last validation cost [USD per episode]",
    "final/hours": "hours of learning",
}


def begin(run: RunFolder, recipe: Recipe, world: Any) -> None:
    """Pages and layout, before learning."""
    import yaml

    from agents.report import scenario_page

    about = run.about()
    command = str(about.get("command", ""))
    chosen = yaml.safe_dump(recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    with Events(run.tensorboard) as events:
        events.layout(LAYOUT)
        events.text("1_command", f"```\n{command}\n```\n\nFolder `{run.path}`.")
        events.text("2_recipe", f"What differs from the defaults:\n\n```yaml\n{chosen}```")
        events.text("3_scenario", scenario_page(world, "train"))


def finish(run: RunFolder, recipe: Recipe, result: dict[str, Any], hours: float) -> None:
    """The run's row of the HParams tab, with its final figures, and its card."""
    values = flat(recipe.model_dump(mode="json"))
    over = result["over_best_rule_percent"]
    figures = {
        "final/best_usd": result["best_validation_usd"],
        "final/over_best_rule_percent": over,
        "final/last_usd": result["validation_usd"],
        "final/hours": hours,
    }
    verdict = (
        "" if not np.isfinite(over) else f", {over:+.1f} % against the best of the rules named in the recipe"
    )
    card = (
        f"**{recipe.algo.upper()} on {recipe.scenario}**, seed {recipe.seed}: {result['timesteps']:,} steps in "
        f"{hours:.2f} h. Best validation cost {result['best_validation_usd']:,.0f} USD per episode{verdict}; "
        f"last {result['validation_usd']:,.0f}.\n\nValidation chose `best.pt`, so these figures flatter it: "
        f"`python evaluate.py --policies rules run:{run.path}` says what it is worth on test weeks."
    )
    with Events(run.tensorboard) as events:
        events.experiment(list(values), METRICS)
        events.session(run.path.name, values)
        for tag, value in figures.items():
            events.scalars(tag, np.array([value]), METRICS[tag])
        events.text("0_result", card)
