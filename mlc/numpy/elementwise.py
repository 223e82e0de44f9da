"""Elementwise functions of the array API: operands are promoted to one type, broadcast, and one op applied."""

from __future__ import annotations

from mlc.errors import ArgumentError, DTypeError
from mlc.ir.graph import (
    ABS,
    ADD,
    AND,
    CEIL,
    COMPARE,
    CONVERT,
    COSINE,
    DIVIDE,
    ERF,
    EXPONENTIAL,
    EXPONENTIAL_MINUS_ONE,
    FLOOR,
    IS_FINITE,
    LOG,
    LOG_PLUS_ONE,
    LOGISTIC,
    MAXIMUM,
    MINIMUM,
    MULTIPLY,
    NEGATE,
    NOT,
    OR,
    POWER,
    REMAINDER,
    ROUND_NEAREST_EVEN,
    RSQRT,
    SELECT,
    SHIFT_LEFT,
    SHIFT_RIGHT_ARITHMETIC,
    SHIFT_RIGHT_LOGICAL,
    SIGN,
    SINE,
    SQRT,
    SUBTRACT,
    TAN,
    TANH,
    XOR,
    full_like,
)  # fmt: skip
from mlc.ir.graph.node import Node
from mlc.ir.graph.op import Op
from mlc.ir.types import BOOL, I64
from mlc.tracing.lift import as_node, describe
from mlc.tracing.spec import element_type
from mlc.tracing.tracer import Tracer

from .dispatch import operation
from .promotion import broadcast_node, broadcast_shapes, promote, wrap

# ---------------------------------------------------------------- arithmetic


@operation("x1", "x2")
def add(x1: object, x2: object, /) -> Tracer:
    """``x1 + x2``; for bools, or.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.add(mnp.asarray([1, 2]), 0.5).tolist()
        [1.5, 2.5]
    """
    return _binary("add", ADD, x1, x2)


@operation("x1", "x2")
def subtract(x1: object, x2: object, /) -> Tracer:
    """``x1 - x2``. Raises DTypeError for two bools.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.subtract(mnp.asarray([1.0, 2.0]), 1).tolist()
        [0.0, 1.0]
    """
    return _binary("subtract", SUBTRACT, x1, x2)


@operation("x1", "x2")
def multiply(x1: object, x2: object, /) -> Tracer:
    """``x1 * x2``; for bools, and.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.multiply(mnp.asarray([1, 2]), mnp.asarray([3, 4])).tolist()
        [3, 8]
    """
    return _binary("multiply", MULTIPLY, x1, x2)


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
    (x, y), weak = _numbers("floor_divide", x1, x2)
    if x.dtype.kind == "uint":
        return wrap(DIVIDE(x, y), weak)
    if x.dtype.is_float:
        return wrap(_floor_divide_floats(x, y), weak)
    quotient, rest = DIVIDE(x, y), REMAINDER(x, y)
    down = AND(_differs(rest, 0), COMPARE(_negative(rest), _negative(y), direction="NE"))
    down = AND(down, _differs(y, 0))
    return wrap(SUBTRACT(quotient, CONVERT(down, dtype=x.dtype)), weak)


@operation("x1", "x2")
def remainder(x1: object, x2: object, /) -> Tracer:
    """``x1 % x2`` with the sign of ``x2``, as Python's. An integer modulo zero is the dividend.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.remainder(mnp.asarray([7, -7]), 3).tolist()
        [1, 2]
    """
    (x, y), weak = _numbers("remainder", x1, x2)
    return wrap(_python_remainder(x, y), weak)


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
    (x, y), weak = _numbers("pow", x1, x2)
    return wrap(POWER(x, y), weak)


@operation("x")
def _fixed_power(x: object, /, exponent: float) -> Tracer:
    (node,), weak = promote("pow", x, to_float=isinstance(exponent, float))
    if exponent == 0.5:
        return wrap(SQRT(node), weak)
    if node.dtype.is_float or (exponent >= 0 and node.dtype != BOOL):
        return wrap(_integer_power(node, int(exponent)), weak)
    (node, power), weak = _numbers("pow", x, exponent)
    return wrap(POWER(node, power), weak)


