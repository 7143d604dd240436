"""The plant kernels, held still, against the quasi-steady reference model of the design study."""

import importlib.util

import numpy as np
import pytest

from tests.core.plant_fleet import COOLING, KEYS, F, fleet, power

SHARED_REFERENCE = "shared/design/physics_ref.py"
NAMES = {
    "a": "a DX room", "b": "b CW+tower+WSE", "c": "c airside econ", "d": "d direct-to-chip", "e": "e immersion",
    "f": "f edge",
}  # fmt: skip
# What the reference leaves out: humidification, and a wet stage that cannot run as low as it likes.
PLAIN = {
    "a": {"ventilation_kg_per_s_kw": 0.0, "pdu_no_load": 0.012},
    "c": {"wet_least_share": 0.0, "dew_point_min_degc": -60.0},
}


def reference(root):
    path = root.parent / SHARED_REFERENCE
    if not path.exists():
        pytest.skip(f"the design study's model is not beside this checkout ({SHARED_REFERENCE})")
    spec = importlib.util.spec_from_file_location("physics_ref", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reference_controls(key, cmd, wet):
    if key in "bg":
        base = {"app": 4.0, "n": np.where(wet < 5, 1.0, 2.0), "wse": np.ones_like(wet, bool)}
        return {"Ts": cmd[..., 0], "trk": cmd[..., 1], "Tch": cmd[..., 2], **base}
    if key == "c":
        return {"Ts": cmd[..., 0], "trk": cmd[..., 1], "evap": cmd[..., 2]}
    if key in "af":
        return {"Ts": cmd[..., 0], "trk": cmd[..., 1]}
    adia = np.ones_like(wet, bool)
    return {"Ts": 24.0, "trk": 1.15, "Tl": cmd[..., 0], "fl": cmd[..., 1], "ff": cmd[..., 2], "adia": adia}


def air_cooled(ref, hall, weather, chilled):
    """g from the reference's own functions: b's hall and pumps, four air-cooled chillers of 40 % each (E20-E23)."""
    heat, dry = hall["Qair"], weather["T"]
    reach = 1 - np.exp(-1.10 * hall["s"] ** -0.4)
    xi = hall["dTs"] / np.maximum(hall["Tret"] - chilled, 0.1) / reach
    stream = np.maximum(np.minimum(xi, 1) / (3 - 2 * np.minimum(xi, 1)), 0.15)
    unit = 0.40 * np.clip(1 - 0.012 * (dry - 35) + 0.030 * (chilled - 7), 0.3, 1.6)
    running = np.clip(np.floor(heat / (0.30 * unit)), 1, 4)
    load = np.minimum(heat / (running * unit), 1)
    lifted = ref.eir_air(np.maximum(dry, 10), chilled)
    chillers = running * unit / 3.3 * lifted * ref.plr_power(load)
    cooling = hall["Pfan"] + chillers + 0.018 * 1.15 * ref.pump(stream)
    viol = (hall["Thot"] > 27) | (xi > 1) | (heat > 4 * unit)
    facility = hall["Pit"] + cooling + hall["loss"] + 0.010
    return {"Pfac": facility, "Pcool": cooling, "viol": viol, "water": 0 * facility}


def referred(ref, key, weather, use, cmd):
    """The reference's facility power, cooling power, water and limits, each [n]."""
    plant = ref.ARCH[NAMES["b" if key == "g" else key]]
    out = ref.simulate(plant, weather, use, reference_controls(key, cmd, weather["Twb"]))
    if key == "g":
        out = air_cooled(ref, {**out, "Tret": cmd[..., 0] + out["dTs"]}, weather, cmd[..., 2])
    return {k: np.broadcast_to(out[k], use.shape)[:, 0] for k in ("Pfac", "Pcool", "water", "viol")}


def held(key, n, seed):
    """A fleet of `n` plants of one archetype held 27 h at random set-points; hourly flows [n, F], weather, use."""
    rng = np.random.default_rng(seed)
    use = rng.uniform(0.05, 1, (n, 1))
    still = fleet(
        (key,), n=n, kw=1.0, load=0.35 + 0.65 * use, dry=rng.uniform(-2, 40, (n, 1)), rh=rng.uniform(15, 95, (n, 1)),
        overrides=PLAIN.get(key),
    )  # fmt: skip
    low, high = still.heads()
    cmd = low + (high - low) * rng.integers(0, 8, (n, 1, 3)) / 7
    still.hold(cmd)
    still.run(100)
    still.run(6, n_plant=15)
    flows = still.run(n_plant=15)[:, 0] / 0.25
    now = still.state.signals.now
    return flows, {"T": now[..., 2], "Twb": now[..., 3], "Tdp": now[..., 4], "w": now[..., 5]}, use, cmd


@pytest.mark.compiled
@pytest.mark.parametrize("key", KEYS)
def test_held_still_it_is_the_reference_model(root, key):
    """1,000 random states (utilisation 5-100 %) against the quasi-steady model of the design study.

    Facility power within 1 % in every state that the reference itself finds sound, within 0.15 % on average. What is
    left, largest first: in b and g we never run two machines below 30 % load each, which the reference's rounding does
    (up to 0.9 % of facility power, always to our favour); in c the reference's wet-stage pump runs at stage 0, too (0.6
    %); the envelope of f sees the mean of its aisles, not 8 K above supply (0.8 %); heat of fans and electrical losses
    warms the hot aisle and so, by recirculation, the inlet (a: 0.7 %); pump heat is carried by the loops (d, e: 0.4 %).
    States with unmet heat or hot racks are left out: there the reference drops heat that ours keeps.
    """
    ref = reference(root)
    flows, weather, use, cmd = held(key, 1000, 5)
    theirs = referred(ref, key, weather, use, cmd)
    sound = ~theirs["viol"]
    error = (power(flows) / theirs["Pfac"] - 1)[sound]
    assert sound.sum() > 700
    assert np.abs(error).max() < 0.01
    assert abs(error.mean()) < 0.0015
    assert flows[sound][:, COOLING].sum() == pytest.approx(theirs["Pcool"][sound].sum(), rel=0.012)
    assert flows[sound][:, F.water].sum() == pytest.approx(theirs["water"][sound].sum(), rel=0.03)


FROZEN = (  # archetype, dry bulb, % relative humidity, utilisation, three set-points, the reference's facility power
    ("a", 0.5, 79, 0.64, (19.43, 2.43, 0.0), 1.1511),
    ("a", 1.4, 50, 0.16, (24.0, 2.14, 0.0), 0.7393),
    ("a", 35.8, 93, 0.43, (20.57, 1.29, 0.0), 1.0240),
    ("a", 23.5, 94, 0.22, (18.29, 1.57, 0.0), 0.7658),
    ("b", 23.8, 54, 0.84, (22.0, 2.71, 13.0), 1.1575),
    ("b", 37.2, 30, 0.6, (19.0, 2.71, 11.5), 0.9623),
    ("b", 10.2, 89, 0.31, (22.0, 2.14, 16.0), 0.6783),
    ("b", 32.3, 92, 0.52, (19.0, 2.43, 10.0), 0.9046),
    ("c", -1.4, 92, 0.49, (25.0, 1.29, 0.14), 0.7392),
    ("c", 24.0, 25, 0.91, (19.0, 3.0, 0.14), 1.0894),
    ("c", -3.6, 33, 0.41, (19.0, 2.43, 0.43), 0.6890),
    ("c", 34.0, 66, 0.41, (23.0, 3.0, 0.0), 0.8406),
    ("d", 1.9, 20, 0.51, (43.0, 0.9, 0.8), 0.7282),
    ("d", -2.6, 57, 0.86, (22.0, 0.3, 0.7), 0.9517),
    ("d", 8.3, 89, 0.18, (28.0, 0.9, 0.4), 0.4839),
    ("d", -3.9, 21, 0.52, (40.0, 0.6, 0.4), 0.7280),
    ("e", 26.8, 93, 0.16, (27.0, 0.4, 0.7), 0.5172),
    ("e", 33.5, 75, 0.82, (24.0, 0.7, 0.4), 1.1100),
    ("e", -1.0, 72, 0.36, (24.0, 1.0, 0.8), 0.6047),
    ("e", 16.2, 41, 0.3, (42.0, 0.4, 0.5), 0.5803),
    ("f", 13.7, 78, 0.77, (18.57, 3.0, 0.0), 1.1799),
    ("f", -2.1, 59, 0.32, (19.86, 1.29, 0.0), 0.7363),
    ("f", 26.9, 41, 0.7, (21.14, 3.0, 0.0), 1.2060),
    ("f", 1.2, 69, 0.81, (19.86, 2.43, 0.0), 1.2100),
    ("g", 27.6, 60, 0.42, (18.0, 2.43, 8.5), 0.8341),
    ("g", 37.9, 30, 0.32, (19.0, 2.71, 10.0), 0.7803),
    ("g", -2.4, 67, 0.67, (24.0, 1.29, 8.5), 0.9730),
    ("g", 16.4, 59, 0.65, (18.0, 1.57, 8.5), 0.9738),
)


def test_held_still_it_gives_the_reference_models_frozen_figures():
    """As above where the model is at hand; 28 of its states are kept here, so that no checkout goes without."""
    for key in KEYS:
        rows = [r for r in FROZEN if r[0] == key]
        _, dry, rh, use, cmd, facility = (np.array(x) for x in zip(*rows, strict=True))
        still = fleet(
            (key,), n=len(rows), kw=1.0, load=(0.35 + 0.65 * use)[:, None], dry=dry[:, None], rh=rh[:, None],
            overrides=PLAIN.get(key),
        )  # fmt: skip
        still.hold(cmd[:, None])
        still.run(100)
        still.run(6, n_plant=15)
        np.testing.assert_allclose(power(still.run(n_plant=15))[:, 0] / 0.25, facility, rtol=0.01)
