"""Ops that make or move elements without computing: constants, iota, broadcasts, reshapes, slices, padding, joins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ShapeError
from ..dims import Dim, Size, bounds, size_product
from ..types import I64, DType, Shape, TensorType, ValueType, scalar
from .node import Literal, Node
from .op import Array, Op, declare, no_flops
from .typing import require_axes, require_dtype, require_kind, same_types, tensor

# ---------------------------------------------------------------- nullary


CONSTANT: Op = declare("constant", operands=0, infer=lambda operands, a: a["value"].type, attributes=("value",),
                   evaluate=lambda n, shape: n["value"].array, jvp=(), flops=no_flops)  # fmt: skip


def constant(value: Any, dtype: DType | None = None) -> Node:
    """The array or number ``value`` as a constant."""
    return CONSTANT(value=Literal(value, dtype))


def _infer_iota(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    require_axes("iota", (attributes["dimension"],), len(attributes["shape"]), "dimension")
    result = TensorType(attributes["shape"], attributes["dtype"])
    require_kind("iota", result, ("float", "int", "uint"))
    return result


def _iota(node: Node, shape: tuple[int, ...]) -> Array:
    axis = node["dimension"]
    line = np.arange(shape[axis]).astype(node.dtype.numpy)
    return np.broadcast_to(line.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape)


IOTA: Op = declare("iota", operands=0, infer=_infer_iota, attributes=("shape", "dtype", "dimension"),
               evaluate=_iota, jvp=(), flops=no_flops)  # fmt: skip

SIZE: Op = declare("size", operands=0, infer=lambda operands, a: scalar(I64), attributes=("value",),
               evaluate=lambda n, shape, *, sizes=None: np.int64(n["value"]), jvp=(), flops=no_flops)  # fmt: skip
"""A symbolic size as a value: what get_dimension_size of a symbolic axis becomes; it keeps no operand alive."""


def _infer_dimension_size(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    require_axes(
        "get_dimension_size", (attributes["dimension"],), tensor("get_dimension_size", operands[0]).rank, "dimension"
    )
    return scalar(I64)


GET_DIMENSION_SIZE: Op = declare(
    "get_dimension_size", operands=1, infer=_infer_dimension_size, attributes=("dimension",),
    evaluate=lambda n, shape, x: np.int64(x.shape[n["dimension"]]), jvp=(None,), flops=no_flops)  # fmt: skip

# ---------------------------------------------------------------- broadcast, reshape, transpose


def _infer_broadcast(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    operand = tensor("broadcast_in_dim", operands[0])
    shape, axes = attributes["shape"], attributes["dimensions"]
    result = TensorType(shape, operand.dtype)
    if len(axes) != operand.rank:
        raise ShapeError(f"broadcast_in_dim: {operand} has rank {operand.rank}, but {len(axes)} dimensions are named")
    require_axes("broadcast_in_dim", axes, len(shape), "dimensions")
    if list(axes) != sorted(axes):
        raise ShapeError(f"broadcast_in_dim: dimensions {list(axes)} are not in order")
    for i, axis in enumerate(axes):
        if operand.shape[i] != 1 and operand.shape[i] != shape[axis]:
            raise ShapeError(
                f"broadcast_in_dim: cannot broadcast {operand} to {result}: "
                f"operand axis {i} has {operand.shape[i]}, result axis {axis} has {shape[axis]}"
            )
    return result


def _broadcast(node: Node, shape: tuple[int, ...], x: Array) -> Array:
    view = [1] * len(shape)
    for i, axis in enumerate(node["dimensions"]):
        view[axis] = x.shape[i]
    return np.broadcast_to(x.reshape(view), shape)


def _broadcast_transpose(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node]:
    from .reduction import reduce_add

    operand, axes = node.operands[0], node["dimensions"]
    grown = [axis for i, axis in enumerate(axes) if operand.shape[i] == 1 and node.shape[axis] != 1]
    summed = reduce_add(ct, tuple(i for i in range(len(node.shape)) if i not in axes or i in grown))
    return (reshape(summed, operand.shape),)


BROADCAST_IN_DIM: Op = declare(
    "broadcast_in_dim", operands=1, infer=_infer_broadcast, attributes=("shape", "dimensions"), evaluate=_broadcast,
    jvp=(lambda t, n: BROADCAST_IN_DIM(t, **n.attributes),), transpose=_broadcast_transpose,
    flops=no_flops)  # fmt: skip


def broadcast_in_dim(x: Node, shape: Shape, dimensions: Sequence[int]) -> Node:
    """``x`` broadcast to ``shape``, its axis i becoming ``dimensions[i]``; ``x`` itself where nothing changes."""
    if x.shape == tuple(shape):
        return x
    return BROADCAST_IN_DIM(x, shape=tuple(shape), dimensions=tuple(dimensions))


def fill(value: float, type: TensorType) -> Node:
    """A tensor of this type with every element ``value``."""
    return broadcast_in_dim(constant(np.asarray(value).astype(type.dtype.numpy), type.dtype), type.shape, ())


def _infer_reshape(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    operand = tensor("reshape", operands[0])
    result = operand.with_shape(attributes["shape"])
    if operand.size != result.size:
        raise ShapeError(f"reshape: {operand} has {operand.size} elements, {result} has {result.size}")
    return result


RESHAPE: Op = declare(
    "reshape", operands=1, infer=_infer_reshape, attributes=("shape",), evaluate=lambda n, shape, x: x.reshape(shape),
    jvp=(lambda t, n: RESHAPE(t, shape=n["shape"]),),
    transpose=lambda ct, n, linear: (RESHAPE(ct, shape=n.operands[0].shape),), flops=no_flops)  # fmt: skip


def reshape(x: Node, shape: Shape) -> Node:
    return x if x.shape == tuple(shape) else RESHAPE(x, shape=tuple(shape))


def _infer_transpose(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    operand, axes = tensor("transpose", operands[0]), attributes["permutation"]
    require_axes("transpose", axes, operand.rank, "permutation")
    if len(axes) != operand.rank:
        raise ShapeError(f"transpose: permutation {list(axes)} does not name every axis of {operand}")
    return operand.with_shape(tuple(operand.shape[i] for i in axes))


def inverse_permutation(axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(axes)), key=lambda i: axes[i]))


TRANSPOSE: Op = declare(
    "transpose", operands=1, infer=_infer_transpose, attributes=("permutation",),
    evaluate=lambda n, shape, x: np.transpose(x, n["permutation"]),
    jvp=(lambda t, n: TRANSPOSE(t, permutation=n["permutation"]),),
    transpose=lambda ct, n, linear: (TRANSPOSE(ct, permutation=inverse_permutation(n["permutation"])),),
    flops=no_flops)  # fmt: skip

# ---------------------------------------------------------------- slice, pad, concatenate, reverse


def _infer_slice(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    operand = tensor("slice", operands[0])
    starts, limits, strides = attributes["start"], attributes["limit"], attributes["strides"]
    if not len(starts) == len(limits) == len(strides) == operand.rank:
        raise ShapeError(f"slice: {operand} needs {operand.rank} starts, limits and strides")
    shape: list[Size] = []
    for axis, (start, limit, stride) in enumerate(zip(starts, limits, strides, strict=True)):
        n = operand.shape[axis]
        symbolic = isinstance(n, Dim) or isinstance(limit, Dim)
        if isinstance(start, Dim):
            raise ShapeError(f"slice: axis {axis} of {operand} cannot be taken from the symbolic place {start} on")
        if symbolic and stride != 1:
            raise ShapeError(f"slice: axis {axis} of {operand} is symbolic and can only be taken in steps of 1")
        if start < 0 or stride < 1 or bounds(limit - start)[0] < 0 or bounds(n - limit)[0] < 0:
            raise ShapeError(f"slice: {start}:{limit}:{stride} is outside axis {axis} of {operand}")
        shape.append(limit - start if symbolic else -(-(limit - start) // stride))
    return operand.with_shape(tuple(shape))


def _slice(node: Node, shape: tuple[int, ...], x: Array) -> Array:
    return x[tuple(
        slice(a, a + n) if isinstance(limit, Dim) else slice(a, limit, s)
        for a, limit, s, n in zip(node["start"], node["limit"], node["strides"], shape, strict=True)
    )]  # fmt: skip


def _slice_transpose(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node]:
    operand = node.operands[0]
    low, high, interior = [], [], []
    for axis, (start, stride) in enumerate(zip(node["start"], node["strides"], strict=True)):
        whole, have = operand.shape[axis], ct.shape[axis]
        used: Size = start + have if stride == 1 else start + (have - 1) * stride + 1 if have else start
        low.append(start)
        high.append(whole - used)
        interior.append(stride - 1)
    zero = constant(np.zeros((), ct.dtype.numpy), ct.dtype)
    return (PAD(ct, zero, low=tuple(low), high=tuple(high), interior=tuple(interior)),)


SLICE: Op = declare(
    "slice", operands=1, infer=_infer_slice, attributes=("start", "limit", "strides"), evaluate=_slice,
    jvp=(lambda t, n: SLICE(t, **n.attributes),), transpose=_slice_transpose, flops=no_flops)  # fmt: skip


def _infer_pad(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    operand, value = tensor("pad", operands[0]), tensor("pad", operands[1], "padding value")
    require_dtype("pad", value, operand.dtype, "padding value")
    if value.rank != 0:
        raise ShapeError(f"pad: padding value is {value}, not a scalar")
    low, high, interior = attributes["low"], attributes["high"], attributes["interior"]
    if not len(low) == len(high) == len(interior) == operand.rank or any(i < 0 for i in interior):
        raise ShapeError(f"pad: {operand} needs {operand.rank} low, high and (not negative) interior paddings")
    shape: list[Size] = []
    for n, a, b, i in zip(operand.shape, low, high, interior, strict=True):
        if i and isinstance(n, Dim) and n.bounds[0] < 1:
            raise ShapeError(f"pad: interior padding of {operand} needs sizes of at least 1, and {n} can be 0")
        total = _spread(n, i) + (a + b)
        if bounds(total)[0] < 0:
            raise ShapeError(f"pad: a negative padding can leave {bounds(total)[0]} elements of {operand}")
        shape.append(total)
    return operand.with_shape(tuple(shape))


def _spread(n: Size, interior: int) -> Size:
    """A size with ``interior`` elements between any two."""
    return n + (max(n - 1, 0) if isinstance(n, int) else n - 1) * interior


def _pad(node: Node, shape: tuple[int, ...], x: Array, value: Array) -> Array:
    spread = np.full([n + max(n - 1, 0) * i for n, i in zip(x.shape, node["interior"], strict=True)], value, x.dtype)
    spread[tuple(slice(None, None, i + 1) for i in node["interior"])] = x
    high = [n - a - m for n, a, m in zip(shape, node["low"], spread.shape, strict=True)]  # in numbers
    widths = [(max(a, 0), max(b, 0)) for a, b in zip(node["low"], high, strict=True)]
    padded = np.pad(spread, widths, constant_values=value) if widths else spread
    cut = [slice(max(-a, 0), n - max(-b, 0)) for a, b, n in zip(node["low"], high, padded.shape, strict=True)]
    return padded[tuple(cut)]


def _pad_transpose(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node | None]:
    from .elementwise import SUBTRACT
    from .reduction import reduce_add

    operand = node.operands[0]
    low, high, interior = node["low"], node["high"], node["interior"]
    if any(a < 0 or b < 0 for a, b in zip(low, high, strict=True)):
        grown = PAD(ct, constant(np.zeros((), ct.dtype.numpy), ct.dtype), low=tuple(max(-a, 0) for a in low),
                    high=tuple(max(-b, 0) for b in high), interior=(0,) * len(low))  # fmt: skip
    else:
        grown = ct
    start = tuple(max(a, 0) for a in low)
    limit = tuple(n if n == grown.shape[i] else a + _spread(n, k)
                  for i, (a, n, k) in enumerate(zip(start, operand.shape, interior, strict=True)))  # fmt: skip
    inner = SLICE(grown, start=start, limit=limit, strides=tuple(i + 1 for i in interior))
    every = tuple(range(len(low)))
    value = SUBTRACT(reduce_add(ct, every), reduce_add(inner, every)) if linear[1] else None
    return (inner if linear[0] else None, value)


def _pad_tangent(node: Node, tangents: Sequence[Node | None]) -> Node | None:
    x, value = tangents
    if x is None and value is None:
        return None
    x = x if x is not None else fill(0.0, node.operands[0].tensor)
    value = value if value is not None else fill(0.0, node.operands[1].tensor)
    return PAD(x, value, **node.attributes)


PAD: Op = declare("pad", operands=2, infer=_infer_pad, attributes=("low", "high", "interior"), evaluate=_pad,
              jvp=_pad_tangent, transpose=_pad_transpose, flops=no_flops)  # fmt: skip


def _infer_concatenate(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    types = [tensor("concatenate", o) for o in operands]
    if not types:
        raise ShapeError("concatenate: needs at least one operand")
    axis, first = attributes["dimension"], types[0]
    require_axes("concatenate", (axis,), first.rank, "dimension")
    total: Size = 0
    for t in types:
        same_types("concatenate", [first.with_shape(()), t.with_shape(())])
        if t.rank != first.rank or any(
            a != b for i, (a, b) in enumerate(zip(first.shape, t.shape, strict=True)) if i != axis
        ):
            raise ShapeError(f"concatenate: {first} and {t} differ outside axis {axis}")
        total = total + t.shape[axis]
    return first.with_shape((*first.shape[:axis], total, *first.shape[axis + 1 :]))


def _concatenate_tangent(node: Node, tangents: Sequence[Node | None]) -> Node | None:
    if all(t is None for t in tangents):
        return None
    filled = [t if t is not None else fill(0.0, o.tensor) for t, o in zip(tangents, node.operands, strict=True)]
    return CONCATENATE(*filled, dimension=node["dimension"])


def _concatenate_transpose(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node | None]:
    axis, begin = node["dimension"], 0
    parts: list[Node | None] = []
    for operand, wanted in zip(node.operands, linear, strict=True):
        n = operand.shape[axis]
        start = tuple(begin if i == axis else 0 for i in range(len(ct.shape)))
        limit = tuple(begin + n if i == axis else ct.shape[i] for i in range(len(ct.shape)))
        parts.append(SLICE(ct, start=start, limit=limit, strides=(1,) * len(start)) if wanted else None)
        begin = begin + n
    return parts


CONCATENATE: Op = declare(
    "concatenate", operands=None, infer=_infer_concatenate, attributes=("dimension",),
    evaluate=lambda n, shape, *xs: np.concatenate(xs, axis=n["dimension"]),
    jvp=_concatenate_tangent, transpose=_concatenate_transpose, flops=no_flops)  # fmt: skip


def _infer_reverse(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    operand = tensor("reverse", operands[0])
    require_axes("reverse", attributes["dimensions"], operand.rank, "dimensions")
    return operand


REVERSE: Op = declare(
    "reverse", operands=1, infer=_infer_reverse, attributes=("dimensions",),
    evaluate=lambda n, shape, x: np.flip(x, n["dimensions"]) if n["dimensions"] else x,
    jvp=(lambda t, n: REVERSE(t, **n.attributes),),
    transpose=lambda ct, n, linear: (REVERSE(ct, **n.attributes),), flops=no_flops)  # fmt: skip


def size_value(size: Size) -> Node:
    """A size as an i64 scalar: a constant, or SIZE where it is symbolic."""
    return SIZE(value=size) if isinstance(size, Dim) else constant(np.int64(size), I64)


__all__ = [
    "BROADCAST_IN_DIM", "CONCATENATE", "CONSTANT", "GET_DIMENSION_SIZE", "IOTA", "PAD", "RESHAPE", "REVERSE", "SIZE",
    "SLICE", "TRANSPOSE", "broadcast_in_dim", "constant", "fill", "inverse_permutation", "reshape", "size_product",
    "size_value",
]  # fmt: skip
