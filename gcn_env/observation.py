"""What a policy sees: one table of columns per kind of entity.

Every column is finite, clipped to its bounds and scaled to a magnitude of a few units; `unit` names the scaling.
`asinh(x)` keeps sign and small values and compresses large ones; the encoder reads it from the unit, and such columns
stand first. Columns of pools and regions that never change stand last. A plant operator's view only: readings of
sensors and no hidden state (true temperatures, fouling, how long an outage or a repair lasts), and of the future only
forecasts with the scenario's error and what was announced.
"""

from __future__ import annotations

from gcn_env.core.state import FAULTS, LEADS_H
from gcn_env.tables import Row, Table

JOBS = Table(
    "jobs",
    (
        Row("gang", "asinh/8", 0, 2, "devices of reference speed asked for"),
        Row("work", "asinh(h)/4", 0, 3, "hours left at reference speed"),
        Row("slack", "asinh(h)/4", -3, 3, "deadline minus now minus work; 0 for leases"),
        Row("waited", "asinh(h)/4", 0, 3, "hours since it arrived"),
        Row("value", "asinh(USD/h)/4", 0, 4, "cost of an hour late or out of objective"),
        Row("data", "asinh(GB)/8", 0, 3, "data to move before it can start elsewhere"),
        Row("state", "asinh(GB)/8", 0, 3, "checkpoint to move with it; 0 none"),
        Row("present", "0/1", 0, 1, "the slot holds a job"),
        Row("queued", "0/1", 0, 1, "it waits in a pool's queue: choice 0 leaves it there"),
        Row("running", "0/1", 0, 1, "it runs: choice 0 leaves it there"),
        Row("least", "share", 0, 1, "fewest devices it can run on, over its gang"),
        Row("held", "share", 0, 1, "devices it holds, over its gang"),
        Row("priority", "level/10", 0, 1, "higher goes first"),
        Row("training", "0/1", 0, 1, "class: gang of accelerators"),
        Row("batch", "0/1", 0, 1, "class: batch, rendering, analytics"),
        Row("inference", "0/1", 0, 1, "class: lease of inference replicas"),
        Row("hpc", "0/1", 0, 1, "class: gang of CPU nodes"),
        Row("checkpoint", "1/(1+h)", 0, 1, "how often it saves its work; 0 never"),
        Row("comm", "share", 0, 1, "time bound by memory or communication"),
        Row("memory", "GiB/80", 0, 16, "per device"),
        Row("slo", "100 ms / slo", 0, 20, "tightness of the latency objective; 0 none"),
        Row("trust", "level/2", 0, 1, "least trust of a pool"),
        Row("choices", "share", 0, 1, "share of pools where it may run"),
        Row("hour_sin", "1", -1, 1, "local time of day of its users"),
        Row("hour_cos", "1", -1, 1, "local time of day of its users"),
    ),
)

POOLS = Table(
    "pools",
    (
        Row("queued", "asinh(h)/4", 0, 4, "device-hours waiting or travelling here, per device"),
        Row("running", "asinh(h)/4", 0, 4, "device-hours left of running jobs, per device"),
        Row(
            "price",
            "asinh(USD/MWh / 50)",
            -5,
            5,
            "all-in price of a kWh of node power now: energy, carbon, overhead",
        ),
        Row("outlook", "asinh(USD/MWh / 50)", -5, 5, "the same, mean of the next day"),
        Row("rent", "asinh(USD/h)", 0, 8, "spot price of a rented device-hour; 0 own"),
        Row("free", "share", 0, 1, "healthy devices that are idle and not claimed"),
        Row("busy", "share", 0, 1, "devices that run jobs"),
        Row("failed", "share", 0, 1, "devices out of service"),
        Row("claimed", "share", 0, 1, "devices claimed earlier in this step (sequential view)"),
        Row("draining", "share", 0, 1, "devices that take no more work before their repair"),
        Row("let", "share", 0, 1, "devices let to others"),
        Row("notice", "1/(1+h)", 0, 1, "how soon its owner takes it back; 0: nothing is announced"),
        Row("away", "0/1", 0, 1, "not there: reclaimed, or a pod on the road"),
        Row("overhead", "1", 0, 3, "grid over node power, minus 1"),
        Row("frequency", "share", 0, 1, "clock frequency over nominal: heat and power cap"),
        Row("dead", "0/1", 0, 1, "the region's nodes stand still"),
        Row("current_region", "0/1", 0, 1, "belongs to the region being decided (sequential view)"),
        Row("devices", "log2/8", 0, 3, "size of the pool"),
        Row("idle", "asinh(kW)", 0, 4, "power of an idle device"),
        Row("peak", "asinh(kW)", 0, 4, "power of a device at full load"),
        Row("training", "asinh", 0, 6, "speed for training; 0 cannot"),
        Row("batch", "asinh", 0, 6, "speed for batch; 0 cannot"),
        Row("inference", "asinh", 0, 6, "speed for inference; 0 cannot"),
        Row("hpc", "asinh", 0, 6, "speed for HPC; 0 cannot"),
        Row("memory", "GiB/80", 0, 16, "per device"),
        Row("trust", "level/2", 0, 1, "0 public, 1 private, 2 trusted execution"),
    ),
)

