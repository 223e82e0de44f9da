"""reduce_window: folds the elements of every window that slides over an array."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ...errors import ShapeError
from ..dims import Dim, Size, bounds
from ..types import TensorType, ValueType, scalar
from .cumulative import accumulate, cumulative_axis, tangent_of_products
from .elementwise import ADD, MAXIMUM, MINIMUM, MULTIPLY
from .node import Graph, Literal, Node
from .op import Array, Op, declare, dtype_cast
from .reduction import UFUNCS, body_of, identity_of, reducer_of
from .select_and_scatter import select_and_gather
from .shape import CONSTANT, broadcast_in_dim, constant, fill
from .typing import require_dtype, tensor
from .window import Pairs, dilated, spread, window_counts, windows_at
from .window_parts import pad_windows, window_element
from .window_tangents import tangent_of_first, tangent_of_product


def _infer(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    operand, init = tensor("reduce_window", operands[0]), tensor("reduce_window", operands[1], "initial value")
    require_dtype("reduce_window", init, operand.dtype, "initial value")
    if init.rank != 0:
        raise ShapeError(f"reduce_window: initial value is {init}, not a scalar")
    body, want = attributes["body"], scalar(operand.dtype)
    if [p.type for p in body.parameters] != [want, want] or [r.type for r in body.results] != [want]:
        raise ShapeError(f"reduce_window: the body must take two {want} and give one")
    return operand.with_shape(window_counts("reduce_window", operand, attributes))


def _evaluate(node: Node, shape: tuple[int, ...], x: Array, init: Array) -> Array:
    """Padding has the initial value; floats are added and multiplied in f64 and rounded once."""
    op = reducer_of(node["body"])
    wide = x.astype(np.float64) if op in (ADD, MULTIPLY) and node.dtype.is_float else x
    along = cumulative_axis(node)
    if along is not None:
        return dtype_cast(accumulate(op, wide, *along), node)
    return dtype_cast(fold_windows(node, op, wide, init, shape), node)


def fold_windows(node: Node, op: Op, x: Array, init: Array, shape: tuple[int, ...]) -> Array:
    """The windows of ``node`` over ``x`` folded with ``op`` in the element type of ``x``."""
    ufunc = {"add": np.add, **UFUNCS}[op.name]
    if x.dtype == bool and op in (ADD, MULTIPLY):
        ufunc = np.logical_or if op is ADD else np.logical_and
    x = spread(x, range(x.ndim), node["base_dilations"], node["padding"], init)
    total = np.full(shape, init, x.dtype)
    with np.errstate(all="ignore"):
        for tap in product(*map(range, node["window_dimensions"])):
            offset = [t * d for t, d in zip(tap, node["window_dilations"], strict=True)]
            total = ufunc(total, x[windows_at(offset, shape, node["window_strides"])])
    return np.asarray(total)


# ---------------------------------------------------------------- derivatives


def _tangent(node: Node, tangents: Sequence[Node | None]) -> Node | None:
    """That of op(windows from the identity, initial value), with the initial value for padding."""
    op, (x, init), (t, of_init) = reducer_of(node["body"]), node.operands, tangents
    if op not in (ADD, MULTIPLY, MAXIMUM, MINIMUM):
        return None
    if of_init is None and (op is ADD or _is_identity(init, op)):
        return None if t is None else _window_tangent(node, t)
    interior = tuple(d - 1 for d in node["base_dilations"])
    around = fill(0.0, init.tensor) if of_init is None else of_init
    t = pad_windows(fill(0.0, x.tensor) if t is None else t, around, node["padding"], interior)
    windows = reduce_window(
        op, pad_windows(x, init, node["padding"], interior), node["window_dimensions"],
        window_strides=node["window_strides"], window_dilations=node["window_dilations"])  # fmt: skip
    whole = op(windows, broadcast_in_dim(init, node.shape, ()))
    rules = op.jvp if isinstance(op.jvp, tuple) else ()
    parts = (_window_tangent(windows, t), broadcast_in_dim(around, node.shape, ()))
    return ADD(*(rule(part, whole) for rule, part in zip(rules, parts, strict=True) if rule is not None))


def _is_identity(init: Node, op: Op) -> bool:
    return init.op is CONSTANT and init["value"] == Literal(identity_of(op, init.dtype), init.dtype)


def _window_tangent(node: Node, t: Node) -> Node:
    """That of windows that start with the identity of their op, or with what does not change."""
    op = reducer_of(node["body"])
    if op is ADD:
        return REDUCE_WINDOW(t, constant(np.zeros((), t.dtype.numpy), t.dtype), **node.attributes)
    along = cumulative_axis(node)
    if op is MULTIPLY and along is not None:
        return tangent_of_products(node, t, *along)
    if op is MULTIPLY:
        return tangent_of_product(*_elements(node, op, t))
    direction = "GE" if op is MAXIMUM else "LE"
    if any(d != 1 for d in node["window_dilations"]):
        return tangent_of_first(*_elements(node, op, t), direction)
    none, interior = ((0, 0),) * len(node.shape), tuple(d - 1 for d in node["base_dilations"])
    least, zero = constant(identity_of(op, t.dtype), t.dtype), constant(np.zeros((), t.dtype.numpy), t.dtype)
    x = pad_windows(node.operands[0], least, none, interior)
    t = pad_windows(t, zero, none, interior)
    window = {key: node[key] for key in ("window_dimensions", "window_strides", "padding")}
    return select_and_gather(t, x, direction, **window)


def _elements(node: Node, op: Op, t: Node) -> tuple[list[Node], list[Node]]:
    """The first, second, ... elements of every window, row-major, and their tangents."""
    interior = tuple(d - 1 for d in node["base_dilations"])
    identity, zero = constant(identity_of(op, t.dtype), t.dtype), constant(np.zeros((), t.dtype.numpy), t.dtype)
    x = pad_windows(node.operands[0], identity, node["padding"], interior)
    t = pad_windows(t, zero, node["padding"], interior)
    offsets = [
        [i * d for i, d in zip(tap, node["window_dilations"], strict=True)]
        for tap in product(*map(range, node["window_dimensions"]))
    ]
    elements, tangents = ([window_element(y, o, node.shape, node["window_strides"]) for o in offsets] for y in (x, t))
    return elements, tangents


def _transpose(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node | None]:
    """Sums of the cotangents of the windows that an element is in: windows over the cotangent again."""
    operand = node.operands[0]
    if any(n == 0 for n in (*operand.shape, *ct.shape)):
        return (fill(0.0, operand.tensor), None)
    padding = []
    for axis, (low, _) in enumerate(node["padding"]):
        window = dilated(node["window_dimensions"][axis], node["window_dilations"][axis])
        before = window - 1 - low
        spread_size = dilated(operand.shape[axis], node["base_dilations"][axis])
        covered = dilated(ct.shape[axis], node["window_strides"][axis])
        after = spread_size - covered + (window - 1 - before)
        if isinstance(before, Dim) or isinstance(after, Dim):
            raise ShapeError("reduce_window: the padding of its gradient depends on a symbolic size")
        padding.append((before, after))
    return (
        reduce_window(
            ADD, ct, node["window_dimensions"], window_strides=node["base_dilations"], padding=tuple(padding),
            base_dilations=node["window_strides"], window_dilations=node["window_dilations"]),
        None,
    )  # fmt: skip


def _flops(node: Node) -> Size:
    if cumulative_axis(node) is not None:
        return node.tensor.size
    return node.tensor.size * int(prod(node["window_dimensions"]))


REDUCE_WINDOW: Op = declare(
    "reduce_window", operands=2, infer=_infer, evaluate=_evaluate,
    attributes=("window_dimensions", "window_strides", "base_dilations", "window_dilations", "padding", "body"),
    jvp=_tangent, transpose=_transpose, flops=_flops)  # fmt: skip


def reduce_window(op: Op, x: Node, window_dimensions: Sequence[int], *, window_strides: Sequence[int] = (),
                  padding: Pairs = (), base_dilations: Sequence[int] = (), window_dilations: Sequence[int] = ()
                  ) -> Node:  # fmt: skip
    """The windows of ``x`` folded with ``op`` from its identity; what is not given is neutral."""
    one = (1,) * len(x.shape)
    body: Graph = body_of(op, x.dtype)
    return REDUCE_WINDOW(
        x, constant(identity_of(op, x.dtype), x.dtype), window_dimensions=tuple(window_dimensions),
        window_strides=tuple(window_strides) or one, padding=tuple(padding) or ((0, 0),) * len(one),
        base_dilations=tuple(base_dilations) or one, window_dilations=tuple(window_dilations) or one,
        body=body)  # fmt: skip


def cumulative(op: Op, x: Node, axis: int) -> Node:
    """The elements of ``x`` along ``axis`` up to each one folded with ``op``."""
    n = max(bounds(x.shape[axis])[1], 1)
    window = tuple(n if a == axis else 1 for a in range(len(x.shape)))
    return reduce_window(op, x, window, padding=tuple((k - 1, 0) for k in window))
