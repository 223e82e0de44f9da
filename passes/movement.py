"""Identities of ops that move elements or change their type: a move of a move is one, an idle one is none."""

from __future__ import annotations

from mlc.ir.dims import bounds
from mlc.ir.graph import (
    ABS,
    AND,
    BROADCAST_IN_DIM,
    CONCATENATE,
    CONSTANT,
    CONVERT,
    DYNAMIC_SLICE,
    MAXIMUM,
    MINIMUM,
    NEGATE,
    NOT,
    OR,
    PAD,
    REDUCE,
    RESHAPE,
    REVERSE,
    SELECT,
    SLICE,
    TRANSPOSE,
    Node,
    broadcast_in_dim,
    reducer_of,
    reshape,
)  # fmt: skip
from mlc.ir.types import BOOL, DType

from .rewrite import Rule, of


@of(SLICE)
def slice_of_slice(n: Node) -> Node | None:
    inner = n.operands[0]
    if inner.op is not SLICE:
        return None
    start = tuple(a + b * s if size else a for a, b, s, size in
                  zip(inner["start"], n["start"], inner["strides"], n.shape, strict=True))  # fmt: skip
    limit = tuple(a + (b - 1) * s + 1 if size else a for a, b, s, size in
                  zip(inner["start"], n["limit"], inner["strides"], n.shape, strict=True))  # fmt: skip
    strides = tuple(a * b for a, b in zip(inner["strides"], n["strides"], strict=True))
    return SLICE(inner.operands[0], start=start, limit=limit, strides=strides)


@of(SLICE)
def slice_of_concatenate(n: Node) -> Node | None:
    """A slice that lies in one operand of a concatenate is a slice of it."""
    joined = n.operands[0]
    if joined.op is not CONCATENATE or 0 in n.shape:
        return None
    axis, begin = joined["dimension"], 0
    start, limit = n["start"][axis], n["limit"][axis]
    for operand in joined.operands:
        size = operand.shape[axis]
        if not all(isinstance(x, int) for x in (size, start, limit)):
            return None
        if begin <= start and limit <= begin + size:
            moved = {k: (*n[k][:axis], n[k][axis] - begin, *n[k][axis + 1 :]) for k in ("start", "limit")}
            return SLICE(operand, **moved, strides=n["strides"])
        begin += size
    return None


@of(CONCATENATE)
def flat_concatenate(n: Node) -> Node | None:
    """concatenate(x) -> x; one inside of another along the same axis is opened; empty operands are left out."""
    axis = n["dimension"]
    found: list[Node] = []
    for o in n.operands:
        found += o.operands if o.op is CONCATENATE and o["dimension"] == axis else (o,)
    kept = [o for o in found if o.shape[axis] != 0] or found[:1]
    if len(kept) == 1:
        return kept[0]
    return None if kept == list(n.operands) else CONCATENATE(*kept, dimension=axis)


@of(PAD)
def pad_nothing(n: Node) -> Node | None:
    if not any((*n["low"], *n["high"], *n["interior"])):
        return n.operands[0]
    return None


@of(REVERSE)
def reverse_of_reverse(n: Node) -> Node | None:
    inner = n.operands[0]
    if inner.op is not REVERSE:
        return None
    left = tuple(sorted(set(n["dimensions"]) ^ set(inner["dimensions"])))
    return REVERSE(inner.operands[0], dimensions=left) if left else inner.operands[0]


@of(REVERSE)
def reverse_of_one(n: Node) -> Node | None:
    """An axis of one element reads the same backwards."""
    left = tuple(a for a in n["dimensions"] if n.shape[a] != 1)
    if left == n["dimensions"]:
        return None
    return REVERSE(n.operands[0], dimensions=left) if left else n.operands[0]


@of(TRANSPOSE)
def transpose_of_ones(n: Node) -> Node | None:
    """A transpose that moves axes of size 1 only is a reshape: it moves no element."""
    moved = [a for a in n["permutation"] if n.operands[0].shape[a] != 1]
    return reshape(n.operands[0], n.shape) if moved == sorted(moved) and len(moved) < len(n.shape) else None


@of(TRANSPOSE)
def transpose_of_broadcast(n: Node) -> Node | None:
    """A transposed broadcast is a broadcast, where the operand's own axes stay in order."""
    inner = n.operands[0]
    if inner.op is not BROADCAST_IN_DIM:
        return None
    axes = tuple(n["permutation"].index(d) for d in inner["dimensions"])
    return broadcast_in_dim(inner.operands[0], n.shape, axes) if list(axes) == sorted(axes) else None


