"""Functions of the bits of floats: their sign and their neighbours."""

from __future__ import annotations

from mlc.ir.graph import (
    ABS,
    ADD,
    BITCAST_CONVERT,
    COMPARE,
    NEGATE,
    SELECT,
    Node,
    fill,
    full_like,
)  # fmt: skip
from mlc.ir.types import DTYPES
from mlc.tracing.tracer import Tracer

from .dispatch import operation
from .promotion import promote, wrap


@operation("x")
def signbit(x: object, /) -> Tracer:
    """Whether ``x`` is below zero, -0.0 or a NaN with the sign of one; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.signbit(mnp.asarray([-0.0, 0.0, -2.0])).tolist()
        [True, False, True]
    """
    (node,), _ = promote("signbit", x, to_float=True)
    return wrap(has_sign(node))


@operation("x1", "x2")
def copysign(x1: object, x2: object, /) -> Tracer:
    """``x1`` with the sign that ``x2`` has, that of a zero or NaN included; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.copysign(mnp.asarray([1.0, -2.0]), -0.0).tolist()
        [-1.0, -2.0]
    """
    (x, y), weak = promote("copysign", x1, x2, to_float=True)
    return wrap(SELECT(has_sign(y), NEGATE(ABS(x)), ABS(x)), weak)


@operation("x1", "x2")
def nextafter(x1: object, x2: object, /) -> Tracer:
    """The number next to ``x1`` in the direction of ``x2``; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.nextafter(mnp.asarray([1.0]), 2.0).tolist()
        [1.0000001192092896]
    """
    (x, y), weak = promote("nextafter", x1, x2, to_float=True)
    bits = _bits(x)
    zero, one = fill(0, bits.tensor), fill(1, bits.tensor)
    larger = COMPARE(COMPARE(x, y, direction="LT"), COMPARE(bits, zero, direction="GE"), direction="EQ")
    moved = ADD(bits, SELECT(larger, one, NEGATE(one)))  # bits of floats of one sign are in the order of their sizes
    least = SELECT(COMPARE(y, full_like(y, 0), direction="LT"), fill(bits.dtype.limits[0] + 1, bits.tensor), one)
    moved = SELECT(COMPARE(x, full_like(x, 0), direction="EQ"), least, moved)
    found = BITCAST_CONVERT(moved, dtype=x.dtype)
    found = SELECT(COMPARE(x, y, direction="EQ"), y, found)
    numbers = COMPARE(ADD(x, y), ADD(x, y), direction="EQ")
    opposite = COMPARE(x, NEGATE(y), direction="EQ")  # inf - inf is no number, and these are
    return wrap(SELECT(opposite, found, SELECT(numbers, found, ADD(x, y))), weak)


def has_sign(x: Node) -> Node:
    bits = _bits(x)
    return COMPARE(bits, fill(0, bits.tensor), direction="LT")


def _bits(x: Node) -> Node:
    return BITCAST_CONVERT(x, dtype=DTYPES[f"i{x.dtype.bits}"])
