"""Arithmetic of the array API: operands are promoted to one type, broadcast, and one op applied."""

from __future__ import annotations

from mlc.ir.graph import (
    ABS,
    ADD,
    AND,
    COMPARE,
    CONVERT,
    DIVIDE,
    MAXIMUM,
    MINIMUM,
    MULTIPLY,
    NEGATE,
    POWER,
    REMAINDER,
    SIGN,
    SQRT,
    SUBTRACT,
    full_like,
)  # fmt: skip
from mlc.ir.types import BOOL
from mlc.tracing.tracer import Tracer

from .apply import (
    apply_binary,
    apply_unary,
    differs,
    floor_divide_floats,
    integer_power,
    is_negative,
    promote_numbers,
    python_remainder,
)
from .dispatch import operation
from .promotion import promote, wrap


@operation("x1", "x2")
def add(x1: object, x2: object, /) -> Tracer:
    """``x1 + x2``; for bools, or.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.add(mnp.asarray([1, 2]), 0.5).tolist()
        [1.5, 2.5]
    """
    return apply_binary("add", ADD, x1, x2)


@operation("x1", "x2")
def subtract(x1: object, x2: object, /) -> Tracer:
    """``x1 - x2``. Raises DTypeError for two bools.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.subtract(mnp.asarray([1.0, 2.0]), 1).tolist()
        [0.0, 1.0]
    """
    return apply_binary("subtract", SUBTRACT, x1, x2)


@operation("x1", "x2")
def multiply(x1: object, x2: object, /) -> Tracer:
    """``x1 * x2``; for bools, and.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.multiply(mnp.asarray([1, 2]), mnp.asarray([3, 4])).tolist()
        [3, 8]
    """
    return apply_binary("multiply", MULTIPLY, x1, x2)


@operation("x1", "x2")
def divide(x1: object, x2: object, /) -> Tracer:
    """``x1 / x2``; integers and bools are divided as f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.divide(mnp.asarray([1, 3]), 2).tolist()
        [0.5, 1.5]
    """
    (x, y), weak = promote("divide", x1, x2, to_float=True)
    return wrap(DIVIDE(x, y), weak)


@operation("x1", "x2")
def floor_divide(x1: object, x2: object, /) -> Tracer:
    """The quotient rounded down, in the operands' type. An integer divided by zero gives -1 (all ones).

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.floor_divide(mnp.asarray([7, -7]), 2).tolist()
        [3, -4]
    """
    (x, y), weak = promote_numbers("floor_divide", x1, x2)
    if x.dtype.kind == "uint":
        return wrap(DIVIDE(x, y), weak)
    if x.dtype.is_float:
        return wrap(floor_divide_floats(x, y), weak)
    quotient, rest = DIVIDE(x, y), REMAINDER(x, y)
    down = AND(differs(rest, 0), COMPARE(is_negative(rest), is_negative(y), direction="NE"))
    down = AND(down, differs(y, 0))
    return wrap(SUBTRACT(quotient, CONVERT(down, dtype=x.dtype)), weak)


@operation("x1", "x2")
def remainder(x1: object, x2: object, /) -> Tracer:
    """``x1 % x2`` with the sign of ``x2``, as Python's. An integer modulo zero is the dividend.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.remainder(mnp.asarray([7, -7]), 3).tolist()
        [1, 2]
    """
    (x, y), weak = promote_numbers("remainder", x1, x2)
    return wrap(python_remainder(x, y), weak)


def pow(x1: object, x2: object, /) -> Tracer:
    """``x1`` to the power ``x2``; a small integer, or 0.5, as a Python number is a few multiplications or a root.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.pow(mnp.asarray([2.0, 3.0]), 2).tolist()
        [4.0, 9.0]
    """
    if isinstance(x2, int | float) and not isinstance(x2, bool) and (x2 == 0.5 or x2 in range(-8, 9)):
        return _fixed_power(x1, exponent=x2)
    return _power(x1, x2)


