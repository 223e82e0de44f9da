"""Algebraic identities that never make a graph larger and never change a bit of its results."""

from __future__ import annotations

import math

import numpy as np

from mlc.ir.graph import (
    ADD,
    AND,
    BROADCAST_IN_DIM,
    COMPARE,
    CONSTANT,
    CONVERT,
    DIVIDE,
    DOT_GENERAL,
    GET_DIMENSION_SIZE,
    MAXIMUM,
    MINIMUM,
    MULTIPLY,
    NEGATE,
    OPS,
    OR,
    POWER,
    REDUCE,
    RESHAPE,
    REVERSE,
    SELECT,
    SLICE,
    SUBTRACT,
    TRANSPOSE,
    XOR,
    Graph,
    Node,
    constant,
    free_axes,
    full_like,
    identity_of,
    inverse_permutation,
    reshape,
    size_value,
)  # fmt: skip
from mlc.ir.graph.shape import broadcast_in_dim
from mlc.ir.types import Shape

from .folding import fold_constants
from .identities import IDENTITIES, scalar_value
from .movement import MOVEMENT
from .rewrite import Rule, of, rewrite

ELEMENTWISE = tuple(op for op in OPS.values() if op.elementwise)
COMMUTATIVE = tuple(op for op in OPS.values() if op.commutative)


def simplify(graph: Graph) -> Graph:
    return rewrite(graph, RULES)


def is_filled(node: Node, value: float) -> bool:
    """Every element is ``value``; 0.0 does not match -0.0."""
    found = scalar_value(node)
    return found is not None and found == value and math.copysign(1, found) == math.copysign(1, value)


# ---------------------------------------------------------------- arithmetic


@of(*COMMUTATIVE)
def constant_to_the_right(n: Node) -> Node | None:
    """c + x -> x + c, so that the rules below look at one side."""
    if n.op.commutative and not _is_extreme(n) and _is_number(n.operands[0]) and not _is_number(n.operands[1]):
        return n.op(n.operands[1], n.operands[0], **n.attributes)
    return None


@of(MAXIMUM, MINIMUM)
def constant_first_in_extreme(n: Node) -> Node | None:
    """max(x, c) -> max(c, x), min likewise: vector units give the second operand where one is NaN, which is then right.

    A constant that is NaN is first too. Which zero max(-0, 0) is, no order says.
    """
    if _is_extreme(n) and _is_number(n.operands[1]) and not _is_number(n.operands[0]):
        return n.op(n.operands[1], n.operands[0])
    return None


def _is_extreme(n: Node) -> bool:
    return n.op in (MAXIMUM, MINIMUM) and n.dtype.is_float


def _is_number(n: Node) -> bool:
    return scalar_value(n) is not None


@of(MULTIPLY, DIVIDE)
def multiply_by_one(n: Node) -> Node | None:
    """x * 1 -> x and x / 1 -> x. Exact; x + 0.0 is not, since -0.0 + 0.0 is 0.0."""
    if n.op in (MULTIPLY, DIVIDE) and n.dtype.kind != "bool" and is_filled(n.operands[1], 1):
        return n.operands[0]
    return None


@of(ADD, SUBTRACT)
def add_nothing(n: Node) -> Node | None:
    """x - 0 -> x, x + -0.0 -> x, and x + 0 -> x for integers."""
    if n.op is SUBTRACT and is_filled(n.operands[1], 0.0):
        return n.operands[0]
    if n.op is ADD and is_filled(n.operands[1], -0.0 if n.dtype.is_float else 0):
        return n.operands[0]
    return None


@of(MULTIPLY)
def integer_multiply_by_zero(n: Node) -> Node | None:
    """x * 0 -> 0 for integers; a float may be NaN, infinite or negative."""
    if n.op is MULTIPLY and n.dtype.is_integer and is_filled(n.operands[1], 0):
        return n.operands[1]
    return None


