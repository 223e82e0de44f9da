"""Dropout and layer normalisation."""

from __future__ import annotations

from typing import Any

from mlc import numpy as mnp
from mlc import random
from mlc.errors import ArgumentError
from mlc.ir.types import F32
from mlc.numpy.axes import Axes, some_axes
from mlc.numpy.dispatch import operation
from mlc.numpy.promotion import promote, wrap
from mlc.tracing.tracer import Tracer


def dropout(key: object, rate: Any, x: Any, /) -> Any:
    """Each element of ``x`` 0 with probability ``rate``, else divided by ``1 - rate``: the mean stays.

    ``key`` is one of ``mlc.random``, to be used once. Integers become f32. At the rate 1 all elements and derivatives
    are 0. Raises ArgumentError for a rate that is a number outside of [0, 1].

    Example:
        >>> import mlc
        >>> dropped = mlc.nn.dropout(mlc.random.key(0), 0.5, mlc.numpy.ones(1000))
        >>> sorted(set(dropped.tolist()))
        [0.0, 2.0]
    """
    if isinstance(rate, int | float) and not 0 <= rate <= 1:
        raise ArgumentError(f"dropout: rate is {rate}; it is at least 0 and at most 1")
    if isinstance(rate, int | float) and rate == 1:
        return _nothing(x)
    return _dropout(key, rate, x)


@operation("x")
def _nothing(x: Any) -> Tracer:
    (node,), _ = promote("dropout", x, to_float=True)
    return mnp.zeros(node.shape, node.dtype)


@operation("key", "rate", "x")
def _dropout(key: object, rate: Any, x: Any) -> Tracer:
    (node,), _ = promote("dropout", x, to_float=True)
    kept = random.bernoulli(key, 1.0 - rate, node.shape)
    value = wrap(node)
    return mnp.where(kept, value / (1.0 - rate), mnp.zeros((), node.dtype))


@operation("x", "weight", "bias")
def layer_norm(x: object, weight: Any = None, bias: Any = None, axis: Axes = -1, *, epsilon: float = 1e-5) -> Tracer:
    """``x`` less its mean over ``axis``, by the root of its variance and ``epsilon``; times ``weight``, plus ``bias``.

    f16 and bf16 are computed in f32; integers become f32 (Ba, Kiros and Hinton 2016, "Layer Normalization").

    Example:
        >>> import mlc
        >>> mlc.nn.layer_norm(mlc.numpy.asarray([1.0, 3.0]), epsilon=0.0).tolist()
        [-1.0, 1.0]
    """
    (node,), _ = promote("layer_norm", x, to_float=True)
    axes = some_axes("layer_norm", axis, node.tensor)
    wide = wrap(node).astype(F32) if node.dtype.bits == 16 else wrap(node)
    centred = wide - mnp.mean(wide, axes, keepdims=True)
    variance = mnp.mean(centred * centred, axes, keepdims=True)
    result = (centred / mnp.sqrt(variance + epsilon)).astype(node.dtype)
    result = result if weight is None else result * weight
    return result if bias is None else result + bias
