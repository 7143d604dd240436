"""The accounting identities of gcn_env/core/README.md at every sub-step of every archetype, in sickness and in health.

The state before and after a sub-step, the parameters and the weather say what the energies must be; each identity is
also shown to notice a millionth of one flow going missing.
"""

import os

import numpy as np
import pytest

from gcn_env.core import air, plant
from gcn_env.core.plant import N_ENERGY, advance, at_rest
from gcn_env.core.plant_table import PLANT, WATER
from gcn_env.core.thermal import STILL_FLOW
from gcn_env.scenario.plants import PlantSite, archetypes, compile_plants

P = PLANT.ix
E = {name: getattr(plant, f"E_{name}") for name in (
    "IT", "SERVER_FANS", "LEAKAGE", "AIR_FANS", "COMPRESSORS", "PUMPS", "REJECTION", "HUMIDIFIERS", "UPS", "PDU",
    "MISC", "REMOVED", "FREE", "CHILLED", "REUSED", "INWARD", "HEAT", "LOOP_PUMPS", "WATER",
)}  # fmt: skip
MASS, AIR, INLET, SUPPLY, LOOP, FAN, RUNNING, COND, SLAB = 0, 1, 2, 3, 4, 5, 6, 10, 12
KEYS = archetypes()
TOLERANCE = 1e-9
LATENT_KWH = 2430.0 / 3600.0  # per litre evaporated
PLAIN = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"

# ------------------------------------------------------------------------------------------------- sub-steps


def residuals(p, dry, awake, before, after, e, dt):
    """What each identity is off by, over the largest of its terms (and 1e-3 of the heat held): name -> number.

    `e` are the energies of one sub-step of `dt` s [kJ/kW, water L/kW] that led from state `before` to `after`.
    """
    e = dict(zip(E, (e[i] for i in E.values()), strict=True))
    gain = {k: after[k] - before[k] for k in (MASS, AIR, INLET, LOOP, COND, SLAB)}
    losses = e["UPS"] + e["PDU"]
    inside = p[P.loss_inside] * losses + p[P.misc_inside] * e["MISC"]
    outside = losses + e["MISC"] - inside
    cold = p[P.cold_kj] * gain[INLET]
    hall = p[P.mass_kj] * gain[MASS] + p[P.air_kj] * gain[AIR] + cold + p[P.structure_kj] * gain[SLAB]
    liquid, kind = p[P.liquid_share] > 0.0, int(p[P.air_kind])
    water = p[P.loop_kj] * gain[LOOP] if liquid or kind == WATER else 0.0
    tower = p[P.cond_kj] * gain[COND] if kind == WATER else 0.0
    cooling = [e[k] for k in ("AIR_FANS", "COMPRESSORS", "PUMPS", "REJECTION", "HUMIDIFIERS")]
    envelope = p[P.envelope] * dt * (dry - 0.5 * (after[AIR] + after[INLET]))
    awake = 0.0 if e["IT"] == e["MISC"] == 0.0 else awake  # dark
    stream = max(awake * p[P.server_flow] * before[FAN], STILL_FLOW * (1.0 - p[P.liquid_share]))
    # rounding of temperatures is not to be taken for a leak
    held = [p[P.mass_kj] * before[MASS], p[P.air_kj] * before[AIR], p[P.structure_kj] * before[SLAB],
            p[P.loop_kj] * before[LOOP], p[P.cond_kj] * before[COND]]  # fmt: skip
    terms = {
        "envelope": [e["INWARD"], -envelope],
        "2 coil": [e["REMOVED"], -p[P.liquid_share] * e["IT"], cold - stream * dt * (after[AIR] - after[INLET])],
        "2 zone": [e["IT"], e["AIR_FANS"], inside, e["INWARD"], -e["REMOVED"], -hall],
        "2 loop": [e["REMOVED"], e["LOOP_PUMPS"], -e["FREE"], -e["CHILLED"], -e["REUSED"], -water],
        "3 plant": [
            e["FREE"], e["CHILLED"], e["COMPRESSORS"], e["PUMPS"] - e["LOOP_PUMPS"], e["REJECTION"], e["HUMIDIFIERS"],
            outside, -e["INWARD"], -tower, -e["HEAT"],
        ],
        "4 site": [e["IT"], *cooling, losses, e["MISC"], -hall, -water, -tower, -e["HEAT"], -e["REUSED"]],
    }  # fmt: skip
    least = 1e-6 + 1e-3 * sum(abs(h) for h in held)
    return {name: abs(sum(t)) / (least + max(abs(v) for v in t)) for name, t in terms.items()}


def anywhere(rng, key):
    """A plant with some parameters moved, and a state that it may be found in, however it got there."""
    site = PlantSite(key, 1.0, rng.uniform(-400, 4000))
    params = compile_plants([site])
    p = params.values[0, 0]
    hall = rng.uniform(-40, 100)
    spread = rng.uniform(-20, 40, 4)
    low, high = params.head_low[0, 0], params.head_high[0, 0]
    actual = low + (high - low) * rng.random(5)
    state = (
        hall + spread[0], hall + spread[1], hall + spread[2], hall + spread[3], rng.uniform(-5, 70), rng.random(),
        int(rng.integers(0, p[P.units] + 1)), *actual[:3], rng.uniform(0, 50), rng.uniform(-2000, 2000),
        rng.uniform(-10, 60),
    )  # fmt: skip
    command = tuple(low[:3] + (high - low)[:3] * rng.random(3))
    return p, state, command


