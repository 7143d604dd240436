"""Data between regions: where it is fetched from, transfers that share links, trouble of links.

The transfers under way on a link (an ordered pair of regions) share its rate equally: egalitarian processor sharing
(Kleinrock, "Queueing Systems" vol. II, 1976, chapter 4). All of them began at a step's start or before, so inside a
step they only end: with `g` GB left each, transfer j ends when the link has carried `sum_i min(g_i, g_j)`. A transfer
that is broken off leaves the data where it was; what the link carried of it stays booked.
"""

from __future__ import annotations

import math

from gcn_env.core import rng
from gcn_env.core.jit import inlined, kernel
from gcn_env.core.state import TRANSIT
from gcn_env.ledger import COUNTS, FLOWS, TERMS

C = COUNTS.ix
F = FLOWS.ix
T = TERMS.ix
GB_PER_H = 450.0  # that 1 Gbit/s carries
HALF_MS_PER_H = 7.2e6  # one way takes half a round trip


@inlined()
def expected_h(a, c, gb, n, up, geo):
    """Hours that `gb` GB take from region `a` to `c` as one of `n` transfers, if the link stays at the share `up`.

    On a cut link they wait for its mean time to repair, which an exponential time never uses up.
    """
    hours = gb * n / (GB_PER_H * geo.gbit_s[a, c])
    if gb > 0.0:
        hours = hours / up if up > 0.0 else hours + geo.cut_h[a, c]
    return hours + geo.rtt_ms[a, c] / HALF_MS_PER_H


@inlined()
def newcomer_h(b, a, c, gb, links, geo):
    """Hours that one more transfer of `gb` GB would take from region `a` to `c`."""
    return expected_h(a, c, gb, links.n[b, a, c] + 1, links.up[b, a, c], geo)


@inlined()
def fetch(b, j, r, state, jobs, links, geo):
    """(region, GB, h): what job `j`, whose checkpoint has `state` GB, must bring to region `r`; (-1, 0, 0): nothing.

    From where, and how long that should take. A checkpoint lies at `data_at` only, and the input that lies beside it
    comes along; without one, the input comes from the quickest of the regions that hold a copy.
    """
    at, s = jobs.data_at[b, j], jobs.source[b, j]
    if at == r:
        return -1, 0.0, 0.0
    copies = geo.copies[s] > 0
    if copies and geo.replica[s, r] == 1:
        if state == 0.0:
            return -1, 0.0, 0.0
        return int(at), state, newcomer_h(b, at, r, state, links, geo)
    gb = state + jobs.data[b, j]
    via, hours = int(at), newcomer_h(b, at, r, gb, links, geo)
    if copies and state == 0.0:
        for a in range(geo.replica.shape[1]):
            if geo.replica[s, a] == 1:
                other = newcomer_h(b, a, r, gb, links, geo)
                if other < hours:
                    via, hours = a, other
    return via, gb, hours


@inlined()
def begin(b, j, r, now, jobs, links, geo):
    """Start what job `j` must bring to region `r` on its way at hour `now`."""
    via, gb, hours = fetch(b, j, r, jobs.state_gb[b, j], jobs, links, geo)
    jobs.via[b, j], jobs.left_gb[b, j], jobs.ready[b, j] = via, gb, now + hours
    count_transfer(b, via, r, gb, links)


@inlined()
def count_transfer(b, a, c, gb, links):
    """Count one more transfer under way from region `a` to `c`, if it is one: if it has bytes."""
    if gb > 0.0:
        links.n[b, a, c] += 1
        links.under_way[b] += 1


@inlined()
def _after(b, i, k, jobs, fleet):
    """Whether the transfer of job `i` comes after that of job `k`: by link, then by what is left."""
    a, c = jobs.via[b, i], jobs.via[b, k]
    if a != c:
        return a > c
    a, c = fleet.region[jobs.pool[b, i]], fleet.region[jobs.pool[b, k]]
    if a != c:
        return a > c
    return jobs.left_gb[b, i] > jobs.left_gb[b, k]


@inlined()
def _sift(b, at, n, jobs, fleet):
    """Let the transfer at position `at` of a heap of `n` sink to its place; the last in order stands on top."""
    found = jobs.queue
    j = found[b, at]
    while 2 * at + 1 < n:
        k = 2 * at + 1
        if k + 1 < n and _after(b, found[b, k + 1], found[b, k], jobs, fleet):
            k += 1
        if not _after(b, found[b, k], j, jobs, fleet):
            break
        found[b, at] = found[b, k]
        at = k
    found[b, at] = j


