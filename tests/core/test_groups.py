"""Groups: what kernels read of a named tuple is what it holds."""

import pickle
from typing import NamedTuple

import numpy as np
import pytest
from numba import types
from numba.core import config

from gcn_env.core.groups import group
from gcn_env.core.jit import _widened, entry, kernel

compiled = pytest.mark.skipif(bool(config.DISABLE_JIT), reason="needs compiled kernels")


@group
class Tray(NamedTuple):
    """A bit of everything."""

    grid: np.ndarray
    small: np.ndarray
    share: float
    count: int


@kernel()
def gather(tray, out):
    """Everything of a tray that a kernel can see."""
    out[0], out[1] = tray.grid.shape[0], tray.grid.shape[1]
    out[2], out[3] = tray.grid[1, 2], tray.grid[-1].sum()
    out[4], out[5] = tray.small[0], tray.small.size
    out[6], out[7] = tray.share, tray.count
    tray.grid[0, 0] = 7.0


def tray(rows=3):
    return Tray(np.arange(4.0 * rows).reshape(rows, 4), np.array([-3, 5], np.int8), 0.25, 9)


def seen(given, call=gather):
    out = np.zeros(8)
    call(given, out)
    return out.tolist()


def expected(given):
    grid, small = given.grid, given.small
    return [*grid.shape, grid[1, 2], grid[-1].sum(), small[0], small.size, given.share, given.count]


def test_a_kernel_sees_arrays_and_numbers_and_writes_to_them():
    for rows in (2, 5):
        given = tray(rows)
        assert seen(given) == expected(given)
        assert given.grid[0, 0] == 7.0


def test_strides_are_heeded():
    given = tray()._replace(grid=np.asfortranarray(np.arange(12.0).reshape(3, 4)))
    assert seen(given) == expected(given)
    given = tray()._replace(grid=np.arange(24.0).reshape(3, 8)[:, ::2])
    assert seen(given) == expected(given)


def test_a_number_of_another_type_is_converted():
    assert seen(tray()._replace(share=3, count=np.int32(4)))[6:] == [3.0, 4.0]


def test_copies_and_pickles_have_tables_of_their_own():
    given = tray()
    seen(given)
    for other in (pickle.loads(pickle.dumps(given)), given._replace(grid=given.grid.copy())):
        other.grid[...] = 1.0
        assert seen(other) == expected(other)
        assert other.address != given.address
    assert given.grid[1, 2] == 6.0


@compiled
def test_what_a_field_does_not_say_is_refused():
    seen(tray())  # compiled for the right types
    with pytest.raises(TypeError, match=r"Tray.grid is \[1\], not an array"):
        seen(tray()._replace(grid=[1]))
    with pytest.raises(TypeError, match=r"Tray.share is array\(\[1., 1.\]\), not float"):
        seen(tray()._replace(share=np.ones(2)))


def test_entry_gives_what_the_kernel_gives():
    given = tray()
    assert seen(given, entry(gather, given, np.zeros(8))) == expected(given)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (types.int8, types.int64),
        (types.literal(3), types.int64),
        (types.literal(True), types.boolean),
        (types.uint32, types.uint32),
        (types.float32, types.float32),
        (types.Tuple([types.float64, types.int8]), types.Tuple([types.float64, types.int64])),
    ],
)
def test_one_compilation_serves_all_signed_integers(given, taken):
    assert _widened(given) == taken
