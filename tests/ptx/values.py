"""Element types of instructions: how raw register bits are read as NumPy numbers, and rounded back."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
RAW = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
NUMBERS: dict[str, Any] = {
    **{f"{kind}{bits}": np.dtype(f"{letter}{bits // 8}") for kind, letter in (("u", "u"), ("b", "u"), ("s", "i"))
       for bits in (8, 16, 32, 64)},
    "f16": np.dtype(np.float16), "f32": np.dtype(np.float32), "f64": np.dtype(np.float64),
}  # fmt: skip
PACKED = {"f16x2": "f16", "bf16x2": "bf16"}
TYPES = {*NUMBERS, *PACKED, "bf16", "tf32", "pred", "b128"}


def bits_of(type: str) -> int:
    """The bits of one element.

    >>> bits_of("bf16x2"), bits_of("s64")
    (32, 64)
    """
    return 32 if type in PACKED or type == "tf32" else 16 if type == "bf16" else int(type[1:])


def decode(raw: Array, type: str) -> Array:
    """Raw bits as numbers to compute with: the halves as f32, packed halves as pairs of f32 along a new last axis."""
    if type == "pred":
        return raw.astype(bool)
    if type in PACKED:
        halves = np.ascontiguousarray(raw.astype(np.uint32))[:, None].view(np.uint16)
        return decode(halves, PACKED[type])
    raw = raw.astype(RAW[bits_of(type)])
    if type == "bf16":
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if type == "f16":
        return raw.view(np.float16).astype(np.float32)
    return raw.view(np.float32) if type == "tf32" else raw.view(NUMBERS[type])


def encode(values: Array, type: str) -> Array:
    """Numbers as raw bits, rounded to the nearest, ties to even."""
    if type == "pred":
        return np.asarray(values, bool)
    if type in PACKED:
        halves = np.ascontiguousarray(encode(values, PACKED[type]))
        return halves.view(np.uint32)[:, 0]
    with np.errstate(all="ignore"):
        if type == "bf16":
            return to_bf16(np.asarray(values, np.float32))
        if type == "f16":
            return np.asarray(values).astype(np.float16).view(np.uint16)
        if type == "tf32":
            return to_tf32(np.asarray(values, np.float32))
        return np.asarray(values).astype(NUMBERS[type], copy=False).view(RAW[bits_of(type)])


def to_bf16(x: Array) -> Array:
    """The upper halves of f32 numbers, rounded to nearest even; NaN stays NaN."""
    raw = x.view(np.uint32)
    rounded = (raw + np.uint32(0x7FFF) + ((raw >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(x), np.uint32(0x7FFF), rounded).astype(np.uint16)


def to_tf32(x: Array) -> Array:
    """f32 with 10 bits of fraction, ties away from zero as cvt.rna does."""
    raw = x.view(np.uint32)
    return np.where(np.isfinite(x), (raw + np.uint32(0x1000)) & np.uint32(0xFFFFE000), raw)


def fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c rounded once: f32 through f64 rounded to odd, f64 from exact products and sums of two parts."""
    with np.errstate(all="ignore"):
        if a.dtype == np.float32:
            product, addend = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
            total = product + addend
            part = total - product
            error = (product - (total - part)) + (addend - part)
            odd = total.view(np.int64)
            inexact = np.isfinite(total) & (error != 0) & (odd & 1 == 0)
            toward = np.where((error > 0) == (total > 0), 1, -1)
            return np.where(inexact, (odd + toward).view(np.float64), total).astype(np.float32)
        high, low = _product(a, b)
        total = high + c
        part = total - high
        error = (high - (total - part)) + (c - part)
        exact = total + (error + low)
        return np.where(np.isfinite(exact), exact, a * b + c)


def _product(a: Array, b: Array) -> tuple[Array, Array]:
    """Two floats whose exact sum is a * b (Dekker)."""
    a_high, b_high = _head(a), _head(b)
    a_low, b_low, high = a - a_high, b - b_high, a * b
    return high, ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low


def _head(x: Array) -> Array:
    scaled = x * 134217729.0
    return scaled - (scaled - x)


def flush(x: Array) -> Array:
    """Subnormals of f32 as zeros of their sign, as ``.ftz`` has them."""
    return np.where(np.abs(x) < np.float32(2.0**-126), np.copysign(np.float32(0), x), x).astype(x.dtype)
