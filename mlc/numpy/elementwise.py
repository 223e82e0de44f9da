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
    """``x1 + x2``; for bools, or."""
    return _binary("add", ADD, x1, x2)


@operation("x1", "x2")
def subtract(x1: object, x2: object, /) -> Tracer:
    """``x1 - x2``. Raises DTypeError for two bools."""
    return _binary("subtract", SUBTRACT, x1, x2)


@operation("x1", "x2")
def multiply(x1: object, x2: object, /) -> Tracer:
    """``x1 * x2``; for bools, and."""
    return _binary("multiply", MULTIPLY, x1, x2)


@operation("x1", "x2")
def divide(x1: object, x2: object, /) -> Tracer:
    """``x1 / x2``; integers and bools are divided as f32."""
    (x, y), weak = promote("divide", x1, x2, to_float=True)
    return wrap(DIVIDE(x, y), weak)


@operation("x1", "x2")
def floor_divide(x1: object, x2: object, /) -> Tracer:
    """The quotient rounded down, in the operands' type. An integer divided by zero gives -1 (all ones)."""
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
    """``x1 % x2`` with the sign of ``x2``, as Python's. An integer modulo zero is the dividend."""
    (x, y), weak = _numbers("remainder", x1, x2)
    return wrap(_python_remainder(x, y), weak)


def pow(x1: object, x2: object, /) -> Tracer:
    """``x1`` to the power ``x2``; a small integer, or 0.5, as a Python number is a few multiplications or a root."""
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
    return _unary("negative", NEGATE, x)


@operation("x")
def positive(x: object, /) -> Tracer:
    (node,), weak = promote("positive", x)
    return wrap(node, weak)


@operation("x")
def abs(x: object, /) -> Tracer:
    (node,), weak = promote("abs", x)
    return wrap(node if node.dtype.kind in ("uint", "bool") else ABS(node), weak)


@operation("x")
def sign(x: object, /) -> Tracer:
    """-1, 0 or 1; NaN stays NaN."""
    return _unary("sign", SIGN, x)


@operation("x")
def square(x: object, /) -> Tracer:
    (node,), weak = promote("square", x)
    return wrap(MULTIPLY(node, node), weak)


@operation("x")
def reciprocal(x: object, /) -> Tracer:
    (node,), weak = promote("reciprocal", x, to_float=True)
    return wrap(DIVIDE(full_like(node, 1.0), node), weak)


@operation("x1", "x2")
def maximum(x1: object, x2: object, /) -> Tracer:
    """The larger of the two; NaN where one of them is."""
    return _binary("maximum", MAXIMUM, x1, x2)


@operation("x1", "x2")
def minimum(x1: object, x2: object, /) -> Tracer:
    """The smaller of the two; NaN where one of them is."""
    return _binary("minimum", MINIMUM, x1, x2)


@operation("x", "min", "max")
def clip(x: object, /, min: object = None, max: object = None) -> Tracer:
    """``x`` kept between ``min`` and ``max`` (None: no bound); where ``min > max`` it is ``max``, as NumPy."""
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
    return _compare("equal", "EQ", x1, x2)


@operation("x1", "x2")
def not_equal(x1: object, x2: object, /) -> Tracer:
    return _compare("not_equal", "NE", x1, x2)


@operation("x1", "x2")
def less(x1: object, x2: object, /) -> Tracer:
    return _compare("less", "LT", x1, x2)


@operation("x1", "x2")
def less_equal(x1: object, x2: object, /) -> Tracer:
    return _compare("less_equal", "LE", x1, x2)


@operation("x1", "x2")
def greater(x1: object, x2: object, /) -> Tracer:
    return _compare("greater", "GT", x1, x2)


@operation("x1", "x2")
def greater_equal(x1: object, x2: object, /) -> Tracer:
    return _compare("greater_equal", "GE", x1, x2)


@operation("condition", "x1", "x2")
def where(condition: object, x1: object, x2: object, /) -> Tracer:
    """``x1`` where ``condition`` holds (is not zero), else ``x2``; all three broadcast."""
    (x, y), weak = promote("where", x1, x2)
    pred = _truth(as_node(condition, None, "where: condition"))
    shape = broadcast_shapes("where", pred.tensor, x.tensor)
    return wrap(SELECT(*[broadcast_node(n, shape) for n in (pred, x, y)]), weak)


@operation("x1", "x2")
def logical_and(x1: object, x2: object, /) -> Tracer:
    return _logical("logical_and", AND, x1, x2)


@operation("x1", "x2")
def logical_or(x1: object, x2: object, /) -> Tracer:
    return _logical("logical_or", OR, x1, x2)


@operation("x1", "x2")
def logical_xor(x1: object, x2: object, /) -> Tracer:
    return _logical("logical_xor", XOR, x1, x2)


@operation("x")
def logical_not(x: object, /) -> Tracer:
    return wrap(NOT(_truth(as_node(x, None, "logical_not: operand"))))