@operation("x")
def negative(x: object, /) -> Tracer:
    """``-x``. Raises DTypeError for bools.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.negative(mnp.asarray([1.0, -2.0])).tolist()
        [-1.0, 2.0]
    """
    return _unary("negative", NEGATE, x)


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
    return _unary("sign", SIGN, x)


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
    """The larger of the two; NaN where one of them is.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.maximum(mnp.asarray([1, 5]), 3).tolist()
        [3, 5]
    """
    return _binary("maximum", MAXIMUM, x1, x2)


@operation("x1", "x2")
def minimum(x1: object, x2: object, /) -> Tracer:
    """The smaller of the two; NaN where one of them is.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.minimum(mnp.asarray([1, 5]), 3).tolist()
        [1, 3]
    """
    return _binary("minimum", MINIMUM, x1, x2)


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
        result = _binary("clip", MAXIMUM, result, min)
    if max is not None:
        result = _binary("clip", MINIMUM, result, max)
    assert isinstance(result, Tracer)
    return result


# ---------------------------------------------------------------- comparison, choice, logic, bits


@operation("x1", "x2")
def equal(x1: object, x2: object, /) -> Tracer:
    """``x1 == x2``, elementwise: bools. Raises ShapeError where the shapes do not broadcast.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.equal(mnp.asarray([1, 2]), 2).tolist()
        [False, True]
    """
    return _compare("equal", "EQ", x1, x2)


@operation("x1", "x2")
def not_equal(x1: object, x2: object, /) -> Tracer:
    """``x1 != x2``, elementwise: bools. Raises ShapeError where the shapes do not broadcast.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.not_equal(mnp.asarray([1, 2]), 2).tolist()
        [True, False]
    """
    return _compare("not_equal", "NE", x1, x2)


@operation("x1", "x2")
def less(x1: object, x2: object, /) -> Tracer:
    """``x1 < x2``, elementwise: bools. Raises ShapeError where the shapes do not broadcast.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.less(mnp.asarray([1, 2]), 2).tolist()
        [True, False]
    """
    return _compare("less", "LT", x1, x2)


@operation("x1", "x2")
def less_equal(x1: object, x2: object, /) -> Tracer:
    """``x1 <= x2``, elementwise: bools. Raises ShapeError where the shapes do not broadcast.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.less_equal(mnp.asarray([1, 2]), 2).tolist()
        [True, True]
    """
    return _compare("less_equal", "LE", x1, x2)


@operation("x1", "x2")
def greater(x1: object, x2: object, /) -> Tracer:
    """``x1 > x2``, elementwise: bools. Raises ShapeError where the shapes do not broadcast.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.greater(mnp.asarray([1, 2]), 1).tolist()
        [False, True]
    """
    return _compare("greater", "GT", x1, x2)


@operation("x1", "x2")
def greater_equal(x1: object, x2: object, /) -> Tracer:
    """``x1 >= x2``, elementwise: bools. Raises ShapeError where the shapes do not broadcast.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.greater_equal(mnp.asarray([1, 2]), 2).tolist()
        [False, True]
    """
    return _compare("greater_equal", "GE", x1, x2)


@operation("condition", "x1", "x2")
def where(condition: object, x1: object, x2: object, /) -> Tracer:
    """``x1`` where ``condition`` holds (is not zero), else ``x2``; all three broadcast.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.where(mnp.asarray([True, False]), 1.0, 2.0).tolist()
        [1.0, 2.0]
    """
    (x, y), weak = promote("where", x1, x2)
    pred = _truth(as_node(condition, None, "where: condition"))
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
    return _logical("logical_and", AND, x1, x2)


@operation("x1", "x2")
def logical_or(x1: object, x2: object, /) -> Tracer:
    """True where one is not zero.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.logical_or(mnp.asarray([0, 2]), False).tolist()
        [False, True]
    """
    return _logical("logical_or", OR, x1, x2)


@operation("x1", "x2")
def logical_xor(x1: object, x2: object, /) -> Tracer:
    """True where exactly one is not zero.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.logical_xor(mnp.asarray([0, 2]), True).tolist()
        [True, False]
    """
    return _logical("logical_xor", XOR, x1, x2)


@operation("x")
def logical_not(x: object, /) -> Tracer:
    """True where ``x`` is zero or False.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.logical_not(mnp.asarray([0, 2])).tolist()
        [True, False]
    """
    return wrap(NOT(_truth(as_node(x, None, "logical_not: operand"))))


