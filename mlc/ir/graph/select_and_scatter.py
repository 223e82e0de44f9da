"""select_and_scatter: adds each value of a source to the element that its window selects; and what it transposes to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ...errors import DTypeError, ShapeError, UnsupportedError
from ..dims import Size
from ..types import BOOL, DType, TensorType, ValueType, scalar
from .elementwise import ADD, COMPARE
from .node import Graph, Node, Table
from .op import Array, Op, declare, dtype_cast
from .reduction import body_of, reduce_add, reducer_of
from .shape import broadcast_in_dim, constant
from .typing import require_dtype, require_kind, tensor
from .window import Pairs, spread, window_counts, windows_at

_SELECTS: dict[tuple[str, DType], Graph] = {}


def select_of(direction: str, dtype: DType) -> Graph:
    """The body that keeps its first operand where it compares so with the second."""
    body = _SELECTS.get((direction, dtype))
    if body is None:
        table = Table()
        with table.active():
            x, y = table.parameter(scalar(dtype)), table.parameter(scalar(dtype))
            body = Graph(direction.lower(), (x, y), (COMPARE(x, y, direction=direction),), table)
        _SELECTS[direction, dtype] = body
    return body


def direction_of(select: Graph) -> str:
    """GE or LE: what ``select`` compares. Raises UnsupportedError for any other body."""
    found = select.results[0]
    if found.op is COMPARE and found.operands == select.parameters and found["direction"] in ("GE", "LE"):
        return str(found["direction"])
    raise UnsupportedError("select_and_scatter: the select body is not a single comparison GE or LE of its operands")


def _check(name: str, operand: TensorType, attributes: dict[str, Any]) -> tuple[Size, ...]:
    """The windows along each axis."""
    require_kind(name, operand, ("float", "int", "uint"))
    select, want = attributes["select"], scalar(operand.dtype)
    if [p.type for p in select.parameters] != [want, want] or [r.type for r in select.results] != [scalar(BOOL)]:
        raise ShapeError(f"{name}: the select body must take two {want} and give one {scalar(BOOL)}")
    return window_counts(name, operand, attributes)


def selected(node: Node, x: Array, counts: tuple[int, ...]) -> tuple[Array, Array]:
    """For each window of ``x`` the number of the element that it selects, row-major, and whether there is any.

    Elements are taken in order, the padding left out; one stays selected while it compares so with the next.
    """
    compare = np.greater_equal if direction_of(node["select"]) == "GE" else np.less_equal
    every = range(x.ndim)
    inside = spread(np.ones(x.shape, bool), every, (1,) * x.ndim, node["padding"], False)
    x = spread(x, every, (1,) * x.ndim, node["padding"], x.dtype.type(0))
    best, index, found = np.zeros(counts, x.dtype), np.zeros(counts, np.int64), np.zeros(counts, bool)
    for number, offset in enumerate(product(*map(range, node["window_dimensions"]))):
        at = windows_at(offset, counts, node["window_strides"])
        with np.errstate(invalid="ignore"):
            take = inside[at] & ~(found & compare(best, x[at]))
        best, index, found = np.where(take, x[at], best), np.where(take, number, index), found | inside[at]
    return index, found


# ---------------------------------------------------------------- select_and_scatter


def _infer_scatter(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    operand, source = tensor("select_and_scatter", operands[0]), tensor("select_and_scatter", operands[1], "source")
    init = tensor("select_and_scatter", operands[2], "initial value")
    counts = _check("select_and_scatter", operand, attributes)
    require_dtype("select_and_scatter", init, source.dtype, "initial value")
    if source.shape != counts or init.rank != 0:
        raise ShapeError(f"select_and_scatter: source is {source} and the initial value {init}; the windows of "
                         f"{operand} need {source.with_shape(counts)} and a scalar")  # fmt: skip
    body, want = attributes["scatter"], scalar(source.dtype)
    if [p.type for p in body.parameters] != [want, want] or [r.type for r in body.results] != [want]:
        raise ShapeError(f"select_and_scatter: the scatter body must take two {want} and give one")
    if source.dtype != operand.dtype:
        raise DTypeError(f"select_and_scatter: source is {source}, the operand {operand}; they must have one type")
    return operand


def _scatter(node: Node, shape: tuple[int, ...], x: Array, source: Array, init: Array) -> Array:
    if reducer_of(node["scatter"]) is not ADD:
        raise UnsupportedError("select_and_scatter: the scatter body is not add")
    index, found = selected(node, x, source.shape)
    kind = np.float64 if node.dtype.is_float else x.dtype
    padded = spread(np.zeros(shape, kind), range(x.ndim), (1,) * x.ndim, node["padding"], 0)
    with np.errstate(all="ignore"):
        for number, offset in enumerate(product(*map(range, node["window_dimensions"]))):
            at = windows_at(offset, source.shape, node["window_strides"])
            padded[at] += np.where(found & (index == number), source.astype(kind), 0)
        inner = spread(padded, range(x.ndim), (1,) * x.ndim, tuple((-a, -b) for a, b in node["padding"]), 0)
        return dtype_cast(inner + init.astype(kind), node)


def _scatter_tangent(node: Node, tangents: Sequence[Node | None]) -> Node | None:
    _, t, of_init = tangents
    if t is None:
        return None if of_init is None else broadcast_in_dim(of_init, node.shape, ())
    zero = constant(np.zeros((), t.dtype.numpy), t.dtype)
    return SELECT_AND_SCATTER(node.operands[0], t, zero if of_init is None else of_init, **node.attributes)


def _scatter_transpose(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node | None]:
    window = {key: node[key] for key in ("window_dimensions", "window_strides", "padding", "select")}
    source = SELECT_AND_GATHER(ct, node.operands[0], **window)
    return (None, source, reduce_add(ct, range(len(ct.shape))) if linear[2] else None)


def _flops(node: Node) -> Size:
    windows = node.operands[1] if node.op is SELECT_AND_SCATTER else node
    return windows.tensor.size * int(prod(node["window_dimensions"]))


SELECT_AND_SCATTER: Op = declare(
    "select_and_scatter", operands=3, infer=_infer_scatter, evaluate=_scatter,
    attributes=("window_dimensions", "window_strides", "padding", "select", "scatter"), jvp=_scatter_tangent,
    transpose=_scatter_transpose, flops=_flops)  # fmt: skip


# ---------------------------------------------------------------- select_and_gather


def _infer_gather(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    x, operand = tensor("select_and_gather", operands[0]), tensor("select_and_gather", operands[1], "selecting operand")
    counts = _check("select_and_gather", operand, attributes)
    if x != operand:
        raise ShapeError(f"select_and_gather: operand is {x}, what selects is {operand}; they must have one type")
    return x.with_shape(counts)


def _gather(node: Node, shape: tuple[int, ...], x: Array, operand: Array) -> Array:
    index, found = selected(node, operand, shape)
    x = spread(x, range(x.ndim), (1,) * x.ndim, node["padding"], x.dtype.type(0))
    out = np.zeros(shape, x.dtype)
    for number, offset in enumerate(product(*map(range, node["window_dimensions"]))):
        at = windows_at(offset, shape, node["window_strides"])
        out = np.where(found & (index == number), x[at], out)
    return out


def _gather_transpose(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node | None]:
    zero = constant(np.zeros((), ct.dtype.numpy), ct.dtype)
    return (SELECT_AND_SCATTER(node.operands[1], ct, zero, **node.attributes, scatter=body_of(ADD, ct.dtype)), None)


SELECT_AND_GATHER: Op = declare(
    "select_and_gather", operands=2, infer=_infer_gather, evaluate=_gather,
    attributes=("window_dimensions", "window_strides", "padding", "select"),
    jvp=(lambda t, n: SELECT_AND_GATHER(t, n.operands[1], **n.attributes), None),
    transpose=_gather_transpose, flops=_flops)  # fmt: skip
"""For each window the element of the first operand where the second is selected, 0 where the window is all padding: the
derivative of an extreme of windows. StableHLO says this with a reduce_window of pairs; JAX has it as
select_and_gather_add."""


def select_and_gather(x: Node, operand: Node, direction: str, *, window_dimensions: Sequence[int],
                      window_strides: Sequence[int], padding: Pairs) -> Node:  # fmt: skip
    return SELECT_AND_GATHER(x, operand, window_dimensions=tuple(window_dimensions), padding=tuple(padding),
                             window_strides=tuple(window_strides), select=select_of(direction, x.dtype))  # fmt: skip
