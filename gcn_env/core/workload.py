"""Arrivals: jobs come from tables, at the times of a fitted process, of a replayed trace, or of inference traffic.

Rates follow the fits' own generator: batches arrive as a Poisson process of
`rate * hour_profile * weekday_profile * exp(x - var(x)/2)`, x the sum of two hourly Gaussian AR(1); a batch is one
job, or `round(1.5 * U**(-1/alpha))` jobs. Traffic is modulated in the same way, and has bursts. Draws come from the
ARRIVALS stream, whose use never depends on actions; inference leases have the LEASING stream, since their number
follows what is already leased.
"""

from __future__ import annotations

import math

from gcn_env.core import rng
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.params import INFERENCE, LEASES, PROCESS
from gcn_env.core.state import FREE, PENDING
from gcn_env.ledger import COUNTS, TERMS

C = COUNTS.ix
T = TERMS.ix
_BIG_H = 1e9
_TINY_H = 1e-9
RATE, LENGTH, LEAST, MORE = 0, 1, 2, 3  # columns of `Work.burst`


@inlined()
def draw_origin(state, b, stream, origin, s):
    """Region of origin, from the cumulative shares of source `s`."""
    u = rng.uniform(state, b, stream)
    r = 0
    while r < origin.shape[1] - 1 and u >= origin[s, r]:
        r += 1
    return r


@inlined()
def add_job(b, t, stream, s, row, origin, clock, jobs, work, money, ledger):
    """Put one job of source `s` (table row `row`, users in `origin`) into a free place; returns its gang or 0.

    With every place taken the job is refused: charged, counted, never silent.
    """
    state = clock.rng
    kind = work.kind[s]
    bound = 1 if rng.uniform(state, b, stream) < work.restricted[s] else 0
    slack = -math.log(1.0 - rng.uniform(state, b, stream)) * work.slack_mean[s]
    gang = min(work.gang[row], work.fit_gang[s, origin, bound])
    hours = work.work_h[row]
    value = work.value[s] * gang
    counts = ledger.counts
    counts[b, C.arrived] += 1.0
    n = jobs.n_live[b]
    if n >= jobs.status.shape[1]:
        counts[b, C.dropped] += 1.0
        ledger.terms[b, T.dropped] += value * money.drop_h
        return 0
    j = n
    jobs.n_live[b] = n + 1
    jobs.status[b, j] = PENDING
    jobs.kind[b, j] = kind
    jobs.source[b, j] = s
    jobs.origin[b, j] = origin
    jobs.data_at[b, j] = origin
    jobs.pool[b, j] = -1
    jobs.legal[b, j] = work.home[s, origin] if bound == 1 else work.anywhere[s, origin]
    jobs.trust[b, j] = work.trust[s]
    jobs.gang[b, j] = gang
    jobs.least[b, j] = min(gang, max(1, work.least[row]))
    jobs.priority[b, j], jobs.tenant[b, j] = work.rank[row], work.owner[row]
    jobs.held[b, j] = 0
    jobs.memory[b, j] = min(float(work.memory_gib[row]), work.fit_memory[s, origin, bound])
    jobs.work[b, j] = hours
    jobs.unsaved[b, j] = 0.0
    jobs.checkpoint[b, j] = work.checkpoint_h[row]
    jobs.speed[b, j] = 0.0
    jobs.arrival[b, j] = t
    jobs.ready[b, j] = t
    jobs.finish[b, j] = _BIG_H
    jobs.deadline[b, j] = t + hours * (1.0 + work.slack_min[s] + slack) + work.slack_h[s]
    jobs.value[b, j] = value
    jobs.slo[b, j] = work.slo_ms[s]
    jobs.data[b, j] = work.data_gb[row]
    jobs.state_gb[b, j], jobs.left_gb[b, j], jobs.via[b, j] = 0.0, 0.0, -1
    jobs.node[b, j], jobs.bad[b, j], jobs.drains[b, j] = -1, 0, 0
    jobs.comm[b, j] = work.comm[row]
    jobs.shown[b, j] = -1
    jobs.order[b, j] = int(clock.step[b]) * 65536 + n
    return gang


@inlined()
def profile_at(s, hour, weekday, work):
    """Rate relative to its mean at a local hour (0..24) and weekday."""
    return work.hours[s, int(hour) % 24] * work.days[s, weekday % 7]


@inlined()
def local_time(now_h, offset_h, first_weekday):
    """(hour of day, weekday) at `offset_h` from UTC."""
    t = now_h + offset_h
    day = int(math.floor(t / 24.0))
    return t - 24.0 * day, (day + first_weekday + 7) % 7


