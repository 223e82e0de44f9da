"""Basic indexing: ints, slices, ``...`` and None, all known while tracing, to slices, reverses and reshapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlc.errors import MlcError, ShapeError, UnsupportedError
from mlc.ir.dims import Dim, Size
from mlc.ir.graph import REVERSE, SLICE
from mlc.ir.graph import reshape as reshape_node
from mlc.ir.types import TensorType
from mlc.tracing.lift import as_node, is_array
from mlc.tracing.location import user_location
from mlc.tracing.tracer import Tracer

from .dispatch import operation
from .promotion import wrap

_SYMBOLIC = "mask what is not wanted with mlc.numpy.where, or compile for a fixed size"
Item = int | tuple[Any, Any, Any] | str | None  # (start, stop, step) is a slice, "..." an ellipsis


def getitem(x: object, key: object, /) -> Tracer:
    """``x[key]``; the key is an int, a slice, ``...``, None or a tuple of them.

    Raises ShapeError for an index outside of its axis or too many indices, UnsupportedError for arrays as indices.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.getitem(mnp.arange(5), slice(None, None, 2)).tolist()
        [0, 2, 4]
    """
    items = key if isinstance(key, tuple) else (key,)
    try:
        plain = tuple(_plain(item) for item in items)
    except MlcError as error:
        error.location = error.location or str(user_location())
        raise
    return _getitem(x, plain)


@operation("x")
def _getitem(x: object, /, key: tuple[Item, ...]) -> Tracer:
    node = as_node(x, None, "getitem: operand")
    items = _spell_out(key, node.tensor)
    start, limit, strides, flipped = [], [], [], []
    shape: list[Size] = []
    axis = 0
    for item in items:
        if item is None:
            shape.append(1)
            continue
        n = node.shape[axis]
        if isinstance(item, tuple):
            a, b, step, size = _slice(item, n, axis, node.tensor)
            shape.append(size)
            if step < 0:
                flipped.append(axis)
        else:
            assert isinstance(item, int)
            a = _index(item, n, axis, node.tensor)
            b, step = a + 1, 1
        start.append(a)
        limit.append(b)
        strides.append(abs(step))
        axis += 1
    if not all(a == 0 and s == 1 and b == n for a, b, s, n in zip(start, limit, strides, node.shape, strict=True)):
        node = SLICE(node, start=tuple(start), limit=tuple(limit), strides=tuple(strides))
    if flipped:
        node = REVERSE(node, dimensions=tuple(flipped))
    return wrap(reshape_node(node, tuple(shape)))


def _plain(item: object) -> Item:
    """A hashable form of one item of a key."""
    if item is Ellipsis:
        return "..."
    if item is None:
        return None
    if isinstance(item, slice):
        return (_bound(item.start), _bound(item.stop), _bound(item.step))
    if isinstance(item, (bool | np.bool_, Tracer | np.ndarray | list)) or is_array(item):
        raise UnsupportedError(
            f"getitem: an index of type {type(item).__name__}; indices are ints, slices, ... and None",
            hint="mlc.numpy.where(mask, x, 0) and mlc.nn.one_hot(i, n) @ x select by traced values",
        )
    try:
        return int(item.__index__())  # type: ignore[attr-defined]
    except AttributeError:
        raise UnsupportedError(
            f"getitem: an index of type {type(item).__name__}; indices are ints, slices, ... and None",
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
        if not whole:
            raise UnsupportedError(
                f"getitem: axis {axis} of operand {type} is symbolic and can only be taken whole", hint=_SYMBOLIC
            )
        return 0, n, step, n
    begin, end, step = slice(first, last, step).indices(n)
    count = len(range(begin, end, step))
    if count == 0:
        return 0, 0, 1, 0
    low, high = (begin, begin + (count - 1) * step) if step > 0 else (begin + (count - 1) * step, begin)
    return low, high + 1, step, count
