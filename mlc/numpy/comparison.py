"""Comparison, choice, logic and bits of the array API."""

from __future__ import annotations

from mlc.ir.graph import (
    ABS,
    AND,
    COMPARE,
    IS_FINITE,
    NOT,
    OR,
    SELECT,
    SHIFT_LEFT,
    SHIFT_RIGHT_ARITHMETIC,
    SHIFT_RIGHT_LOGICAL,
    XOR,
    full_like,
)  # fmt: skip
from mlc.tracing.lift import as_node
from mlc.tracing.tracer import Tracer

from .apply import always, apply_bits, apply_compare, apply_logical, refuse_floats, truth
from .dispatch import operation
from .promotion import broadcast_node, broadcast_shapes, promote, wrap


@operation("x1", "x2")
def equal(x1: object, x2: object, /) -> Tracer:
    """``x1 == x2``, elementwise: bools. Raises ShapeError where the shapes do not broadcast.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.equal(mnp.asarray([1, 2]), 2).tolist()
        [False, True]
    """
    return apply_compare("equal", "EQ", x1, x2)


@operation("x1", "x2")
def not_equal(x1: object, x2: object, /) -> Tracer:
    """``x1 != x2``, elementwise: bools. Raises ShapeError where the shapes do not broadcast.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.not_equal(mnp.asarray([1, 2]), 2).tolist()
        [True, False]
    """
    return apply_compare("not_equal", "NE", x1, x2)


@operation("x1", "x2")
def less(x1: object, x2: object, /) -> Tracer:
    """``x1 < x2``, elementwise: bools. Raises ShapeError where the shapes do not broadcast.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.less(mnp.asarray([1, 2]), 2).tolist()
        [True, False]
    """
    return apply_compare("less", "LT", x1, x2)


@operation("x1", "x2")
def less_equal(x1: object, x2: object, /) -> Tracer:
    """``x1 <= x2``, elementwise: bools. Raises ShapeError where the shapes do not broadcast.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.less_equal(mnp.asarray([1, 2]), 2).tolist()
        [True, True]
    """
    return apply_compare("less_equal", "LE", x1, x2)


@operation("x1", "x2")
def greater(x1: object, x2: object, /) -> Tracer:
    """``x1 > x2``, elementwise: bools. Raises ShapeError where the shapes do not broadcast.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.greater(mnp.asarray([1, 2]), 1).tolist()
        [False, True]
    """
    return apply_compare("greater", "GT", x1, x2)


@operation("x1", "x2")
def greater_equal(x1: object, x2: object, /) -> Tracer:
    """``x1 >= x2``, elementwise: bools. Raises ShapeError where the shapes do not broadcast.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.greater_equal(mnp.asarray([1, 2]), 2).tolist()
        [False, True]
    """
    return apply_compare("greater_equal", "GE", x1, x2)


@operation("condition", "x1", "x2")
def where(condition: object, x1: object, x2: object, /) -> Tracer:
    """``x1`` where ``condition`` holds (is not zero), else ``x2``; all three broadcast.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.where(mnp.asarray([True, False]), 1.0, 2.0).tolist()
        [1.0, 2.0]
    """
    (x, y), weak = promote("where", x1, x2)
    pred = truth(as_node(condition, None, "where: condition"))
    shape = broadcast_shapes("where", pred.tensor, x.tensor)
    return wrap(SELECT(*[broadcast_node(n, shape) for n in (pred, x, y)]), weak)


@operation("x1", "x2")
def logical_and(x1: object, x2: object, /) -> Tracer:
    """True where both are not zero.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.logical_and(mnp.asarray([0, 2]), True).tolist()
        [False, True]
    """
    return apply_logical("logical_and", AND, x1, x2)


@operation("x1", "x2")
def logical_or(x1: object, x2: object, /) -> Tracer:
    """True where one is not zero.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.logical_or(mnp.asarray([0, 2]), False).tolist()
        [False, True]
    """
    return apply_logical("logical_or", OR, x1, x2)