@of(DIVIDE)
def divide_by_power_of_two(n: Node) -> Node | None:
    """x / 2^k -> x * 2^-k where both are normal: multiplication is faster and exact."""
    if n.op is not DIVIDE or not n.dtype.is_float:
        return None
    value = scalar_value(n.operands[1])
    if value is None or value == 0 or not math.isfinite(value) or abs(math.frexp(value)[0]) != 0.5:
        return None
    if not 2.0**-100 <= abs(value) <= 2.0**100 or n.dtype.bits < 32:
        return None
    return MULTIPLY(n.operands[0], full_like(n, 1.0 / value))


@of(POWER)
def square(n: Node) -> Node | None:
    """x ** 2 -> x * x and x ** 1 -> x."""
    if n.op is POWER and is_filled(n.operands[1], 2):
        return MULTIPLY(n.operands[0], n.operands[0])
    if n.op is POWER and is_filled(n.operands[1], 1):
        return n.operands[0]
    return None


@of(NEGATE, ADD, SUBTRACT)
def double_negate(n: Node) -> Node | None:
    """-(-x) -> x; x + -y -> x - y; x - -y -> x + y."""
    if n.op is NEGATE and n.operands[0].op is NEGATE:
        return n.operands[0].operands[0]
    if n.op is ADD and n.dtype.kind != "bool" and n.operands[1].op is NEGATE:
        return SUBTRACT(n.operands[0], n.operands[1].operands[0])
    if n.op is SUBTRACT and n.operands[1].op is NEGATE:
        return ADD(n.operands[0], n.operands[1].operands[0])
    return None


@of(MAXIMUM, MINIMUM, SELECT)
def same_operands(n: Node) -> Node | None:
    """max(x, x), min(x, x), select(p, x, x) -> x."""
    if n.op in (MAXIMUM, MINIMUM) and n.operands[0] is n.operands[1]:
        return n.operands[0]
    if n.op is SELECT and n.operands[1] is n.operands[2]:
        return n.operands[1]
    return None


@of(MAXIMUM, MINIMUM, AND, OR, XOR)
def nothing_to_combine(n: Node) -> Node | None:
    """max(-inf, x) -> x, x and true -> x, x or 0 -> x: what a fold of the op starts from changes nothing."""
    identity = identity_of(n.op, n.dtype)
    for one, other in (n.operands, n.operands[::-1]):
        if _is_number(one) and scalar_value(one) == identity.item():
            return other
    return None


@of(SELECT)
def decided_select(n: Node) -> Node | None:
    """select of a constant predicate is its branch."""
    if n.op is SELECT:
        value = scalar_value(n.operands[0])
        if value is not None:
            return n.operands[1] if value else n.operands[2]
    return None


@of(CONVERT)
def same_convert(n: Node) -> Node | None:
    if n.op is CONVERT and n.dtype == n.operands[0].dtype:
        return n.operands[0]
    return None


@of(*ELEMENTWISE)
def fold_scalar(n: Node) -> Node | None:
    """An elementwise op of constant scalars is a constant scalar."""
    if not n.op.elementwise or n.shape != () or not all(o.op is CONSTANT for o in n.operands):
        return None
    return constant(n.op.evaluate(n, (), *(o["value"].array for o in n.operands)), n.dtype)


@of(*ELEMENTWISE)
def broadcast_last(n: Node) -> Node | None:
    """op(broadcast(a), broadcast(b)) of scalars -> broadcast(op(a, b)): computed once, not for every element."""
    if not n.op.elementwise or n.shape == () or not n.operands:
        return None
    if not all(o.op is BROADCAST_IN_DIM and o.operands[0].shape == () for o in n.operands):
        return None
    return broadcast_in_dim(n.op(*(o.operands[0] for o in n.operands), **n.attributes), n.shape, ())


