"""From key figures to what may be said: the best rule, paired differences, a verdict in words, warnings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from agents import stats
from agents.evaluation import Results
from agents.stats import Estimate, Verdict
from gcn_env.metrics import MORE_IS_BETTER

COST = "total_usd"
SIDE = (
    "late_hours", "late_share", "slo_miss_share", "lost_device_h", "excursion_kh", "energy_mwh", "carbon_t",
    "water_m3",
)  # fmt: skip
ENOUGH_EPISODES = 20  # decision of the project: a claim needs at least this many held-out episodes
LOOKS_WORSE = 0.25  # a mean higher by this share is mentioned though its interval touches zero
BOOTSTRAP_SEED = 20240


@dataclass(frozen=True)
class Line:
    """One policy beside the reference (`None` where it is the reference itself).

    Attributes:
        policy: name.
        learned: trained, not a rule.
        runs: training runs it is the mean of; 1 for most.
        cost: interquartile mean of the bill, USD per episode.
        diff: paired difference of the bill to the reference, USD per episode.
        percent: `diff` in per cent of the reference's interquartile mean.
        mean: plain mean of the bill, USD per episode: rare bad episodes count in full.
        mean_diff: paired difference of the means to the reference.
        improvement: probability that it costs less than the reference in the same episode.
        verdict: what `diff` allows to say.
        gap: share of the way from the reference to the clairvoyant bound, per cent (negative: the other way);
            None without a bound.
        side: other key figures: (interquartile mean, paired difference, verdict).
    """

    policy: str
    learned: bool
    runs: int
    cost: Estimate
    diff: Estimate | None
    percent: Estimate | None
    mean: float
    mean_diff: Estimate | None
    improvement: Estimate | None
    verdict: Verdict | None
    gap: float | None
    side: dict[str, tuple[float, Estimate, Verdict]]


@dataclass(frozen=True)
class Comparison:
    """All lines, cheapest first, against `reference`: the cheapest rule, or policy if no rule ran.

    `bound` is the interquartile mean of the clairvoyant bound, `bound_mean` its plain mean, USD per episode.
    """

    lines: tuple[Line, ...]
    reference: str
    episodes: int
    bound: Estimate | None
    bound_mean: float | None
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]

    def line(self, policy: str) -> Line:
        """The line of one policy."""
        return next(x for x in self.lines if x.policy == policy)


def compare(results: Results, notes: Iterable[str] = ()) -> Comparison:
    """Everything a report says about costs.

    The reference is chosen on the same episodes on which it is compared. That favours the reference a little,
    which is the honest side to err on.

    Args:
        results: of `agents.evaluation.evaluate`.
        notes: warnings of the caller, kept in front.
    """
    costs = dict(zip(results.policies, stats.iqm(results.kpi(COST)), strict=True))
    rules = [p for p in results.policies if p not in results.learned]
    reference = min(rules or results.policies, key=lambda p: (costs[p], p))
    bound, bound_mean = None, None
    if results.bound is not None:
        bound = stats.interval(results.bound, seed=BOOTSTRAP_SEED)
        bound_mean = float(results.bound.mean())
    lines = tuple(
        _line(results, p, reference, bound) for p in sorted(results.policies, key=lambda p: (costs[p], p))
    )
    partial = Comparison(lines, reference, results.episodes, bound, bound_mean, (), ())
    return Comparison(
        lines,
        reference,
        results.episodes,
        bound,
        bound_mean,
        _sentences(partial),
        (*notes, *_warnings(results, partial, bool(rules))),
    )


def _line(results: Results, policy: str, reference: str, bound: Estimate | None) -> Line:
    mine, theirs = results.kpi(COST, policy), results.kpi(COST, reference)
    runs = results.each_run(COST, policy)
    cost = stats.crossed_interval(runs, seed=BOOTSTRAP_SEED)
    learned = policy in results.learned
    if policy == reference:
        return Line(
            policy, learned, len(runs), cost, None, None, float(mine.mean()), None, None, None,
            None if bound is None else 0.0, {},
        )  # fmt: skip
    diff = stats.crossed_interval(runs - theirs, seed=BOOTSTRAP_SEED)
    scale = float(stats.iqm(theirs))
    percent = None
    if scale > 0:
        percent = Estimate(*(100.0 * v / scale for v in (diff.value, diff.low, diff.high)))
    gap = None
    if bound is not None and scale > bound.value:
        gap = 100.0 * (scale - cost.value) / (scale - bound.value)
    side = {}
    for name in SIDE:
        a, b = results.each_run(name, policy), results.kpi(name, reference)
        d = stats.crossed_interval(a - b, seed=BOOTSTRAP_SEED, statistic=stats.mean)
        sign = -1.0 if name in MORE_IS_BETTER else 1.0
        side[name] = (
            float(a.mean()),
            d,
            stats.verdict(sign * d.value, *sorted((sign * d.low, sign * d.high))),
        )
    return Line(
        policy,
        learned,
        len(runs),
        cost,
        diff,
        percent,
        float(mine.mean()),
        stats.crossed_interval(runs - theirs, seed=BOOTSTRAP_SEED, statistic=stats.mean),
        stats.crossed_interval(
            stats.wins(runs, np.broadcast_to(theirs, runs.shape)), seed=BOOTSTRAP_SEED, statistic=stats.mean
        ),
        stats.verdict(diff.value, diff.low, diff.high),
        gap,
        side,
    )


def _sentences(c: Comparison) -> tuple[str, ...]:
    learned = [x for x in c.lines if x.learned and x.policy != c.reference]
    rest = [x for x in c.lines if x.policy != c.reference]
    if not rest:
        only = c.line(c.reference)
        return (f"**{c.reference}** was evaluated alone: {_money_ci(only.cost)} per episode.",)
    out = [_about(c, x) for x in learned]
    if not learned:
        lead = "best rule" if not c.line(c.reference).learned else "cheapest policy"
        out.append(
            f"**{c.reference} is the {lead}**: {_money_ci(c.line(c.reference).cost)} per episode. "
            f"No learned policy was evaluated{'' if lead == 'best rule' else ' against a rule'}."
        )
        out.append(_about(c, rest[0]))
        far = rest[-1]
        if len(rest) > 1 and far.percent is not None:
            out.append(f"The dearest of {len(c.lines)}, {far.policy}, costs {far.percent.value:.1f} % more.")
    if c.bound is not None:
        out.append(
            f"No policy can cost less than {money(c.bound.value)} per episode (clairvoyant bound; plain mean "
            f"{money(c.bound_mean or 0.0)})."
        )
    return tuple(out)


def _about(c: Comparison, x: Line) -> str:
    assert x.diff is not None
    assert x.improvement is not None
    what = "the best rule" if not c.line(c.reference).learned else "the cheapest policy"
    claim = {
        "better": f"**{x.policy} is better than {what}, {c.reference}.**",
        "worse": f"**{x.policy} is worse than {what}, {c.reference}.**",
        "no difference": f"**{x.policy} and {what}, {c.reference}: no difference.**",
    }[x.verdict or "no difference"]
    by = f"{money(abs(x.diff.value))} {'less' if x.diff.value < 0 else 'more'} per episode"
    interval = f"{money(x.diff.low, sign=True)} to {money(x.diff.high, sign=True)}"
    if x.percent is not None:
        by = f"{abs(x.percent.value):.1f} % {'less' if x.diff.value < 0 else 'more'}, {by}"
        interval = f"{x.percent.low:+.1f} % to {x.percent.high:+.1f} %"
    team = f" Mean of {x.runs} training runs." if x.runs > 1 else ""
    text = (
        f"{claim}{team} It costs {by} (95 % interval {interval}), and is the cheaper one in "
        f"{100 * x.improvement.value:.0f} % of {c.episodes} paired episodes."
    )
    if x.gap is not None:
        text += f" That is {x.gap:.0f} % of the way to the clairvoyant bound."
    gains = [_side(n, x) for n in SIDE if x.side[n][2] == "better"]
    prices = [_side(n, x) for n in SIDE if x.side[n][2] == "worse"]
    if x.verdict != "worse" and not prices:
        text += " None of lateness, latency, lost work, heat, energy, carbon and water is shown to be worse."
        doubtful = [_side(n, x) for n in SIDE if _looks_worse(x, n)]
        if doubtful:
            text += f" By the means there may be {_list(doubtful)}: the intervals touch zero."
    if prices:
        text += f" {'At the price of' if x.verdict == 'better' else 'It also has'} {_list(prices)}."
    if gains:
        text += f" {'It also has' if x.verdict == 'better' else 'In return it has'} {_list(gains)}."
    return text


_WORDS = {  # (noun, unit, factor)
    "late_hours": ("late job-hours", "", 1.0),
    "late_share": ("late jobs", " % of those finished", 100.0),
    "slo_miss_share": ("latency misses", " % of lease-hours", 100.0),
    "lost_device_h": ("lost device-hours", "", 1.0),
    "excursion_kh": ("heat above the limit", " K h", 1.0),
    "energy_mwh": ("energy", " MWh", 1.0),
    "carbon_t": ("carbon", " t", 1.0),
    "water_m3": ("water", " m3", 1.0),
}


def _looks_worse(x: Line, name: str) -> bool:
    """Whether a mean is a quarter higher than the reference's, though its interval touches zero."""
    value, d, verdict = x.side[name]
    return verdict == "no difference" and d.value > LOOKS_WORSE * (value - d.value) > 0.0