@operation("x1", "x2")
def logical_xor(x1: object, x2: object, /) -> Tracer:
    """True where exactly one is not zero.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.logical_xor(mnp.asarray([0, 2]), True).tolist()
        [True, False]
    """
    return apply_logical("logical_xor", XOR, x1, x2)


@operation("x")
def logical_not(x: object, /) -> Tracer:
    """True where ``x`` is zero or False.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.logical_not(mnp.asarray([0, 2])).tolist()
        [True, False]
    """
    return wrap(NOT(truth(as_node(x, None, "logical_not: operand"))))


@operation("x1", "x2")
def bitwise_and(x1: object, x2: object, /) -> Tracer:
    """The bits set in both integers or bools. Raises DTypeError for floats.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.bitwise_and(mnp.asarray([6, 5]), 3).tolist()
        [2, 1]
    """
    return apply_bits("bitwise_and", AND, x1, x2)


@operation("x1", "x2")
def bitwise_or(x1: object, x2: object, /) -> Tracer:
    """The bits set in either integer or bool. Raises DTypeError for floats.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.bitwise_or(mnp.asarray([6, 5]), 3).tolist()
        [7, 7]
    """
    return apply_bits("bitwise_or", OR, x1, x2)


@operation("x1", "x2")
def bitwise_xor(x1: object, x2: object, /) -> Tracer:
    """The bits set in exactly one integer or bool. Raises DTypeError for floats.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.bitwise_xor(mnp.asarray([6, 5]), 3).tolist()
        [5, 6]
    """
    return apply_bits("bitwise_xor", XOR, x1, x2)


@operation("x")
def bitwise_invert(x: object, /) -> Tracer:
    """Every bit of integers and bools inverted. Raises DTypeError for floats.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.bitwise_invert(mnp.asarray([0, 5])).tolist()
        [-1, -6]
    """
    (node,), weak = promote("bitwise_invert", x)
    refuse_floats("bitwise_invert", node)
    return wrap(NOT(node), weak)


@operation("x1", "x2")
def bitwise_left_shift(x1: object, x2: object, /) -> Tracer:
    """``x1 << x2`` of integers. Raises DTypeError for floats.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.bitwise_left_shift(mnp.asarray([1, 3]), 2).tolist()
        [4, 12]
    """
    return apply_bits("bitwise_left_shift", SHIFT_LEFT, x1, x2)


@operation("x1", "x2")
def bitwise_right_shift(x1: object, x2: object, /) -> Tracer:
    """Arithmetic for signed integers, logical for unsigned ones.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.bitwise_right_shift(mnp.asarray([8, -8]), 1).tolist()
        [4, -4]
    """
    (x, y), weak = promote("bitwise_right_shift", x1, x2)
    refuse_floats("bitwise_right_shift", x, y)
    return wrap((SHIFT_RIGHT_LOGICAL if x.dtype.kind == "uint" else SHIFT_RIGHT_ARITHMETIC)(x, y), weak)


@operation("x")
def isnan(x: object, /) -> Tracer:
    """Whether an element is NaN: bools.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.isnan(mnp.asarray([0.0, float("nan")])).tolist()
        [False, True]
    """
    (node,), _ = promote("isnan", x)
    return wrap(COMPARE(node, node, direction="NE"))


@operation("x")
def isinf(x: object, /) -> Tracer:
    """Whether an element is infinite: bools.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.isinf(mnp.asarray([0.0, float("-inf")])).tolist()
        [False, True]
    """
    (node,), _ = promote("isinf", x)
    if not node.dtype.is_float:
        return wrap(always(node, False))
    return wrap(COMPARE(ABS(node), full_like(node, float("inf")), direction="EQ"))


@operation("x")
def isfinite(x: object, /) -> Tracer:
    """Whether an element is neither infinite nor NaN: bools.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.isfinite(mnp.asarray([0.0, float("inf")])).tolist()
        [True, False]
    """
    (node,), _ = promote("isfinite", x)
    return wrap(IS_FINITE(node) if node.dtype.is_float else always(node, True))
