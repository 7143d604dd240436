"""Random numbers inside kernels: one SplitMix64 counter per environment and stream.

The generator is Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. Each purpose has
a stream of its own, so that what happens in the world (arrivals, failures) never depends on what a policy does.
"""

from __future__ import annotations

import math

import numpy as np

from gcn_env.core.jit import inlined, kernel

# SITES: faults of plants, generators, curtailment; MARKET: spot prices, reclaims, others' demand
ARRIVALS, LEASING, FAILURES, EPISODE, SITES, MARKET, LINKS = range(7)
N_STREAMS = 7

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
EPISODE_STEP = np.uint64(0xD1B54A32D192ED03)  # odd constant between the seeds of successive episodes
SPLIT_BITS = np.uint64(3)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TO_UNIT = 2.0**-53
_LANES, _LOW = np.uint64(0x0000FFFF0000FFFF), np.uint64(0xFFFFFFFF)
_BELL_MEAN, _BELL_SCALE = 2.0 * 65535.0, math.sqrt(3.0 / (2.0**32 - 1.0))  # of four uniform numbers 0..65535


@inlined()
def mix(z):
    """SplitMix64's finaliser: a bijection of 64 bits."""
    z = (z ^ (z >> _S30)) * _M1
    z = (z ^ (z >> _S27)) * _M2
    return z ^ (z >> _S31)


@inlined()
def seed_streams(state, b, seed):
    """Start every stream of environment `b` from a 64-bit `seed`."""
    for k in range(state.shape[1]):
        state[b, k] = mix(mix(np.uint64(seed) + _GAMMA) + np.uint64(k + 1) * _GAMMA)


@kernel()
def next_seed(seed):
    """Seed of the episode after the one of `seed`; the two lowest bits name the split and stay."""
    return (mix(seed + EPISODE_STEP) & ~SPLIT_BITS) | (seed & SPLIT_BITS)


@inlined()
def bits(state, b, stream):
    """64 random bits."""
    z = state[b, stream] + _GAMMA
    state[b, stream] = z
    return mix(z)


@inlined()
def unit(random):
    """The float in [0, 1) that 64 random bits stand for."""
    return float(random >> _S11) * _TO_UNIT


@inlined()
def uniform(state, b, stream):
    """A float in [0, 1)."""
    return unit(bits(state, b, stream))


@inlined()
def hashed(seed, n):
    """64 random bits that depend on `seed` and the counter `n` (both uint64) and on nothing else."""
    return mix(seed + (n + np.uint64(1)) * _GAMMA)


@inlined()
def bell(random):
    """Nearly a standard normal number, within +-3.47: the sum of the four 16-bit parts of 64 random bits."""
    pairs = (random & _LANES) + ((random >> np.uint64(16)) & _LANES)
    total = np.int64((pairs & _LOW) + (pairs >> np.uint64(32)))
    return (total - _BELL_MEAN) * _BELL_SCALE


@inlined()
def normal(state, b, stream):
    """A standard normal number (Box and Muller 1958; one of the pair)."""
    u = 1.0 - uniform(state, b, stream)
    v = uniform(state, b, stream)
    return math.sqrt(-2.0 * math.log(u)) * math.cos(2.0 * math.pi * v)


@inlined()
def integer(state, b, stream, n):
    """An integer in [0, n)."""
    return min(int(uniform(state, b, stream) * n), n - 1)


@inlined()
def poisson(state, b, stream, mean):
    """A Poisson count; Knuth's product up to a mean of 30, above that the rounded normal approximation."""
    if mean <= 0.0:
        return 0
    if mean > 30.0:
        return max(0, int(math.floor(mean + math.sqrt(mean) * normal(state, b, stream) + 0.5)))
    limit, k, p = math.exp(-mean), 0, uniform(state, b, stream)
    while p > limit:
        p *= uniform(state, b, stream)
        k += 1
    return k