def _side(name: str, x: Line) -> str:
    value, d, _ = x.side[name]
    noun, unit, factor = _WORDS[name]
    before = value - d.value
    more = (
        "more"
        if d.value > 0
        else "less"
        if name not in ("late_hours", "late_share", "lost_device_h")
        else "fewer"
    )
    by = f"{abs(d.value) / before:.1%} ".replace("%", " %") if before > 0 else ""
    return f"{by}{more} {noun} ({number(factor * value)}{unit} against {number(factor * before)})"


def number(x: float) -> str:
    """Three significant digits below a thousand, whole numbers with separators above."""
    return f"{x:,.0f}" if abs(x) >= 999.5 or x == 0 else f"{x:#.3g}".rstrip(".")


def _list(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _warnings(results: Results, c: Comparison, has_rules: bool) -> tuple[str, ...]:
    out = []
    if results.interrupted:
        left = f"; not evaluated: {', '.join(results.unfinished)}" if results.unfinished else ""
        out.append(f"Interrupted: {results.episodes} of {results.asked} episodes are reported{left}.")
    if results.episodes < ENOUGH_EPISODES:
        out.append(
            f"Only {results.episodes} episodes: intervals are too narrow below {ENOUGH_EPISODES}. "
            "This is a look, not a claim."
        )
    if not has_rules:
        out.append("No rule was evaluated, so nothing is said about rules. Add `rules` to --policies.")
    for x in c.lines:
        if x.mean_diff is not None and _dearer_on_average(x):
            out.append(
                f"{x.policy} is {money(x.mean_diff.value)} dearer than {c.reference} by the plain mean: rare "
                "bad episodes, which the interquartile mean leaves out."
            )
    shaky = [x.policy for x in c.lines if x.verdict == "no difference" and x.learned]
    if shaky:
        out.append(
            f"The interval touches zero for {', '.join(shaky)}: more episodes may or may not settle it."
        )
    for name, words in (("illegal", "made illegal choices"), ("dropped", "had jobs refused")):
        who = [p for p in results.policies if np.nansum(results.kpi(name, p)) > 0]
        if who:
            everyone = len(who) == len(results.policies) > 1
            out.append(f"{'All policies' if everyone else ', '.join(who)} {words}; see the key figures.")
    broken = [p for p in results.policies if not np.isfinite(results.kpis[results.policies.index(p)]).all()]
    if broken:
        out.append(f"Key figures of {', '.join(broken)} hold values that are not finite.")
    return tuple(out)


def _dearer_on_average(x: Line) -> bool:
    """Whether the plain mean contradicts a verdict that is not "worse"."""
    d = x.mean_diff
    if d is None or d.value <= 0 or x.verdict == "worse":
        return False
    return x.verdict == "better" or stats.verdict(d.value, d.low, d.high) == "worse"


_SCALES = ((1e6, "MUSD", 3), (1e3, "kUSD", 1))


def money(usd: float, *, sign: bool = False) -> str:
    """Dollars with three to four digits: `1.234 MUSD`, `12.3 kUSD`, `123 USD`."""
    form = "+" if sign else ""
    scale, unit, digits = next((s for s in _SCALES if abs(usd) >= s[0]), (1.0, "USD", 0))
    return f"{usd / scale:{form}.{digits}f} {unit}"


def money_interval(e: Estimate, *, sign: bool = False) -> str:
    """`12.3 (11.0 to 13.1) kUSD`: an estimate and its interval in one unit."""
    form, largest = ("+" if sign else ""), max(abs(e.value), abs(e.low), abs(e.high))
    scale, unit, digits = next((s for s in _SCALES if largest >= s[0]), (1.0, "USD", 0))
    value, low, high = (f"{x / scale:{form}.{digits}f}" for x in (e.value, e.low, e.high))
    return f"{value} ({low} to {high}) {unit}"


def _money_ci(e: Estimate) -> str:
    return f"{money(e.value)} (95 % interval {money(e.low)} to {money(e.high)})"
