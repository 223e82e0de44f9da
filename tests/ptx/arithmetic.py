"""What the instructions compute from values: integer, float, logic, comparison and conversion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .values import NUMBERS, bits_of, flush, fma

Array = Any
Parts = tuple[str, ...]
Formula = Callable[..., Array]  # of the instruction's parts, its type, and the operands' values


def _float(type: str) -> bool:
    return type[0] == "f" or type.startswith(("bf", "tf"))


def _finish(parts: Parts, type: str, result: Array) -> Array:
    if "sat" in parts and _float(type):
        result = np.where(np.isnan(result), 0, np.clip(result, 0, 1)).astype(result.dtype)
    return flush(result) if "ftz" in parts and result.dtype == np.float32 else result


def _add(parts: Parts, type: str, a: Array, b: Array) -> Array:
    return _saturated(parts, type, a, b, 1) if "sat" in parts and not _float(type) else a + b


def _sub(parts: Parts, type: str, a: Array, b: Array) -> Array:
    return _saturated(parts, type, a, b, -1) if "sat" in parts and not _float(type) else a - b


def _saturated(parts: Parts, type: str, a: Array, b: Array, sign: int) -> Array:
    limits = np.iinfo(NUMBERS[type])
    return np.clip(a.astype(np.int64) + sign * b.astype(np.int64), limits.min, limits.max)


def _wide(type: str) -> Any:
    return np.dtype(f"{NUMBERS[type].kind}{2 * NUMBERS[type].itemsize}")


def _mul(parts: Parts, type: str, a: Array, b: Array) -> Array:
    if "wide" in parts:
        return a.astype(_wide(type)) * b.astype(_wide(type))
    if "hi" in parts:
        if bits_of(type) < 64:
            return (a.astype(_wide(type)) * b.astype(_wide(type))) >> bits_of(type)
        exact = [(int(x) * int(y)) >> 64 for x, y in zip(a, b, strict=True)]
        return np.array([v & (2**64 - 1) for v in exact], np.uint64).view(NUMBERS[type])
    return a * b


def _mad(parts: Parts, type: str, a: Array, b: Array, c: Array) -> Array:
    if _float(type):
        return _fma(parts, type, a, b, c)
    product = _mul(parts, type, a, b)
    return product + c.astype(product.dtype)


def _fma(parts: Parts, type: str, a: Array, b: Array, c: Array) -> Array:
    if type in ("f32", "f64"):
        return fma(a, b, c)
    result = a.astype(np.float64) * b + c  # of halves: exact, but for the rounding to come
    return np.maximum(result, 0) if "relu" in parts else result


def _div(parts: Parts, type: str, a: Array, b: Array) -> Array:
    if _float(type):
        return a / b
    quotient = np.where(b == 0, -1, _truncated(a, np.where(b == 0, 1, b)))
    return quotient.astype(a.dtype)


def _rem(parts: Parts, type: str, a: Array, b: Array) -> Array:
    safe = np.where(b == 0, 1, b).astype(b.dtype)
    return np.where(b == 0, a, np.fmod(a, safe)).astype(a.dtype)


def _truncated(a: Array, b: Array) -> Array:
    b = b.astype(a.dtype)
    return (a - np.fmod(a, b)) // b


def _min(parts: Parts, type: str, a: Array, b: Array) -> Array:
    return _extreme(parts, type, a, b, np.minimum, np.fmin)


def _max(parts: Parts, type: str, a: Array, b: Array) -> Array:
    return _extreme(parts, type, a, b, np.maximum, np.fmax)


def _extreme(parts: Parts, type: str, a: Array, b: Array, with_nan: Formula, without: Formula) -> Array:
    """-0 is less than +0; one NaN is left out unless the instruction says ``.NaN``."""
    if not _float(type):
        return with_nan(a, b)
    found = (with_nan if "NaN" in parts else without)(a, b)
    zeros = (a == 0) & (b == 0)
    sign = np.signbit(a) | np.signbit(b) if with_nan is np.minimum else np.signbit(a) & np.signbit(b)
    return np.where(zeros, np.where(sign, -0.0, 0.0).astype(a.dtype), found)


def _shift(left: bool) -> Formula:
    def shift(parts: Parts, type: str, a: Array, b: Array) -> Array:
        bits = bits_of(type)
        count = np.minimum(b, bits - 1).astype(a.dtype)
        moved = a << count if left else a >> count
        gone = np.zeros_like(a) if left or NUMBERS[type].kind == "u" else a >> a.dtype.type(bits - 1)
        return np.where(b >= bits, gone, moved)

    return shift


def _logic(rule: Formula) -> Formula:
    return lambda parts, type, *x: rule(*x)


def _shf(parts: Parts, type: str, low: Array, high: Array, count: Array) -> Array:
    both = (high.astype(np.uint64) << np.uint64(32)) | low.astype(np.uint64)
    n = np.minimum(count, 32) if "clamp" in parts else count & 31
    n = n.astype(np.uint64)
    return ((both << n) >> np.uint64(32)) if "l" in parts else (both >> n) & np.uint64(0xFFFFFFFF)


def _lop3(parts: Parts, type: str, a: Array, b: Array, c: Array, table: Array) -> Array:
    found = np.zeros_like(a)
    for i in range(8):
        term = (a if i & 4 else ~a) & (b if i & 2 else ~b) & (c if i & 1 else ~c)
        found |= np.where((table >> i) & 1, term, 0).astype(a.dtype)
    return found


def _prmt(parts: Parts, type: str, a: Array, b: Array, selector: Array) -> Array:
    source = np.ascontiguousarray(np.stack([a, b], 1)).view(np.uint8)
    found = np.zeros((len(a), 4), np.uint8)
    for i in range(4):
        nibble = (selector >> np.uint32(4 * i)) & np.uint32(15)
        byte = source[np.arange(len(a)), (nibble & 7).astype(int)]
        found[:, i] = np.where(nibble & 8, np.where(byte & 128, 255, 0), byte)
    return found.view(np.uint32)[:, 0]


def _bfe(parts: Parts, type: str, a: Array, start: Array, length: Array) -> Array:
    bits = bits_of(type)
    start, length = (start & 255).astype(object), (length & 255).astype(object)
    found = []
    for value, s, n in zip(a.tolist(), start, length, strict=True):
        taken = ((value % (1 << bits)) >> min(s, bits)) & ((1 << min(n, bits)) - 1)
        top = min(s + n - 1, bits - 1)
        if type[0] == "s" and n and (value >> top) & 1 and n < bits:
            taken |= ((1 << bits) - 1) ^ ((1 << min(n, bits - s)) - 1) if s < bits else (1 << bits) - 1
        found.append(taken)
    return np.array(found, np.uint64).astype(f"u{bits // 8}").view(NUMBERS[type])


def _bfi(parts: Parts, type: str, a: Array, b: Array, start: Array, length: Array) -> Array:
    one, bits = a.dtype.type(1), bits_of(type)
    start, length = np.minimum(start & 255, bits), np.minimum(length & 255, bits)
    full = np.where(
        length >= bits, a.dtype.type(2**bits - 1), (one << np.minimum(length, bits - 1).astype(a.dtype)) - one
    )
    shift = np.minimum(start, bits - 1).astype(a.dtype)
    mask = np.where(start >= bits, a.dtype.type(0), full << shift)
    return (b & ~mask) | ((a << shift) & mask)


def _bits(parts: Parts, type: str, a: Array) -> Array:
    return np.bitwise_count(a)


def _clz(parts: Parts, type: str, a: Array) -> Array:
    return np.array([bits_of(type) - int(v).bit_length() for v in a], np.uint32)


def _brev(parts: Parts, type: str, a: Array) -> Array:
    return np.array([int(f"{int(v):0{bits_of(type)}b}"[::-1], 2) for v in a], a.dtype)


def _dp4a(parts: Parts, type: str, a: Array, b: Array, c: Array) -> Array:
    kinds = [np.uint8 if p == "u32" else np.int8 for p in parts if p in ("u32", "s32")]
    left, right = (
        np.ascontiguousarray(x)[:, None].view(k).astype(np.int64) for x, k in zip((a, b), kinds, strict=True)
    )
    return (left * right).sum(1) + c


def _through_f64(rule: Formula) -> Formula:
    """Approximate instructions: the exact result rounded once, which is closer than the hardware's."""
    return lambda parts, type, x: rule(x.astype(np.float64)).astype(x.dtype)


