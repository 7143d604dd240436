"""Every number that one control step books.

`TERMS` are money: their sum is the cost of the step, and minus that sum over the scenario's reference cost is the
reward. `FLOWS` are physical quantities per region. `COUNTS` are jobs, minutes and other tallies per environment.
"""

from __future__ import annotations

from gcn_env.tables import Row, Table

BIG = 1e12

TERMS = Table(
    "terms",
    (
        Row("energy", "USD", -BIG, BIG, "grid and network energy at the hourly price (negative prices pay)"),
        Row("demand", "USD", 0, BIG, "rise of a region's 15-minute peak of the month, at its demand charge"),
        Row(
            "carbon",
            "USD",
            0,
            BIG,
            "emissions of grid and network energy (life-cycle) and fuel at the carbon price",
        ),
        Row("water", "USD", 0, BIG, "make-up water of towers and wet stages"),
        Row("egress", "USD", 0, BIG, "data moved between regions at the source's egress price"),
        Row("links", "USD", 0, BIG, "fixed charges of private links"),
        Row("late", "USD", 0, BIG, "hours past the deadline at each job's value of time"),
        Row("slo", "USD", 0, BIG, "credits for inference that waits or is served too far from its users"),
        Row(
            "restart",
            "USD",
            0,
            BIG,
            "device-hours of work lost to failures, trips and moves, at the device price",
        ),
        Row("thermal", "USD", 0, BIG, "kelvin-hours of inlet or coolant above the limit"),
        Row("wear", "USD", 0, BIG, "compressor starts, travel of set-points, throughput of batteries"),
        Row("fuel", "USD", 0, BIG, "fuel of generators"),
        Row("curtailment", "USD", 0, BIG, "energy above the limit of a curtailment, at its penalty"),
        Row("heat", "USD", -BIG, 0, "heat sold (negative: income)"),
        Row("rent", "USD", 0, BIG, "devices held in rented pools, at their spot price"),
        Row("let", "USD", -BIG, 0, "spare devices let to others (negative: income)"),
        Row("pods", "USD", 0, BIG, "journeys of pods, while they last"),
        Row(
            "dropped",
            "USD",
            0,
            BIG,
            "jobs refused because the dispatcher's memory is full, at their full value",
        ),
        Row(
            "settlement",
            "USD",
            0,
            BIG,
            "at the horizon: what unfinished work will still cost, its lateness, energy missing from batteries",
        ),
    ),
)