@inlined()
def boost(b, s, sources, work):
    """Rate relative to its profile, mean 1: lognormal."""
    x, m = 0.0, sources.modulation
    for k in range(m.shape[2]):
        x += m[b, s, k] - 0.5 * work.sigma[s, k] ** 2
    return math.exp(x)


@inlined()
def _wander(b, s, clock, sources, work):
    """One hour of the modulation."""
    m = sources.modulation
    for k in range(m.shape[2]):
        if work.sigma[s, k] > 0.0:
            phi = work.phi[s, k]
            shock = rng.normal(clock.rng, b, rng.ARRIVALS)
            m[b, s, k] = phi * m[b, s, k] + work.sigma[s, k] * math.sqrt(1.0 - phi * phi) * shock


@inlined()
def _height(b, s, stream, clock, work):
    return work.burst[s, LEAST] - work.burst[s, MORE] * math.log(1.0 - rng.uniform(clock.rng, b, stream))


@inlined()
def burst_share(s, work):
    """Share of the time with a burst: of a process that is off for 1/rate and on for a mean length."""
    on = work.burst[s, RATE] * work.burst[s, LENGTH]
    return on / (1.0 + on)


@inlined()
def _flare(b, dt, s, clock, sources, work):
    """A step of the bursts in every region: on and off as a Markov chain in continuous time, whatever the step."""
    if work.burst[s, RATE] <= 0.0:
        return
    share = burst_share(s, work)
    change = 1.0 - math.exp(-dt * (work.burst[s, RATE] + 1.0 / work.burst[s, LENGTH]))
    burst = sources.burst
    for r in range(burst.shape[2]):
        u = rng.uniform(clock.rng, b, rng.ARRIVALS)
        if burst[b, s, r] > 0.0:
            if u < change * (1.0 - share):
                burst[b, s, r] = 0.0
        elif u < change * share:
            burst[b, s, r] = _height(b, s, rng.ARRIVALS, clock, work)


@inlined()
def _process(b, t, dt, s, split, weekday, clock, jobs, sources, work, geo, money, ledger):
    state = clock.rng
    mean = 0.0
    previous = 0.0
    for r in range(geo.utc_offset_h.shape[0]):
        share = work.origin[s, r] - previous
        previous = work.origin[s, r]
        if share > 0.0:
            hour, day = local_time(t, geo.utc_offset_h[r] if work.local[s] == 1 else 0.0, weekday)
            mean += share * profile_at(s, hour, day, work)
    for _ in range(
        rng.poisson(state, b, rng.ARRIVALS, work.rate[s] * mean * boost(b, s, sources, work) * dt)
    ):
        size = 1
        if rng.uniform(state, b, rng.ARRIVALS) >= work.single[s]:
            u = 1.0 - rng.uniform(state, b, rng.ARRIVALS)
            drawn = 1.5 * u ** (-1.0 / work.alpha[s])
            size = int(min(drawn, float(work.batch_max[s])) + 0.5)
        origin = draw_origin(state, b, rng.ARRIVALS, work.origin, s)
        start = t + dt * rng.uniform(state, b, rng.ARRIVALS)
        rows = work.rows[split, s]
        at = rng.integer(state, b, rng.ARRIVALS, rows)
        for k in range(size):  # neighbours in a table resemble each other, as the jobs of one user's sweep do
            row = work.first[split, s] + (at + k) % rows
            add_job(b, start, rng.ARRIVALS, s, row, origin, clock, jobs, work, money, ledger)


@inlined()
def _replay(b, t, dt, s, split, clock, jobs, sources, work, money, ledger):
    state = clock.rng
    first, rows, window = work.first[split, s], work.rows[split, s], work.window_h[split, s]
    elapsed = (clock.step[b] + 1) * dt + sources.offset[b, s]  # end of this step on the trace's own clock
    cursor = sources.cursor[b, s]
    while True:
        lap = cursor // rows
        due = lap * window + work.arrival_h[first + cursor % rows]
        if due >= elapsed:
            break
        copies = int(work.rate[s] + rng.uniform(state, b, rng.ARRIVALS))
        for _k in range(copies):
            origin = draw_origin(state, b, rng.ARRIVALS, work.origin, s)
            start = min(max(t + dt - (elapsed - due), t), t + dt)
            add_job(
                b, start, rng.ARRIVALS, s, first + cursor % rows, origin, clock, jobs, work, money, ledger
            )
        cursor += 1
    sources.cursor[b, s] = cursor


