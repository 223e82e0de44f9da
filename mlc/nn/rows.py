"""Functions of whole rows: softmax, log softmax, log of a sum of exponentials, one-hot rows, the largest elements.

softmax and log_softmax are composites: nodes whose decomposition, the formula here, is their meaning. They are stable
for any finite row, and computed in f32 for f16 and bf16.
"""

from __future__ import annotations

from mlc import numpy as mnp
from mlc.errors import DTypeError, ShapeError
from mlc.ir.dims import Size, bounds
from mlc.ir.graph import COMPARE, CONVERT, IOTA, broadcast_in_dim
from mlc.ir.types import F32, I64
from mlc.numpy.axes import Axes, one_axis, some_axes
from mlc.numpy.dispatch import operation
from mlc.numpy.promotion import promote, wrap
from mlc.tracing.composite import composite
from mlc.tracing.lift import as_node
from mlc.tracing.spec import element_type
from mlc.tracing.tracer import Tracer


@operation("x")
def softmax(x: object, /, axis: int = -1) -> Tracer:
    """``exp(x)`` divided by its sum along ``axis``: positive numbers that sum to 1.

    Example:
        >>> import mlc
        >>> mlc.nn.softmax(mlc.numpy.asarray([0.0, 0.0])).tolist()
        [0.5, 0.5]
    """
    (node,), _ = promote("softmax", x, to_float=True)
    return wrap(composite("softmax", softmax_formula, node, axis=one_axis("softmax", axis, node.tensor))[0])


@operation("x")
def log_softmax(x: object, /, axis: int = -1) -> Tracer:
    """The logarithm of ``softmax(x, axis)``.

    Example:
        >>> import mlc
        >>> mlc.nn.log_softmax(mlc.numpy.asarray([0.0])).tolist()
        [0.0]
    """
    (node,), _ = promote("log_softmax", x, to_float=True)
    place = one_axis("log_softmax", axis, node.tensor)
    return wrap(composite("log_softmax", log_softmax_formula, node, axis=place)[0])


@operation("x")
def logsumexp(x: object, /, axis: Axes = None, *, keepdims: bool = False) -> Tracer:
    """``log(sum(exp(x)))`` over ``axis`` (all where None), without overflow; -inf for rows of -inf.

    Example:
        >>> import mlc
        >>> mlc.nn.logsumexp(mlc.numpy.asarray([1000.0])).tolist()
        1000.0
    """
    (node,), _ = promote("logsumexp", x, to_float=True)
    axes = some_axes("logsumexp", axis, node.tensor)
    wide = _wide(wrap(node))
    top = mnp.max(wide, axes, keepdims=True)
    top = mnp.where(mnp.isfinite(top), top, 0.0)
    result = mnp.log(mnp.sum(mnp.exp(wide - top), axes, keepdims=True)) + top
    return (result if keepdims else mnp.squeeze(result, axes)).astype(node.dtype)


@operation("labels")
def one_hot(labels: object, /, num_classes: Size, dtype: object = F32, axis: int = -1) -> Tracer:
    """1 where the class is the label, 0 elsewhere: a new axis of ``num_classes``; all 0 for a label that is no class.

    Raises DTypeError for labels that are no integers.

    Example:
        >>> import mlc
        >>> mlc.nn.one_hot(mlc.numpy.asarray([1, 0]), 2).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    node = as_node(labels, None, "one_hot: labels")
    if not node.dtype.is_integer:
        raise DTypeError(f"one_hot: labels are {node.type}; they are integers", hint="convert them with .astype('i64')")
    rank = len(node.shape) + 1
    place = one_axis("one_hot", axis, node.tensor, rank)
    shape = (*node.shape[:place], num_classes, *node.shape[place:])
    spread = broadcast_in_dim(CONVERT(node, dtype=I64), shape, tuple(i for i in range(rank) if i != place))
    found = COMPARE(spread, IOTA(shape=shape, dtype=I64, dimension=place), direction="EQ")
    return wrap(CONVERT(found, dtype=element_type(dtype)))


def softmax_formula(x: Tracer, axis: int) -> Tracer:
    wide = _wide(x)
    e = mnp.exp(wide - mnp.max(wide, axis, keepdims=True))
    return (e * (1.0 / mnp.sum(e, axis, keepdims=True))).astype(x.dtype)  # one division a row, not one an element


def log_softmax_formula(x: Tracer, axis: int) -> Tracer:
    wide = _wide(x)
    below = wide - mnp.max(wide, axis, keepdims=True)
    return (below - mnp.log(mnp.sum(mnp.exp(below), axis, keepdims=True))).astype(x.dtype)


def _wide(x: Tracer) -> Tracer:
    return x.astype(F32) if x.dtype.bits < 32 else x


@operation("x")
def top_k(x: object, /, k: int, axis: int = -1) -> tuple[Tracer, Tracer]:
    """The ``k`` largest elements along ``axis``, the largest first, and their indices (i64); the first of equal ones.

    NaNs count as greater than all numbers. Raises ShapeError where the axis may have fewer than ``k`` elements.

    Example:
        >>> import mlc
        >>> values, indices = mlc.nn.top_k(mlc.numpy.asarray([1.0, 7.0, 3.0]), 2)
        >>> values.tolist(), indices.tolist()
        ([7.0, 3.0], [1, 2])
    """
    node = as_node(x, None, "top_k: operand")
    place = one_axis("top_k", axis, node.tensor)
    if not 0 <= k <= bounds(node.shape[place])[0]:
        raise ShapeError(f"top_k: k is {k}, axis {place} of operand {node.type} has {node.shape[place]} elements")
    order = mnp.argsort(wrap(node), axis=place, descending=True)
    first = order[(slice(None),) * place + (slice(0, k),)]
    return mnp.take_along_axis(wrap(node), first, axis=place), first
