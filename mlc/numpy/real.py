"""Functions of real numbers of the array API (integers become f32), rounding and conversion."""

from __future__ import annotations

from mlc.ir.graph import (
    CEIL,
    COMPARE,
    CONVERT,
    COSINE,
    ERF,
    EXPONENTIAL,
    EXPONENTIAL_MINUS_ONE,
    FLOOR,
    LOG,
    LOG_PLUS_ONE,
    LOGISTIC,
    MULTIPLY,
    ROUND_NEAREST_EVEN,
    RSQRT,
    SELECT,
    SINE,
    SQRT,
    TAN,
    TANH,
    full_like,
)  # fmt: skip
from mlc.ir.types import BOOL
from mlc.tracing.lift import as_node, describe
from mlc.tracing.spec import element_type
from mlc.tracing.tracer import Tracer

from .apply import apply_real, apply_rounding, truth
from .dispatch import operation
from .promotion import promote, wrap


@operation("x")
def exp(x: object, /) -> Tracer:
    """e to the power ``x``; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.exp(mnp.asarray([0.0, float("-inf")])).tolist()
        [1.0, 0.0]
    """
    return apply_real("exp", EXPONENTIAL, x)


@operation("x")
def expm1(x: object, /) -> Tracer:
    """``exp(x) - 1``, accurate near 0.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.expm1(mnp.asarray([0.0, float("-inf")])).tolist()
        [0.0, -1.0]
    """
    return apply_real("expm1", EXPONENTIAL_MINUS_ONE, x)


@operation("x")
def log(x: object, /) -> Tracer:
    """The natural logarithm, NaN below 0; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.log(mnp.asarray([1.0, 0.0])).tolist()
        [0.0, -inf]
    """
    return apply_real("log", LOG, x)


@operation("x")
def log1p(x: object, /) -> Tracer:
    """``log(1 + x)``, accurate near 0.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.log1p(mnp.asarray([0.0, -1.0])).tolist()
        [0.0, -inf]
    """
    return apply_real("log1p", LOG_PLUS_ONE, x)


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
    return apply_real("sqrt", SQRT, x)


@operation("x")
def rsqrt(x: object, /) -> Tracer:
    """``1 / sqrt(x)``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.rsqrt(mnp.asarray([4.0, 16.0])).tolist()
        [0.5, 0.25]
    """
    return apply_real("rsqrt", RSQRT, x)


@operation("x")
def sin(x: object, /) -> Tracer:
    """The sine of radians; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.sin(mnp.asarray([0.0])).tolist()
        [0.0]
    """
    return apply_real("sin", SINE, x)


@operation("x")
def cos(x: object, /) -> Tracer:
    """The cosine of radians; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.cos(mnp.asarray([0.0])).tolist()
        [1.0]
    """
    return apply_real("cos", COSINE, x)


@operation("x")
def tan(x: object, /) -> Tracer:
    """The tangent of radians; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.tan(mnp.asarray([0.0])).tolist()
        [0.0]
    """
    return apply_real("tan", TAN, x)


@operation("x")
def tanh(x: object, /) -> Tracer:
    """The hyperbolic tangent; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.tanh(mnp.asarray([0.0, 100.0])).tolist()
        [0.0, 1.0]
    """
    return apply_real("tanh", TANH, x)


@operation("x")
def erf(x: object, /) -> Tracer:
    """The error function.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.erf(mnp.asarray([0.0, 10.0])).tolist()
        [0.0, 1.0]
    """
    return apply_real("erf", ERF, x)


@operation("x")
def sigmoid(x: object, /) -> Tracer:
    """``1 / (1 + exp(-x))``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.sigmoid(mnp.asarray([0.0, 100.0])).tolist()
        [0.5, 1.0]
    """
    return apply_real("sigmoid", LOGISTIC, x)


@operation("x")
def floor(x: object, /) -> Tracer:
    """The integer below or equal, in the type of ``x``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.floor(mnp.asarray([1.5, -1.5])).tolist()
        [1.0, -2.0]
    """
    return apply_rounding("floor", FLOOR, x)


@operation("x")
def ceil(x: object, /) -> Tracer:
    """The integer above or equal, in the type of ``x``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.ceil(mnp.asarray([1.5, -1.5])).tolist()
        [2.0, -1.0]
    """
    return apply_rounding("ceil", CEIL, x)


@operation("x")
def round(x: object, /) -> Tracer:
    """To the nearest integer, halves to even.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.round(mnp.asarray([0.5, 1.5, -1.2])).tolist()
        [0.0, 2.0, -1.0]
    """
    return apply_rounding("round", ROUND_NEAREST_EVEN, x)


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
def astype(x: object, /, dtype: object, *, copy: bool = True) -> Tracer:
    """Converted to ``dtype``: floats to integers truncate and saturate (NaN: 0), numbers to bools are ``x != 0``.

    ``copy`` is there for the array API and decides nothing: no array changes.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.astype(mnp.asarray([1.7, -2.5, 300.0]), "u8").tolist()
        [1, 0, 255]
    """
    target = element_type(dtype)
    node = as_node(x, None if isinstance(x, Tracer) else describe(x, "astype: operand")[0].dtype, "astype: operand")
    if target == BOOL:
        return wrap(truth(node))
    return wrap(node if node.dtype == target else CONVERT(node, dtype=target))