def health_of(rng, p):
    """Healthy, or any mixture of faults and losses of power."""
    if rng.random() < 0.3:
        return (*plant.HEALTHY[:6], rng.choice([0.0, 0.5]))
    ill = [rng.choice([1.0, 0.5, 0.0]) if rng.random() < 0.5 else 1.0 for _ in range(4)]
    mode = rng.choice([2.0, 1.0, 0.0], p=[0.6, 0.25, 0.15])
    out = float(rng.integers(0, p[P.units] + 1)) if rng.random() < 0.3 else 0.0
    coil = 0.5 + 0.5 * ill[3]
    return (mode, ill[0], out, ill[1], ill[2], coil, rng.choice([0.0, 0.3, 2.0]))


def weather_of(rng):
    dry = rng.uniform(-40, 55)
    t = np.array(dry)
    rh = np.array(rng.uniform(1, 100))
    rh = np.minimum(rh, np.maximum(100 * air.saturation_kpa(np.array(28.0)) / air.saturation_kpa(t), 1.0))
    w = air.humidity_ratio(t, rh)
    return (dry, float(air.wet_bulb_c(t, rh)), float(air.dew_point_c(w)), float(w))


def sub_steps(key, seed, cases=40, steps=6):
    """Random sub-steps: (p, dry, awake, before, after, energies, dt, node)."""
    rng = np.random.default_rng([seed, ord(key)])
    for _ in range(cases):
        p, state, command = anywhere(rng, key)
        health = health_of(rng, p)
        for _ in range(steps):
            weather, dt = weather_of(rng), rng.choice([5.0, 60.0, 300.0, 900.0])
            node = 0.0 if rng.random() < 0.1 else rng.uniform(0.0, 1.05)
            awake = min(max(node, rng.uniform(0.03, 1.0)), 1.0)
            before = state
            state, e, *_ = advance(p, weather, node, awake, command, health, before, dt, 1, 1)
            yield p, weather[0], awake, before, state, e, dt, node


@pytest.mark.smoke
@pytest.mark.skipif(
    not PLAIN, reason="one kernel on scalars: plain Python is quicker than to compile it once more"
)
@pytest.mark.parametrize("key", KEYS)
def test_zone_loops_plant_and_site_balance_in_every_sub_step(key):
    """Identities 2, 3 and 4 to 1e-9, from any state, under any health, weather, load and sub-step of 5 to 900 s."""
    seen = 0
    for p, dry, awake, before, after, e, dt, node in sub_steps(key, 1):
        assert len(e) == N_ENERGY
        assert np.isfinite(e).all()
        assert np.isfinite(after).all()
        assert min(after[:5]) > -60.0
        off = residuals(p, dry, awake, before, after, e, dt)
        assert max(off.values()) < TOLERANCE, (off, before, after, dt)
        # 5: evaporation carries no more than 1.4 times what the plant rejects (c: what outdoor air takes)
        evaporated = e[E["WATER"]] / p[P.make_up] * 2430.0
        if int(p[P.air_kind]) == WATER:
            rejected = (
                e[E["FREE"]] + e[E["CHILLED"]] + e[E["COMPRESSORS"]] + e[E["PUMPS"]] - e[E["LOOP_PUMPS"]]
            )
            drawn = p[P.cond_kj] * (after[COND] - before[COND])
            assert evaporated <= 1.4 * (rejected - drawn) * (1 + TOLERANCE) + 1e-9
        # 6: IT is nodes, fans and leakage; nodes draw what is asked, or nothing where they cut out
        nodes = e[E["IT"]] - e[E["SERVER_FANS"]] - e[E["LEAKAGE"]]
        dark = e[E["IT"]] == 0.0 and e[E["MISC"]] == 0.0
        cut = before[INLET] >= plant.CUT_OUT_C or before[LOOP] >= plant.CUT_OUT_COOLANT_C
        assert nodes == pytest.approx(0.0 if dark or cut else node * dt, rel=1e-9, abs=1e-9)
        seen += not dark
    assert seen > 100


@pytest.mark.smoke
@pytest.mark.skipif(not PLAIN, reason="as above")
@pytest.mark.parametrize("key", KEYS)
def test_the_balances_notice_a_millionth(key):
    """Each flow in turn, scaled by 1 + 1e-6 at work from a state at rest, breaks an identity that it belongs to."""
    p = compile_plants([PlantSite(key, 1.0)]).values[0, 0]
    weather = (34.0, 20.0, 12.0, 0.009)
    low, high = (
        getattr(compile_plants([PlantSite(key, 1.0)]), f"head_{end}")[0, 0] for end in ("low", "high")
    )
    command = tuple(0.5 * (low + high)[:3])
    rest, *_ = at_rest(p, command, weather, 0.8, 1.0)
    wants_heat = (*plant.HEALTHY[:6], 0.3)
    after, e, *_ = advance(p, weather, 0.8, 1.0, command, wants_heat, rest, 900.0, 1, 1)
    good = residuals(p, weather[0], 1.0, rest, after, e, 900.0)
    assert max(good.values()) < TOLERANCE
    moved = 0
    for name, k in E.items():
        if name in ("SERVER_FANS", "LEAKAGE", "WATER") or abs(e[k]) < 1.0:
            continue
        bad = list(e)
        bad[k] *= 1.0 + 1e-6
        off = residuals(p, weather[0], 1.0, rest, after, bad, 900.0)
        assert max(off.values()) > TOLERANCE, name
        moved += 1
    assert moved >= 8
    warmer = list(after)
    warmer[AIR] += 1e-3
    assert max(residuals(p, weather[0], 1.0, rest, warmer, e, 900.0).values()) > TOLERANCE
