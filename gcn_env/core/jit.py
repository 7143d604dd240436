"""Numba, with a cache folder named by a hash of this package's sources.

Numba's own cache key covers the outer function's file only: a helper changed in another file would silently keep its
old machine code. `NUMBA_DISABLE_JIT=1` runs every kernel as plain Python (debugger, coverage).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba import types
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock

F = TypeVar("F", bound=Callable[..., Any])


def _source_hash() -> str:
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256(numba.__version__.encode())
    names = ("tables", "ledger", "observation", "encoder", "fleet_encoder", "drivers")
    outside = [package / f"{name}.py" for name in names]
    for path in sorted(
        [*outside, *package.glob("core/*.py")]
    ):  # all kernels, and the tables whose columns they use
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_dir() -> str:
    base = os.environ.get("NUMBA_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "gcn_env"
    )
    path = os.path.join(base, _source_hash())
    try:
        os.makedirs(path, exist_ok=True)
    except OSError:  # read-only home
        path = os.path.join(tempfile.gettempdir(), f"gcn_env-{os.getuid()}", os.path.basename(path))
        os.makedirs(path, exist_ok=True)
    return path


CACHE_DIR = _cache_dir()


def kernel() -> Callable[[F], F]:
    """`numba.njit` with this package's cache, without fastmath, errors as in NumPy (no zero-division checks)."""
    return _jitted()


def entry(function: Any, *arguments: Any) -> Callable[..., Any]:
    """The machine code of a kernel for arguments of these types, which its caller answers for.

    A call of the kernel itself looks at the type of every array of every group first, for some 100 us.
    """
    if config.DISABLE_JIT:
        return function
    return function.compile(tuple(numba.typeof(a) for a in arguments))


class Calls:
    """Calls of kernels on arrays whose types stay what they were at each kernel's first call; looked at once."""

    def __init__(self) -> None:
        self._entries: dict[Any, Callable[..., Any]] = {}

    def __call__(self, kernel: Any, *arguments: Any) -> None:
        """Run a kernel."""
        if kernel not in self._entries:
            self._entries[kernel] = entry(kernel, *arguments)
        self._entries[kernel](*arguments)


class _Inner:
    """A compiled function as other kernels see it; called from Python, it runs as plain Python.

    It has no wrapper for calls from Python, so that it compiles faster; there, a call would be a segmentation fault.
    """

    def __init__(self, jitted: Any) -> None:
        self._jitted, self._numba_type_ = jitted, jitted._numba_type_

    def __call__(self, *arguments: Any) -> Any:
        return self._jitted.py_func(*arguments)


def inlined(*, literal: bool = False) -> Callable[[F], F]:
    """As `kernel`, for functions called from inner loops: LLVM inlines them, compiled for each constant if `literal`.

    Then what a function reads of a group's table (`core.groups`) is read once for the whole loop.
    """
    if config.DISABLE_JIT:
        return lambda func: func
    compiled = _jitted(forceinline=True, no_cpython_wrapper=True, literal=literal)

    def wrap(func: Any) -> Any:
        return _Inner(compiled(func))

    return wrap


def spliced() -> Callable[[F], F]:
    """As `kernel`, for a function that has one caller: Numba puts its statements there, and LLVM sees them once."""
    return _jitted(inline="always", no_cpython_wrapper=True)


def _jitted(*, literal: bool = False, **options: Any) -> Callable[[F], F]:
    def wrap(func: F) -> F:
        before = config.CACHE_DIR
        config.CACHE_DIR = CACHE_DIR
        try:
            jitted: Any = numba.njit(
                cache=True, error_model="numpy", nogil=True, _nrt=False, no_cfunc_wrapper=True, **options
            )(func)
        finally:
            config.CACHE_DIR = before
        if not config.DISABLE_JIT:
            _optimise_once(jitted)
            if not literal:
                _widen_arguments(jitted)
        return jitted

    return wrap


def _optimise_once(jitted: Any) -> None:
    """Compile at LLVM's level 1 unless `NUMBA_OPT` is set: level 3 takes half as long again and runs no faster.

    The level is Numba's own again when a compilation ends, so that kernels of other packages keep it.
    """
    compiled = jitted.compile

    def compile_at_1(signature: Any) -> Any:
        with global_compiler_lock:
            before = config.OPT
            if "NUMBA_OPT" not in os.environ:
                config.OPT = type(before)(1)
            try:
                return compiled(signature)
            finally:
                config.OPT = before

    jitted.compile = compile_at_1


def _widen_arguments(jitted: Any) -> None:
    """Let callers convert integers to 64 bits: one compilation serves a constant, an int32 of an array and a sum."""
    template = jitted.get_call_template

    def get_call_template(given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        return template(tuple(map(_widened, given)), {k: _widened(v) for k, v in named.items()})

    jitted.get_call_template = get_call_template


def _widened(kind: Any) -> Any:
    kind = types.unliteral(kind)
    if isinstance(kind, types.Integer) and kind.signed:
        return types.int64
    if type(kind) in (types.Tuple, types.UniTuple):
        return types.Tuple([_widened(k) for k in kind])
    return kind
