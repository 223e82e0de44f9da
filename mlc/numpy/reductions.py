"""Reductions over axes: sums, products, extremes, moments, logic, and the place of an extreme.

``axis`` is None (all), one axis or several; ``keepdims`` keeps them with size 1. f16 and bf16 are summed in f32.
"""

from __future__ import annotations

from mlc.errors import DTypeError, ShapeError
from mlc.ir.dims import Dim, Size, bounds, size_product
from mlc.ir.graph import (
    ADD,
    AND,
    COMPARE,
    CONVERT,
    DIVIDE,
    IOTA,
    MAXIMUM,
    MINIMUM,
    MULTIPLY,
    OR,
    SELECT,
    SQRT,
    SUBTRACT,
    broadcast_in_dim,
    full_like,
    reduce_with,
    size_value,
)  # fmt: skip
from mlc.ir.graph import reshape as reshape_node
from mlc.ir.graph.node import Node
from mlc.ir.graph.op import Op
from mlc.ir.types import BOOL, F32, I64, U64, DType
from mlc.tracing.lift import as_node
from mlc.tracing.spec import element_type
from mlc.tracing.tracer import Tracer

from .apply import truth
from .axes import Axes, one_axis, some_axes
from .dispatch import operation
from .promotion import wrap


@operation("x")
def sum(x: object, /, axis: Axes = None, *, dtype: object = None, keepdims: bool = False) -> Tracer:
    """Integers and bools are summed as i64 (u64 for unsigned) unless ``dtype`` is given.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.sum(mnp.asarray([[1, 2], [3, 4]]), axis=0).tolist()
        [4, 6]
    """
    return _fold("sum", ADD, x, axis, dtype, keepdims)


@operation("x")
def prod(x: object, /, axis: Axes = None, *, dtype: object = None, keepdims: bool = False) -> Tracer:
    """The product; types as for ``sum``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.prod(mnp.asarray([2, 3, 4])).tolist()
        24
    """
    return _fold("prod", MULTIPLY, x, axis, dtype, keepdims)


@operation("x")
def mean(x: object, /, axis: Axes = None, *, keepdims: bool = False) -> Tracer:
    """The sum divided by the number of elements, which is read at run time where it is symbolic; integers as f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.mean(mnp.asarray([1, 2])).tolist()
        1.5
    """
    node = _as_float("mean", x)
    axes = some_axes("mean", axis, node.tensor)
    return wrap(_keep(_converted(_mean(_widen(node), axes), node.dtype), node, axes, keepdims))


@operation("x")
def var(x: object, /, axis: Axes = None, *, correction: float = 0, keepdims: bool = False) -> Tracer:
    """The mean square distance from the mean; ``correction`` is subtracted from the number it is divided by.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.var(mnp.asarray([1.0, 3.0])).tolist()
        1.0
    """
    node = _as_float("var", x)
    axes = some_axes("var", axis, node.tensor)
    return wrap(_keep(_converted(_variance(node, axes, correction), node.dtype), node, axes, keepdims))


@operation("x")
def std(x: object, /, axis: Axes = None, *, correction: float = 0, keepdims: bool = False) -> Tracer:
    """The square root of the variance.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.std(mnp.asarray([1.0, 3.0])).tolist()
        1.0
    """
    node = _as_float("std", x)
    axes = some_axes("std", axis, node.tensor)
    return wrap(_keep(_converted(SQRT(_variance(node, axes, correction)), node.dtype), node, axes, keepdims))


@operation("x")
def max(x: object, /, axis: Axes = None, *, keepdims: bool = False) -> Tracer:
    """The largest; NaN where there is one. Raises ShapeError for no elements.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.max(mnp.asarray([1, 3, 2])).tolist()
        3
    """
    return _extreme("max", MAXIMUM, x, axis, keepdims)


@operation("x")
def min(x: object, /, axis: Axes = None, *, keepdims: bool = False) -> Tracer:
    """The smallest; NaN where there is one. Raises ShapeError for no elements.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.min(mnp.asarray([3, 1, 2])).tolist()
        1
    """
    return _extreme("min", MINIMUM, x, axis, keepdims)


@operation("x")
def any(x: object, /, axis: Axes = None, *, keepdims: bool = False) -> Tracer:
    """Whether one element is not zero; NaN is not.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.any(mnp.asarray([0, 1])).tolist()
        True
    """
    return _logic("any", OR, x, axis, keepdims)


@operation("x")
def all(x: object, /, axis: Axes = None, *, keepdims: bool = False) -> Tracer:
    """Whether no element is zero.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.all(mnp.asarray([0, 1])).tolist()
        False
    """
    return _logic("all", AND, x, axis, keepdims)


@operation("x")
def count_nonzero(x: object, /, *, axis: Axes = None, keepdims: bool = False) -> Tracer:
    """How many elements are not zero, as i64; NaN is not.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.count_nonzero(mnp.asarray([0, 3, 5])).tolist()
        2
    """
    node = truth(as_node(x, None, "count_nonzero: operand"))
    axes = some_axes("count_nonzero", axis, node.tensor)
    return wrap(_keep(reduce_with(ADD, _converted(node, I64), axes), node, axes, keepdims))


@operation("x")
def argmax(x: object, /, axis: int | None = None, *, keepdims: bool = False) -> Tracer:
    """The index (i64) of the first largest element along ``axis`` (None: of the flattened array); NaN is largest.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.argmax(mnp.asarray([1, 3, 3])).tolist()
        1
    """
    return _argument("argmax", MAXIMUM, x, axis, keepdims)