@of(DYNAMIC_SLICE)
def slice_at_constants(n: Node) -> Node | None:
    """dynamic_slice at known places -> slice; starts are moved inside as the op does."""
    x, *starts = n.operands
    if not all(o.op is CONSTANT for o in starts) or not all(isinstance(s, int) for s in (*x.shape, *n.shape)):
        return None
    first = [int(o["value"].array) for o in starts]
    start = tuple(min(max(a, 0), whole - size) for a, whole, size in zip(first, x.shape, n.shape, strict=True))
    limit = tuple(a + size for a, size in zip(start, n.shape, strict=True))
    return SLICE(x, start=start, limit=limit, strides=(1,) * len(start))


@of(REDUCE)
def reduce_of_broadcast(n: Node) -> Node | None:
    """The largest, smallest, all or any of an element repeated is the element: repeated axes need no fold."""
    inner = n.operands[0]
    if inner.op is not BROADCAST_IN_DIM or reducer_of(n["body"]) not in (MAXIMUM, MINIMUM, AND, OR):
        return None
    own = {d for d, size in zip(inner["dimensions"], inner.operands[0].shape, strict=True) if size == inner.shape[d]}
    gone = [d for d in n["dimensions"] if d not in own and bounds(inner.shape[d])[0] > 0]
    if not gone:
        return None
    left = [d for d in range(len(inner.shape)) if d not in gone]
    source, axes = inner.operands[0], []
    kept = [i for i, d in enumerate(inner["dimensions"]) if d not in gone]
    source = reshape(source, tuple(source.shape[i] for i in kept))
    axes = [left.index(inner["dimensions"][i]) for i in kept]
    spread = broadcast_in_dim(source, tuple(inner.shape[d] for d in left), tuple(axes))
    dimensions = tuple(left.index(d) for d in n["dimensions"] if d in left)
    return REDUCE(spread, n.operands[1], dimensions=dimensions, body=n["body"])


@of(REDUCE)
def reduce_nothing(n: Node) -> Node | None:
    """A fold over no axis, or over axes of one element, is its op with the initial value."""
    if any(n.operands[0].shape[d] != 1 for d in n["dimensions"]):
        return None
    return reducer_of(n["body"])(reshape(n.operands[0], n.shape), broadcast_in_dim(n.operands[1], n.shape, ()))


# ---------------------------------------------------------------- types and truth values


@of(CONVERT)
def convert_of_convert(n: Node) -> Node | None:
    """convert(convert(x)) -> convert(x) where the first changed no value and both read it alike."""
    inner = n.operands[0]
    if inner.op is not CONVERT:
        return None
    first, middle, last = inner.operands[0].dtype, inner.dtype, n.dtype
    alike = first.is_float == middle.is_float == last.is_float and BOOL not in (middle, last)
    return CONVERT(inner.operands[0], dtype=last) if alike and holds_all(middle, first) else None


def holds_all(wide: DType, narrow: DType) -> bool:
    """Whether every value of ``narrow`` is one of ``wide``; both are floats, or neither is."""
    if wide == narrow:
        return True
    if wide.is_float:
        return wide.bits > narrow.bits
    if narrow == BOOL:
        return wide != BOOL
    return wide.bits > narrow.bits and (wide.kind == narrow.kind or narrow.kind == "uint")


@of(NOT)
def double_not(n: Node) -> Node | None:
    return n.operands[0].operands[0] if n.operands[0].op is NOT else None


@of(SELECT)
def select_of_not(n: Node) -> Node | None:
    """select(not p, x, y) -> select(p, y, x)."""
    p, x, y = n.operands
    return SELECT(p.operands[0], y, x) if p.op is NOT else None


@of(ABS)
def magnitude(n: Node) -> Node | None:
    """abs(abs(x)) -> abs(x); abs(-x) -> abs(x)."""
    inner = n.operands[0]
    if inner.op is ABS:
        return inner
    return ABS(inner.operands[0]) if inner.op is NEGATE else None


@of(AND, OR)
def same_bits(n: Node) -> Node | None:
    """x and x -> x; x or x -> x."""
    return n.operands[0] if n.operands[0] is n.operands[1] else None


@of(RESHAPE)
def reshape_of_broadcast_of_ones(n: Node) -> Node | None:
    """A reshape that takes away axes of size 1 that a broadcast made is a broadcast."""
    inner = n.operands[0]
    if inner.op is not BROADCAST_IN_DIM:
        return None
    kept = [d for d, size in enumerate(inner.shape) if size != 1 or d in inner["dimensions"]]
    if len(kept) == len(inner.shape) or tuple(inner.shape[d] for d in kept) != n.shape:
        return None
    return broadcast_in_dim(inner.operands[0], n.shape, tuple(kept.index(d) for d in inner["dimensions"]))


MOVEMENT: tuple[Rule, ...] = (
    slice_of_slice, slice_of_concatenate, flat_concatenate, pad_nothing, reverse_of_reverse, reverse_of_one,
    transpose_of_ones, transpose_of_broadcast, slice_at_constants, reduce_of_broadcast, reduce_nothing,
    convert_of_convert, double_not, select_of_not, magnitude, same_bits, reshape_of_broadcast_of_ones,
)  # fmt: skip
