"""Opening what is to be served: a bundle that passes all checks, or a rule."""

from __future__ import annotations

from agents.bundle.load import open_bundle, self_test
from agents.bundle.policy import BundlePolicy, check_levels
from agents.policy import RulePolicy, load
from agents.serving.guard import Envelope
from agents.serving.scorers import BundleScorer, RuleScorer, Scorer
from gcn_env.errors import UserError
from gcn_env.scenario.compile import World


def opened_bundle(path: str, world: World, signer: str | None = None) -> BundlePolicy:
    """The bundle in a folder, checked, tried, and found fit to decide for a whole fleet.

    Raises:
        UserError: with the reason of the refusal.
    """
    bundle = open_bundle(path, signer)
    check_levels(bundle, world, f"bundle {path}")
    if bundle.manifest.view != "joint":
        raise UserError(
            "the server decides for a whole fleet at once: export a policy of the joint view (PPO)"
        )
    policy = BundlePolicy(bundle)
    self_test(bundle, policy.session)
    _ = policy.placing  # opened here, in the thread that opens bundles, and not by the first request
    return policy


def open_scorer(spec: str, world: World, signer: str | None = None) -> tuple[Scorer, Envelope | None]:
    """A bundle's folder (`DIR` or `bundle:DIR`) or `rule:NAME`, and a bundle's envelope.

    Raises:
        UserError: with the reason of the refusal.
    """
    if spec.startswith("rule:"):
        rule = load(spec, world)
        assert isinstance(rule, RulePolicy)
        return RuleScorer(rule), None
    policy = opened_bundle(spec.removeprefix("bundle:"), world, signer)
    return BundleScorer(policy), Envelope(policy.bundle.manifest.envelope)
