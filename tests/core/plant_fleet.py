"""A batch of plants at rest, weather for it, and sums over its flows: what the plant tests share."""

from typing import NamedTuple

import numpy as np

from gcn_env.core import air
from gcn_env.core.groups import zeros
from gcn_env.core.integrate import integrate, reset_plants
from gcn_env.core.params import Site
from gcn_env.core.plant_table import PlantParams
from gcn_env.core.state import FAULTS, N_SIGNALS, State, allocate
from gcn_env.ledger import FLOWS
from gcn_env.scenario.plants import PlantSite, compile_plants

F = FLOWS.ix
COOLING = [F.air_fans, F.compressors, F.pumps, F.rejection, F.humidifiers]
ELECTRIC = [F.it, *COOLING, F.ups_loss, F.pdu_loss, F.misc]
ALL = ("b", "c", "d")  # in the default fleet
KEYS = ("a", *ALL, "e", "f", "g")


class Fleet(NamedTuple):
    """A batch with its parameters."""

    state: State
    params: PlantParams
    site: Site

    def run(self, steps=1, dt_h=0.25, n_plant=3, n_zone=5):
        """Flows [B, R, F] summed over `steps` control steps, each with the node power that is asked for now."""
        s, total = self.state, 0.0
        asked = s.plants.node_kw.copy()
        for _ in range(steps):
            s.ledger.flows[:] = 0.0
            integrate(
                0, len(asked), dt_h, n_plant, n_zone, s.plants, s.signals, self.params, self.site, s.ledger
            )
            s.plants.node_kw[:] = asked
            s.plants.outage_h[:] = np.maximum(0.0, s.plants.outage_h - dt_h)
            total = total + s.ledger.flows.copy()
        return total

    def hold(self, commands):
        """Cooling commands [..., 3], actuators there already."""
        self.state.plants.command[..., :3] = commands
        self.state.plants.actual[..., :3] = commands

    def heads(self):
        """Lowest and highest cooling commands [R, 3]."""
        return self.params.head_low[0, :, :3], self.params.head_high[0, :, :3]

    def weather(self, dry, rh):
        """Weather for all environments and regions, dew point at most 28 degC as in the files' check."""
        shape = self.state.plants.node_kw.shape
        t = np.broadcast_to(np.asarray(dry, float), shape)
        most = 100 * air.saturation_kpa(np.array(28.0)) / air.saturation_kpa(t)
        rh = np.minimum(np.broadcast_to(np.asarray(rh, float), shape), most)
        w = air.humidity_ratio(t, rh)
        columns = (0 * t, 0 * t, t, air.wet_bulb_c(t, rh), air.dew_point_c(w), w)
        assert len(columns) == N_SIGNALS
        self.state.signals.now[:] = np.stack(columns, -1)


def fleet(keys=ALL, n=1, load=0.75, dry=15.0, rh=60.0, kw=1000.0, elevation_m=0.0, overrides=None):
    """A batch of `n` fleets of the archetypes `keys`, at rest under B1."""
    params = compile_plants([PlantSite(k, kw, elevation_m, overrides or {}) for k in keys])
    out = Fleet(allocate(n, 2, 1, 1, len(keys), 1), params, no_site(len(keys)))
    out.state.plants.node_kw[:] = np.broadcast_to(np.asarray(load, float), (n, len(keys))) * kw
    out.state.plants.awake[:] = 1.0
    out.weather(dry, rh)
    reset_plants(0, n, out.state.plants, out.state.signals, params)
    return out


def no_site(n_regions, **values):
    """Nothing stands beside the grid, but for `values`."""
    wide = {name: np.zeros((n_regions, len(FAULTS))) for name in ("faults", "mend_h")}
    numbers = {k: float(v) for k, v in values.items() if k.startswith("sensor_")}
    arrays = {k: np.full(n_regions, float(v)) for k, v in values.items() if k not in numbers}
    return zeros(Site, n_regions, **(wide | numbers | arrays))


def finite(state):
    return all(np.isfinite(a).all() for a in state.plants) and np.isfinite(state.ledger.flows).all()


def imbalance(flows):
    """First law: electricity in less heat out and heat kept, relative to the larger of them and 1 kWh."""
    electric = flows[..., ELECTRIC].sum(-1)
    rejected = flows[..., F.heat_rejected] + flows[..., F.heat_reused]
    stored = flows[..., F.heat_stored]
    return np.abs(electric - rejected - stored) / np.maximum(np.abs(rejected) + np.abs(stored), 1.0)


def power(flows):
    return flows[..., ELECTRIC].sum(-1)