@operation("x1", "x2")
def bitwise_and(x1: object, x2: object, /) -> Tracer:
    """The bits set in both integers or bools. Raises DTypeError for floats.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.bitwise_and(mnp.asarray([6, 5]), 3).tolist()
        [2, 1]
    """
    return _bits("bitwise_and", AND, x1, x2)


@operation("x1", "x2")
def bitwise_or(x1: object, x2: object, /) -> Tracer:
    """The bits set in either integer or bool. Raises DTypeError for floats.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.bitwise_or(mnp.asarray([6, 5]), 3).tolist()
        [7, 7]
    """
    return _bits("bitwise_or", OR, x1, x2)


@operation("x1", "x2")
def bitwise_xor(x1: object, x2: object, /) -> Tracer:
    """The bits set in exactly one integer or bool. Raises DTypeError for floats.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.bitwise_xor(mnp.asarray([6, 5]), 3).tolist()
        [5, 6]
    """
    return _bits("bitwise_xor", XOR, x1, x2)


@operation("x")
def bitwise_invert(x: object, /) -> Tracer:
    """Every bit of integers and bools inverted. Raises DTypeError for floats.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.bitwise_invert(mnp.asarray([0, 5])).tolist()
        [-1, -6]
    """
    (node,), weak = promote("bitwise_invert", x)
    _refuse_floats("bitwise_invert", node)
    return wrap(NOT(node), weak)


@operation("x1", "x2")
def bitwise_left_shift(x1: object, x2: object, /) -> Tracer:
    """``x1 << x2`` of integers. Raises DTypeError for floats.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.bitwise_left_shift(mnp.asarray([1, 3]), 2).tolist()
        [4, 12]
    """
    return _bits("bitwise_left_shift", SHIFT_LEFT, x1, x2)


@operation("x1", "x2")
def bitwise_right_shift(x1: object, x2: object, /) -> Tracer:
    """Arithmetic for signed integers, logical for unsigned ones.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.bitwise_right_shift(mnp.asarray([8, -8]), 1).tolist()
        [4, -4]
    """
    (x, y), weak = promote("bitwise_right_shift", x1, x2)
    _refuse_floats("bitwise_right_shift", x, y)
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
        return wrap(_always(node, False))
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
    return wrap(IS_FINITE(node) if node.dtype.is_float else _always(node, True))


# ---------------------------------------------------------------- functions of real numbers (integers become f32)


@operation("x")
def exp(x: object, /) -> Tracer:
    """e to the power ``x``; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.exp(mnp.asarray([0.0, float("-inf")])).tolist()
        [1.0, 0.0]
    """
    return _real("exp", EXPONENTIAL, x)


@operation("x")
def expm1(x: object, /) -> Tracer:
    """``exp(x) - 1``, accurate near 0.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.expm1(mnp.asarray([0.0, float("-inf")])).tolist()
        [0.0, -1.0]
    """
    return _real("expm1", EXPONENTIAL_MINUS_ONE, x)


@operation("x")
def log(x: object, /) -> Tracer:
    """The natural logarithm, NaN below 0; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.log(mnp.asarray([1.0, 0.0])).tolist()
        [0.0, -inf]
    """
    return _real("log", LOG, x)


@operation("x")
def log1p(x: object, /) -> Tracer:
    """``log(1 + x)``, accurate near 0.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.log1p(mnp.asarray([0.0, -1.0])).tolist()
        [0.0, -inf]
    """
    return _real("log1p", LOG_PLUS_ONE, x)


@operation("x")
def log2(x: object, /) -> Tracer:
    """The logarithm to base 2; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.log2(mnp.asarray([1.0, 0.0])).tolist()
        [0.0, -inf]
    """
    (node,), weak = promote("log2", x, to_float=True)
    return wrap(MULTIPLY(LOG(node), full_like(node, 1.4426950408889634)), weak)


@operation("x")
def log10(x: object, /) -> Tracer:
    """The logarithm to base 10; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.log10(mnp.asarray([1.0, 0.0])).tolist()
        [0.0, -inf]
    """
    (node,), weak = promote("log10", x, to_float=True)
    return wrap(MULTIPLY(LOG(node), full_like(node, 0.4342944819032518)), weak)


@operation("x")
def sqrt(x: object, /) -> Tracer:
    """The square root, NaN below 0; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.sqrt(mnp.asarray([4, 9])).tolist()
        [2.0, 3.0]
    """
    return _real("sqrt", SQRT, x)


