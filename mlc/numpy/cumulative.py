"""Sums and products of the elements up to each one."""

from __future__ import annotations

from mlc.errors import ArgumentError
from mlc.ir.graph import ADD, CONCATENATE, CONVERT, MULTIPLY, cumulative, fill
from mlc.ir.graph.node import Node
from mlc.ir.graph.op import Op
from mlc.tracing.lift import as_node
from mlc.tracing.spec import element_type
from mlc.tracing.tracer import Tracer

from .axes import one_axis
from .dispatch import operation
from .promotion import wrap
from .reductions import sum_type


@operation("x")
def cumulative_sum(
    x: object, /, *, axis: int | None = None, dtype: object = None, include_initial: bool = False
) -> Tracer:
    """The sum of the elements along ``axis`` up to each one, in the type that ``sum`` has.

    ``axis`` may be None for a vector only (ArgumentError). ``include_initial`` puts a 0 before the first.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.cumulative_sum(mnp.asarray([1, 2, 3])).tolist()
        [1, 3, 6]
    """
    return _cumulative("cumulative_sum", ADD, x, axis, dtype, include_initial)


@operation("x")
def cumulative_prod(
    x: object, /, *, axis: int | None = None, dtype: object = None, include_initial: bool = False
) -> Tracer:
    """The product of the elements along ``axis`` up to each one, in the type that ``prod`` has.

    ``axis`` may be None for a vector only (ArgumentError). ``include_initial`` puts a 1 before the first.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.cumulative_prod(mnp.asarray([2.0, 3.0, 4.0]), include_initial=True).tolist()
        [1.0, 2.0, 6.0, 24.0]
    """
    return _cumulative("cumulative_prod", MULTIPLY, x, axis, dtype, include_initial)


def _cumulative(name: str, op: Op, x: object, axis: int | None, dtype: object, include_initial: bool) -> Tracer:
    node = as_node(x, None, f"{name}: operand")
    if axis is None and len(node.shape) != 1:
        raise ArgumentError(f"{name}: operand is {node.type}, not a vector, and needs an axis")
    place = one_axis(name, 0 if axis is None else axis, node.tensor)
    target = sum_type(node.dtype) if dtype is None else element_type(dtype)
    node = node if node.dtype == target else CONVERT(node, dtype=target)
    found = cumulative(op, node, place)
    return wrap(_with_initial(found, place, 0.0 if op is ADD else 1.0) if include_initial else found)


def _with_initial(node: Node, axis: int, value: float) -> Node:
    shape = tuple(1 if a == axis else n for a, n in enumerate(node.shape))
    return CONCATENATE(fill(value, node.tensor.with_shape(shape)), node, dimension=axis)
