"""Groups: named tuples of arrays and numbers that kernels take by one pointer.

Numba takes a named tuple apart: a kernel with ten groups of thirty arrays has some thousand arguments, which the
compiler copies at every call in the code, and Python unpacks at every call from it. A group stays a named tuple in
Python; for kernels it is the address of a table of its arrays' addresses, shapes and strides, made once. The table
never changes, and LLVM is told so (`invariant.load`): it keeps in registers what it read, as it would with arguments.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    lower_getattr_generic,
    register_model,
    typeof_impl,
    unbox,
)

C = TypeVar("C", bound=type)
_WORD = ir.IntType(64)
_NUMBERS = {"float": (types.float64, np.float64), "int": (types.int64, np.int64)}  # by a field's annotation


class GroupType(types.Type):  # type: ignore[misc]
    """What Numba knows of a group: the class and the types of its fields."""

    def __init__(self, cls: Any, members: tuple[Any, ...]) -> None:
        self.cls, self.members = cls, members
        super().__init__(name=f"{cls.__module__}.{cls.__name__}{members}")

    def word(self, field: int) -> int:
        """Where a field begins in the table, in words of 8 bytes."""
        return sum(_words(m) for m in self.members[:field])


def _words(member: Any) -> int:
    return 1 + 2 * member.ndim if isinstance(member, types.Array) else 1


def group(cls: C) -> C:
    """Class decorator: instances of this named tuple are groups. Its fields are arrays, or said to be float or int.

    A kernel called with an instance that holds something else raises a `TypeError`.
    """
    kinds = said(cls)
    numbers = [_NUMBERS.get(kind) for kind in kinds.values()]

    def numba_type(self: Any) -> GroupType:
        assert len(self.table)  # refuses what it cannot hold
        return GroupType(
            made, tuple(n[0] if n else typeof_impl(v, None) for n, v in zip(numbers, self, strict=True))
        )

    def table(self: Any) -> Any:
        words: list[Any] = []
        for name, number, value in zip(kinds, numbers, self, strict=True):
            if number and np.ndim(value) == 0:
                words.append(number[1](value).view(np.int64))
            elif isinstance(value, np.ndarray) and not number:
                words += [value.ctypes.data, *value.shape, *value.strides]
            else:
                kind = kinds[name] if number else "an array"
                raise TypeError(f"{cls.__name__}.{name} is {value!r:.60}, not {kind}")
        return np.array(words, np.int64)

    made: Any = type(
        cls.__name__,
        (cls,),
        {
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__doc__": cls.__doc__,
            "__annotations__": cls.__annotations__,
            "__reduce__": lambda self: (made, tuple(self)),  # addresses do not travel
            "numba_type": cached_property(numba_type),
            "table": cached_property(table),
            "address": cached_property(lambda self: int(self.table.ctypes.data)),
        },
    )
    typeof_impl.register(made)(lambda value, _context: value.numba_type)
    return made


def zeros(cls: Any, *shape: int, **given: Any) -> Any:
    """A group of zeros: arrays of one shape, and numbers; but for the fields given."""
    blank = {
        n: 0.0 if kind == "float" else 0 if kind == "int" else np.zeros(shape)
        for n, kind in said(cls).items()
    }
    return cls(**(blank | given))


def said(cls: Any) -> dict[str, str]:
    """Field -> what the class says that it is."""
    return {
        n: getattr(kind, "__forward_arg__", None) or kind.__name__ for n, kind in cls.__annotations__.items()
    }


@register_model(GroupType)
class _Pointer(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _WORD.as_pointer())


@unbox(GroupType)  # type: ignore[untyped-decorator]
def _from_python(_kind: Any, value: Any, c: Any) -> Any:
    number = c.pyapi.object_getattr_string(value, "address")
    address = cgutils.alloca_once_value(c.builder, ir.Constant(_WORD, 0))
    with c.builder.if_then(cgutils.is_not_null(c.builder, number)):
        c.builder.store(c.pyapi.long_as_longlong(number), address)
        c.pyapi.decref(number)
    pointer = c.builder.inttoptr(c.builder.load(address), _WORD.as_pointer())
    return NativeValue(pointer, is_error=cgutils.is_null(c.builder, number))


@infer_getattr
class _Fields(AttributeTemplate):  # type: ignore[misc]
    key = GroupType

    def generic_resolve(self, kind: Any, name: str) -> Any:
        fields = kind.cls._fields
        return kind.members[fields.index(name)] if name in fields else None


@lower_getattr_generic(GroupType)  # type: ignore[untyped-decorator]
def _field(context: Any, builder: Any, kind: Any, pointer: Any, name: str) -> Any:
    field = kind.cls._fields.index(name)
    member, at = kind.members[field], kind.word(field)

    def word(offset: int) -> Any:
        value = builder.load(builder.gep(pointer, [ir.Constant(ir.IntType(32), at + offset)]))
        value.set_metadata("invariant.load", builder.module.add_metadata([]))
        return value

    if isinstance(member, types.Float):
        return builder.bitcast(word(0), ir.DoubleType())
    if isinstance(member, types.Integer):
        return word(0)
    n = member.ndim
    array = context.make_array(member)(context, builder)
    shape = [word(1 + k) for k in range(n)]
    strides = [word(1 + n + k) for k in range(n)]
    items = ir.Constant(_WORD, 1)
    for extent in shape:
        items = builder.mul(items, extent)
    array.data = builder.inttoptr(word(0), array.data.type)
    array.itemsize = ir.Constant(_WORD, np.dtype(str(member.dtype)).itemsize)
    array.nitems = items
    array.shape = cgutils.pack_array(builder, shape)
    array.strides = cgutils.pack_array(builder, strides)
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    array.parent = cgutils.get_null_value(array.parent.type)
    return array._getvalue()
