"""Initialisers with the names and numbers of ``jax.nn.initializers``: each gives ``init(key, shape, dtype)``.

Weights are ``[..., inputs, outputs]``: fan-in is the second to last size, fan-out the last, both times the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any, Protocol

from mlc import numpy as mnp
from mlc import random
from mlc.errors import ArgumentError
from mlc.ir.types import F32


class Initializer(Protocol):
    """``init(key, shape, dtype)``: an array of this shape."""

    def __call__(self, key: object, shape: Sequence[int], dtype: object = F32) -> Any: ...


def zeros(key: object, shape: Sequence[int], dtype: object = F32) -> Any:
    return mnp.zeros(tuple(shape), dtype)


def ones(key: object, shape: Sequence[int], dtype: object = F32) -> Any:
    return mnp.ones(tuple(shape), dtype)


def constant(value: float) -> Initializer:
    """Every element ``value``."""
    return lambda key, shape, dtype=F32: mnp.full(tuple(shape), value, dtype)


def uniform(scale: float = 0.01) -> Initializer:
    """Even in ``[0, scale)``."""
    return lambda key, shape, dtype=F32: random.uniform(key, tuple(shape), dtype) * scale


def normal(stddev: float = 0.01) -> Initializer:
    """Normal with mean 0."""
    return lambda key, shape, dtype=F32: random.normal(key, tuple(shape), dtype) * stddev


def truncated_normal(stddev: float = 0.01, lower: float = -2.0, upper: float = 2.0) -> Initializer:
    """Normal between ``lower`` and ``upper`` times ``stddev``."""
    return lambda key, shape, dtype=F32: random.truncated_normal(key, lower, upper, tuple(shape), dtype) * stddev


def variance_scaling(scale: float, mode: str, distribution: str) -> Initializer:
    """Variance ``scale / n`` with n by ``mode``: fan_in, fan_out or fan_avg; ``distribution`` is normal,
    truncated_normal or uniform. Raises ArgumentError for other words and for shapes of less than two axes."""
    if mode not in ("fan_in", "fan_out", "fan_avg"):
        raise ArgumentError(f"variance_scaling: mode is {mode!r}; it is fan_in, fan_out or fan_avg")
    if distribution not in ("normal", "truncated_normal", "uniform"):
        raise ArgumentError(
            f"variance_scaling: distribution {distribution!r}; it is normal, truncated_normal or uniform"
        )

    def initialize(key: object, shape: Sequence[int], dtype: object = F32) -> Any:
        sizes = tuple(shape)
        variance = scale / max(_fan(sizes, mode), 1e-30)
        if distribution == "uniform":
            return random.uniform(key, sizes, dtype, -1.0, 1.0) * sqrt(3 * variance)
        if distribution == "normal":
            return random.normal(key, sizes, dtype) * sqrt(variance)
        # the standard deviation of a normal cut off at -2 and 2
        return random.truncated_normal(key, -2.0, 2.0, sizes, dtype) * (sqrt(variance) / 0.87962566103423978)

    return initialize


def glorot_uniform() -> Initializer:
    """Glorot and Bengio (2010): keeps variances forward and backward on average."""
    return variance_scaling(1.0, "fan_avg", "uniform")


def glorot_normal() -> Initializer:
    return variance_scaling(1.0, "fan_avg", "truncated_normal")


def lecun_uniform() -> Initializer:
    """LeCun (1998): for layers without rectifier."""
    return variance_scaling(1.0, "fan_in", "uniform")


def lecun_normal() -> Initializer:
    return variance_scaling(1.0, "fan_in", "truncated_normal")


def he_uniform() -> Initializer:
    """He et al. (2015): for layers before a relu."""
    return variance_scaling(2.0, "fan_in", "uniform")


def he_normal() -> Initializer:
    return variance_scaling(2.0, "fan_in", "truncated_normal")


xavier_uniform, xavier_normal = glorot_uniform, glorot_normal
kaiming_uniform, kaiming_normal = he_uniform, he_normal


def _fan(shape: tuple[int, ...], mode: str) -> float:
    if len(shape) < 2:
        raise ArgumentError(f"init: shape {shape} has less than two axes: inputs and outputs",
                            hint="biases are zeros: mlc.nn.init.zeros")  # fmt: skip
    field = prod(shape[:-2])
    fan_in, fan_out = shape[-2] * field, shape[-1] * field
    return fan_in if mode == "fan_in" else fan_out if mode == "fan_out" else (fan_in + fan_out) / 2
