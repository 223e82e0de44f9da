"""Elementwise ops: every element of the result from the same element of each operand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import DTypeError, ShapeError
from .. import extremes
from ..types import BOOL, DType, TensorType, ValueType
from .node import Node
from .op import Array, Op, TangentRule, declare, dtype_cast, no_flops, per_element, round_to
from .typing import elementwise, predicate, require_dtype, same_types, tensor

ARITHMETIC = ("float", "int", "uint")
BITS = ("int", "uint", "bool")


def _plain(function: Callable[..., Any]) -> Callable[..., Array]:
    """Meaning of an op that NumPy has exactly; overflow wraps, NaN and infinities are results, not warnings."""

    def evaluate(node: Node, shape: tuple[int, ...], *operands: Array) -> Array:
        with np.errstate(all="ignore"):
            return dtype_cast(function(*operands), node)

    return evaluate


def _precise(function: Callable[..., Any]) -> Callable[..., Array]:
    """Meaning of a transcendental op: computed in f64 and rounded once."""

    def evaluate(node: Node, shape: tuple[int, ...], *operands: Array) -> Array:
        with np.errstate(all="ignore"):
            wide = [o.astype(np.float64) if node.dtype.is_float else o for o in operands]
            return dtype_cast(function(*wide), node)

    return evaluate


def _unary(name: str, function: Callable[[Array], Any], jvp: TangentRule, kinds: Sequence[str] = ("float",), *,
           exact: bool = False, flops: int = 1, transpose: Any = None) -> Op:  # fmt: skip
    return declare(name, operands=1, infer=elementwise(name, kinds), evaluate=(_plain if exact else _precise)(function),
                   jvp=(jvp,), transpose=transpose, flops=per_element(flops), elementwise=True)  # fmt: skip


def _binary(name: str, function: Callable[[Array, Array], Any], jvp: tuple[TangentRule, TangentRule],
            kinds: Sequence[str] = ARITHMETIC, *, commutative: bool = False, exact: bool = True,
            transpose: Any = None) -> Op:  # fmt: skip
    return declare(name, operands=2, infer=elementwise(name, kinds), evaluate=(_plain if exact else _precise)(function),
                   jvp=jvp, transpose=transpose, flops=per_element(1), elementwise=True,
                   commutative=commutative)  # fmt: skip


def full_like(node: Node, value: float) -> Node:
    """A tensor of ``node``'s type filled with ``value``."""
    from .shape import fill

    return fill(value, node.tensor)


