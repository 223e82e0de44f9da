"""Element types of instructions: how raw register bits are read as NumPy numbers, and rounded back."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from .exact import to_bf16, to_tf32

Array = Any
RAW: dict[int, Any] = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
NUMBERS: dict[str, Any] = {
    **{f"{kind}{bits}": np.dtype(f"{letter}{bits // 8}") for kind, letter in (("u", "u"), ("b", "u"), ("s", "i"))
       for bits in (8, 16, 32, 64)},
    "f16": np.dtype(np.float16), "f32": np.dtype(np.float32), "f64": np.dtype(np.float64),
}  # fmt: skip
PACKED = {"f16x2": "f16", "bf16x2": "bf16", "f32x2": "f32", "s16x2": "s16", "u16x2": "u16"}
TYPES = {*NUMBERS, *PACKED, "bf16", "tf32", "pred"}


def is_float(type: str) -> bool:
    return type[0] == "f" or type.startswith(("bf", "tf"))


@cache
def bits_of(type: str) -> int:
    """The bits of one element.

    >>> bits_of("bf16x2"), bits_of("s64")
    (32, 64)
    """
    if type in PACKED:
        return 2 * bits_of(PACKED[type])
    return 32 if type == "tf32" else 16 if type == "bf16" else int(type[1:])


def decode(raw: Array, type: str) -> Array:
    """Raw bits as numbers to compute with: the halves as f32, packed numbers as pairs along a new last axis."""
    if type == "pred":
        return raw.astype(bool, copy=False)
    if type in PACKED:
        halves = np.ascontiguousarray(raw.astype(RAW[bits_of(type)]))[:, None].view(RAW[bits_of(type) // 2])
        return decode(halves, PACKED[type])
    raw = raw.astype(RAW[bits_of(type)], copy=False)
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
        return halves.view(RAW[bits_of(type)])[:, 0]
    if type == "bf16":
        return to_bf16(np.asarray(values))
    if type == "f16":
        found = np.asarray(values).astype(np.float16)
        return np.where(np.isnan(found), np.uint16(0x7FFF), found.view(np.uint16))
    if type == "tf32":
        return to_tf32(np.asarray(values))
    return np.asarray(values).astype(NUMBERS[type], copy=False).view(RAW[bits_of(type)])
