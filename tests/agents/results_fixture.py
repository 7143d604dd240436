"""Made-up results with known answers, for tests of statistics, figures and reports."""

import numpy as np

from agents.evaluation import Fleet, Results, episode_seeds
from gcn_env.ledger import COUNTS, FLOWS, TERMS
from gcn_env.metrics import kpis
from gcn_env.record import FLEET, REGION, Record
from gcn_env.stints import STINT

POLICIES = {"cost-greedy+b1": 1.0, "least-loaded+b0": 1.3, "nearest+b1": 1.15, "ppo": 0.92}
HEADS = ("chilled-water supply [degC]", "supply fan speed [1]", "")
REGIONS = ("oregon", "virginia", "dublin", "singapore", "sao-paulo")


def results(policies=POLICIES, episodes=20, learned=("ppo",), hours=168, noise=0.01, seed=0, **changes):
    rng = np.random.default_rng(seed)
    n, r = len(policies), len(REGIONS)
    scale = np.array(list(policies.values()))[:, None]
    weeks = rng.lognormal(0.0, 0.15, episodes)[None, :] * scale * rng.normal(1.0, noise, (n, episodes))
    terms = np.zeros((n, episodes, len(TERMS)))
    for name, usd in (
        ("energy", 40e3), ("demand", 9e3), ("carbon", 14e3), ("water", 700), ("egress", 2e3), ("late", 6e3),
        ("slo", 3e3), ("restart", 800), ("wear", 150), ("settlement", 4e3),
    ):  # fmt: skip
        terms[..., TERMS.index(name)] = usd * weeks * rng.normal(1.0, 0.05, weeks.shape)
    flows = np.zeros((n, episodes, r, len(FLOWS)))
    for name, kwh in (
        ("it", 200e3), ("server_fans", 8e3), ("idle", 60e3), ("compressors", 30e3), ("pumps", 5e3), ("grid",
        260e3), ("carbon", 90e3), ("water", 200e3), ("excursion", 0.2),
    ):  # fmt: skip
        flows[..., FLOWS.index(name)] = kwh * weeks[..., None] * rng.lognormal(0, 0.1, r)
    counts = np.zeros((n, episodes, len(COUNTS)))
    for name, k in (
        ("arrived", 1500), ("completed", 1450), ("late", 60), ("wait", 900), ("late_hours", 300),
        ("slo_miss", 200), ("lease", 9000), ("work", 5e5), ("lost_work", 700), ("moved", 9e4),
    ):  # fmt: skip
        counts[..., COUNTS.index(name)] = k * weeks
    shown = ("ppo", *list(policies)[:1])  # others without a record: drawing takes most of a test's time
    given = {
        "policies": tuple(policies),
        "kpis": kpis(terms, flows, counts),
        "seeds": episode_seeds(0, episodes),
        "start": np.stack([np.full(episodes, 5.0), np.arange(episodes) * 168.0], -1),
        "records": {p: record(k, hours, r, rng) for p, k in policies.items() if p in shown},
        "fleet": Fleet(
            REGIONS,
            (-121.0, -77.5, -6.3, 103.8, -46.6),
            tuple(f"{n}/gpu" for n in REGIONS),
            (0, 1, 2, 3, 4),
            (64, 96, 128, 64, 32),
            ("a", "b", "c", "d", "e"),
            (HEADS,) * len(REGIONS),
        ),
        "asked": episodes,
        "learned": frozenset(learned),
    }
    return Results(**{**given, **changes})


def record(scale, hours, r, rng):
    t = np.arange(hours)[:, None]
    regions = np.zeros((1, hours, r, len(REGION)), np.float32)
    phase = rng.uniform(0, 24, r)[None, :]
    day = np.sin((t + phase) * 2 * np.pi / 24)
    for name, base, swing in (
        ("load", 0.6, 0.2), ("price", 60, 45), ("carbon", 300, 150), ("dry", 18, 8), ("inlet", 23, 1.5),
        ("hot", 26, 2), ("supply", 20, 1), ("chip", 70, 8), ("set_cold", 19, 2), ("set_flow", 0.7, 0.1),
        ("set_rejection", 5, 2), ("queue", 400, 300), ("it", 1500, 300), ("cooling", 250, 120), ("grid", 1900,
        400), ("gap", 6, 2), ("site", 2000, 400), ("compute", 1400, 300),
    ):  # fmt: skip
        regions[0, ..., REGION.index(name)] = base + swing * day + 0.1 * swing * rng.normal(size=(hours, r))
    fleet = np.abs(rng.normal(20, 5, (1, hours, len(FLEET)))).astype(np.float32)
    usd = np.abs(rng.normal(40 * scale, 5, (1, hours, len(TERMS))))
    n = 300
    start = np.sort(rng.uniform(0, hours - 1, n))
    rows = np.zeros((n, len(STINT)))
    for name, values in (
        ("job", np.arange(n)), ("kind", rng.integers(0, 4, n)), ("origin", rng.integers(0, r, n)),
        ("pool", rng.integers(0, r, n)), ("arrival", start - rng.exponential(1.0, n)), ("start", start),
        ("deadline", start + rng.exponential(9.0, n)), ("end", start + rng.exponential(5.0, n)),
        ("devices", 2.0 ** rng.integers(0, 6, n)),
    ):  # fmt: skip
        rows[:, STINT.index(name)] = values
    return Record(regions, fleet, usd, 1.0, (rows,))
