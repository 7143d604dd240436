"""A slow reference of transfers that share one link: what moves, event by event."""

import math

import numpy as np


def shared(sent, rate, trouble=(), until=math.inf):
    """Egalitarian processor sharing.

    Args:
        sent: (hour, GB) at which each transfer begins.
        rate: GB per hour of the whole link.
        trouble: (hour, hours it lasts, share of the rate left), in order; a later one takes the place of an earlier.
        until: hour at which to stop.

    Returns:
        hours at which transfers end, NaN for those that do not; GB left of each.
    """
    left = np.array([gb for _, gb in sent], float)
    begins, ends = np.array([t for t, _ in sent], float), np.full(len(sent), np.nan)
    moments = {*begins, *(x for t, hours, _ in trouble for x in (t, t + hours))}
    changes = [*sorted(x for x in moments if x < until), until]
    now = changes[0]
    for then in changes[1:]:
        up = 1.0
        for t, hours, share in trouble:
            if t <= now:
                up = share if now < t + hours else 1.0
        while now < then:
            on = np.flatnonzero((begins <= now) & np.isnan(ends))
            speed = rate * up / max(len(on), 1)
            if len(on) == 0 or speed == 0.0:
                break
            first = on[np.argmin(left[on])]
            hours = left[first] / speed
            if now + hours > then:
                left[on] -= speed * (then - now)
                break
            left[on] -= left[first]
            left[first], ends[first] = 0.0, now + hours
            now += hours
        now = then
    return ends, left
