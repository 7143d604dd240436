"""One network for every fleet: encoders per entity, a score per (job, pool), cooling logits, a value.

No parameter depends on how many job slots Q, pools P or regions R there are: entities share their encoders,
know of each other through means over entities (Zaheer et al., "Deep Sets", NeurIPS 2017), and a pair's score
is a small network of its own columns plus what its job and its pool add to the pre-activation. So weights
move to another fleet as they are, and permuting jobs, pools or regions permutes the outputs. Parameters
depend on the column tables and on the number of cooling levels L only.

Shapes: N observations, Q slots, P pools, R regions, M jobs with a choice, L levels, W width, X pair width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gcn_env.core.state import N_HEADS
from gcn_env.observation import GLOBALS, JOBS, PAIRS

ILLEGAL = -1e30  # logit of what the mask forbids: finite, so that gradients and 0 x log 0 stay finite
AT_POOL = [JOBS.index("queued"), JOBS.index("running")]
LEASE, SLACK = JOBS.index("inference"), PAIRS.index("slack")
PENDING, HIDDEN = GLOBALS.index("pending"), GLOBALS.index("hidden")
LEGAL = 0.1 * ILLEGAL  # logits and log-likelihoods above this are legal choices'
STILL = 1e-6  # deviation of a column that never moves
ENTITIES = ("jobs", "pools", "regions", "pairs", "globals")

Observation = Mapping[str, Tensor]


class Joint(NamedTuple):
    """What the network says of the joint view; illegal choices have the logit `ILLEGAL`."""

    rows: Tensor  # int64 [M] slot `q` of observation `n` as n Q + q, ascending: the slots that have a choice
    env: Tensor  # int64 [M] the observation n of each row
    placement: Tensor  # [M, P+1] logits; 0 leave, p = pool p-1
    cooling: Tensor  # [N, 5R, L] logits, in head order
    value: Tensor  # [N]


def lots(jobs: Tensor) -> Tensor:
    """A number in [0, 1) for each row of job columns `[..., Fj]`, the same whenever the row is the same.

    It stands in for a die where choices must be repeatable: a policy that waits with a probability of 0.6
    sends a job after a step or two, while its likeliest choice would wait for ever. Slack and waiting time
    change from step to step, so a job draws a new lot at each.
    """
    # Roots of numbers without square factors are independent over the rationals; the rest is the usual sine
    # hash.
    weights = torch.arange(2, jobs.shape[-1] + 2, device=jobs.device, dtype=torch.float64).sqrt()
    large = weights.new_tensor([43758.5453])  # no bare number: ONNX exporters round those to float32
    return torch.frac(((jobs.double() * weights).sum(-1) + 1.0).sin().abs() * large).to(jobs.dtype)


def send(placement: Tensor, jobs: Tensor) -> Tensor:
    """Repeatable choices int64 `[...]` for jobs `[..., Fj]` by logits `[..., P+1]`: wait by lot, else the best pool.

    A job that runs or queues at a pool leaves it only where that is likelier than to stay: asked again at every step,
    a lot would sooner or later move any.
    """
    chance = torch.log_softmax(placement, -1)[..., 0].exp()
    lot = torch.where((jobs[..., AT_POOL] > 0.5).any(-1), 0.5, lots(jobs))
    some = placement[..., 1:].amax(-1) > LEGAL  # in dense form there are rows without a choice
    return torch.where(some & (lot >= chance), placement[..., 1:].argmax(-1) + 1, 0)


def decide(joint: Joint, jobs: Tensor) -> Tensor:
    """Repeatable choices int64 `[N, Q + 5R]`: jobs by `send`, the likeliest set-points.

    Args:
        joint: what the network says.
        jobs: columns `[N, Q, Fj]` that it was asked about.
    """
    n, q = jobs.shape[:2]
    chosen = send(joint.placement, jobs.flatten(0, 1).index_select(0, joint.rows))
    place = torch.zeros(n * q, dtype=torch.int64, device=jobs.device).index_copy(0, joint.rows, chosen)
    return torch.cat([place.view(n, q), joint.cooling.argmax(2)], 1)


class Columns(nn.Module):
    """A linear layer on observed columns, standardised by statistics that are set once and then stay.

    The statistics are folded into the weight (a small matrix) instead of being applied to the input (a large
    one).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, columns: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(columns, width)
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("scale", torch.ones(columns))

    def forward(self, x: Tensor) -> Tensor:
        """`linear((x - mean) * scale)`."""
        weight = self.linear.weight * self.scale
        return functional.linear(x, weight, self.linear.bias - weight @ self.mean)

    def standardise(self, x: Tensor) -> None:
        """Take mean and scale from a sample `[..., columns]`.

        A column that hardly moves is not blown up (deviation of at least 0.1), and none is squeezed by more
        than 10. One that never moves is left out: its weight would never be learned, and where it has another value
        (another carbon price, rent) would add noise.
        """
        if x.numel():
            flat = x.reshape(-1, x.shape[-1])
            spread = flat.std(0, correction=0)
            self.mean.copy_(flat.mean(0))
            self.scale.copy_(torch.where(spread < STILL, 0.0, 1.0 / spread.clamp(0.1, 10.0)))