@inlined()
def traffic(b, t, s, r, split, weekday, sources, work, geo):
    """Reference devices that the traffic of source `s` from region `r` calls for at hour `t`."""
    share = work.origin[s, r] - (work.origin[s, r - 1] if r > 0 else 0.0)
    offset = geo.utc_offset_h[r] if work.local[s] == 1 else 0.0
    rows = work.series_rows[split, s]
    if rows > 0:  # a trace starts at local midnight
        at = int(math.floor((sources.offset[b, s] + t + offset) / work.series_h[s])) % rows
        level = work.series[work.series_first[split, s] + at]
    else:
        hour, day = local_time(t, offset, weekday)
        mean_burst = burst_share(s, work) * (work.burst[s, LEAST] + work.burst[s, MORE])
        level = profile_at(s, hour, day, work) * boost(b, s, sources, work)
        level *= (1.0 + sources.burst[b, s, r]) / (1.0 + mean_burst)
    return work.rate[s] * share * level


@inlined()
def _leases(b, t, dt, s, split, weekday, clock, jobs, sources, work, geo, money, ledger):
    """The autoscaler: lease until what is leased covers the traffic; leases end by themselves."""
    state = clock.rng
    leased = sources.leased
    for r in range(geo.utc_offset_h.shape[0]):
        want = traffic(b, t, s, r, split, weekday, sources, work, geo)
        while leased[b, s, r] + 0.5 < want:
            row = work.first[split, s] + rng.integer(state, b, rng.LEASING, work.rows[split, s])
            gang = add_job(b, t + dt, rng.LEASING, s, row, r, clock, jobs, work, money, ledger)
            if gang == 0:
                break
            leased[b, s, r] += gang


@kernel()
def arrive(lo, hi, dt, split, clock, sources, jobs, work, geo, bank, money, ledger):
    """Phase: jobs that arrive during the step that begins at `now_h`; they can be placed at its end."""
    now_h, year, weekdays = clock.now_h, clock.year, bank.weekday
    for b in range(lo, hi):
        t, weekday = now_h[b], weekdays[year[b]]
        new_hour = math.floor(t + dt + _TINY_H) != math.floor(
            t + _TINY_H
        )  # 5 min are no exact share of an hour
        for s in range(work.kind.shape[0]):
            if new_hour:
                _wander(b, s, clock, sources, work)
            mode = work.mode[s]
            if mode == PROCESS:
                _process(b, t, dt, s, split, weekday, clock, jobs, sources, work, geo, money, ledger)
            elif mode == LEASES:
                _flare(b, dt, s, clock, sources, work)
                _leases(b, t, dt, s, split, weekday, clock, jobs, sources, work, geo, money, ledger)
            else:
                _replay(b, t, dt, s, split, clock, jobs, sources, work, money, ledger)


@inlined()
def reset_sources(b, split, clock, sources, jobs, work):
    """Start every source of environment `b`: modulation, bursts and the hour of a trace drawn, no job alive."""
    state = clock.rng
    for s in range(work.kind.shape[0]):
        for k in range(sources.modulation.shape[2]):
            sources.modulation[b, s, k] = work.sigma[s, k] * rng.normal(state, b, rng.EPISODE)
        u = rng.uniform(state, b, rng.EPISODE)
        sources.cursor[b, s] = 0
        sources.offset[b, s] = 0.0
        if work.mode[s] == LEASES:
            span = work.series_rows[split, s] * work.series_h[s]
            sources.offset[b, s] = 24.0 * math.floor(u * span / 24.0)
        elif work.mode[s] != PROCESS:
            offset = u * work.window_h[split, s]
            first, low, high = work.first[split, s], 0, work.rows[split, s]
            while low < high:  # first row at or after the offset
                middle = (low + high) // 2
                if work.arrival_h[first + middle] < offset:
                    low = middle + 1
                else:
                    high = middle
            sources.offset[b, s] = offset
            sources.cursor[b, s] = low
        for r in range(sources.leased.shape[2]):
            sources.leased[b, s, r] = 0
            sources.burst[b, s, r] = 0.0
            if work.burst[s, RATE] > 0.0 and rng.uniform(state, b, rng.EPISODE) < burst_share(s, work):
                sources.burst[b, s, r] = _height(b, s, rng.EPISODE, clock, work)
    sources.used_h[b] = 0.0
    jobs.n_live[b] = 0
    for j in range(jobs.status.shape[1]):
        jobs.status[b, j] = FREE


@inlined()
def release_lease(b, j, jobs, sources):
    """A lease has ended: the autoscaler may ask for another."""
    if jobs.kind[b, j] == INFERENCE:
        sources.leased[b, jobs.source[b, j], jobs.origin[b, j]] -= jobs.gang[b, j]