@operation("x")
def rsqrt(x: object, /) -> Tracer:
    """``1 / sqrt(x)``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.rsqrt(mnp.asarray([4.0, 16.0])).tolist()
        [0.5, 0.25]
    """
    return _real("rsqrt", RSQRT, x)


@operation("x")
def sin(x: object, /) -> Tracer:
    """The sine of radians; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.sin(mnp.asarray([0.0])).tolist()
        [0.0]
    """
    return _real("sin", SINE, x)


@operation("x")
def cos(x: object, /) -> Tracer:
    """The cosine of radians; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.cos(mnp.asarray([0.0])).tolist()
        [1.0]
    """
    return _real("cos", COSINE, x)


@operation("x")
def tan(x: object, /) -> Tracer:
    """The tangent of radians; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.tan(mnp.asarray([0.0])).tolist()
        [0.0]
    """
    return _real("tan", TAN, x)


@operation("x")
def tanh(x: object, /) -> Tracer:
    """The hyperbolic tangent; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.tanh(mnp.asarray([0.0, 100.0])).tolist()
        [0.0, 1.0]
    """
    return _real("tanh", TANH, x)


@operation("x")
def erf(x: object, /) -> Tracer:
    """The error function.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.erf(mnp.asarray([0.0, 10.0])).tolist()
        [0.0, 1.0]
    """
    return _real("erf", ERF, x)


@operation("x")
def sigmoid(x: object, /) -> Tracer:
    """``1 / (1 + exp(-x))``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.sigmoid(mnp.asarray([0.0, 100.0])).tolist()
        [0.5, 1.0]
    """
    return _real("sigmoid", LOGISTIC, x)


@operation("x")
def floor(x: object, /) -> Tracer:
    """The integer below or equal, in the type of ``x``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.floor(mnp.asarray([1.5, -1.5])).tolist()
        [1.0, -2.0]
    """
    return _rounding("floor", FLOOR, x)


@operation("x")
def ceil(x: object, /) -> Tracer:
    """The integer above or equal, in the type of ``x``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.ceil(mnp.asarray([1.5, -1.5])).tolist()
        [2.0, -1.0]
    """
    return _rounding("ceil", CEIL, x)


@operation("x")
def round(x: object, /) -> Tracer:
    """To the nearest integer, halves to even.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.round(mnp.asarray([0.5, 1.5, -1.2])).tolist()
        [0.0, 2.0, -1.0]
    """
    return _rounding("round", ROUND_NEAREST_EVEN, x)


@operation("x")
def trunc(x: object, /) -> Tracer:
    """Toward zero.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.trunc(mnp.asarray([1.5, -1.5])).tolist()
        [1.0, -1.0]
    """
    (node,), weak = promote("trunc", x)
    if not node.dtype.is_float:
        return wrap(node, weak)
    down = COMPARE(node, full_like(node, 0.0), direction="LT")
    return wrap(SELECT(down, CEIL(node), FLOOR(node)), weak)


@operation("x")
def astype(x: object, /, dtype: object) -> Tracer:
    """Converted to ``dtype``: floats to integers truncate and saturate (NaN: 0), numbers to bools are ``x != 0``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.astype(mnp.asarray([1.7, -2.5, 300.0]), "u8").tolist()
        [1, 0, 255]
    """
    target = element_type(dtype)
    node = as_node(x, None if isinstance(x, Tracer) else describe(x, "astype: operand")[0].dtype, "astype: operand")
    if target == BOOL:
        return wrap(_truth(node))
    return wrap(node if node.dtype == target else CONVERT(node, dtype=target))


# ---------------------------------------------------------------- helpers on nodes


def _unary(name: str, op: Op, x: object) -> Tracer:
    (node,), weak = promote(name, x)
    if node.dtype == BOOL:
        raise DTypeError(f"{name}: operand is {node.type}; it takes numbers", hint=".astype('i64') makes them")
    return wrap(op(node), weak)


def _binary(name: str, op: Op, x1: object, x2: object) -> Tracer:
    (x, y), weak = promote(name, x1, x2)
    if op is SUBTRACT and x.dtype == BOOL:
        raise DTypeError(f"{name}: lhs is {x.type}, rhs is {y.type}; bools have no difference",
                         hint="lhs ^ rhs is where they differ; .astype('i64') makes numbers")  # fmt: skip
    return wrap(op(x, y), weak)