@operation("x1", "x2")
def bitwise_and(x1: object, x2: object, /) -> Tracer:
    return _bits("bitwise_and", AND, x1, x2)


@operation("x1", "x2")
def bitwise_or(x1: object, x2: object, /) -> Tracer:
    return _bits("bitwise_or", OR, x1, x2)


@operation("x1", "x2")
def bitwise_xor(x1: object, x2: object, /) -> Tracer:
    return _bits("bitwise_xor", XOR, x1, x2)


@operation("x")
def bitwise_invert(x: object, /) -> Tracer:
    (node,), weak = promote("bitwise_invert", x)
    _refuse_floats("bitwise_invert", node)
    return wrap(NOT(node), weak)


@operation("x1", "x2")
def bitwise_left_shift(x1: object, x2: object, /) -> Tracer:
    return _bits("bitwise_left_shift", SHIFT_LEFT, x1, x2)


@operation("x1", "x2")
def bitwise_right_shift(x1: object, x2: object, /) -> Tracer:
    """Arithmetic for signed integers, logical for unsigned ones."""
    (x, y), weak = promote("bitwise_right_shift", x1, x2)
    _refuse_floats("bitwise_right_shift", x, y)
    return wrap((SHIFT_RIGHT_LOGICAL if x.dtype.kind == "uint" else SHIFT_RIGHT_ARITHMETIC)(x, y), weak)


@operation("x")
def isnan(x: object, /) -> Tracer:
    (node,), _ = promote("isnan", x)
    return wrap(COMPARE(node, node, direction="NE"))


@operation("x")
def isinf(x: object, /) -> Tracer:
    (node,), _ = promote("isinf", x)
    if not node.dtype.is_float:
        return wrap(_always(node, False))
    return wrap(COMPARE(ABS(node), full_like(node, float("inf")), direction="EQ"))


@operation("x")
def isfinite(x: object, /) -> Tracer:
    (node,), _ = promote("isfinite", x)
    return wrap(IS_FINITE(node) if node.dtype.is_float else _always(node, True))


# ---------------------------------------------------------------- functions of real numbers (integers become f32)


@operation("x")
def exp(x: object, /) -> Tracer:
    return _real("exp", EXPONENTIAL, x)


@operation("x")
def expm1(x: object, /) -> Tracer:
    """``exp(x) - 1``, accurate near 0."""
    return _real("expm1", EXPONENTIAL_MINUS_ONE, x)


@operation("x")
def log(x: object, /) -> Tracer:
    return _real("log", LOG, x)


@operation("x")
def log1p(x: object, /) -> Tracer:
    """``log(1 + x)``, accurate near 0."""
    return _real("log1p", LOG_PLUS_ONE, x)


@operation("x")
def log2(x: object, /) -> Tracer:
    (node,), weak = promote("log2", x, to_float=True)
    return wrap(MULTIPLY(LOG(node), full_like(node, 1.4426950408889634)), weak)


@operation("x")
def log10(x: object, /) -> Tracer:
    (node,), weak = promote("log10", x, to_float=True)
    return wrap(MULTIPLY(LOG(node), full_like(node, 0.4342944819032518)), weak)


@operation("x")
def sqrt(x: object, /) -> Tracer:
    return _real("sqrt", SQRT, x)


@operation("x")
def rsqrt(x: object, /) -> Tracer:
    """``1 / sqrt(x)``."""
    return _real("rsqrt", RSQRT, x)


@operation("x")
def sin(x: object, /) -> Tracer:
    return _real("sin", SINE, x)


@operation("x")
def cos(x: object, /) -> Tracer:
    return _real("cos", COSINE, x)


@operation("x")
def tan(x: object, /) -> Tracer:
    return _real("tan", TAN, x)


@operation("x")
def tanh(x: object, /) -> Tracer:
    return _real("tanh", TANH, x)


@operation("x")
def erf(x: object, /) -> Tracer:
    """The error function."""
    return _real("erf", ERF, x)


@operation("x")
def sigmoid(x: object, /) -> Tracer:
    """``1 / (1 + exp(-x))``."""
    return _real("sigmoid", LOGISTIC, x)


@operation("x")
def floor(x: object, /) -> Tracer:
    return _rounding("floor", FLOOR, x)


@operation("x")
def ceil(x: object, /) -> Tracer:
    return _rounding("ceil", CEIL, x)


@operation("x")
def round(x: object, /) -> Tracer:
    """To the nearest integer, halves to even."""
    return _rounding("round", ROUND_NEAREST_EVEN, x)


@operation("x")
def trunc(x: object, /) -> Tracer:
    """Toward zero."""
    (node,), weak = promote("trunc", x)
    if not node.dtype.is_float:
        return wrap(node, weak)
    down = COMPARE(node, full_like(node, 0.0), direction="LT")
    return wrap(SELECT(down, CEIL(node), FLOOR(node)), weak)


@operation("x")
def astype(x: object, /, dtype: object) -> Tracer:
    """Converted to ``dtype``: floats to integers truncate and saturate (NaN: 0), numbers to bools are ``x != 0``."""
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