@of(*ELEMENTWISE)
def reshape_last(n: Node) -> Node | None:
    """op(reshape(a), reshape(b)) that only add axes of size 1 -> reshape(op(a, b)): what keepdims leaves then vanishes.

    Numbers may stand among the operands.
    """
    if not n.op.elementwise or not any(o.op is RESHAPE for o in n.operands):
        return None
    shapes = {o.operands[0].shape if o.op is RESHAPE else None for o in n.operands if not _is_number(o)}
    if len(shapes) != 1:
        return None
    (shape,) = shapes
    if shape is None or len(shape) >= len(n.shape) or shape != tuple(size for size in n.shape if size != 1):
        return None
    operands = [
        o.operands[0] if o.op is RESHAPE and not _is_number(o) else _number_of_shape(o, shape) for o in n.operands
    ]
    return reshape(n.op(*operands, **n.attributes), n.shape)


def _number_of_shape(node: Node, shape: Shape) -> Node:
    """The constant scalar that ``node`` repeats, in another shape."""
    while node.op is BROADCAST_IN_DIM or node.op is RESHAPE:
        node = node.operands[0]
    return broadcast_in_dim(reshape(node, ()), shape, ())


@of(COMPARE)
def compare_broadcast_of_self(n: Node) -> Node | None:
    """x == x -> true for integers and bools (a float may be NaN)."""
    if n.op is COMPARE and n.operands[0] is n.operands[1] and not n.operands[0].dtype.is_float:
        truth = constant(np.bool_(n["direction"] in ("EQ", "LE", "GE")))
        return broadcast_in_dim(truth, n.shape, ())
    return None


# ---------------------------------------------------------------- shapes


@of(GET_DIMENSION_SIZE)
def known_size(n: Node) -> Node | None:
    """get_dimension_size of an axis -> its size, which every node of that type has."""
    if n.op is GET_DIMENSION_SIZE:
        return size_value(n.operands[0].shape[n["dimension"]])
    return None


@of(RESHAPE, BROADCAST_IN_DIM, SLICE, TRANSPOSE, REVERSE)
def same_shape(n: Node) -> Node | None:
    """Reshapes, broadcasts, transposes, slices and reversals that change nothing."""
    if n.op in (RESHAPE, BROADCAST_IN_DIM, SLICE) and n.shape == n.operands[0].shape:
        return n.operands[0]
    if n.op is TRANSPOSE and n["permutation"] == tuple(range(len(n.shape))):
        return n.operands[0]
    if n.op is REVERSE and not n["dimensions"]:
        return n.operands[0]
    return None


@of(RESHAPE)
def reshape_of_reshape(n: Node) -> Node | None:
    if n.op is RESHAPE and n.operands[0].op is RESHAPE:
        return reshape(n.operands[0].operands[0], n.shape)
    return None


@of(RESHAPE, TRANSPOSE, REVERSE, SLICE)
def reshape_of_fill(n: Node) -> Node | None:
    """A reshaped, transposed or reversed broadcast of a scalar is a broadcast of it."""
    if n.op in (RESHAPE, TRANSPOSE, REVERSE, SLICE) and n.operands[0].op is BROADCAST_IN_DIM:
        source = n.operands[0].operands[0]
        if source.shape == ():
            return broadcast_in_dim(source, n.shape, ())
    return None


@of(TRANSPOSE)
def transpose_of_transpose(n: Node) -> Node | None:
    if n.op is TRANSPOSE and n.operands[0].op is TRANSPOSE:
        inner = n.operands[0]["permutation"]
        return TRANSPOSE(n.operands[0].operands[0], permutation=tuple(inner[i] for i in n["permutation"]))
    return None


@of(BROADCAST_IN_DIM)
def broadcast_of_broadcast(n: Node) -> Node | None:
    if n.op is BROADCAST_IN_DIM and n.operands[0].op is BROADCAST_IN_DIM:
        inner = n.operands[0]
        axes = tuple(n["dimensions"][i] for i in inner["dimensions"])
        return broadcast_in_dim(inner.operands[0], n.shape, axes)
    return None


