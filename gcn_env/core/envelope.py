"""Least and most that a plant at rest draws, over a grid of all its set-points: what a bound on policies needs."""

from __future__ import annotations

from gcn_env.core.jit import kernel
from gcn_env.core.plant import AWAKE_FLOOR, at_rest, drawn

REST_S = 7200.0  # `at_rest` returns the energies of two hours


@kernel()
def rest_range(p, levels, weather, nodes, slack, out):
    """Facility power at rest over node power, both per kW of design IT power.

    Args:
        p: one row of `PlantParams.values`.
        levels: [3, L] set-points of each head; every combination is tried.
        weather: dry bulb, wet bulb, dew point [degC], humidity ratio [kg/kg].
        nodes: [N] node power.
        slack: [A] node power over nameplate awake; every one is tried.
        out: [2, N] written: least and most.
    """
    n = levels.shape[1]
    for k in range(nodes.shape[0]):
        node, least, most = nodes[k], 1e9, 0.0
        for a in range(slack.shape[0]):
            if a > 0 and node >= slack[a - 1]:
                break  # everything was awake already
            awake = min(max(node / slack[a], AWAKE_FLOOR), 1.0)
            for x in range(n):
                for y in range(n):
                    for z in range(n):
                        if z > 0 and levels[2, z] == levels[2, 0]:
                            continue  # the plant has no such head
                        command = (levels[0, x], levels[1, y], levels[2, z])
                        _, e, _, _, _ = at_rest(p, command, weather, node, awake)
                        kw = drawn(e) / REST_S
                        least, most = min(least, kw), max(most, kw)
        out[0, k], out[1, k] = least, most