@operation("x1", "x2")
def _power(x1: object, x2: object, /) -> Tracer:
    (x, y), weak = promote_numbers("pow", x1, x2)
    return wrap(POWER(x, y), weak)


@operation("x")
def _fixed_power(x: object, /, exponent: float) -> Tracer:
    (node,), weak = promote("pow", x, to_float=isinstance(exponent, float))
    if exponent == 0.5:
        return wrap(SQRT(node), weak)
    if node.dtype.is_float or (exponent >= 0 and node.dtype != BOOL):
        return wrap(integer_power(node, int(exponent)), weak)
    (node, power), weak = promote_numbers("pow", x, exponent)
    return wrap(POWER(node, power), weak)


@operation("x")
def negative(x: object, /) -> Tracer:
    """``-x``. Raises DTypeError for bools.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.negative(mnp.asarray([1.0, -2.0])).tolist()
        [-1.0, 2.0]
    """
    return apply_unary("negative", NEGATE, x)


@operation("x")
def positive(x: object, /) -> Tracer:
    """``x`` itself.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.positive(mnp.asarray([1, -2])).tolist()
        [1, -2]
    """
    (node,), weak = promote("positive", x)
    return wrap(node, weak)


@operation("x")
def abs(x: object, /) -> Tracer:
    """The distance from 0.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.abs(mnp.asarray([-1.5, 2.0])).tolist()
        [1.5, 2.0]
    """
    (node,), weak = promote("abs", x)
    return wrap(node if node.dtype.kind in ("uint", "bool") else ABS(node), weak)


@operation("x")
def sign(x: object, /) -> Tracer:
    """-1, 0 or 1; NaN stays NaN.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.sign(mnp.asarray([-3.0, 0.0, 2.0])).tolist()
        [-1.0, 0.0, 1.0]
    """
    return apply_unary("sign", SIGN, x)


@operation("x")
def square(x: object, /) -> Tracer:
    """``x * x``, in the type of ``x``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.square(mnp.asarray([3, -4])).tolist()
        [9, 16]
    """
    (node,), weak = promote("square", x)
    return wrap(MULTIPLY(node, node), weak)


@operation("x")
def reciprocal(x: object, /) -> Tracer:
    """``1 / x``; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.reciprocal(mnp.asarray([2.0, -4.0])).tolist()
        [0.5, -0.25]
    """
    (node,), weak = promote("reciprocal", x, to_float=True)
    return wrap(DIVIDE(full_like(node, 1.0), node), weak)


@operation("x1", "x2")
def maximum(x1: object, x2: object, /) -> Tracer:
    """The larger of the two; NaN where one of them is, and 0.0 of zeros with both signs (IEEE 754-2019).

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.maximum(mnp.asarray([1, 5]), 3).tolist()
        [3, 5]
    """
    return apply_binary("maximum", MAXIMUM, x1, x2)


@operation("x1", "x2")
def minimum(x1: object, x2: object, /) -> Tracer:
    """The smaller of the two; NaN where one of them is, and -0.0 of zeros with both signs (IEEE 754-2019).

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.minimum(mnp.asarray([1, 5]), 3).tolist()
        [1, 3]
    """
    return apply_binary("minimum", MINIMUM, x1, x2)


@operation("x", "min", "max")
def clip(x: object, /, min: object = None, max: object = None) -> Tracer:
    """``x`` kept between ``min`` and ``max`` (None: no bound); where ``min > max`` it is ``max``, as NumPy.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.clip(mnp.asarray([-1, 2, 9]), 0, 5).tolist()
        [0, 2, 5]
    """
    (node,), weak = promote("clip", x)
    result: object = wrap(node, weak)
    if min is not None:
        result = apply_binary("clip", MAXIMUM, result, min)
    if max is not None:
        result = apply_binary("clip", MINIMUM, result, max)
    assert isinstance(result, Tracer)
    return result
