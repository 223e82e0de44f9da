"""Inverse trigonometric and hyperbolic functions, hypot and logaddexp: formulas of other functions.

Each is a composite: its derivative is a rule of its own (mlc.transforms.elementary), not that of the formula, which
would be no number where a part of it is infinite. Formulas are accurate to a few units in the last place at both ends
of their domains. f16 and bf16 are computed in f32.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log

from mlc.ir.graph import ATAN2, CONVERT
from mlc.ir.types import F32
from mlc.tracing.composite import composite
from mlc.tracing.tracer import Tracer

from .arithmetic import abs, maximum, minimum
from .bits import copysign
from .comparison import where
from .dispatch import operation
from .promotion import promote, wrap
from .real import exp, expm1, log1p, sqrt
from .real import log as log_of

Formula = Callable[..., Tracer]
LOG_2 = log(2)
_LARGE = 2.0**28  # beyond, x + sqrt(x^2 + 1) is 2x


@operation("x")
def asin(x: object, /) -> Tracer:
    """The angle in [-pi/2, pi/2] whose sine is ``x``; NaN outside of [-1, 1]. Integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.asin(mnp.asarray([0.0, 2.0])).tolist()
        [0.0, nan]
    """
    return _composite("asin", _asin, x)


def _asin(x: Tracer) -> Tracer:
    return atan2(x, sqrt((1 - x) * (1 + x)))


@operation("x")
def acos(x: object, /) -> Tracer:
    """The angle in [0, pi] whose cosine is ``x``; NaN outside of [-1, 1]. Integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.acos(mnp.asarray([1.0, 2.0])).tolist()
        [0.0, nan]
    """
    return _composite("acos", _acos, x)


def _acos(x: Tracer) -> Tracer:
    return atan2(sqrt((1 - x) * (1 + x)), x)


@operation("x")
def atan(x: object, /) -> Tracer:
    """The angle in [-pi/2, pi/2] whose tangent is ``x``; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.atan(mnp.asarray([0.0, 1.0])).tolist()
        [0.0, 0.7853981852531433]
    """
    return _composite("atan", _atan, x)


def _atan(x: Tracer) -> Tracer:
    return atan2(x, 1.0)


@operation("x1", "x2")
def atan2(x1: object, x2: object, /) -> Tracer:
    """The angle in [-pi, pi] of the point with the coordinates (``x2``, ``x1``); integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.atan2(mnp.asarray([0.0, 1.0]), mnp.asarray([1.0, 0.0])).tolist()
        [0.0, 1.5707963705062866]
    """
    (y, x), weak = promote("atan2", x1, x2, to_float=True)
    return wrap(ATAN2(y, x), weak)


@operation("x")
def sinh(x: object, /) -> Tracer:
    """The hyperbolic sine; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.sinh(mnp.asarray([0.0, 100.0])).tolist()
        [0.0, inf]
    """
    return _composite("sinh", _sinh, x)


def _sinh(x: Tracer) -> Tracer:
    """Of exp(x/2), which overflows where the result does, not before; near 0 of expm1, whose digits are all right."""
    size = abs(x)
    root, less = exp(size * 0.5), expm1(minimum(size, 1.0))
    large, small = (0.5 * root) * root - (0.5 / root) / root, 0.5 * (less + less / (less + 1))
    return copysign(where(size > 1, large, small), x)


@operation("x")
def cosh(x: object, /) -> Tracer:
    """The hyperbolic cosine; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.cosh(mnp.asarray([0.0, -100.0])).tolist()
        [1.0, inf]
    """
    return _composite("cosh", _cosh, x)


def _cosh(x: Tracer) -> Tracer:
    root = exp(abs(x) * 0.5)
    return (0.5 * root) * root + (0.5 / root) / root


@operation("x")
def asinh(x: object, /) -> Tracer:
    """The number whose hyperbolic sine is ``x``; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.asinh(mnp.asarray([0.0, float("inf")])).tolist()
        [0.0, inf]
    """
    return _composite("asinh", _asinh, x)


def _asinh(x: Tracer) -> Tracer:
    size = abs(x)
    near = minimum(size, _LARGE)
    near = log1p(near + near * (near / (1 + sqrt(near * near + 1))))
    return copysign(where(size > _LARGE, log_of(size) + LOG_2, near), x)


@operation("x")
def acosh(x: object, /) -> Tracer:
    """The number that is not negative and whose hyperbolic cosine is ``x``; NaN below 1. Integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.acosh(mnp.asarray([1.0, 0.5])).tolist()
        [0.0, nan]
    """
    return _composite("acosh", _acosh, x)


def _acosh(x: Tracer) -> Tracer:
    above = minimum(x, _LARGE) - 1
    return where(x > _LARGE, log_of(x) + LOG_2, log1p(above + sqrt(above) * sqrt(above + 2)))


@operation("x")
def atanh(x: object, /) -> Tracer:
    """The number whose hyperbolic tangent is ``x``; NaN outside of [-1, 1]. Integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.atanh(mnp.asarray([0.0, 1.0, 2.0])).tolist()
        [0.0, inf, nan]
    """
    return _composite("atanh", _atanh, x)


def _atanh(x: Tracer) -> Tracer:
    size = abs(x)
    return copysign(0.5 * log1p(2 * (size / (1 - size))), x)


@operation("x1", "x2")
def hypot(x1: object, x2: object, /) -> Tracer:
    """``sqrt(x1**2 + x2**2)`` without overflow on the way; infinite where either is. Integers become f32.

    The derivative at (0, 0) is 0.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.hypot(mnp.asarray([3.0, 0.0]), mnp.asarray([4.0, 0.0])).tolist()
        [5.0, 0.0]
    """
    return _composite("hypot", _hypot, x1, x2)


def _hypot(x: Tracer, y: Tracer) -> Tracer:
    x, y = abs(x), abs(y)
    long, short = maximum(x, y), minimum(x, y)
    part = short / where(long == 0, 1.0, long)
    found = long * sqrt(1 + part * part)
    infinity = float("inf")
    return where((x == infinity) | (y == infinity), infinity, found)


@operation("x1", "x2")
def logaddexp(x1: object, x2: object, /) -> Tracer:
    """``log(exp(x1) + exp(x2))`` without overflow on the way; integers become f32.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.logaddexp(mnp.asarray([0.0, float("-inf")]), mnp.asarray([0.0, 2.0])).tolist()
        [0.6931471824645996, 2.0]
    """
    return _composite("logaddexp", _logaddexp, x1, x2)


def _logaddexp(x: Tracer, y: Tracer) -> Tracer:
    gap = where(x == y, 0.0, abs(x - y))  # of two equal infinities, too
    return maximum(x, y) + log1p(exp(-gap))


def _composite(name: str, formula: Formula, *operands: object) -> Tracer:
    """``formula`` of floats, in f32 at least, as the composite ``name``."""
    nodes, weak = promote(name, *operands, to_float=True)
    dtype = nodes[0].dtype
    wide = [CONVERT(n, dtype=F32) if dtype.bits == 16 else n for n in nodes]
    (found,) = composite(name, formula, *wide)
    return wrap(CONVERT(found, dtype=dtype) if dtype.bits == 16 else found, weak)
