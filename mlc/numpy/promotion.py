"""Promotion: the element type that operands of different types meet in, and operands brought to one type and shape.

int + float is the float; f16 + bf16 is f32; Python numbers are weak: they take the other operand's type, unless its
kind is lower (i32 + 1.5 is f32). u64 with a signed type has no common type and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlc.errors import DTypeError, ShapeError
from mlc.ir.dims import Size
from mlc.ir.graph import broadcast_in_dim
from mlc.ir.graph.node import Node
from mlc.ir.types import BF16, BOOL, DTYPES, F16, F32, I64, DType, Shape, TensorType
from mlc.tracing.lift import as_node, describe
from mlc.tracing.tracer import Tracer, current_trace

from .source import written_operands

_KIND_ORDER = {"bool": 0, "uint": 1, "int": 1, "float": 2}


def promote_types(x: DType, y: DType) -> DType:
    """The smallest type that both convert to. Raises DTypeError for u64 with a signed type.

    Example:
        >>> from mlc.ir.types import BF16, F16, F32, I8, I64, U8
        >>> promote_types(I64, F16), promote_types(F16, BF16), promote_types(U8, I8)
        (f16, f32, i16)
    """
    if x == y:
        return x
    if _KIND_ORDER[x.kind] != _KIND_ORDER[y.kind]:
        return max(x, y, key=lambda t: _KIND_ORDER[t.kind])
    if x.kind == y.kind:
        return F32 if {x, y} == {F16, BF16} else max(x, y, key=lambda t: t.bits)
    signed, unsigned = (x, y) if x.kind == "int" else (y, x)
    if unsigned.bits < signed.bits:
        return signed
    if unsigned.bits == 64:
        raise DTypeError(f"{x} and {y} have no common element type",
                         hint="convert one of them, for example with .astype('i64')")  # fmt: skip
    return DTYPES[f"i{unsigned.bits * 2}"]


def common_type(described: Sequence[tuple[TensorType, bool]]) -> tuple[DType, bool]:
    """The element type of a result of operands (type, weak), and whether it is weak: where all operands are."""
    strong = [t.dtype for t, weak in described if not weak]
    weak = [t.dtype for t, weak in described if weak]
    if not strong:
        return _fold(weak), True
    dtype = _fold(strong)
    if weak:
        other = _fold(weak)
        if _KIND_ORDER[other.kind] > _KIND_ORDER[dtype.kind]:
            dtype = other if dtype != BOOL or other.is_float else I64
    return dtype, False


def promote(name: str, *operands: object, to_float: bool = False) -> tuple[list[Node], bool]:
    """The operands as nodes of one type and shape, and whether that is weak; ``to_float`` makes integers and bools f32.

    Raises ShapeError where the shapes do not broadcast.
    """
    described = [describe(x, f"{name}: operand") for x in operands]
    dtype, weak = common(name, described)
    if to_float and not dtype.is_float:
        dtype = F32
    nodes = [as_node(x, dtype, f"{name}: operand") for x in operands]
    if len(nodes) > 1:
        shape = broadcast_shapes(name, *[t for t, _ in described])
        nodes = [broadcast_node(n, shape) for n in nodes]
    return nodes, weak


def broadcast_shapes(name: str, *types: TensorType) -> Shape:
    """The shape that all broadcast to: from the last axis on sizes are equal or 1. Raises ShapeError otherwise."""
    first = types[0]
    if all(t.shape == first.shape for t in types):
        return first.shape
    rank = max(t.rank for t in types)
    shape: list[Size] = []
    for back in range(rank, 0, -1):
        size: Size = 1
        owner = first
        for t in types:
            n = t.shape[-back] if back <= t.rank else 1
            if n != 1 and size not in (1, n):
                raise _mismatch(name, owner, t, back)
            if n != 1:
                size, owner = n, t
        shape.append(size)
    return tuple(shape)


def broadcast_node(node: Node, shape: Shape) -> Node:
    """``node`` broadcast to ``shape`` by NumPy's rule, which must hold."""
    rank = len(node.shape)
    return broadcast_in_dim(node, shape, tuple(range(len(shape) - rank, len(shape))))


def wrap(node: Node, weak: bool = False) -> Tracer:
    """The tracer of a node in the active trace."""
    return Tracer(node, current_trace(), weak)


def common(name: str, described: Sequence[tuple[TensorType, bool]]) -> tuple[DType, bool]:
    try:
        return common_type(described)
    except DTypeError as error:
        types = ", ".join(f"{side} is {t}" for side, (t, _) in zip(_sides(len(described)), described, strict=True))
        error.message = f"{name}: {error.message}: {types}"
        raise


def _sides(count: int) -> list[str]:
    return ["lhs", "rhs"] if count == 2 else [f"operand {i}" for i in range(count)]


def _fold(types: Sequence[DType]) -> DType:
    result = types[0]
    for t in types[1:]:
        result = promote_types(result, t)
    return result


def _mismatch(name: str, lhs: TensorType, rhs: TensorType, back: int) -> ShapeError:
    i, j = lhs.rank - back, rhs.rank - back
    return ShapeError(
        f"{name}: shapes do not broadcast: lhs is {lhs}, rhs is {rhs};\n"
        f"lhs axis {i} has {lhs.shape[i]}, rhs axis {j} has {rhs.shape[j]}",
        hint=_broadcast_hint(name, lhs, rhs),
    )


def _broadcast_hint(name: str, lhs: TensorType, rhs: TensorType) -> str:
    """An expression that would broadcast, where one new axis at the end or a transpose gives one."""
    left, right = written_operands(name)
    small, large, word = (lhs, rhs, left) if lhs.rank < rhs.rank else (rhs, lhs, right)
    if small.rank < large.rank and small.rank > 0:
        grown = large.rank - small.rank
        if all(a in (1, b) or b == 1 for a, b in zip(small.shape, large.shape[: -grown or None], strict=False)):
            return f"did you mean {word}[..., {', '.join(['None'] * grown)}] ?"
    if lhs.rank == rhs.rank == 2 and lhs.shape == rhs.shape[::-1]:
        return f"did you mean {right}.T ?"
    return "sizes must be equal or 1, counted from the last axis; x[..., None] adds an axis of 1"
