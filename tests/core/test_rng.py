"""Random streams: the published generator, streams that do not meet, distributions."""

import math

import numpy as np
import pytest

from gcn_env.core import rng
from gcn_env.core.jit import kernel

pytestmark = pytest.mark.smoke

N = 20_000


@kernel()
def _draw(state, b, kind, a, out):
    for i in range(out.shape[0]):
        if kind == 0:
            out[i] = rng.uniform(state, b, 0)
        elif kind == 1:
            out[i] = rng.normal(state, b, 0)
        elif kind == 2:
            out[i] = rng.poisson(state, b, 0, a)
        else:
            out[i] = rng.integer(state, b, 0, int(a))


@kernel()
def _seed(state, b, seed):
    rng.seed_streams(state, b, seed)


@kernel()
def _mix(z):
    return rng.mix(z)


def fresh(seed=1, n=1):
    state = np.zeros((n, rng.N_STREAMS), np.uint64)
    for b in range(n):
        _seed(state, b, np.uint64(seed + b))
    return state


def draw(kind, a=0.0, n=N, seed=1):
    out = np.zeros(n)
    _draw(fresh(seed), 0, kind, float(a), out)
    return out


def test_the_published_generator():
    """First outputs of SplitMix64 from the state 1234567, as printed by its authors' C code."""
    wanted = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    mask, state = 2**64 - 1, 1234567
    for value in wanted:
        state = (state + 0x9E3779B97F4A7C15) & mask
        assert int(_mix(np.uint64(state))) == value


def test_uniform_reads_the_top_53_bits():
    state = np.zeros((1, rng.N_STREAMS), np.uint64)
    state[0, 0] = 1234567
    out = np.zeros(2)
    _draw(state, 0, 0, 0.0, out)
    assert out[0] == (6457827717110365317 >> 11) * 2.0**-53
    assert out[1] == (3203168211198807973 >> 11) * 2.0**-53
    assert state[0, 0] == (1234567 + 2 * 0x9E3779B97F4A7C15) % 2**64
    assert (state[0, 1:] == 0).all(), "other streams stand still"


def test_streams_and_seeds_differ():
    states = np.concatenate([fresh(seed, 50) for seed in (0, 2**63, 2**64 - 50)])
    assert len(np.unique(states)) == states.size


def test_next_seed_keeps_the_split_and_does_not_come_back():
    for split in range(3):
        seed, seen = np.uint64(4 * 12345 + split), set()
        for _ in range(200):
            seed = np.uint64(rng.next_seed(seed))
            assert int(seed) % 4 == split
            seen.add(int(seed))
        assert len(seen) == 200


@pytest.mark.compiled
def test_uniform_and_normal():
    u, z = draw(0), draw(1)
    assert u.min() >= 0.0
    assert u.max() < 1.0
    assert np.histogram(u, 20, (0, 1))[0] == pytest.approx(np.full(20, N / 20), rel=0.12)
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 0.03
    assert z.mean() == pytest.approx(0.0, abs=0.03)
    assert z.std() == pytest.approx(1.0, abs=0.02)
    assert np.mean(np.abs(z) < 1.96) == pytest.approx(0.95, abs=0.007)


@pytest.mark.compiled
@pytest.mark.parametrize("mean", [0.03, 1.0, 7.5, 29.9, 30.1, 400.0])
def test_poisson(mean):
    k = draw(2, mean)
    assert (k == np.floor(k)).all()
    assert (k >= 0).all()
    error = math.sqrt(mean / N)
    assert k.mean() == pytest.approx(mean, abs=4 * error)
    assert k.var() == pytest.approx(mean, rel=0.06 if mean > 0.5 else 0.2)


def test_poisson_of_nothing_draws_nothing():
    state = fresh()
    before, out = state.copy(), np.zeros(5)
    for mean in (0.0, -1.0):
        _draw(state, 0, 2, mean, out)
        np.testing.assert_array_equal(out, 0.0)
    np.testing.assert_array_equal(state, before)


def test_integers_cover_their_range():
    k = draw(3, 7, n=2000)
    np.testing.assert_array_equal(np.unique(k), np.arange(7))
    assert np.bincount(k.astype(int)) == pytest.approx(np.full(7, 2000 / 7), rel=0.25)
