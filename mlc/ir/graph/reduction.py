"""reduce: folds axes with a small closed graph, the body, starting from an initial value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ShapeError, UnsupportedError
from .. import extremes
from ..dims import Size, size_product
from ..types import DType, TensorType, ValueType, scalar
from .elementwise import ADD, AND, COMPARE, CONVERT, DIVIDE, MAXIMUM, MINIMUM, MULTIPLY, OR, SELECT, XOR
from .node import Graph, Literal, Node, Table
from .op import Array, Op, declare, dtype_cast
from .shape import CONCATENATE, CONSTANT, SLICE, TRANSPOSE, broadcast_in_dim, constant, fill, reshape
from .typing import require_axes, require_dtype, tensor

REDUCERS: tuple[Op, ...] = (ADD, MULTIPLY, MAXIMUM, MINIMUM, AND, OR, XOR)
UFUNCS: dict[str, Any] = {"multiply": np.multiply, "maximum": extremes.maximum, "minimum": extremes.minimum,
                           "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}  # fmt: skip
_BODIES: dict[tuple[str, DType], Graph] = {}


def body_of(op: Op, dtype: DType) -> Graph:
    """The body that folds scalars of ``dtype`` with one binary op."""
    body = _BODIES.get((op.name, dtype))
    if body is None:
        table = Table()
        with table.active():
            x, y = table.parameter(scalar(dtype)), table.parameter(scalar(dtype))
            body = Graph(op.name, (x, y), (op(x, y),), table)
        _BODIES[op.name, dtype] = body
    return body


def reducer_of(body: Graph) -> Op:
    """The one binary op that ``body`` applies. Raises UnsupportedError for any other body."""
    if (
        len(body.results) == 1
        and body.results[0].op in REDUCERS
        and set(body.results[0].operands) == set(body.parameters)
    ):
        return body.results[0].op
    raise UnsupportedError("reduce: the body is not a single add, multiply, maximum, minimum, and, or or xor")


def _infer(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    operand, init = tensor("reduce", operands[0]), tensor("reduce", operands[1], "initial value")
    axes = attributes["dimensions"]
    require_axes("reduce", axes, operand.rank, "dimensions")
    require_dtype("reduce", init, operand.dtype, "initial value")
    if init.rank != 0:
        raise ShapeError(f"reduce: initial value is {init}, not a scalar")
    body = attributes["body"]
    want = scalar(operand.dtype)
    if [p.type for p in body.parameters] != [want, want] or [r.type for r in body.results] != [want]:
        raise ShapeError(f"reduce: the body must take two {want} and give one")
    return operand.with_shape(tuple(n for i, n in enumerate(operand.shape) if i not in axes))


def _evaluate(node: Node, shape: tuple[int, ...], x: Array, init: Array) -> Array:
    """Floats are summed in f64 and rounded once, so that a compiled order is compared with the exact value."""
    op, axes = reducer_of(node["body"]), node["dimensions"]
    with np.errstate(all="ignore"):
        if op is ADD:
            wide = x.astype(np.float64 if node.dtype.is_float else x.dtype)
            out = np.any(x, axis=axes) | init if x.dtype == bool else wide.sum(axis=axes, dtype=wide.dtype) + init
        else:
            ufunc = np.logical_and if op is MULTIPLY and x.dtype == bool else UFUNCS[op.name]
            wide = x.astype(np.float64) if op is MULTIPLY and node.dtype.is_float else x
            out = wide
            for axis in sorted(axes, reverse=True):
                out = (
                    ufunc.reduce(out, axis=axis)
                    if out.shape[axis]
                    else np.broadcast_to(identity_of(op, node.dtype), out.shape[:axis] + out.shape[axis + 1 :])
                )
            out = ufunc(out, init)
        return dtype_cast(out, node).reshape(shape)


def _kept(node: Node) -> tuple[int, ...]:
    return tuple(i for i in range(len(node.operands[0].shape)) if i not in node["dimensions"])


def _expand(x: Node, node: Node) -> Node:
    """A value of the result's shape back over the operand's."""
    return broadcast_in_dim(x, node.operands[0].shape, _kept(node))


def _tangent(node: Node, tangents: Sequence[Node | None]) -> Node | None:
    """That of op(fold from the identity, initial value): what a start adds to a fold, it adds at its end."""
    op, init = reducer_of(node["body"]), node.operands[1]
    if init.op is CONSTANT and init["value"] == Literal(identity_of(op, node.dtype), node.dtype):
        return _fold_tangent(node, tangents[0])
    folded = reduce_with(op, node.operands[0], node["dimensions"])
    start = broadcast_in_dim(init, node.shape, ())
    whole = op(folded, start)
    of_fold = tangents[0] if folded is node.operands[0] else _fold_tangent(folded, tangents[0])
    of_start = None if tangents[1] is None else broadcast_in_dim(tangents[1], node.shape, ())
    rules = op.jvp if isinstance(op.jvp, tuple) else ()
    found = zip(rules, (of_fold, of_start), strict=False)
    parts = [rule(t, whole) for rule, t in found if rule is not None and t is not None]
    return ADD(*parts) if len(parts) == 2 else next(iter(parts), None)


def _fold_tangent(node: Node, t: Node | None) -> Node | None:
    op, x = reducer_of(node["body"]), node.operands[0]
    if t is None or any(x.shape[i] == 0 for i in node["dimensions"]):
        return None
    if op is ADD:
        return reduce_add(t, node["dimensions"])
    if op in (MAXIMUM, MINIMUM):  # the mean of the tangents where the operand is the extreme, as JAX
        at = CONVERT(COMPARE(x, _expand(node, node), direction="EQ"), dtype=x.dtype)
        return DIVIDE(reduce_add(MULTIPLY(t, at), node["dimensions"]), reduce_add(at, node["dimensions"]))
    if op is MULTIPLY:
        if all(isinstance(x.shape[i], int) for i in node["dimensions"]):
            return _product_tangent(node, t)
        return reduce_add(MULTIPLY(t, _product_of_others(node)), node["dimensions"])
    return None


def _product_tangent(node: Node, t: Node) -> Node:
    """By halves: d(ab) = da b + a db of two halves of the fold, until one is left. No zero is divided by, so that the
    derivative of this is right as well, of any order."""
    x, folded = node.operands[0], sorted(node["dimensions"])
    kept = [i for i in range(len(x.shape)) if i not in folded]
    order, left = (*folded, *kept), tuple(x.shape[i] for i in kept)
    flat = (size_product([x.shape[i] for i in folded]), *left)
    p, t = (reshape(TRANSPOSE(y, permutation=order), flat) for y in (x, t))
    while (n := p.shape[0]) != 1:
        assert isinstance(n, int)
        (a, b), (da, db) = ([_rows(y, i * (n // 2), n // 2) for i in range(2)] for y in (p, t))
        last = n // 2 * 2
        product, tangent = MULTIPLY(a, b), ADD(MULTIPLY(da, b), MULTIPLY(a, db))
        p = CONCATENATE(product, _rows(p, last, n - last), dimension=0) if n > last else product
        t = CONCATENATE(tangent, _rows(t, last, n - last), dimension=0) if n > last else tangent
    return reshape(t, node.shape)


def _rows(x: Node, start: int, count: int) -> Node:
    low, high = (0,) * len(x.shape), x.shape[1:]
    return SLICE(x, start=(start, *low[1:]), limit=(start + count, *high), strides=(1,) * len(x.shape))


def _product_of_others(node: Node) -> Node:
    """For each element, the product of all the others of its fold; right with zeros: none, one or several.

    Its own derivative takes the zeros for constants: it serves symbolic sizes, whose halves have none.
    """
    x, axes = node.operands[0], node["dimensions"]
    zero = COMPARE(x, fill(0.0, x.tensor), direction="EQ")
    safe = SELECT(zero, fill(1.0, x.tensor), x)
    others = DIVIDE(_expand(reduce_with(MULTIPLY, safe, axes), node), safe)
    count = _expand(reduce_add(CONVERT(zero, dtype=x.dtype), axes), node)
    none = COMPARE(count, fill(0.0, x.tensor), direction="EQ")
    alone = COMPARE(SELECT(zero, count, fill(0.0, x.tensor)), fill(1.0, x.tensor), direction="EQ")
    return SELECT(OR(none, alone), others, fill(0.0, x.tensor))


def _transpose(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node | None]:
    return (_expand(ct, node), None)


def _flops(node: Node) -> Size:
    return node.operands[0].tensor.size


REDUCE: Op = declare("reduce", operands=2, infer=_infer, attributes=("dimensions", "body"), evaluate=_evaluate,
                 jvp=_tangent, transpose=_transpose, flops=_flops)  # fmt: skip


def identity_of(op: Op, dtype: DType) -> Array:
    """The value that ``op`` leaves others unchanged by."""
    if op in (ADD, OR, XOR):
        value: Any = 0
    elif op is MULTIPLY:
        value = 1
    elif op is AND:
        value = True if dtype.kind == "bool" else (-1 if dtype.kind == "int" else dtype.limits[1])
    elif dtype.kind == "bool":
        value = op is MINIMUM
    elif dtype.is_float:
        value = -np.inf if op is MAXIMUM else np.inf
    else:
        value = dtype.limits[0] if op is MAXIMUM else dtype.limits[1]
    return np.asarray(value).astype(dtype.numpy)


def reduce_with(op: Op, x: Node, dimensions: Sequence[int]) -> Node:
    """Fold the axes ``dimensions`` of ``x`` with ``op``, starting from its identity."""
    if not dimensions:
        return x
    return REDUCE(
        x, constant(identity_of(op, x.dtype), x.dtype), dimensions=tuple(sorted(dimensions)), body=body_of(op, x.dtype)
    )


def reduce_add(x: Node, dimensions: Sequence[int]) -> Node:
    return reduce_with(ADD, x, dimensions)