_SIGNALS = (
    ("price", "asinh(USD/MWh / 50)", -7.0, 7.0),
    ("carbon", "gCO2e/kWh / 500", 0.0, 5.0),
    ("dry", "degC/30", -3.0, 3.0),
)

ALARMS = FAULTS[:4]  # faults that announce themselves; fouling and a sensor that sticks do not

REGIONS = Table(
    "regions",
    (
        *(
            Row(f"{n}_{when}", u, lo, hi, f"{n} {meaning}")
            for n, u, lo, hi in _SIGNALS
            for when, meaning in (
                ("now", "of this hour"),
                *((f"{h}h", f"forecast {h} h ahead") for h in LEADS_H),
            )
        ),
        Row("wet", "degC/30", -3, 3, "wet bulb"),
        Row("dew", "degC/30", -3, 3, "dew point"),
        Row("hour_sin", "1", -1, 1, "local time of day"),
        Row("hour_cos", "1", -1, 1, "local time of day"),
        Row("load", "share", 0, 2, "node power over nameplate"),
        Row("awake", "share", 0, 1.5, "nameplate power that is not asleep"),
        Row("cooling", "share", 0, 3, "cooling power over IT power"),
        Row("overhead", "1", 0, 3, "grid over node power, minus 1, smoothed"),
        Row("grid", "share", 0, 4, "grid power over nameplate"),
        Row("peak", "share", 0, 4, "peak billed this month so far (ratchet included) over nameplate"),
        Row("month_left", "share", 0, 1, "of the month"),
        Row("cold_command", "share", 0, 1, "cold-side set-point within its range"),
        Row("flow_command", "share", 0, 1, "flow set-point within its range"),
        Row("reject_command", "share", 0, 1, "rejection set-point within its range"),
        Row("cap_command", "share", 0, 1, "power cap within its range; 0 without the head"),
        Row("battery_command", "share", 0, 1, "battery power within its range, 0.5 rest; 0 without the head"),
        Row("cold_actual", "share", -1, 2, "where the cold-side actuator is"),
        Row("flow_actual", "share", -1, 2, "where the flow actuator is"),
        Row("reject_actual", "share", -1, 2, "where the rejection actuator is"),
        Row("cap_actual", "share", -1, 2, "power cap in force"),
        Row("battery_actual", "share", -1, 2, "battery power of the last step"),
        Row("inlet", "(degC-24)/10", -8, 12, "mean server inlet, as read"),
        Row("hottest", "(degC-24)/10", -8, 12, "hottest rack inlet, as read"),
        Row("supply", "(degC-24)/10", -8, 12, "supply air as delivered, as read"),
        Row("return_air", "(degC-24)/10", -8, 12, "return air, as read"),
        Row("loop", "(degC-24)/10", -8, 12, "chilled water or coolant, as read"),
        Row("chip", "(degC-60)/20", -8, 8, "chip temperature, as read"),
        Row("margin", "K/5", -8, 8, "limits minus readings of hottest inlet, coolant and chip: the least"),
        Row("air_need", "share", 0, 3, "server air flow over rated supply flow"),
        Row("server_fan", "share", 0, 1, "server fan speed"),
        Row("compressors", "n/4", 0, 2, "compressors running"),
        Row("lockout", "min/10", 0, 6, "until compressors may restart after a loss of power"),
        Row("throttle", "share", 0, 1, "frequency factor for heat; 0 tripped"),
        Row(
            "frequency",
            "share",
            0,
            1,
            "clock frequency over nominal: the lower of heat's and the power cap's",
        ),
        *(Row(f"alarm_{n}", "0/1", 0, 1, f"fault of the plant: {n}") for n in ALARMS),
        Row("outage", "0/1", 0, 1, "the grid supply is lost"),
        Row(
            "restart",
            "min/10",
            0,
            6,
            "boot time left of nodes that stand still, from when they may boot; 0: up",
        ),
        Row("generator", "0/1", 0, 1, "the generator carries the load"),
        Row("ups", "share", 0, 1, "charge of the UPS strings; 0 without"),
        Row("charge", "share", 0, 1, "state of charge of the battery; 0 without"),
        Row("sun", "share", 0, 4, "photovoltaic power over nameplate"),
        Row("wind", "share", 0, 4, "wind power over nameplate"),
        *(
            Row(f"green_{h}h", "share", 0, 4, f"sun and wind forecast {h} h ahead, over nameplate")
            for h in LEADS_H
        ),
        Row("breaker", "share", 0, 2, "heat of the feeder's breaker, 1 trips"),
        Row("curtail_in", "1/(1+h)", 0, 1, "how soon an announced curtailment begins; 0: none is announced"),
        Row("curtail", "0/1", 0, 1, "a curtailment is in force"),
        Row(
            "curtail_limit", "share", 0, 4, "grid power allowed over nameplate, announced or in force; 0 none"
        ),
        Row("is_current", "0/1", 0, 1, "the region whose head is being decided (sequential view)"),
        *(Row(f"plant_{k}", "0/1", 0, 1, f"plant archetype {k}") for k in "abcdefg"),
        Row("design", "log2(kW)/8", 0, 4, "nameplate node power"),
        Row("demand_price", "USD/kW / 20", 0, 10, "demand charge"),
    ),
)

