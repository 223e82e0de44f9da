"""Integer and logic instructions, each a formula of the instruction's parts, its type and its operands' values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import PtxError
from .values import NUMBERS, bits_of

Array = Any
Parts = tuple[str, ...]
Formula = Callable[..., Array]


def saturated(type: str, a: Array, b: Array, sign: int) -> Array:
    limits = np.iinfo(NUMBERS[type])
    return np.clip(a.astype(np.int64) + sign * b.astype(np.int64), limits.min, limits.max)


def mul(parts: Parts, type: str, a: Array, b: Array) -> Array:
    """``.lo`` (wrapped), ``.hi``, ``.wide``."""
    if "wide" not in parts and "hi" not in parts:
        return a * b
    if bits_of(type) == 64:
        return _high64(a, b)
    wide = np.dtype(f"{NUMBERS[type].kind}{2 * NUMBERS[type].itemsize}")
    product = a.astype(wide) * b.astype(wide)
    return product if "wide" in parts else product >> bits_of(type)


def _high64(a: Array, b: Array) -> Array:
    """The upper half of the product, from products of halves."""
    x, y, half, low = a.view(np.uint64), b.view(np.uint64), np.uint64(32), np.uint64(0xFFFFFFFF)
    x0, x1, y0, y1 = x & low, x >> half, y & low, y >> half
    middle = x1 * y0 + (x0 * y0 >> half)
    other = x0 * y1 + (middle & low)
    high = x1 * y1 + (middle >> half) + (other >> half)
    if a.dtype.kind == "i":
        high = high - np.where(a < 0, y, np.uint64(0)) - np.where(b < 0, x, np.uint64(0))
    return high.view(a.dtype)


def div(a: Array, b: Array) -> Array:
    """Toward zero; all ones for division by zero, which PTX leaves open."""
    safe = np.where(b == 0, b.dtype.type(1), b)
    quotient = (a - np.fmod(a, safe)) // safe
    return np.where(b == 0, ~np.zeros_like(a), quotient)


def rem(parts: Parts, type: str, a: Array, b: Array) -> Array:
    return np.where(b == 0, a, np.fmod(a, np.where(b == 0, b.dtype.type(1), b)))


def _shl(parts: Parts, type: str, a: Array, b: Array) -> Array:
    bits = bits_of(type)
    return np.where(b >= bits, a.dtype.type(0), a << np.minimum(b, bits - 1).astype(a.dtype))


def _shr(parts: Parts, type: str, a: Array, b: Array) -> Array:
    bits = bits_of(type)
    gone = a >> a.dtype.type(bits - 1) if a.dtype.kind == "i" else a.dtype.type(0)
    return np.where(b >= bits, gone, a >> np.minimum(b, bits - 1).astype(a.dtype))


def _shf(parts: Parts, type: str, low: Array, high: Array, count: Array) -> Array:
    both = (high.astype(np.uint64) << np.uint64(32)) | low.astype(np.uint64)
    n = (np.minimum(count, 32) if "clamp" in parts else count & 31).astype(np.uint64)
    return ((both << n) >> np.uint64(32)) if "l" in parts else (both >> n) & np.uint64(0xFFFFFFFF)


def _lop3(parts: Parts, type: str, a: Array, b: Array, c: Array, table: Array) -> Array:
    found = np.zeros_like(a)
    for i in range(8):
        term = (a if i & 4 else ~a) & (b if i & 2 else ~b) & (c if i & 1 else ~c)
        found |= np.where((table >> np.uint32(i)) & np.uint32(1), term, 0).astype(a.dtype)
    return found


def _prmt(parts: Parts, type: str, a: Array, b: Array, selector: Array) -> Array:
    if parts[-1] != type:
        raise PtxError("unknown_instruction", ".".join(parts))
    source = np.ascontiguousarray(np.stack([a, b], 1)).view(np.uint8)
    found = np.zeros((len(a), 4), np.uint8)
    for i in range(4):
        nibble = (selector >> np.uint32(4 * i)) & np.uint32(15)
        byte = source[np.arange(len(a)), (nibble & 7).astype(int)]
        found[:, i] = np.where(nibble & 8, np.where(byte & 128, 255, 0), byte)
    return found.view(np.uint32)[:, 0]


def _bfe(parts: Parts, type: str, a: Array, start: Array, length: Array) -> Array:
    """Bit i is bit ``start + i`` where there is one, and copies of the field's sign elsewhere (as the ISA's loop)."""
    raw, top = a.view(f"u{a.itemsize}"), bits_of(type) - 1
    start, length = (start & 255).astype(np.int64), (length & 255).astype(np.int64)

    def bit(at: Array) -> Array:
        return (raw >> np.minimum(at, top).astype(raw.dtype)) & raw.dtype.type(1)

    sign = bit(start + length - 1) if type[0] == "s" else np.zeros_like(raw)
    sign = np.where(length == 0, raw.dtype.type(0), sign)
    found = np.zeros_like(raw)
    for i in range(top + 1):
        inside = (i < length) & (start + i <= top)
        found |= np.where(inside, bit(start + i), sign) << raw.dtype.type(i)
    return found.view(a.dtype)


def _bfi(parts: Parts, type: str, a: Array, b: Array, start: Array, length: Array) -> Array:
    one, bits = a.dtype.type(1), bits_of(type)
    start, length = np.minimum(start & 255, bits), np.minimum(length & 255, bits)
    field = (one << np.minimum(length, bits - 1).astype(a.dtype)) - one
    field = np.where(length >= bits, ~np.zeros_like(a), field)
    shift = np.minimum(start, bits - 1).astype(a.dtype)
    mask = np.where(start >= bits, a.dtype.type(0), field << shift)
    return (b & ~mask) | ((a << shift) & mask)


def _clz(parts: Parts, type: str, a: Array) -> Array:
    found, x = np.full(len(a), bits_of(type), np.uint32), a.copy()
    while x.any():
        found -= x != 0
        x >>= x.dtype.type(1)
    return found


def _brev(parts: Parts, type: str, a: Array) -> Array:
    bits = np.unpackbits(np.ascontiguousarray(a)[:, None].view(np.uint8), axis=1, bitorder="little")
    return np.packbits(bits[:, ::-1], axis=1, bitorder="little").view(a.dtype)[:, 0]


def _dp4a(parts: Parts, type: str, a: Array, b: Array, c: Array) -> Array:
    kinds = [np.uint8 if p == "u32" else np.int8 for p in parts if p in ("u32", "s32")]
    left, right = (
        np.ascontiguousarray(x)[:, None].view(k).astype(np.int64) for x, k in zip((a, b), kinds, strict=True)
    )
    return (left * right).sum(1) + c


CARRIES = ("addc", "subc", "madc")


def carried(parts: Parts, type: str, values: list[Array], carry: Array) -> tuple[Array, Array]:
    """``add.cc``, ``addc``, ``sub.cc``, ``subc``: the result, and the carry or borrow as it is then."""
    if parts[0] not in ("add", "addc", "sub", "subc"):
        raise PtxError("unknown_instruction", ".".join(parts))
    a, b = (x.view(f"u{x.itemsize}") for x in values)
    one = (carry & (parts[0] in CARRIES)).astype(a.dtype)
    if parts[0].startswith("add"):
        half = a + b
        result = half + one
        out = (half < a) | (result < half)
    else:
        half = a - b
        result = half - one
        out = (a < b) | (half < one)
    return result.view(NUMBERS[type]), out if "cc" in parts else carry


FORMULAS: dict[str, Formula] = {
    "shl": _shl, "shr": _shr, "shf": _shf, "lop3": _lop3, "prmt": _prmt, "bfe": _bfe, "bfi": _bfi, "clz": _clz,
    "brev": _brev, "dp4a": _dp4a, "rem": rem,
    "popc": lambda parts, type, a: np.bitwise_count(a), "not": lambda parts, type, a: ~a,
    "cnot": lambda parts, type, a: (a == 0).astype(a.dtype), "and": lambda parts, type, a, b: a & b,
    "or": lambda parts, type, a, b: a | b, "xor": lambda parts, type, a, b: a ^ b,
}  # fmt: skip