@operation("x")
def argmin(x: object, /, axis: int | None = None, *, keepdims: bool = False) -> Tracer:
    """The index (i64) of the first smallest element along ``axis`` (None: of the flattened array); NaN is smallest.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.argmin(mnp.asarray([3, 1, 1])).tolist()
        1
    """
    return _argument("argmin", MINIMUM, x, axis, keepdims)


# ---------------------------------------------------------------- helpers on nodes


def _fold(name: str, op: Op, x: object, axis: Axes, dtype: object, keepdims: bool) -> Tracer:
    node = as_node(x, None, f"{name}: operand")
    axes = some_axes(name, axis, node.tensor)
    target = element_type(dtype) if dtype is not None else sum_type(node.dtype)
    wide = _wide(target)
    return wrap(_keep(_converted(reduce_with(op, _converted(node, wide), axes), target), node, axes, keepdims))


def sum_type(dtype: DType) -> DType:
    """That of sums and products: floats stay, integers and bools are kept in 64 bits."""
    if dtype.is_float:
        return dtype
    return U64 if dtype.kind == "uint" else I64


def _wide(dtype: DType) -> DType:
    return F32 if dtype.is_float and dtype.bits < 32 else dtype


def _widen(node: Node) -> Node:
    return _converted(node, _wide(node.dtype))


def _converted(node: Node, dtype: DType) -> Node:
    return node if node.dtype == dtype else CONVERT(node, dtype=dtype)


def _as_float(name: str, x: object) -> Node:
    node = as_node(x, None, f"{name}: operand")
    return node if node.dtype.is_float else CONVERT(node, dtype=F32)


def _keep(result: Node, operand: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    """``result``, which lacks ``axes`` of ``operand``, with them as size 1 where ``keepdims``."""
    if not keepdims:
        return result
    return reshape_node(result, tuple(1 if i in axes else n for i, n in enumerate(operand.shape)))


def _count(node: Node, axes: tuple[int, ...]) -> Size:
    return size_product(node.shape[i] for i in axes)


def _mean(node: Node, axes: tuple[int, ...]) -> Node:
    return _divide_by(reduce_with(ADD, node, axes), _count(node, axes), 0)


def _divide_by(total: Node, count: Size, correction: float) -> Node:
    """``total / (count - correction)``, at least 0; the count is read at run time where it is symbolic."""
    if not isinstance(count, Dim):
        return DIVIDE(total, full_like(total, count - correction if count > correction else 0))
    size = CONVERT(size_value(count), dtype=total.dtype)
    if correction:
        size = MAXIMUM(SUBTRACT(size, full_like(size, correction)), full_like(size, 0))
    return DIVIDE(total, broadcast_in_dim(size, total.shape, ()))


def _variance(node: Node, axes: tuple[int, ...], correction: float) -> Node:
    wide = _widen(node)
    distance = SUBTRACT(wide, _spread(_mean(wide, axes), wide, axes))
    return _divide_by(reduce_with(ADD, MULTIPLY(distance, distance), axes), _count(node, axes), correction)


def _spread(result: Node, operand: Node, axes: tuple[int, ...]) -> Node:
    """A reduced value back over the shape of ``operand``."""
    return broadcast_in_dim(result, operand.shape, tuple(i for i in range(len(operand.shape)) if i not in axes))


def _require_elements(name: str, node: Node, axes: tuple[int, ...]) -> None:
    for i in axes:
        if bounds(node.shape[i])[1] == 0:
            raise ShapeError(f"{name}: operand {node.type} has no elements along axis {i}")


def _extreme(name: str, op: Op, x: object, axis: Axes, keepdims: bool) -> Tracer:
    node = as_node(x, None, f"{name}: operand")
    axes = some_axes(name, axis, node.tensor)
    _require_elements(name, node, axes)
    if node.dtype == BOOL:
        op = OR if op is MAXIMUM else AND
    return wrap(_keep(reduce_with(op, node, axes), node, axes, keepdims))


def _logic(name: str, op: Op, x: object, axis: Axes, keepdims: bool) -> Tracer:
    node = as_node(x, None, f"{name}: operand")
    axes = some_axes(name, axis, node.tensor)
    truth = node if node.dtype == BOOL else COMPARE(node, full_like(node, 0), direction="NE")
    return wrap(_keep(reduce_with(op, truth, axes), node, axes, keepdims))


def _argument(name: str, op: Op, x: object, axis: int | None, keepdims: bool) -> Tracer:
    """The smallest index where the element equals the extreme; a NaN counts as the extreme."""
    node = as_node(x, None, f"{name}: operand")
    if axis is None:
        flat = reshape_node(node, (node.tensor.size,))
        place = 0
    elif isinstance(axis, int):
        flat, place = node, one_axis(name, axis, node.tensor)
    else:
        raise DTypeError(f"{name}: axis is {axis!r}; it is one axis or None")
    _require_elements(name, flat, (place,))
    values = CONVERT(flat, dtype=I64) if flat.dtype == BOOL else flat
    extreme = _spread(reduce_with(op, values, (place,)), flat, (place,))
    found = COMPARE(values, extreme, direction="EQ")
    if values.dtype.is_float:
        found = OR(found, COMPARE(values, values, direction="NE"))
    index = IOTA(shape=flat.shape, dtype=I64, dimension=place)
    first = reduce_with(MINIMUM, SELECT(found, index, full_like(index, (1 << 63) - 1)), (place,))
    return wrap(_keep(first, node, (place,) if axis is not None else tuple(range(len(node.shape))), keepdims))