PAIRS = Table(
    "pairs",
    (
        Row("speed", "asinh", 0, 6, "speed of the hardware for this class at its present clock frequency"),
        Row("run", "asinh(h)/4", 0, 3, "run time there"),
        Row("wait", "asinh(h)/4", 0, 4, "expected wait in the pool's queue"),
        Row("transfer", "asinh(h)/4", 0, 3, "time to bring the data"),
        Row("slack", "asinh(h)/4", -3, 3, "deadline minus expected finish; 0 for leases"),
        Row("energy_usd", "asinh(USD)", -16, 16, "of what is left, at the outlook's prices"),
        Row("carbon_usd", "asinh(USD)", 0, 16, "at the outlook's carbon and the carbon price"),
        Row("demand_usd", "asinh(USD)", 0, 16, "rise of the month's peak"),
        Row("egress_usd", "asinh(USD)", 0, 16, "data moved"),
        Row("late_usd", "asinh(USD)", 0, 16, "expected lateness"),
        Row("slo_usd", "asinh(USD)", 0, 16, "credits for latency and waiting"),
        Row("rent_usd", "asinh(USD)", 0, 16, "rent at the present spot price"),
        Row("move_usd", "asinh(USD)", 0, 16, "what a running job runs again to load its state there"),
        Row("cost", "asinh(USD)", -16, 16, "all of it, if sent now; in its own pool, if it stays"),
        Row(
            "legal",
            "0/1",
            0,
            1,
            "the job may be sent there; all other columns are 0 if not and it is not here",
        ),
        Row("here", "0/1", 0, 1, "the pool where it runs or queues"),
        Row("fits", "0/1", 0, 1, "enough devices are free now, on nodes that fit"),
        Row("share", "share", 0, 1, "devices it would hold"),
        Row("latency", "1", 0, 8, "round trip plus service over the objective; 0 without one"),
        Row("rtt", "ms/100", 0, 10, "round trip to its users"),
        Row("regret", "share", 0, 5, "cost above the cheapest pool, its own included, over that pool's cost"),
        Row(
            "patience",
            "share",
            -1,
            1,
            "what sending at the best forecast hour within the slack would save, over the cost now",
        ),
        Row("best_lead", "h/24", 0, 1, "how far ahead that hour is"),
    ),
)

GLOBALS = Table(
    "globals",
    (
        Row("pending", "asinh(jobs)/4", 0, 3, "jobs waiting for a decision"),
        Row("hidden", "asinh(jobs)/4", 0, 3, "pending jobs that have no slot"),
        Row("queued", "asinh(h)/4", 0, 4, "device-hours waiting in pools, per device"),
        Row("scale", "asinh(USD)", 0, 16, "reference cost of a step"),
        Row("elapsed", "share", 0, 1, "of the episode"),
        Row("hour_sin", "1", -1, 1, "UTC time of day"),
        Row("hour_cos", "1", -1, 1, "UTC time of day"),
        Row("week_sin", "1", -1, 1, "day of week"),
        Row("week_cos", "1", -1, 1, "day of week"),
        Row("year_sin", "1", -1, 1, "day of year"),
        Row("year_cos", "1", -1, 1, "day of year"),
        Row("live", "share", 0, 1, "job places in use"),
        Row("busy", "share", 0, 1, "devices of the fleet that run jobs"),
        Row("carbon_price", "USD/t / 100", 0, 20, "carbon price"),
    ),
)

HEADS = ("placement", "cold", "flow", "reject", "cap", "battery")
TABLES = (JOBS, POOLS, REGIONS, PAIRS, GLOBALS)
