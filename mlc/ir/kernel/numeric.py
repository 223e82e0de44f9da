"""What the operations of the kernel language mean on NumPy arrays: one array a value, one element a lane."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from mlc.ir.types import BF16, BOOL, F16, F32, F64, DType

from .. import extremes
from ..bits import integer_range

Array = npt.NDArray[Any]


def elementwise(op: str, dtype: DType, operands: list[Array]) -> Array:
    """``op`` on lanes of ``dtype``. f16 and bf16 compute in f32 and round; transcendentals in a wider type."""
    with np.errstate(all="ignore"):
        if dtype in (F16, BF16):
            wide = elementwise(op, F32, [x.astype(np.float32) for x in operands])
            return wide if wide.dtype == np.bool_ else convert(wide, F32, dtype)
        if dtype == BOOL:
            return _BOOL[op](*operands)
        if dtype.is_integer:
            return _INTEGER[op](*operands).astype(dtype.numpy)
        if op in _WIDE:
            wider = np.float64 if dtype == F32 else np.longdouble
            return _WIDE[op](*(x.astype(wider) for x in operands)).astype(dtype.numpy)
        result = _FLOAT[op](*operands)
        return result if result.dtype == np.bool_ else result.astype(dtype.numpy)


def compare(direction: str, x: Array, y: Array) -> Array:
    functions: dict[str, Callable[[Array, Array], Array]] = {
        "EQ": np.equal, "NE": np.not_equal, "LT": np.less, "LE": np.less_equal, "GT": np.greater,
        "GE": np.greater_equal,
    }  # fmt: skip
    with np.errstate(invalid="ignore"):
        return np.asarray(functions[direction](x, y), dtype=np.bool_)


def reduce(op: str, dtype: DType, x: Array) -> Array:
    """The upper half onto the lower half until one is left; f16 and bf16 are rounded at the end only."""
    if dtype in (F16, BF16):
        return convert(reduce(op, F32, x.astype(np.float32)), F32, dtype)
    while len(x) > 1:
        half = len(x) // 2
        x = elementwise(op, dtype, [x[:half], x[half:]])
    return x


def dot(width: int, x: Array, y: Array, total: Array) -> Array:
    """``total`` plus groups of ``width`` products: integers wrap; floats from the last to the first, by fma in f32."""
    if total.dtype.kind != "f":
        products = x.astype(np.int32) * y.astype(np.int32)
        return np.asarray(total + products.reshape(-1, width).sum(axis=1, dtype=np.int32), dtype=np.int32)
    with np.errstate(all="ignore"):
        for k in reversed(range(width)):
            total = fused_multiply_add(x[k::width].astype(np.float32), y[k::width].astype(np.float32), total)
    return total


def convert(x: Array, source: DType, target: DType) -> Array:
    """Rounds to nearest even; float to integer truncates and saturates, NaN becomes 0; to bool is != 0."""
    with np.errstate(all="ignore"):
        if target == BOOL:
            return np.asarray(x != 0, dtype=np.bool_)
        if source.is_float and target.is_integer:
            return _saturate(x.astype(np.float64), target)
        if target in (F16, BF16):
            x = _round_to_odd(x) if source == F64 else x.astype(np.float32)
        return x.astype(target.numpy)


def _saturate(x: Array, target: DType) -> Array:
    low, high = integer_range(target)
    whole = np.trunc(np.where(np.isnan(x), 0.0, x))
    above, below = whole >= float(high + 1), whole <= float(low)
    inside = np.where(above | below, 0.0, whole).astype(target.numpy)
    ends = np.where(above, np.array(high, target.numpy), np.array(low, target.numpy))
    return np.where(above | below, ends, inside).astype(target.numpy)


def _round_to_odd(x: Array) -> Array:
    """f64 to f32 such that rounding again gives what rounding once gives (Boldo and Melquiond)."""
    y = x.astype(np.float32)
    back = y.astype(np.float64)
    bits = y.view(np.int32) - (np.abs(back) > np.abs(x))
    return np.asarray(
        np.where(np.isnan(x), y, (bits | (back != x)).astype(np.int32).view(np.float32)), dtype=np.float32
    )


def _sign(x: Array) -> Array:
    return np.where(x > 0, 1, np.where(x < 0, -1, x)).astype(x.dtype)


def _divide(x: Array, y: Array) -> Array:
    """Toward zero; all ones for a zero divisor."""
    safe = _safe_divisor(x, y)
    quotient = (x - np.fmod(x, safe)) // safe
    return np.where(y == 0, ~np.zeros_like(x), quotient)


def _remainder(x: Array, y: Array) -> Array:
    return np.where(y == 0, x, np.fmod(x, _safe_divisor(x, y)))


def _safe_divisor(x: Array, y: Array) -> Array:
    info = np.iinfo(x.dtype)
    traps = (y == 0) | ((x == info.min) & (y == -1)) if info.min < 0 else y == 0
    return np.where(traps, np.ones_like(y), y)


def _shift(x: Array, by: Array, left: bool, arithmetic: bool = False) -> Array:
    bits = x.dtype.itemsize * 8
    unsigned, count = x.view(f"u{x.dtype.itemsize}"), by.view(f"u{x.dtype.itemsize}")
    inside = np.minimum(count, bits - 1).astype(unsigned.dtype)
    if arithmetic:
        return np.asarray((x.view(f"i{x.dtype.itemsize}") >> inside.view(f"i{x.dtype.itemsize}")).view(x.dtype))
    shifted = unsigned << inside if left else unsigned >> inside
    return np.where(count < bits, shifted, 0).astype(unsigned.dtype).view(x.dtype)


def _count_bits(x: Array) -> Array:
    octets = np.ascontiguousarray(x).view(np.uint8).reshape(len(x), -1)
    return np.asarray(np.unpackbits(octets, axis=1).sum(axis=1))


def _count_leading_zeros(x: Array) -> Array:
    bits = 8 * x.dtype.itemsize
    return np.array([bits - (int(v) % (1 << bits)).bit_length() for v in x])


def fused_multiply_add(x: Array, y: Array, z: Array) -> Array:
    """x*y + z rounded once."""
    if x.dtype == np.float64:
        return np.array([_fma_exact(*map(float, xyz)) for xyz in zip(x, y, z, strict=True)])
    product, addend = x.astype(np.float64) * y.astype(np.float64), z.astype(np.float64)
    total = product + addend
    part = total - product
    error = (product - (total - part)) + (addend - part)
    bits = total.view(np.int64)
    toward = np.where((error > 0) == (total > 0), 1, -1)
    inexact = np.isfinite(total) & (error != 0) & (bits & 1 == 0)
    return np.where(inexact, bits + toward, bits).view(np.float64).astype(np.float32)


def _fma_exact(x: float, y: float, z: float) -> float:
    plain = x * y + z
    if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
        return plain
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    if exact == 0:  # the sign of a zero is that of the rounded operations, but where the product underflows
        return z if z == 0 and x * y == 0 and x and y and math.copysign(1, x * y) == math.copysign(1, z) else plain
    try:
        rounded = float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf
    return rounded if rounded else math.copysign(0.0, 1 if exact > 0 else -1)


_BOOL: dict[str, Callable[..., Array]] = {
    "add": np.logical_or, "multiply": np.logical_and, "maximum": np.logical_or, "minimum": np.logical_and,
    "and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor, "not": np.logical_not,
}  # fmt: skip
_INTEGER: dict[str, Callable[..., Array]] = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": _divide, "remainder": _remainder,
    "maximum": np.maximum, "minimum": np.minimum, "negate": lambda x: 0 - x, "abs": np.abs, "sign": np.sign,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert, "popcnt": _count_bits,
    "count_leading_zeros": _count_leading_zeros,
    "shift_left": lambda x, y: _shift(x, y, left=True),
    "shift_right_logical": lambda x, y: _shift(x, y, left=False),
    "shift_right_arithmetic": lambda x, y: _shift(x, y, left=False, arithmetic=True),
}  # fmt: skip
_FLOAT: dict[str, Callable[..., Array]] = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide, "remainder": np.fmod,
    "maximum": extremes.maximum, "minimum": extremes.minimum, "negate": np.negative, "abs": np.abs, "sign": _sign,
    "sqrt": np.sqrt, "floor": np.floor, "ceil": np.ceil, "round_nearest_even": np.rint, "is_finite": np.isfinite,
    "fma": fused_multiply_add,
}  # fmt: skip
_WIDE: dict[str, Callable[..., Array]] = {
    "exponential": np.exp, "exponential_minus_one": np.expm1, "log": np.log, "log_plus_one": np.log1p, "tanh": np.tanh,
    "sine": np.sin, "cosine": np.cos, "tan": np.tan, "power": np.power,
    "atan2": np.arctan2, "cbrt": np.cbrt,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "erf": lambda x: np.array([math.erf(v) for v in x]),
}  # fmt: skip