def _selp(parts: Parts, type: str, a: Array, b: Array, p: Array) -> Array:
    return np.where(p.reshape(p.shape + (1,) * (a.ndim - 1)), a, b)


def _slct(parts: Parts, type: str, a: Array, b: Array, c: Array) -> Array:
    return np.where(c >= 0, a, b)


def _copysign(parts: Parts, type: str, a: Array, b: Array) -> Array:
    return np.copysign(b, a)


def _testp(parts: Parts, type: str, a: Array) -> Array:
    rules = {"finite": np.isfinite, "infinite": np.isinf, "number": lambda x: ~np.isnan(x), "notanumber": np.isnan}
    return rules[parts[1]](a)


FORMULAS: dict[str, Formula] = {
    "add": _add, "sub": _sub, "mul": _mul, "mad": _mad, "fma": _fma, "div": _div, "rem": _rem, "min": _min, "max": _max,
    "shl": _shift(True), "shr": _shift(False), "shf": _shf, "lop3": _lop3, "prmt": _prmt, "bfe": _bfe, "bfi": _bfi,
    "popc": _bits, "clz": _clz, "brev": _brev, "dp4a": _dp4a, "selp": _selp, "slct": _slct, "copysign": _copysign,
    "testp": _testp,
    "mov": lambda parts, type, a: a, "abs": lambda parts, type, a: np.abs(a), "neg": lambda parts, type, a: -a,
    "not": lambda parts, type, a: ~a, "cnot": lambda parts, type, a: (a == 0).astype(a.dtype),
    "and": _logic(np.bitwise_and), "or": _logic(np.bitwise_or), "xor": _logic(np.bitwise_xor),
    "rcp": lambda parts, type, a: (1 / a.astype(np.float64)).astype(a.dtype),
    "sqrt": lambda parts, type, a: np.sqrt(a),
    "rsqrt": _through_f64(lambda x: 1 / np.sqrt(x)), "ex2": _through_f64(np.exp2), "lg2": _through_f64(np.log2),
    "sin": _through_f64(np.sin), "cos": _through_f64(np.cos), "tanh": _through_f64(np.tanh),
}  # fmt: skip


