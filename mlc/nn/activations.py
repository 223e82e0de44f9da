"""Activation functions, elementwise; integers become f32."""

from __future__ import annotations

from math import pi, sqrt

from mlc import numpy as mnp
from mlc.ir.graph import MAXIMUM, full_like
from mlc.numpy.dispatch import operation
from mlc.numpy.promotion import promote, wrap
from mlc.tracing.composite import composite
from mlc.tracing.tracer import Tracer

sigmoid = mnp.sigmoid
tanh = mnp.tanh


@operation("x")
def relu(x: object, /) -> Tracer:
    """``x`` where positive, else 0; NaN stays NaN. The derivative is 0 at 0, and is read from the result.

    Example:
        >>> import mlc
        >>> mlc.nn.relu(mlc.numpy.asarray([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """
    (node,), weak = promote("relu", x)
    return wrap(composite("relu", relu_formula, node)[0], weak)


def relu_formula(x: Tracer) -> Tracer:
    return wrap(MAXIMUM(full_like(x.node, 0), x.node))


@operation("x")
def relu6(x: object, /) -> Tracer:
    """``min(max(x, 0), 6)``.

    Example:
        >>> import mlc
        >>> mlc.nn.relu6(mlc.numpy.asarray([-1.0, 9.0])).tolist()
        [0.0, 6.0]
    """
    return mnp.clip(_floats("relu6", x), 0.0, 6.0)


@operation("x")
def leaky_relu(x: object, /, negative_slope: float = 0.01) -> Tracer:
    """``x`` where it is not negative, else ``negative_slope * x``.

    Example:
        >>> import mlc
        >>> mlc.nn.leaky_relu(mlc.numpy.asarray([-1.0, 2.0]), negative_slope=0.5).tolist()
        [-0.5, 2.0]
    """
    x = _floats("leaky_relu", x)
    return mnp.where(x >= 0.0, x, x * negative_slope)


@operation("x")
def elu(x: object, /, alpha: float = 1.0) -> Tracer:
    """``x`` where positive, else ``alpha * (exp(x) - 1)``.

    Example:
        >>> import mlc
        >>> mlc.nn.elu(mlc.numpy.asarray([0.0, 2.0])).tolist()
        [0.0, 2.0]
    """
    x = _floats("elu", x)
    return mnp.where(x > 0.0, x, mnp.expm1(mnp.where(x > 0.0, 0.0, x)) * alpha)


@operation("x")
def gelu(x: object, /, approximate: bool = True) -> Tracer:
    """``x`` times the cumulative normal distribution, by tanh if ``approximate`` (Hendrycks and Gimpel, 2016).

    Example:
        >>> import mlc
        >>> mlc.nn.gelu(mlc.numpy.asarray([0.0, 10.0])).tolist()
        [0.0, 10.0]
    """
    x = _floats("gelu", x)
    if not approximate:
        return x * (0.5 * (1.0 + mnp.erf(x * sqrt(0.5))))
    return x * (0.5 * (1.0 + mnp.tanh(sqrt(2 / pi) * (x + 0.044715 * (x * x * x)))))


@operation("x")
def silu(x: object, /) -> Tracer:
    """``x * sigmoid(x)``.

    Example:
        >>> import mlc
        >>> mlc.nn.silu(mlc.numpy.asarray([0.0, 100.0])).tolist()
        [0.0, 100.0]
    """
    x = _floats("silu", x)
    return x * mnp.sigmoid(x)


swish = silu


@operation("x")
def softplus(x: object, /) -> Tracer:
    """``log(1 + exp(x))``, without overflow.

    Example:
        >>> import mlc
        >>> mlc.nn.softplus(mlc.numpy.asarray([100.0])).tolist()
        [100.0]
    """
    x = _floats("softplus", x)
    return mnp.maximum(x, 0.0) + mnp.log1p(mnp.exp(-mnp.abs(x)))


@operation("x")
def log_sigmoid(x: object, /) -> Tracer:
    """``log(sigmoid(x))``, without overflow.

    Example:
        >>> import mlc
        >>> mlc.nn.log_sigmoid(mlc.numpy.asarray([-100.0])).tolist()
        [-100.0]
    """
    return -softplus(-_floats("log_sigmoid", x))


@operation("x")
def softsign(x: object, /) -> Tracer:
    """``x / (1 + |x|)``.

    Example:
        >>> import mlc
        >>> mlc.nn.softsign(mlc.numpy.asarray([1.0, -1.0])).tolist()
        [0.5, -0.5]
    """
    x = _floats("softsign", x)
    return x / (1.0 + mnp.abs(x))


@operation("x")
def hard_tanh(x: object, /) -> Tracer:
    """``x`` kept between -1 and 1.

    Example:
        >>> import mlc
        >>> mlc.nn.hard_tanh(mlc.numpy.asarray([-2.0, 0.5])).tolist()
        [-1.0, 0.5]
    """
    return mnp.clip(_floats("hard_tanh", x), -1.0, 1.0)


def _floats(name: str, x: object) -> Tracer:
    (node,), weak = promote(name, x, to_float=True)
    return wrap(node, weak)
