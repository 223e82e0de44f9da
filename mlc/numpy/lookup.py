"""Functions that look elements up at indices, and that find indices: take, take_along_axis, nonzero, searchsorted."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlc.errors import ShapeError, UnsupportedError
from mlc.ir.dims import bounds
from mlc.ir.graph import ADD, AND, COMPARE, OR, SELECT, Node, Windows, fill, gather, sort
from mlc.ir.graph import reshape as reshape_node
from mlc.ir.types import BOOL, I64
from mlc.tracing.lift import as_node, describe
from mlc.tracing.location import user_location
from mlc.tracing.tracer import Tracer

from .advanced import Part, normalized, take_part
from .arithmetic import subtract
from .axes import one_axis
from .dispatch import operation
from .manipulation import part_of_axis
from .promotion import broadcast_node, broadcast_shapes, common, wrap


@operation("x", "indices")
def take(x: object, indices: object, /, axis: int | None = None) -> Tracer:
    """The elements of ``x`` at ``indices`` along ``axis``, whose place the axes of ``indices`` take; of all in a row
    where ``axis`` is None.

    Negative indices count from the end; traced ones outside are moved to the nearest element.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.take(mnp.asarray([10, 20, 30]), mnp.asarray([2, 0, -2])).tolist()
        [30, 10, 20]
    """
    node, at = as_node(x, None, "take: operand"), as_node(indices, None, "take: indices")
    if axis is None:
        node, axis = reshape_node(node, (node.tensor.size,)), 0
    place = one_axis("take", axis, node.tensor)
    key = [Part(a, None, 0, n, 1, n) if a != place else Part(a, at) for a, n in enumerate(node.shape)]
    return wrap(take_part(node, key))


@operation("x", "indices")
def take_along_axis(x: object, indices: object, /, axis: int = -1) -> Tracer:
    """Along ``axis`` the elements of ``x`` at ``indices``, whose other axes are walked with those of ``x``.

    What ``argmax`` and ``argsort`` find is looked up so. The other axes broadcast.

    Example:
        >>> import mlc.numpy as mnp
        >>> x = mnp.asarray([[3.0, 1.0], [2.0, 4.0]])
        >>> mnp.take_along_axis(x, mnp.asarray([[1], [0]]), axis=1).tolist()
        [[1.0], [2.0]]
    """
    node, at = as_node(x, None, "take_along_axis: operand"), as_node(indices, None, "take_along_axis: indices")
    place = one_axis("take_along_axis", axis, node.tensor)
    if len(at.shape) != len(node.shape):
        raise ShapeError(f"take_along_axis: operand is {node.type}, indices are {at.type}: the ranks differ")
    others = [a for a in range(len(node.shape)) if a != place]
    both = (node.tensor.with_shape(tuple(n for a, n in enumerate(t.shape) if a != place)) for t in (node, at))
    shape = list(broadcast_shapes("take_along_axis", *both))
    node = broadcast_node(node, (*shape[:place], node.shape[place], *shape[place:]))
    at = broadcast_node(at, (*shape[:place], at.shape[place], *shape[place:]))
    at = normalized(at, node.shape[place], node, place)
    every = tuple(others)
    sizes = (1,) * len(node.shape)
    windows = Windows(node.tensor, at.tensor, sizes, (), (place,), every, every, (place,), len(at.shape))
    return wrap(gather(node, at, windows))


def nonzero(x: object, /) -> tuple[Any, ...]:
    """Where ``x`` is not zero: an array of i64 indices for each axis. Their number is the data's, so ``x`` is known:
    UnsupportedError for a traced value.

    Example:
        >>> import mlc.numpy as mnp
        >>> [i.tolist() for i in mnp.nonzero(mnp.asarray([[0, 3], [5, 0]]))]
        [[0, 1], [1, 0]]
    """
    if isinstance(x, Tracer):
        raise UnsupportedError(
            f"nonzero: how many elements of a traced {x.node.type} are not zero is not known before the function runs",
            location=str(user_location()),
            hint="mlc.numpy.where(x != 0, y, 0) keeps the shape; sums over it need no indices",
        )
    from mlc.array import asarray

    describe(x, "nonzero: operand")
    return tuple(asarray(i) for i in np.nonzero(np.asarray(x)))


@operation("x1", "x2", "sorter")
def searchsorted(x1: object, x2: object, /, sorter: object = None, *, side: str = "left") -> Tracer:
    """Where to insert the elements of ``x2`` into the ascending vector ``x1`` to keep it ascending, as i64.

    ``side`` is "left" (before equal elements) or "right" (behind them). ``sorter`` are the indices that put an ``x1``
    without an order in order. NaN is last, as in ``sort``. By bisection: as many look-ups an element as ``x1`` has
    bits of length.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.searchsorted(mnp.asarray([1.0, 2.0, 4.0]), mnp.asarray([0.0, 2.0, 9.0])).tolist()
        [0, 1, 3]
    """
    if side not in ("left", "right"):
        raise ShapeError(f'searchsorted: side {side!r} is neither "left" nor "right"')
    line = describe(x1, "searchsorted: x1")[0]
    if line.rank != 1:
        raise ShapeError(f"searchsorted: x1 is {line}, not a vector")
    dtype, _ = common("searchsorted", [describe(x1, "searchsorted: x1"), describe(x2, "searchsorted: x2")])
    x, v = as_node(x1, dtype), as_node(x2, dtype)
    if sorter is not None and x.shape[0] != 0:
        x = take(wrap(x), sorter).node
    n = x.shape[0]
    if not isinstance(n, int):
        raise UnsupportedError(f"searchsorted: the length of x1, {line}, is symbolic", hint="compile for a fixed size")
    found = fill(0.0, v.tensor.with_dtype(I64))
    step = 1 << n.bit_length()
    while step := step >> 1:
        tried = ADD(found, fill(float(step), found.tensor))
        windows = Windows(x.tensor, tried.tensor, (1,), (), (0,), (), (), (0,), len(tried.shape))
        before = ADD(tried, fill(-1.0, found.tensor))
        below = _is_before(gather(x, before, windows), v, side)
        inside = COMPARE(tried, fill(float(n), found.tensor), direction="LE")
        found = SELECT(AND(below, inside), tried, found)
    return wrap(found)


def _is_before(x: Node, v: Node, side: str) -> Node:
    """Whether ``v`` goes behind ``x`` in an order that ends with NaN, as ``sort`` has it."""
    before = COMPARE(x, v, direction="LT" if side == "left" else "LE")
    if not v.dtype.is_float:
        return before
    last = COMPARE(v, v, direction="NE")
    return OR(before, AND(last, COMPARE(x, x, direction="EQ")) if side == "left" else last)


@operation("x1", "x2")
def isin(x1: object, x2: object, /, *, invert: bool = False) -> Tracer:
    """Which elements of ``x1`` are among those of ``x2`` (which are not, with ``invert``); NaN is equal to nothing.

    By bisection of the sorted ``x2``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.isin(mnp.asarray([1, 2, 3]), mnp.asarray([[3], [1]])).tolist()
        [True, False, True]
    """
    dtype, _ = common("isin", [describe(x1, "isin: x1"), describe(x2, "isin: x2")])
    x, among = as_node(x1, dtype), as_node(x2, dtype)
    if among.tensor.size == 0:
        return wrap(fill(float(invert), x.tensor.with_dtype(BOOL)))
    line = sort(reshape_node(among, (among.tensor.size,)), axis=0, stable=False)[0]
    place = searchsorted(wrap(line), wrap(x)).node
    windows = Windows(line.tensor, place.tensor, (1,), (), (0,), (), (), (0,), len(place.shape))
    return wrap(COMPARE(gather(line, place, windows), x, direction="NE" if invert else "EQ"))


@operation("x")
def diff(x: object, /, *, axis: int = -1) -> Tracer:
    """Each element along ``axis`` less the one before it.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.diff(mnp.asarray([1, 4, 9])).tolist()
        [3, 5]
    """
    node = as_node(x, None, "diff: operand")
    place = one_axis("diff", axis, node.tensor)
    n = node.shape[place]
    if bounds(n)[0] < 1 and not isinstance(n, int):
        raise ShapeError(f"diff: axis {place} of operand {node.type} is symbolic and may be empty")
    after, before = part_of_axis(node, place, 1 if n else 0, n), part_of_axis(node, place, 0, n - 1 if n else 0)
    return subtract(wrap(after), wrap(before))