def _numbers(name: str, x1: object, x2: object) -> tuple[list[Node], bool]:
    """Promoted operands; bools become i64."""
    nodes, weak = promote(name, x1, x2)
    return [CONVERT(n, dtype=I64) if n.dtype == BOOL else n for n in nodes], weak


def _real(name: str, op: Op, x: object) -> Tracer:
    (node,), weak = promote(name, x, to_float=True)
    return wrap(op(node), weak)


def _rounding(name: str, op: Op, x: object) -> Tracer:
    (node,), weak = promote(name, x)
    return wrap(op(node) if node.dtype.is_float else node, weak)


def _compare(name: str, direction: str, x1: object, x2: object) -> Tracer:
    if x1 is None or x2 is None or isinstance(x1, str) or isinstance(x2, str):
        other = x2 if x1 is None or isinstance(x1, Tracer) else x1
        raise ArgumentError(f"{name}: an array cannot be compared with {other!r}",
                            hint="`x is None` asks whether there is a value" if other is None else None)  # fmt: skip
    (x, y), _ = promote(name, x1, x2)
    return wrap(COMPARE(x, y, direction=direction))


def _logical(name: str, op: Op, x1: object, x2: object) -> Tracer:
    (x, y), _ = promote(name, wrap(_truth(as_node(x1, None, name))), wrap(_truth(as_node(x2, None, name))))
    return wrap(op(x, y))


def _bits(name: str, op: Op, x1: object, x2: object) -> Tracer:
    (x, y), weak = promote(name, x1, x2)
    _refuse_floats(name, x, y)
    return wrap(op(x, y), weak)


def _refuse_floats(name: str, *nodes: Node) -> None:
    if nodes[0].dtype.is_float:
        sides = ["operand"] if len(nodes) == 1 else ["lhs", "rhs"]
        types = ", ".join(f"{side} is {n.type}" for side, n in zip(sides, nodes, strict=True))
        raise DTypeError(
            f"{name}: {types}; it takes integers and bools",
            hint="conditions need parentheses, since & and | bind tighter: (x > 0) & (y > 0)",
        )


def _truth(node: Node) -> Node:
    return node if node.dtype == BOOL else COMPARE(node, full_like(node, 0), direction="NE")


def _always(node: Node, value: bool) -> Node:
    from mlc.ir.graph import fill

    return fill(value, node.tensor.with_dtype(BOOL))


def _differs(node: Node, value: float) -> Node:
    return COMPARE(node, full_like(node, value), direction="NE")


def _negative(node: Node) -> Node:
    return COMPARE(node, full_like(node, 0), direction="LT")


def _python_remainder(x: Node, y: Node) -> Node:
    rest = REMAINDER(x, y)
    if x.dtype.kind == "uint":
        return rest
    other_sign = COMPARE(_negative(rest), _negative(y), direction="NE")
    moved = AND(AND(_differs(rest, 0), other_sign), _differs(y, 0))
    return SELECT(moved, ADD(rest, y), rest)


def _floor_divide_floats(x: Node, y: Node) -> Node:
    """The quotient of ``x`` less its remainder toward zero, one lower where that has the other sign than ``y``.

    ``x`` less Python's remainder will not do: that is infinite for -1 // inf, which is -1. By zero it is the plain
    quotient, as NumPy's.
    """
    rest = REMAINDER(x, y)
    quotient = ROUND_NEAREST_EVEN(DIVIDE(SUBTRACT(x, rest), y))
    down = AND(_differs(rest, 0), COMPARE(_negative(rest), _negative(y), direction="NE"))
    quotient = SELECT(down, SUBTRACT(quotient, full_like(quotient, 1)), quotient)
    return SELECT(_differs(y, 0), quotient, DIVIDE(x, y))


def _integer_power(x: Node, exponent: int) -> Node:
    """By repeated squaring; a negative power is the reciprocal of the positive one."""
    if exponent < 0:
        return DIVIDE(full_like(x, 1), _integer_power(x, -exponent))
    result: Node | None = None
    while exponent:
        if exponent & 1:
            result = x if result is None else MULTIPLY(result, x)
        exponent >>= 1
        if exponent:
            x = MULTIPLY(x, x)
    return result if result is not None else full_like(x, 1)
