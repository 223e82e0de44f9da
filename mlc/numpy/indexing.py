"""Keys of ``x[key]``: ints, slices, ``...``, None and arrays, to what each does to an axis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mlc.errors import DTypeError, MlcError, ShapeError, UnsupportedError
from mlc.ir.dims import Dim, Size
from mlc.ir.graph import Node, constant
from mlc.ir.types import BOOL, I64, TensorType
from mlc.tracing.lift import as_node, describe, is_array
from mlc.tracing.location import user_location
from mlc.tracing.tracer import Tracer

from .advanced import Part, take_part
from .dispatch import operation
from .promotion import wrap

_SYMBOLIC = "mask what is not wanted with mlc.numpy.where, or compile for a fixed size"
Item = int | tuple[Any, Any, Any] | str | None  # (start, stop, step) is a slice, "..." an ellipsis, "array" one


def getitem(x: object, key: object, /) -> Tracer:
    """``x[key]``; the key is an int, a slice, ``...``, None, an array of integers or bools, or a tuple of them.

    Arrays index as NumPy's do. A traced index outside of its axis is moved to the nearest element; a known one raises
    ShapeError, and so do too many indices. A mask must be known while tracing, since it decides the result's shape:
    UnsupportedError otherwise. Steps of a slice are known too.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.getitem(mnp.arange(5), slice(None, None, 2)).tolist()
        [0, 2, 4]
        >>> mnp.getitem(mnp.arange(5), mnp.asarray([3, -1])).tolist()
        [3, 4]
    """
    plain, arrays = part_of_key(x, key)
    return _getitem(x, arrays, plain)


def part_of_key(x: object, key: object) -> tuple[tuple[Item, ...], tuple[object, ...]]:
    """A key as hashable items and the arrays among them, in order; a mask becomes the indices where it holds."""
    plain: list[Item] = []
    arrays: list[object] = []
    try:
        for item in key if isinstance(key, tuple) else (key,):
            found = _arrays(item)
            if found is None:
                plain.append(_plain(item))
            else:
                if len(found) != 1 or found[0] is not item:
                    _check_mask(x, item, plain)
                arrays += found
                plain += ["array"] * len(found)
    except MlcError as error:
        error.location = error.location or str(user_location(1))
        raise
    return tuple(plain), tuple(arrays)


@operation("x", "arrays")
def _getitem(x: object, arrays: tuple[object, ...], /, key: tuple[Item, ...]) -> Tracer:
    node = as_node(x, None, "getitem: operand")
    return wrap(take_part(node, parts_of(node, arrays, key)))


def parts_of(node: Node, arrays: tuple[object, ...], key: tuple[Item, ...]) -> list[Part]:
    """What each item of a key does to ``node``; an int beside arrays is an array without axes."""
    indices = iter([as_node(a, None, "getitem: index") for a in arrays])
    parts: list[Part] = []
    axis = 0
    for item in _spell_out(key, node.tensor):
        if item is None:
            parts.append(Part())
            continue
        n = node.shape[axis]
        if isinstance(item, tuple):
            start, limit, step, size = _slice(item, n, axis, node.tensor)
            parts.append(Part(axis, None, start, limit, abs(step), size, step < 0))
        elif item == "array":
            parts.append(Part(axis, next(indices)))
        else:
            assert isinstance(item, int)
            inside = isinstance(n, Dim) and -n.bounds[0] <= item < n.bounds[0]
            i = item if inside else _index(item, n, axis, node.tensor)
            known = Part(axis, None, i, i + 1, kept=False)
            parts.append(Part(axis, constant(np.int64(i), I64)) if arrays or inside else known)
        axis += 1
    if "..." in key and key.index("...") < len(parts):
        parts[key.index("...")] = replace(parts[key.index("...")], apart=True)
    return parts


def _arrays(item: object) -> list[object] | None:
    """The index arrays that an item of a key is; None where it is an int, slice, ``...`` or None."""
    if isinstance(item, list):
        item = _host_list(item)
    if not (isinstance(item, Tracer | np.ndarray) or is_array(item)):
        return None
    type, _ = describe(item, "getitem: index")
    if type.dtype.is_integer:
        return [item]
    if type.dtype != BOOL:
        raise DTypeError(
            f"getitem: an index of {type}; indices are ints, slices, ..., None and arrays of integers or bools",
            hint=".astype('i64') makes integers of floats",
        )
    if isinstance(item, Tracer):
        raise UnsupportedError(
            f"getitem: a traced mask of {type}: how many elements it chooses is not known before the function runs",
            hint="mlc.numpy.where(mask, x, 0) keeps the shape",
        )
    return list(np.nonzero(np.asarray(item)))


def _host_list(item: list[object]) -> np.ndarray[Any, Any]:
    if any(isinstance(x, Tracer) for x in item):
        raise UnsupportedError(
            "getitem: a list of traced numbers as an index", hint="mlc.numpy.stack makes one array of them"
        )
    array = np.asarray(item)
    return array if array.size else array.astype(np.int64)


def _check_mask(x: object, mask: object, before: list[Item]) -> None:
    """A mask has the sizes of the axes that it stands for."""
    if isinstance(mask, list):
        mask = np.asarray(mask)
    if describe(mask, "getitem: index")[0].dtype != BOOL:
        return
    type, shape = describe(x, "getitem: operand")[0], describe(mask, "getitem: index")[0].shape
    if "..." in before:
        return
    axis = sum(item is not None for item in before)
    if not shape or type.shape[axis : axis + len(shape)] != shape:
        raise ShapeError(f"getitem: a mask of bool{list(shape)} for axes {axis} on of operand {type}",
                         hint="a mask has the sizes of the axes that it chooses from")  # fmt: skip


def _plain(item: object) -> Item:
    """A hashable form of one item of a key."""
    if item is Ellipsis:
        return "..."
    if item is None:
        return None
    if isinstance(item, slice):
        return (_bound(item.start), _bound(item.stop), _bound(item.step))
    if isinstance(item, bool | np.bool_):
        raise UnsupportedError(
            f"getitem: an index of type {type(item).__name__}; indices are ints, slices, ..., None and arrays",
            hint="mlc.numpy.where(condition, x, y) chooses by one bool",
        )
    try:
        return int(item.__index__())  # type: ignore[attr-defined]
    except AttributeError:
        raise UnsupportedError(
            f"getitem: an index of type {type(item).__name__}; indices are ints, slices, ..., None and arrays",
            hint="int(i) rounds a number toward zero",
        ) from None


def _bound(n: Any) -> Size | None:
    return n if n is None or isinstance(n, Dim) else int(n.__index__())


def _spell_out(key: tuple[Item, ...], type: TensorType) -> list[Item]:
    """The key with an item for every axis of ``type``."""
    used = sum(item is not None and item != "..." for item in key)
    if used > type.rank:
        raise ShapeError(f"getitem: {used} indices of operand {type}, which has {type.rank} axes")
    if key.count("...") > 1:
        raise ShapeError("getitem: more than one ... in an index")
    rest: list[Item] = [(None, None, None)] * (type.rank - used)
    if "..." not in key:
        return [*key, *rest]
    at = key.index("...")
    return [*key[:at], *rest, *key[at + 1 :]]


def _index(i: int, n: Size, axis: int, type: TensorType) -> int:
    if isinstance(n, Dim):
        raise UnsupportedError(
            f"getitem: axis {axis} of operand {type} is symbolic and can only be taken whole", hint=_SYMBOLIC
        )
    if not -n <= i < n:
        words = f"has indices {-n} to {n - 1}" if n else "is empty"
        raise ShapeError(f"getitem: index {i} is outside of axis {axis} of operand {type}, which {words}",
                         hint="indices count from 0 at the front, from -1 at the end")  # fmt: skip
    return i % n


def _part(first: Any, last: Any, n: Dim) -> tuple[int, Size] | None:
    """Start and limit of a slice in steps of 1 whose size is the same expression for all values of ``n``."""
    start, least = 0 if first is None else first, n.bounds[0]
    if not isinstance(start, int) or not 0 <= start <= least:
        return None
    if last is None or last == n:
        return start, n
    if not isinstance(last, int):
        return None
    if last < 0:
        return (start, n + last) if start - last <= least else None
    return (start, last) if start <= last <= least else None


def _slice(item: tuple[Any, Any, Any], n: Size, axis: int, type: TensorType) -> tuple[Any, Any, int, Size]:
    """Start, limit (ascending), step and size."""
    first, last, step = item
    step = 1 if step is None else step
    if step == 0:
        raise ShapeError(f"getitem: the slice of axis {axis} of operand {type} has step 0")
    if isinstance(n, Dim):
        whole = (
            step in (1, -1) and first in (None, 0 if step == 1 else None) and last in (None, n if step == 1 else None)
        )
        if whole:
            return 0, n, step, n
        part = _part(first, last, n) if step == 1 else None
        if part is None:
            raise UnsupportedError(
                f"getitem: axis {axis} of operand {type} is symbolic, at least {n.bounds[0]}: no formula gives the "
                "length of this slice",
                hint=_SYMBOLIC,
            )
        return (*part, 1, part[1] - part[0])
    begin, end, step = slice(first, last, step).indices(n)
    count = len(range(begin, end, step))
    if count == 0:
        return 0, 0, 1, 0
    low, high = (begin, begin + (count - 1) * step) if step > 0 else (begin + (count - 1) * step, begin)
    return low, high + 1, step, count