@inlined()
def _in_order(b, jobs, fleet):
    """Put the transfers under way into `jobs.queue`, in order of `_after` (heapsort); returns how many."""
    found, n = jobs.queue, 0
    for j in range(jobs.n_live[b]):
        if jobs.status[b, j] == TRANSIT and jobs.left_gb[b, j] > 0.0:
            found[b, n] = j
            n += 1
    for at in range(n // 2 - 1, -1, -1):
        _sift(b, at, n, jobs, fleet)
    for last in range(n - 1, 0, -1):
        found[b, 0], found[b, last] = found[b, last], found[b, 0]
        _sift(b, 0, last, jobs, fleet)
    return n


@inlined()
def _share(b, a, c, first, end, t0, dt, jobs, links, geo):
    """Carry what stands at positions `first`..`end`-1 of `jobs.queue`, all from region `a` to `c`; returns GB carried.

    The link's trouble lasts for the first `bad` hours of the step.
    """
    full, late = GB_PER_H * geo.gbit_s[a, c], geo.rtt_ms[a, c] / HALF_MS_PER_H
    up, bad = links.up[b, a, c], min(links.down_h[b, a, c], dt)
    slow = full * up * bad
    room = slow + full * (dt - bad)
    gone, level, carried, i = 0.0, 0.0, 0.0, first
    while i < end:
        j = jobs.queue[b, i]
        gb = jobs.left_gb[b, j]
        by = gone + (gb - level) * (end - i)  # GB the link has carried when this one ends
        if by > room:
            break
        hours = bad + (by - slow) / full if by > slow else by / (full * up)
        jobs.left_gb[b, j], jobs.ready[b, j] = 0.0, t0 + hours + late
        gone, level, carried, i = by, gb, carried + gb, i + 1
    n = end - i
    if n > 0:
        level += (room - gone) / n
        up = up if links.down_h[b, a, c] > dt else 1.0
    for k in range(i, end):
        j = jobs.queue[b, k]
        gb = min(level, jobs.left_gb[b, j])
        jobs.left_gb[b, j] -= gb
        carried += gb
        jobs.ready[b, j] = t0 + dt + expected_h(a, c, jobs.left_gb[b, j], n, up, geo)
    return carried


@kernel()
def carry(lo, hi, dt, clock, jobs, links, fleet, geo, ledger):
    """Phase: move data over the links for one step; bytes, egress and energy are booked as they are carried."""
    terms, flows, counts = ledger.terms, ledger.flows, ledger.counts
    for b in range(lo, hi):
        if links.under_way[b] == 0:
            continue
        n, i = _in_order(b, jobs, fleet), 0
        while i < n:
            j = jobs.queue[b, i]
            a, c, end = jobs.via[b, j], fleet.region[jobs.pool[b, j]], i + 1
            while end < n:
                k = jobs.queue[b, end]
                if jobs.via[b, k] != a or fleet.region[jobs.pool[b, k]] != c:
                    break
                end += 1
            gb = _share(b, a, c, i, end, clock.now_h[b], dt, jobs, links, geo)
            counts[b, C.moved] += gb
            terms[b, T.egress] += gb * geo.egress_usd[a, c]
            flows[b, a, F.network] += gb * geo.kwh_gb
            i = end


@inlined()
def count_transfers(b, jobs, links, fleet):
    """Count afresh the transfers under way on each link."""
    links.under_way[b] = 0
    links.n[b] = 0
    for j in range(jobs.n_live[b]):
        if jobs.status[b, j] == TRANSIT:
            r = fleet.region[jobs.pool[b, j]]
            count_transfer(b, jobs.via[b, j], r, jobs.left_gb[b, j], links)


@inlined()
def _strike(b, a, c, up, hours, links):
    """A cable carries both directions: so does its trouble."""
    links.up[b, a, c], links.up[b, c, a] = up, up
    links.down_h[b, a, c], links.down_h[b, c, a] = hours, hours


@kernel()
def tend(lo, hi, dt, clock, jobs, links, fleet, geo, ledger):
    """Phase: repairs go on; links are cut, or lose part of their rate unless they are in trouble already.

    Times come from the stream LINKS, which no action touches. What was broken off in this step is counted out.
    """
    state, down_h = clock.rng, links.down_h
    for b in range(lo, hi):
        if links.under_way[b] > 0:
            count_transfers(b, jobs, links, fleet)
        for a in range(geo.rtt_ms.shape[0]):
            for c in range(a + 1, geo.rtt_ms.shape[0]):
                if down_h[b, a, c] > 0.0:
                    left = down_h[b, a, c] - dt
                    _strike(b, a, c, links.up[b, a, c] if left > 0.0 else 1.0, max(0.0, left), links)
                u = rng.uniform(state, b, rng.LINKS)
                cut = geo.cut[a, c] * dt
                if u >= cut + geo.fade[a, c] * dt:
                    continue
                hours = -math.log(1.0 - rng.uniform(state, b, rng.LINKS)) * geo.cut_h[a, c]
                if u < cut or down_h[b, a, c] == 0.0:
                    _strike(b, a, c, 0.0 if u < cut else geo.fade_share, hours, links)
                    ledger.counts[b, C.cuts] += 1.0
