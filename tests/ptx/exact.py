"""Roundings that NumPy does not have: fused multiply-add, rounding to odd and toward zero, bf16 and tf32."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

Array = Any


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded sum, and what rounding took from it (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def add_to_odd(a: Array, b: Array) -> Array:
    """a + b in f64 rounded to odd, so that rounding once more to fewer bits gives the sum rounded once."""
    total, error = two_sum(a, b)
    return _odd(total, error)


def _odd(value: Array, error: Array) -> Array:
    """The neighbour of ``value`` with an odd last bit on the side of ``error``, where that is not 0."""
    raw = np.ascontiguousarray(value).view(np.int64)
    inexact = np.isfinite(value) & np.isfinite(error) & (error != 0) & (raw & 1 == 0)
    toward = np.where((error > 0) == (value > 0), 1, -1)
    return np.where(inexact, (raw + toward).view(np.float64), value)


def to_odd_f32(x: Array) -> Array:
    """f64 to f32 rounded to odd."""
    near = x.astype(np.float32)
    raw = near.view(np.int32)
    inexact = np.isfinite(near) & (near != x) & (raw & 1 == 0)
    step = np.where(np.abs(near) < np.abs(x), 1, -1).astype(np.int32)
    return np.where(inexact & ((near != 0) | (step > 0)), (raw + step).view(np.float32), near)


def fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c rounded once, of f32 or f64."""
    if a.dtype == np.float32:
        return wide_fma(a, b, c).astype(np.float32)
    return _fma64(a, b, c)


def wide_fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c of f32 or less as f64 rounded to odd; the product is exact in f64."""
    return add_to_odd(a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64))


def _fma64(a: Array, b: Array, c: Array) -> Array:
    """Boldo and Melquiond, Emulation of FMA and correctly rounded sums; by fractions where parts overflow."""
    high, low = _product(a, b)
    upper, lower = two_sum(c, low)
    top, rest = two_sum(high, upper)
    found = top + add_to_odd(rest, lower)
    size = np.maximum(np.maximum(np.abs(a), np.abs(b)), np.maximum(np.abs(c), np.abs(a * b)))
    small = (np.abs(a * b) < 1e-250) & (a != 0) & (b != 0)
    found = np.where(np.isfinite(size), found, a * b + c)
    found = np.where((a * b == 0) & ~small, a * b + c, found)
    for i in np.flatnonzero(np.isfinite(a) & np.isfinite(b) & np.isfinite(c) & (small | ~(size < 1e290))):
        found[i] = _by_fractions(float(a[i]), float(b[i]), float(c[i]))
    return found


def _by_fractions(a: float, b: float, c: float) -> float:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    try:
        return float(exact) if exact else a * b + c
    except OverflowError:
        return math.inf if exact > 0 else -math.inf  # a fraction may be too large for a float


def _product(a: Array, b: Array) -> tuple[Array, Array]:
    """Two floats whose exact sum is a * b (Dekker)."""
    a_high, b_high = _head(a), _head(b)
    a_low, b_low, high = a - a_high, b - b_high, a * b
    return high, ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low


def _head(x: Array) -> Array:
    scaled = x * 134217729.0
    return scaled - (scaled - x)


def to_bf16(x: Array) -> Array:
    """The upper halves of f32 numbers (f64 through f32 to odd), rounded to nearest even; NaN is the canonical one."""
    raw = (to_odd_f32(x) if x.dtype == np.float64 else x.astype(np.float32)).view(np.uint32)
    rounded = (raw + np.uint32(0x7FFF) + ((raw >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(x), np.uint32(0x7FFF), rounded).astype(np.uint16)


def to_tf32(x: Array) -> Array:
    """f32 with 10 bits of fraction, ties away from zero as cvt.rna does."""
    raw = x.astype(np.float32).view(np.uint32)
    return np.where(np.isfinite(x), (raw + np.uint32(0x1000)) & np.uint32(0xFFFFE000), raw)


def toward_zero(x: Array, to: str) -> Array:
    """The nearest number of type ``to`` that is not larger in size."""
    if to in ("bf16", "tf32"):
        raw = toward_zero(x, "f32").view(np.uint32)
        return (raw & np.uint32(0xFFFF0000 if to == "bf16" else 0xFFFFE000)).view(np.float32)
    kind = np.float16 if to == "f16" else np.float32
    near = x.astype(kind)
    smaller = np.nextafter(near, kind(0))
    return np.where((np.abs(near.astype(np.float64)) > np.abs(x)) & np.isfinite(x), smaller, near)


def flush(x: Array, smallest: float = 2.0**-126) -> Array:
    """Subnormals as zeros of their sign, as ``.ftz`` has them."""
    found: Array = np.where(np.abs(x) < np.float32(smallest), np.copysign(np.float32(0), x), x)
    return found.astype(x.dtype)