def _divide(x: Array, y: Array) -> Array:
    """Integers truncate toward zero; by zero is -1 (all ones), the smallest integer by -1 is itself (XLA's rules)."""
    if x.dtype.kind not in "iu":
        return np.divide(x, y)
    zero = y == 0
    if x.dtype.kind == "u":
        return np.where(zero, np.iinfo(x.dtype).max, x // np.where(zero, 1, y))
    overflow = (x == np.iinfo(x.dtype).min) & (y == -1)
    safe = np.where(zero | overflow, 1, y)
    quotient = x // safe
    quotient = quotient + ((quotient < 0) & (quotient * safe != x)).astype(x.dtype)
    return np.where(zero, -1, np.where(overflow, x, quotient))


def _remainder(x: Array, y: Array) -> Array:
    """Has the sign of the dividend; by zero an integer remainder is the dividend."""
    if x.dtype.kind not in "iu":
        return np.fmod(x, y)
    return np.where(y == 0, x, np.fmod(x, np.where(y == 0, 1, y)))


def _shift(
    function: Callable[[Array, Array], Array], overflow: Callable[[Array], Any]
) -> Callable[[Array, Array], Array]:
    """Shifts by at least the width (or a negative amount) give ``overflow(x)``, as StableHLO says."""

    def evaluate(x: Array, y: Array) -> Array:
        bits = x.dtype.itemsize * 8
        inside = (y >= 0) & (y < bits)
        return np.where(inside, function(x, np.where(inside, y, 0).astype(x.dtype)), overflow(x))

    return evaluate


def _logical_right(x: Array, y: Array) -> Array:
    unsigned = np.dtype(f"u{x.dtype.itemsize}")
    shifted: Array = x.view(unsigned) >> y.view(unsigned)
    return shifted.view(x.dtype)


def _round_even(x: Array) -> Array:
    return np.round(x)


def _round_away(x: Array) -> Array:
    """Halves go away from zero."""
    whole = np.floor(np.abs(x))
    rounded: Array = np.copysign(whole + (np.abs(x) - whole >= 0.5), x)
    return rounded


def _leading_zeros(x: Array) -> Array:
    """The bits above the highest that is set, all of them for 0."""
    bits = 8 * x.dtype.itemsize
    left, found = x.view(f"u{x.dtype.itemsize}").copy(), np.full(x.shape, bits, x.dtype)
    for _ in range(bits):
        found -= (left != 0).astype(x.dtype)
        left >>= left.dtype.type(1)
    return found


def _square_sum(n: Node) -> Node:
    y, x = n.operands
    return ADD(MULTIPLY(x, x), MULTIPLY(y, y))


def _logistic(x: Array) -> Array:
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def _erf(x: Array) -> Array:
    from math import erf

    return np.vectorize(erf, otypes=[np.float64])(x) if x.size else x


ADD: Op = _binary("add", lambda x, y: x | y if x.dtype == bool else x + y, (lambda t, n: t, lambda t, n: t),
              ("float", "int", "uint", "bool"), commutative=True, transpose=lambda ct, n, linear: (ct, ct))  # fmt: skip
SUBTRACT: Op = _binary("subtract", np.subtract, (lambda t, n: t, lambda t, n: NEGATE(t)),
                   transpose=lambda ct, n, linear: (ct, NEGATE(ct)))  # fmt: skip
MULTIPLY: Op = _binary(
    "multiply", lambda x, y: x & y if x.dtype == bool else x * y,
    (lambda t, n: MULTIPLY(t, n.operands[1]), lambda t, n: MULTIPLY(n.operands[0], t)),
    ("float", "int", "uint", "bool"), commutative=True,
    transpose=lambda ct, n, linear: (
        (MULTIPLY(ct, n.operands[1]), None) if linear[0] else (None, MULTIPLY(n.operands[0], ct))),
)  # fmt: skip
DIVIDE: Op = _binary(
    "divide", _divide,
    (lambda t, n: DIVIDE(t, n.operands[1]), lambda t, n: NEGATE(DIVIDE(MULTIPLY(t, n), n.operands[1]))),
    transpose=lambda ct, n, linear: (DIVIDE(ct, n.operands[1]), None),
)  # fmt: skip
REMAINDER: Op = _binary(
    "remainder", _remainder,
    (lambda t, n: t, lambda t, n: NEGATE(MULTIPLY(t, truncate(DIVIDE(n.operands[0], n.operands[1]))))),
)  # fmt: skip


def truncate(x: Node) -> Node:
    """Round toward zero."""
    return MULTIPLY(SIGN(x), FLOOR(ABS(x)))


def _choose(index: int, direction: str) -> TangentRule:
    """Tangent of maximum / minimum: to the operand that is the result, half to each where they are equal."""

    def rule(t: Node, n: Node) -> Node:
        mine, other = n.operands[index], n.operands[1 - index]
        tie = SELECT(COMPARE(mine, other, direction="EQ"), full_like(t, 0.5), full_like(t, 0.0))
        return MULTIPLY(t, SELECT(COMPARE(mine, other, direction=direction), full_like(t, 1.0), tie))

    return rule


MAXIMUM: Op = _binary("maximum", extremes.maximum, (_choose(0, "GT"), _choose(1, "GT")),
                  ("float", "int", "uint", "bool"), commutative=True)  # fmt: skip
MINIMUM: Op = _binary("minimum", extremes.minimum, (_choose(0, "LT"), _choose(1, "LT")),
                  ("float", "int", "uint", "bool"), commutative=True)  # fmt: skip


def _integer_power(x: Array, y: Array) -> Array:
    if x.dtype.kind == "u":
        return np.power(x, y)
    negative = np.where(x == 1, 1, np.where(x == -1, np.where(y % 2 == 0, 1, -1), 0))
    return np.where(y < 0, negative, np.power(x, np.maximum(y, 0)))


def _power_base_tangent(t: Node, n: Node) -> Node:
    x, y = n.operands
    slope = MULTIPLY(y, POWER(x, SUBTRACT(y, full_like(y, 1.0))))
    return MULTIPLY(t, SELECT(COMPARE(y, full_like(y, 0.0), direction="EQ"), full_like(y, 0.0), slope))


def _power_exponent_tangent(t: Node, n: Node) -> Node:
    x = n.operands[0]
    positive = SELECT(COMPARE(x, full_like(x, 0.0), direction="EQ"), full_like(x, 1.0), x)
    return MULTIPLY(t, MULTIPLY(LOG(positive), n))


POWER: Op = _binary("power", lambda x, y: _integer_power(x, y) if x.dtype.kind in "iu" else np.power(x, y),
                (_power_base_tangent, _power_exponent_tangent), exact=False)  # fmt: skip
AND: Op = _binary("and", np.bitwise_and, (None, None), BITS, commutative=True)
OR: Op = _binary("or", np.bitwise_or, (None, None), BITS, commutative=True)
XOR: Op = _binary("xor", np.bitwise_xor, (None, None), BITS, commutative=True)
SHIFT_LEFT: Op = _binary("shift_left", _shift(np.left_shift, np.zeros_like), (None, None), ("int", "uint"))
SHIFT_RIGHT_LOGICAL: Op = _binary(
    "shift_right_logical", _shift(_logical_right, np.zeros_like), (None, None), ("int", "uint")
)
SHIFT_RIGHT_ARITHMETIC: Op = _binary(
    "shift_right_arithmetic",
    _shift(lambda x, y: _signed(x) >> _signed(y), lambda x: np.where(_signed(x) < 0, -1, 0)),
    (None, None), ("int", "uint"))  # fmt: skip


def _signed(x: Array) -> Array:
    return x.view(np.dtype(f"i{x.dtype.itemsize}"))


NEGATE: Op = _unary("negate", np.negative, lambda t, n: NEGATE(t), ARITHMETIC, exact=True,
                transpose=lambda ct, n, linear: (NEGATE(ct),))  # fmt: skip
ABS: Op = _unary("abs", np.abs, lambda t, n: MULTIPLY(t, SIGN(n.operands[0])), ARITHMETIC, exact=True)
SIGN: Op = _unary("sign", np.sign, None, ARITHMETIC, exact=True)
FLOOR: Op = _unary("floor", np.floor, None, exact=True)
CEIL: Op = _unary("ceil", np.ceil, None, exact=True)
ROUND_NEAREST_EVEN: Op = _unary("round_nearest_even", _round_even, None, exact=True)
ROUND_NEAREST_AFZ: Op = _unary("round_nearest_afz", _round_away, None, exact=True)
NOT: Op = _unary("not", np.invert, None, BITS, exact=True)
POPCNT: Op = _unary("popcnt", lambda x: np.bitwise_count(x.view(f"u{x.dtype.itemsize}")), None, ("int", "uint"),
                    exact=True)  # fmt: skip
COUNT_LEADING_ZEROS: Op = _unary("count_leading_zeros", _leading_zeros, None, ("int", "uint"), exact=True)
EXPONENTIAL: Op = _unary("exponential", np.exp, lambda t, n: MULTIPLY(t, n), flops=8)
EXPONENTIAL_MINUS_ONE: Op = _unary(
    "exponential_minus_one", np.expm1, lambda t, n: MULTIPLY(t, ADD(n, full_like(n, 1.0))), flops=10)  # fmt: skip
LOG: Op = _unary("log", np.log, lambda t, n: DIVIDE(t, n.operands[0]), flops=10)
LOG_PLUS_ONE: Op = _unary(
    "log_plus_one", np.log1p, lambda t, n: DIVIDE(t, ADD(n.operands[0], full_like(t, 1.0))), flops=10)  # fmt: skip
TANH: Op = _unary("tanh", np.tanh, lambda t, n: MULTIPLY(t, SUBTRACT(full_like(n, 1.0), MULTIPLY(n, n))), flops=12)
LOGISTIC: Op = _unary(
    "logistic", _logistic, lambda t, n: MULTIPLY(t, MULTIPLY(n, SUBTRACT(full_like(n, 1.0), n))), flops=10)  # fmt: skip
SQRT: Op = _unary("sqrt", np.sqrt, lambda t, n: DIVIDE(MULTIPLY(t, full_like(n, 0.5)), n))
RSQRT: Op = _unary("rsqrt", lambda x: 1 / np.sqrt(x),
               lambda t, n: MULTIPLY(t, MULTIPLY(full_like(n, -0.5), DIVIDE(n, n.operands[0]))), flops=2)  # fmt: skip
SINE: Op = _unary("sine", np.sin, lambda t, n: MULTIPLY(t, COSINE(n.operands[0])), flops=12)
COSINE: Op = _unary("cosine", np.cos, lambda t, n: NEGATE(MULTIPLY(t, SINE(n.operands[0]))), flops=12)
CBRT: Op = _unary("cbrt", np.cbrt,
              lambda t, n: DIVIDE(t, MULTIPLY(full_like(n, 3.0), MULTIPLY(n, n))), flops=14)  # fmt: skip
TAN: Op = _unary("tan", np.tan, lambda t, n: MULTIPLY(t, ADD(full_like(n, 1.0), MULTIPLY(n, n))), flops=14)
ERF: Op = _unary(
    "erf", _erf,
    lambda t, n: MULTIPLY(t, MULTIPLY(full_like(n, 1.1283791670955126),
                                      EXPONENTIAL(NEGATE(MULTIPLY(n.operands[0], n.operands[0]))))),
    flops=12)  # fmt: skip
ATAN2: Op = _binary(
    "atan2", np.arctan2,
    (lambda t, n: MULTIPLY(t, DIVIDE(n.operands[1], _square_sum(n))),
     lambda t, n: MULTIPLY(t, DIVIDE(NEGATE(n.operands[0]), _square_sum(n)))),
    ("float",), exact=False)  # fmt: skip
IS_FINITE: Op = declare("is_finite", operands=1, infer=predicate("is_finite", ("float",)),
                    evaluate=lambda n, shape, x: np.isfinite(x), jvp=(None,), flops=per_element(1),
                    elementwise=True)  # fmt: skip

_COMPARE = {
    "EQ": np.equal,
    "NE": np.not_equal,
    "LT": np.less,
    "LE": np.less_equal,
    "GT": np.greater,
    "GE": np.greater_equal,
}


def _infer_compare(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    if attributes["direction"] not in _COMPARE:
        raise ShapeError(f"compare: direction {attributes['direction']!r} is none of {', '.join(_COMPARE)}")
    return same_types("compare", operands).with_dtype(BOOL)


def _compare(node: Node, shape: tuple[int, ...], x: Array, y: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(_COMPARE[node["direction"]](x, y))


COMPARE: Op = declare("compare", operands=2, infer=_infer_compare, attributes=("direction",),
                  evaluate=_compare,
                  jvp=(None, None), flops=per_element(1), elementwise=True)  # fmt: skip


def _infer_select(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    pred, result = tensor("select", operands[0], "pred"), same_types("select", operands[1:])
    require_dtype("select", pred, BOOL, "pred")
    if pred.shape != result.shape:
        raise ShapeError(f"select: pred is {pred}, the branches are {result}")
    return result


def _zeros_like(node: Node) -> Node:
    return full_like(node, 0.0)


SELECT: Op = declare(
    "select", operands=3, infer=_infer_select, evaluate=lambda n, shape, p, x, y: np.where(p, x, y),
    jvp=(None, lambda t, n: SELECT(n.operands[0], t, _zeros_like(t)),
         lambda t, n: SELECT(n.operands[0], _zeros_like(t), t)),
    transpose=lambda ct, n, linear: (
        None, SELECT(n.operands[0], ct, _zeros_like(ct)), SELECT(n.operands[0], _zeros_like(ct), ct)),
    flops=per_element(1), elementwise=True,
)  # fmt: skip


def _clamp_tangent(t: Node, n: Node) -> Node:
    low, x, high = n.operands
    inside = AND(COMPARE(x, low, direction="GE"), COMPARE(x, high, direction="LE"))
    return SELECT(inside, t, _zeros_like(t))


def _low_tangent(t: Node, n: Node) -> Node:
    low, x, high = n.operands
    return SELECT(AND(COMPARE(x, low, direction="LT"), COMPARE(low, high, direction="LE")), t, _zeros_like(t))


def _high_tangent(t: Node, n: Node) -> Node:
    low, x, high = n.operands
    return SELECT(COMPARE(MAXIMUM(x, low), high, direction="GT"), t, _zeros_like(t))


CLAMP: Op = declare("clamp", operands=3, infer=elementwise("clamp", ARITHMETIC),
                evaluate=_plain(lambda low, x, high: extremes.minimum(extremes.maximum(x, low), high)),
                jvp=(_low_tangent, _clamp_tangent, _high_tangent), flops=per_element(2), elementwise=True)  # fmt: skip


def _infer_convert(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    return tensor("convert", operands[0]).with_dtype(attributes["dtype"])


def saturating_cast(x: Array, dtype: DType) -> Array:
    """Convert as XLA does: floats to integers truncate and saturate, NaN gives 0; integers wrap."""
    with np.errstate(all="ignore"):
        if x.dtype.kind in "iub" or not dtype.is_integer:
            return round_to(np.asarray(x), dtype)
        low, high = dtype.limits
        wide = np.trunc(np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf))
        inside = (wide > float(low) - 1) & (wide < float(high) + (0 if dtype.bits == 64 else 1))
        cast = np.where(inside, wide, 0).astype(dtype.numpy)
        edge = np.where(wide > 0, np.array(high, dtype.numpy), np.array(low, dtype.numpy))
        return np.where(inside, cast, edge).astype(dtype.numpy)


CONVERT: Op = declare(
    "convert", operands=1, infer=_infer_convert, attributes=("dtype",),
    evaluate=lambda n, shape, x: saturating_cast(x, n.dtype),
    jvp=(lambda t, n: CONVERT(t, dtype=n.dtype),),
    transpose=lambda ct, n, linear: (CONVERT(ct, dtype=n.operands[0].dtype),),
    flops=per_element(1), elementwise=True,
)  # fmt: skip


def _infer_bitcast(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    operand, dtype = tensor("bitcast_convert", operands[0]), attributes["dtype"]
    if operand.dtype.bits != dtype.bits:
        raise DTypeError(
            f"bitcast_convert: {operand} has {operand.dtype.bits} bits an element, {dtype} has {dtype.bits}"
        )
    return operand.with_dtype(dtype)


BITCAST_CONVERT: Op = declare("bitcast_convert", operands=1, infer=_infer_bitcast, attributes=("dtype",),
                          evaluate=lambda n, shape, x: np.ascontiguousarray(x).view(n.dtype.numpy).reshape(x.shape),
                          jvp=(None,), flops=no_flops, elementwise=True)  # fmt: skip