@of(BROADCAST_IN_DIM)
def broadcast_of_reshape(n: Node) -> Node | None:
    """A broadcast of a reshape that only adds axes of size 1 is one broadcast (what keepdims leaves)."""
    if n.op is not BROADCAST_IN_DIM or n.operands[0].op is not RESHAPE:
        return None
    source = n.operands[0].operands[0]
    kept = [(i, size) for i, size in enumerate(n.operands[0].shape) if size != 1]
    if tuple(size for _, size in kept) != source.shape:
        return None
    return broadcast_in_dim(source, n.shape, tuple(n["dimensions"][i] for i, _ in kept))


@of(DOT_GENERAL)
def transpose_into_dot(n: Node) -> Node | None:
    """dot_general(transpose(x), y) -> dot_general(x, y) with the axes renamed: kernels read either order.

    Not where the free axes would come out in another order.
    """
    if n.op is not DOT_GENERAL:
        return None
    for side, (contracting, batch) in enumerate((("lhs_contracting", "lhs_batch"), ("rhs_contracting", "rhs_batch"))):
        operand = n.operands[side]
        if operand.op is not TRANSPOSE:
            continue
        axes = operand["permutation"]
        free = free_axes(len(axes), n[contracting], n[batch])
        if [axes[i] for i in free] != sorted(axes[i] for i in free):
            continue
        operands = list(n.operands)
        operands[side] = operand.operands[0]
        renamed = {contracting: tuple(axes[i] for i in n[contracting]), batch: tuple(axes[i] for i in n[batch])}
        return DOT_GENERAL(*operands, **{**n.attributes, **renamed})
    return None


@of(TRANSPOSE)
def transpose_of_dot(n: Node) -> Node | None:
    """transpose(dot_general(x, y)) -> dot_general(y, x) where it swaps the free axes of lhs and rhs."""
    if n.op is not TRANSPOSE or n.operands[0].op is not DOT_GENERAL:
        return None
    dot = n.operands[0]
    batch = len(dot["lhs_batch"])
    left = len(free_axes(len(dot.operands[0].shape), dot["lhs_contracting"], dot["lhs_batch"]))
    rank = len(dot.shape)
    swapped = (*range(batch), *range(batch + left, rank), *range(batch, batch + left))
    if n["permutation"] != swapped:
        return None
    return DOT_GENERAL(dot.operands[1], dot.operands[0], lhs_contracting=dot["rhs_contracting"],
                       rhs_contracting=dot["lhs_contracting"], lhs_batch=dot["rhs_batch"],
                       rhs_batch=dot["lhs_batch"])  # fmt: skip


@of(REDUCE)
def reduce_of_transpose(n: Node) -> Node | None:
    """reduce(transpose(x)) -> reduce(x) where the kept axes stay in order."""
    if n.op is not REDUCE or n.operands[0].op is not TRANSPOSE:
        return None
    axes = n.operands[0]["permutation"]
    kept = [axes[i] for i in free_axes(len(axes), n["dimensions"])]
    if kept != sorted(kept):
        return None
    dimensions = tuple(sorted(axes[i] for i in n["dimensions"]))
    return REDUCE(n.operands[0].operands[0], n.operands[1], dimensions=dimensions, body=n["body"])


RULES: tuple[Rule, ...] = (
    known_size, same_shape, reshape_of_reshape, reshape_of_fill, transpose_of_transpose, broadcast_of_broadcast,
    broadcast_of_reshape, transpose_into_dot, transpose_of_dot, reduce_of_transpose, fold_scalar, broadcast_last,
    reshape_last, constant_to_the_right, constant_first_in_extreme, multiply_by_one, add_nothing,
    integer_multiply_by_zero, divide_by_power_of_two, square, double_negate, same_operands, decided_select,
    nothing_to_combine, same_convert, compare_broadcast_of_self, *MOVEMENT, *IDENTITIES, fold_constants,
)  # fmt: skip

__all__ = ["RULES", "inverse_permutation", "is_filled", "scalar_value", "simplify"]
