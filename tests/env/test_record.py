"""Hourly records: means, sums, uneven sub-decisions, episodes cut short."""

import numpy as np

from gcn_env.core.state import PENDING, PRICE, RUNNING, allocate
from gcn_env.record import FLEET, REGION, Recorder


def states(n_envs=3):
    s = allocate(n_envs, 5, 2, 3, 2, 1)
    s.pools.healthy[:] = 10
    return s


def test_hourly_means_and_sums():
    s = states()
    rec = Recorder([0, 0, 1], 2, 8, 0.25, 2)
    all_closed = np.ones(3, bool)
    for step in range(8):
        s.signals.now[:, 0, PRICE] = step
        s.signals.now[1, 0, PRICE] += 100
        s.pools.busy_h[:] = [2.5, 0.0, 1.25]  # of 10 devices x 0.25 h
        s.ledger.terms[:, 0] = 1.0
        s.jobs.status[:, 0] = PENDING if step < 4 else RUNNING
        rec.add(s, all_closed)
    rec.add(s, all_closed)  # past the horizon: ignored
    out = rec.finish()
    assert out.regions.shape == (2, 2, 2, len(REGION))
    np.testing.assert_allclose(out.region("price")[:, 0], [1.5, 5.5])
    np.testing.assert_allclose(out.region("price", 1)[:, 0], [101.5, 105.5])
    np.testing.assert_allclose(out.region("load"), [[0.5, 0.5], [0.5, 0.5]])
    np.testing.assert_array_equal(out.usd[0, :, 0], [4.0, 4.0])
    np.testing.assert_array_equal(out.fleet[0, :, FLEET.index("pending")], [1, 0])
    np.testing.assert_array_equal(out.hours(), [0.5, 1.5])


def test_environments_close_at_their_own_pace():
    s = states()
    rec = Recorder([0, 0, 1], 2, 2, 1.0, 3)
    for closed in ([True, False, True], [True, True, False], [False, True, False]):
        rec.add(s, np.array(closed))
    out = rec.finish()
    assert np.isfinite(out.regions[:2]).all()
    assert np.isnan(out.regions[2, 1]).all()  # cut short
    assert np.isfinite(out.regions[2, 0]).all()


def test_steps_longer_than_an_hour_are_their_own_bucket():
    rec = Recorder([0, 1, 1], 2, 4, 6.0, 1)
    for _ in range(4):
        rec.add(states(), np.ones(3, bool))
    out = rec.finish()
    assert out.bucket_h == 6.0
    assert out.regions.shape[1] == 4
    assert np.isfinite(out.regions).all()