FLOWS = Table(
    "flows",
    (
        Row("it", "kWh", 0, BIG, "IT energy: nodes, server fans and leakage"),
        Row("server_fans", "kWh", 0, BIG, "server fans, part of `it`"),
        Row("leakage", "kWh", -BIG, BIG, "leakage above the reference chip temperature, part of `it`"),
        Row("idle", "kWh", 0, BIG, "energy of devices that run nothing (idle, asleep, waking), part of `it`"),
        Row("air_fans", "kWh", 0, BIG, "air-handler fans"),
        Row("compressors", "kWh", 0, BIG, "chillers and direct-expansion compressors"),
        Row("pumps", "kWh", 0, BIG, "chilled-water, condenser, coolant and wet-stage pumps"),
        Row("rejection", "kWh", 0, BIG, "tower and dry-cooler fans"),
        Row("humidifiers", "kWh", 0, BIG, "steam humidifiers"),
        Row("ups_loss", "kWh", 0, BIG, "UPS losses"),
        Row("pdu_loss", "kWh", 0, BIG, "PDU and transformer losses"),
        Row("misc", "kWh", 0, BIG, "lighting and house load"),
        Row("grid", "kWh", 0, BIG, "energy drawn from the grid"),
        Row("pv", "kWh", 0, BIG, "photovoltaic energy used on site"),
        Row("wind", "kWh", 0, BIG, "wind energy used on site"),
        Row("spilled", "kWh", 0, BIG, "sun and wind that nothing could use"),
        Row("generator", "kWh", 0, BIG, "energy of the generator"),
        Row("storage_in", "kWh", 0, BIG, "energy into battery and UPS strings, at their terminals"),
        Row("storage_out", "kWh", 0, BIG, "energy out of battery and UPS strings, at their terminals"),
        Row(
            "storage_loss",
            "kWh",
            0,
            BIG,
            "lost in storage: what went in less what came out and stayed",
        ),
        Row("fuel", "L", 0, BIG, "fuel burnt"),
        Row("above_limit", "kWh", 0, BIG, "grid energy above the limit of a curtailment"),
        Row("heat_removed", "kWh", -BIG, BIG, "heat taken from halls by coils, outside air and coolant"),
        Row("heat_reused", "kWh", 0, BIG, "heat sold"),
        Row(
            "heat_rejected",
            "kWh",
            -BIG,
            BIG,
            "heat that left the site through plant, outside air or envelope",
        ),
        Row("heat_stored", "kWh", -BIG, BIG, "rise of heat held in IT mass, room air and loops"),
        Row("water", "L", 0, BIG, "make-up water"),
        Row("carbon", "kgCO2e", 0, BIG, "life-cycle emissions of grid energy, and of fuel burnt"),
        Row("excursion", "K h", 0, BIG, "kelvin-hours above the thermal limit"),
        Row("throttled", "h", 0, BIG, "hours in which chips were throttled"),
        Row("busy", "device h", 0, BIG, "device-hours that ran jobs"),
        Row("starts", "1", 0, BIG, "compressor starts"),
        Row("let", "device h", 0, BIG, "device-hours let to others"),
        Row(
            "network",
            "kWh",
            0,
            BIG,
            "energy of transfers that leave the region: beside `grid`, not part of it",
        ),
        Row("network_carbon", "kgCO2e", 0, BIG, "its life-cycle emissions: beside `carbon`, not part of it"),
    ),
)

COUNTS = Table(
    "counts",
    (
        Row("arrived", "jobs", 0, BIG, "jobs that arrived"),
        Row("completed", "jobs", 0, BIG, "jobs that finished"),
        Row("late", "jobs", 0, BIG, "jobs that finished after their deadline"),
        Row(
            "killed",
            "jobs",
            0,
            BIG,
            "job runs ended by a failure, an outage or a pool that leaves; the job is pending again",
        ),
        Row("dropped", "jobs", 0, BIG, "jobs refused because the dispatcher's memory is full"),
        Row("illegal", "choices", 0, BIG, "choices outside the mask, taken as 'leave as it is'"),
        Row("refused", "choices", 0, BIG, "placements that earlier ones of the step left no quota for"),
        Row("placed", "jobs", 0, BIG, "placements made"),
        Row("wait", "job h", 0, BIG, "hours jobs spent pending, travelling or queued"),
        Row("late_hours", "job h", 0, BIG, "job-hours past deadlines"),
        Row("slo_miss", "lease h", 0, BIG, "lease-hours that waited or exceeded their latency objective"),
        Row("lease", "lease h", 0, BIG, "lease-hours asked for"),
        Row("moved", "GB", 0, BIG, "data moved between regions"),
        Row("work", "device h", 0, BIG, "reference device-hours of work done and kept or not"),
        Row("lost_work", "device h", 0, BIG, "reference device-hours of work lost to kills and moves"),
        Row("relocated", "jobs", 0, BIG, "running jobs moved to another pool"),
        Row("preempted", "jobs", 0, BIG, "running jobs stopped for one of higher priority"),
        Row("resized", "jobs", 0, BIG, "running elastic jobs that got or gave devices"),
        Row("drained", "nodes", 0, BIG, "slow nodes that were noticed and drained"),
        Row("cuts", "1", 0, BIG, "links that were cut or lost part of their rate"),
        Row(
            "reclaimed",
            "1",
            0,
            BIG,
            "rented pools taken back by their owners (pods that leave are in the term `pods`)",
        ),
        Row("trips", "1", 0, BIG, "regions whose nodes stopped for heat, breaker or loss of power"),
        Row("faults", "1", 0, BIG, "faults of cooling plants that began"),
    ),
)