class EntityNetwork(nn.Module):
    """Encoders, context, pair scores, cooling logits and value.

    Args:
        columns: number of columns of each of `ENTITIES`.
        levels: L, choices of a cooling head.
        width: W, width of entity embeddings and of the context.
        pair_width: X, width of the hidden layer of the pair score.
        current: column of `regions` that marks the region being decided (sequential view).
        moves: whether jobs that run or queue at a pool may be sent elsewhere; else they are not looked at.
        margin_h: h of slack left to a job where it is sent, and for every step that it is left waiting
            (`_in_time`); None: any.
    """

    def __init__(
        self,
        columns: Mapping[str, int],
        levels: int,
        width: int = 48,
        pair_width: int = 32,
        current: int = 0,
        moves: bool = True,
        margin_h: float | None = None,
    ) -> None:
        super().__init__()
        self.levels, self.width, self.current = levels, width, current
        self.moves, self.margin_h = moves, margin_h
        self.jobs = Columns(columns["jobs"], width)
        self.pools = Columns(columns["pools"], width)
        self.regions = Columns(columns["regions"], width)
        self.globals = Columns(columns["globals"], width)
        self.pairs = Columns(columns["pairs"], pair_width)
        self.means = nn.ModuleDict(
            {k: nn.Linear(width, width, bias=False) for k in ("jobs", "pools", "regions")}
        )
        self.pair_job = nn.Linear(width, pair_width, bias=False)
        self.pair_pool = nn.Linear(width, pair_width, bias=False)
        self.pair_context = nn.Linear(width, pair_width, bias=False)
        self.pair_score = nn.Linear(
            pair_width, 1, bias=False
        )  # a bias would shift all pools: `leave` has one
        self.leave_job = nn.Linear(width, pair_width)
        self.leave_context = nn.Linear(width, pair_width, bias=False)
        self.leave_pairs = nn.Linear(pair_width, pair_width, bias=False)
        self.leave_score = nn.Linear(pair_width, 1)
        self.cool_regions = Columns(columns["regions"], width)  # set-points share no encoder: see `_cooling`
        self.cool_globals = Columns(columns["globals"], width)
        self.cool_region = nn.Linear(width, width)
        self.cool_context = nn.Linear(width, width, bias=False)
        self.cool_score = nn.Linear(width, N_HEADS * levels)
        self.value_hidden = nn.Linear(width, width)
        self.value_out = nn.Linear(width, 1)
        self.value_job = nn.Linear(pair_width, 1, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        """Orthogonal weights; small ones where choices are scored, so that a new policy is nearly uniform."""
        small = {self.pair_score: 0.1, self.leave_score: 0.1, self.cool_score: 0.01, self.value_out: 1.0}
        small[self.value_job] = 0.1
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight, gain=small.get(module, 2.0**0.5))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def joint(self, obs: Observation) -> Joint:
        """Logits and value of the joint view.

        Slots and pools without a choice are left out: most slots are empty most of the time, and pairs are most of the
        arithmetic.

        Args:
            obs: jobs `[N, Q, Fj]`, pools `[N, P, Fp]`, regions `[N, R, Fr]`, pairs `[N, Q, P, Fx]`, globals
                `[N, Fg]`, mask `[N, Q (P+1) + 5 R L]`.
        """
        n, q = obs["jobs"].shape[:2]
        p, r = obs["pools"].shape[1], obs["regions"].shape[1]
        legal = obs["mask"] > 0.5
        placing = legal[:, : q * (p + 1)].reshape(n * q, p + 1)
        cooling = legal[:, q * (p + 1) :].reshape(n, r * N_HEADS, self.levels)
        placing = self._staying(placing, obs["jobs"].flatten(0, 1))
        real = placing[:, 1:].any(1)
        rows = real.nonzero().squeeze(1)
        env = torch.div(rows, q, rounding_mode="floor")
        asked = obs["jobs"].flatten(0, 1).index_select(0, rows)
        slack = obs["pairs"][..., SLACK].flatten(0, 1).index_select(0, rows)
        fleet = obs["globals"].index_select(0, env)
        allowed = self._in_time(placing.index_select(0, rows), asked, slack, fleet)
        jobs, pools, context = self._embed(obs, asked, env)
        scores, worth = self._scores(obs["pairs"].flatten(0, 1), rows, jobs, pools, context, env, allowed)
        cool = self._cooling(obs).view(n, r * N_HEADS, self.levels)
        value = self._value(context).index_add(0, env, worth)
        return Joint(rows, env, scores, cool.masked_fill(~cooling, ILLEGAL), value)

    def _in_time(self, placing: Tensor, jobs: Tensor, slack: Tensor, fleet: Tensor) -> Tensor:
        """Legal placements `[..., P+1]` less those for which too little `slack [..., P]` is left.

        A job `[..., Fj]` is not sent where less than the margin is left while another pool leaves it, and does not wait
        where no pool leaves it. A policy that lets work wait for a better hour learned how long queues are and how late
        work comes in its own worlds; where more goes wrong, it waits too long, and the margin is what it keeps for
        that. Where more jobs wait than there are slots, a job comes round only every so many steps (by `fleet [...,
        Fg]`, columns of globals), and to wait takes so many margins: else a policy that likes to wait drowns. Leases
        have no deadline; jobs at a pool are there.
        """
        if self.margin_h is None:
            return placing
        legal = placing[..., 1:]
        pending, hidden = (torch.sinh(4.0 * fleet[..., k]) for k in (PENDING, HIDDEN))
        steps = (pending / (pending - hidden).clamp(min=1.0)).clamp(min=1.0).unsqueeze(-1)
        bound = ~(jobs[..., [*AT_POOL, LEASE]] > 0.5).any(-1, keepdim=True) & legal.any(-1, keepdim=True)
        most = slack.masked_fill(~legal, ILLEGAL).amax(-1, keepdim=True)
        least = math.asinh(self.margin_h) / 4.0  # as the column is compressed
        waits = placing[..., :1] & ~(bound & (torch.sinh(4.0 * most) < self.margin_h * steps))
        return torch.cat([waits, legal & ~(bound & (most >= least) & (slack < least))], -1)

    def dense(self, obs: Observation) -> tuple[Tensor, Tensor, Tensor]:
        """The same of every slot and pool, for export: a third fewer operators, and their number is what one run costs.

        Args:
            obs: as in `joint`, the mask in two parts: `mask_placement [N, Q, P+1]`, `mask_cooling [N, 5R, L]`.

        Returns:
            Placement logits `[N, Q, P+1]`, cooling logits `[N, 5R, L]`, value `[N]`.
        """
        columns = obs["jobs"]
        placing = self._staying(obs["mask_placement"] > 0.5, columns)
        placing = self._in_time(placing, columns, obs["pairs"][..., SLACK], obs["globals"].unsqueeze(1))
        legal = placing[..., 1:].to(columns.dtype)
        weight = legal.amax(-1, keepdim=True)  # 1: a slot with a choice
        jobs, pools = torch.relu(self.jobs(columns)), torch.relu(self.pools(obs["pools"]))
        context = self._context(obs, (jobs * weight).sum(1) / weight.sum(1).clamp(min=1.0), pools)
        by_pool = self.pair_pool(pools) + self.pair_context(context).unsqueeze(1)
        hidden = self.pairs(obs["pairs"]) + self.pair_job(jobs).unsqueeze(2) + by_pool.unsqueeze(1)
        hidden = torch.relu(hidden)
        seen = (legal.unsqueeze(2) @ hidden).squeeze(2) / legal.sum(-1, keepdim=True).clamp(min=1.0)
        outlook = self.leave_job(jobs) + self.leave_context(context).unsqueeze(1) + self.leave_pairs(seen)
        outlook = torch.relu(outlook)
        scores = torch.cat([self.leave_score(outlook), self.pair_score(hidden).squeeze(-1)], -1)
        value = self._value(context) + (self.value_job(outlook) * weight).sum((1, 2))
        cool = self._cooling(obs).reshape(obs["mask_cooling"].shape)
        cool = cool.masked_fill(obs["mask_cooling"] <= 0.5, ILLEGAL)
        return scores.masked_fill(~placing, ILLEGAL), cool, value

    def sequential(self, obs: Observation) -> tuple[Tensor, Tensor]:
        """Scores `[N, A]` of the choices of the head being decided (illegal: `ILLEGAL`) and value `[N]`.

        Args:
            obs: jobs `[N, 1, Fj]`, pairs `[N, 1, P, Fx]`, pools, regions, globals as in `joint`, mask `[N,
                A]`, head `[N, 6]` one-hot (placement, then the heads of a region); A = max(P + 1, L).
        """
        n, p = obs["pools"].shape[:2]
        legal, head = self.open_choices(obs), obs["head"]
        env = (head[:, 0] > 0.5).nonzero().squeeze(1)
        job_rows = obs["jobs"][:, 0].index_select(0, env)
        jobs, pools, context = self._embed(obs, job_rows, env)
        allowed = legal[:, : p + 1].index_select(0, env)
        scores, worth = self._scores(obs["pairs"].flatten(0, 1), env, jobs, pools, context, env, allowed)
        place = context.new_zeros(n, p + 1).index_add(0, env, scores)
        marked = obs["regions"][..., self.current : self.current + 1]  # [N, R, 1]; all zero while placing
        cool = (self._cooling(obs) * marked).sum(1).view(n, N_HEADS, self.levels)
        cool = (cool * head[:, 1:, None]).sum(1)
        width = legal.shape[1]
        both = functional.pad(place, (0, width - p - 1)) + functional.pad(cool, (0, width - self.levels))
        return both.masked_fill(~legal, ILLEGAL), self._value(context).index_add(0, env, worth)

    def open_choices(self, obs: Observation) -> Tensor:
        """What may be chosen for the head being decided (sequential view): bool `[N, A]`."""
        legal, jobs, p = obs["mask"] > 0.5, obs["jobs"][:, 0], obs["pools"].shape[1]
        placing = self._staying(legal[:, : p + 1], jobs)
        placing = self._in_time(placing, jobs, obs["pairs"][:, 0, :, SLACK], obs["globals"])
        others = obs["head"][:, :1] < 0.5
        return torch.cat([legal[:, : p + 1] & (placing | others), legal[:, p + 1 :]], 1)

    def _staying(self, placing: Tensor, jobs: Tensor) -> Tensor:
        """Legal placements `[..., P+1]` less the moves of jobs `[..., Fj]` at a pool, for a network that makes none."""
        if self.moves:
            return placing
        stays = (jobs[..., AT_POOL] > 0.5).any(-1, keepdim=True)
        return torch.cat([placing[..., :1], placing[..., 1:] & ~stays], -1)

    def _embed(self, obs: Observation, job_rows: Tensor, env: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings of jobs `[M, W]` and pools `[N, P, W]`, and the context `[N, W]`."""
        jobs, pools = torch.relu(self.jobs(job_rows)), torch.relu(self.pools(obs["pools"]))
        n = pools.shape[0]
        count = jobs.new_zeros(n).index_add(0, env, torch.ones_like(jobs[:, 0])).clamp(min=1.0)
        mean_job = jobs.new_zeros(n, self.width).index_add(0, env, jobs) / count.unsqueeze(1)
        return jobs, pools, self._context(obs, mean_job, pools)

    def _context(self, obs: Observation, mean_job: Tensor, pools: Tensor) -> Tensor:
        regions = torch.relu(self.regions(obs["regions"]))
        return torch.relu(
            self.globals(obs["globals"])
            + self.means["jobs"](mean_job)
            + self.means["pools"](pools.mean(1))
            + self.means["regions"](regions.mean(1))
        )

    def _scores(
        self,
        pairs: Tensor,
        rows: Tensor,
        jobs: Tensor,
        pools: Tensor,
        context: Tensor,
        env: Tensor,
        allowed: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Placement logits `[M, P+1]` of jobs `rows` of `pairs` in observations `env`, and what each adds to the value.

        Pairs that the mask forbids are not computed.
        """
        n_pools, legal = pools.shape[1], allowed[:, 1:]
        by_job = self.pair_job(jobs)  # [M, X]
        by_pool = self.pair_pool(pools) + self.pair_context(context).unsqueeze(1)  # [N, P, X]
        flat = legal.flatten().nonzero().squeeze(1)
        m = torch.div(flat, n_pools, rounding_mode="floor")
        p = flat - m * n_pools
        columns = pairs.flatten(0, 1).index_select(0, rows.index_select(0, m) * n_pools + p)
        hidden = self.pairs(columns) + by_job.index_select(0, m)
        of_pool = by_pool.flatten(0, 1).index_select(0, env.index_select(0, m) * n_pools + p)
        hidden = torch.relu(hidden + of_pool)
        score = self.pair_score(hidden).squeeze(-1)
        scores = score.new_full((legal.numel(),), ILLEGAL).index_copy(0, flat, score).view(legal.shape)
        seen = hidden.new_zeros(len(jobs), hidden.shape[1]).index_add(0, m, hidden)
        seen = seen / legal.sum(1, keepdim=True).clamp(min=1)
        by_env = self.leave_context(context).index_select(0, env)
        outlook = torch.relu(self.leave_job(jobs) + by_env + self.leave_pairs(seen))
        logits = torch.cat([self.leave_score(outlook), scores], 1).masked_fill(~allowed, ILLEGAL)
        return logits, self.value_job(outlook).squeeze(1)

    def _cooling(self, obs: Observation) -> Tensor:
        """Cooling logits `[N, R, 5 L]`.

        Set-points move a hundredth of the bill. With encoders of their own they are not moved by what placements,
        which move the rest, make of theirs.
        """
        regions = torch.relu(self.cool_regions(obs["regions"]))
        context = torch.relu(self.cool_globals(obs["globals"]) + regions.mean(1))
        hidden = torch.relu(self.cool_region(regions) + self.cool_context(context).unsqueeze(1))
        logits: Tensor = self.cool_score(hidden)
        return logits

    def _value(self, context: Tensor) -> Tensor:
        value: Tensor = self.value_out(torch.relu(self.value_hidden(context)))
        return value.squeeze(1)

    @torch.no_grad()
    def standardise(self, samples: Sequence[Observation]) -> None:
        """Set every encoder's column statistics from samples of joint or sequential observations, one a world.

        Rows of jobs and pairs that offer no choice are padding and do not count.
        """
        rows: dict[str, list[Tensor]] = {name: [] for name in ENTITIES}
        for obs in samples:
            q, p = obs["jobs"].shape[1], obs["pools"].shape[1]
            placing = obs["mask"][:, : q * (p + 1)].reshape(-1, q, p + 1) > 0.5
            real = placing[..., 1:].any(-1)
            if "head" in obs:
                real = obs["head"][:, :1] > 0.5
            for name in ENTITIES:
                seen = obs[name][real] if name in ("jobs", "pairs") else obs[name]
                rows[name].append(seen.flatten(0, -2))
        for name in ENTITIES:
            getattr(self, name).standardise(torch.cat(rows[name]))
        self.cool_regions.standardise(torch.cat(rows["regions"]))
        self.cool_globals.standardise(torch.cat(rows["globals"]))

    def rescale_value(self, gain: float, shift: float) -> None:
        """Make the value `gain * value + shift`, exactly: what was learned survives a change of scale.

        van Hasselt et al., "Learning values across many orders of magnitude", NeurIPS 2016.
        """
        with torch.no_grad():
            self.value_out.weight.mul_(gain)
            self.value_job.weight.mul_(gain)
            self.value_out.bias.mul_(gain).add_(shift)