def compute(parts: Parts, type: str, operands: list[Array]) -> Array:
    """The result of an instruction of FORMULAS."""
    with np.errstate(all="ignore"):
        if "ftz" in parts:
            operands = [flush(x) if x.dtype == np.float32 else x for x in operands]
        return _finish(parts, type, FORMULAS[parts[0]](parts, type, *operands))


ORDERED: dict[str, Formula] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
}  # fmt: skip


def compare(name: str, a: Array, b: Array) -> Array:
    """``setp``: ordered comparisons are false for NaN, those with a ``u`` at the end are true."""
    if name in ("num", "nan"):
        unordered = np.isnan(a) | np.isnan(b)
        return unordered if name == "nan" else ~unordered
    if name in ORDERED and name != "ne":
        return ORDERED[name](a, b)
    with_nan = np.isnan(a) | np.isnan(b) if a.dtype.kind == "f" else np.zeros(len(a), bool)
    if name == "ne":
        return np.not_equal(a, b) & ~with_nan
    return ORDERED[name[:-1]](a, b) | with_nan


ROUNDINGS: dict[str, Formula] = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


def convert(parts: Parts, to: str, source: str, x: Array) -> Array:
    """``cvt``: float to integer saturates and takes NaN to 0; integers wrap unless ``.sat`` is said."""
    with np.errstate(all="ignore"):
        if "ftz" in parts and x.dtype == np.float32:
            x = flush(x)
        if not _float(to) and _float(source):
            rounded = next(rule for name, rule in ROUNDINGS.items() if name in parts)(x)
            return _to_integer(rounded, to)
        if _float(to) and _float(source):
            rounding = next((rule for name, rule in ROUNDINGS.items() if name in parts), None)
            x = rounding(x) if rounding else x
            if "rz" in parts and bits_of(to) < bits_of(source):
                return _finish(parts, to, _toward_zero(x, to))
            x = np.where(x > 0, x, 0) if "relu" in parts else x
            return _finish(parts, to, x.astype(np.float32) if to == "f32" else x)
        if _float(to):
            return x.astype(NUMBERS.get(to, np.dtype(np.float64)))
        if "sat" in parts:
            limits = np.iinfo(NUMBERS[to])
            return np.array([min(max(int(v), limits.min), limits.max) for v in x], NUMBERS[to])
        return x.astype(NUMBERS[to])


def _to_integer(x: Array, to: str) -> Array:
    limits = np.iinfo(NUMBERS[to])
    found = [0 if v != v else int(min(max(v, limits.min), limits.max)) for v in x.astype(np.float64).tolist()]
    return np.array([min(max(v, limits.min), limits.max) for v in found], NUMBERS[to])


def _toward_zero(x: Array, to: str) -> Array:
    mask = {"f32": 0, "bf16": 16, "tf32": 13}[to]
    if to == "f32":
        near = x.astype(np.float32)
        return np.where(np.abs(near) > np.abs(x), np.nextafter(near, np.float32(0)), near)
    raw = x.astype(np.float32).view(np.uint32) & np.uint32(0xFFFFFFFF << mask & 0xFFFFFFFF)
    return raw.view(np.float32)
