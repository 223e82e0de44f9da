"""The elementwise rows on special values of every element type against Python integers and 80-bit floats."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlc.errors import MlcError
from mlc.ir import graph as g
from mlc.ir.types import BOOL, DTYPES, DType

from .support import FLOATS, INTEGERS, Array, apply, assert_same, bits, pairs, special

Number = Any


def wrap(value: int, dtype: DType) -> int:
    value &= (1 << dtype.bits) - 1
    return value - (1 << dtype.bits) if dtype.kind == "int" and value >> (dtype.bits - 1) else value


def divide(x: int, y: int, t: DType) -> int:
    return -1 if y == 0 else abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


def remainder(x: int, y: int, t: DType) -> int:
    return x if y == 0 else x - y * divide(x, y, t)


def power(x: int, y: int, t: DType) -> int:
    if y >= 0:
        return pow(x, y, 1 << t.bits)
    return {1: 1, -1: -1 if y % 2 else 1}.get(x, 0)


def unsigned(x: int, t: DType) -> int:
    return x & ((1 << t.bits) - 1)


def signed(x: int, t: DType) -> int:
    x = unsigned(x, t)
    return x - (1 << t.bits) if x >> (t.bits - 1) else x


INTEGER_ROWS: dict[str, Callable[[int, int, DType], int]] = {
    "add": lambda x, y, t: x + y,
    "subtract": lambda x, y, t: x - y,
    "multiply": lambda x, y, t: x * y,
    "divide": divide,
    "remainder": remainder,
    "power": power,
    "maximum": lambda x, y, t: max(x, y),
    "minimum": lambda x, y, t: min(x, y),
    "and": lambda x, y, t: x & y,
    "or": lambda x, y, t: x | y,
    "xor": lambda x, y, t: x ^ y,
    "shift_left": lambda x, y, t: x << y if 0 <= y < t.bits else 0,
    "shift_right_logical": lambda x, y, t: unsigned(x, t) >> y if 0 <= y < t.bits else 0,
    "shift_right_arithmetic": lambda x, y, t: signed(x, t) >> (y if 0 <= y < t.bits else t.bits - 1),
}
INTEGER_UNARY: dict[str, Callable[[int, DType], int]] = {
    "negate": lambda x, t: -x,
    "abs": lambda x, t: abs(x),
    "sign": lambda x, t: (x > 0) - (x < 0),
    "not": lambda x, t: ~x,
    "popcnt": lambda x, t: bin(unsigned(x, t)).count("1"),
    "count_leading_zeros": lambda x, t: t.bits - unsigned(x, t).bit_length(),
}


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("name", INTEGER_ROWS)
def test_integer_pairs(name: str, dtype: DType) -> None:
    x, y = pairs(dtype)
    rule = INTEGER_ROWS[name]
    want = [wrap(rule(int(a), int(b), dtype), dtype) for a, b in zip(x.flat, y.flat, strict=True)]
    assert_same(apply(g.OPS[name], x, y), np.array(want, dtype.numpy).reshape(x.shape))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("name", INTEGER_UNARY)
def test_integer_unary(name: str, dtype: DType) -> None:
    x = special(dtype)
    want = [wrap(INTEGER_UNARY[name](int(a), dtype), dtype) for a in x]
    assert_same(apply(g.OPS[name], x), np.array(want, dtype.numpy))


@pytest.mark.parametrize("name, rule", [
    ("add", lambda a, b: a or b), ("multiply", lambda a, b: a and b), ("maximum", lambda a, b: a or b),
    ("minimum", lambda a, b: a and b), ("and", lambda a, b: a and b), ("or", lambda a, b: a or b),
    ("xor", lambda a, b: a != b),
])  # fmt: skip
def test_bool_pairs(name: str, rule: Callable[[bool, bool], bool]) -> None:
    x, y = pairs(BOOL)
    want = np.array([rule(bool(a), bool(b)) for a, b in zip(x.flat, y.flat, strict=True)]).reshape(2, 2)
    assert_same(apply(g.OPS[name], x, y), want)


def test_bool_not() -> None:
    assert_same(apply(g.NOT, np.array([True, False])), np.array([False, True]))


# ---------------------------------------------------------------- floats


def exact_float(name: str, x: float, y: float) -> float:
    """The f64 result of one exactly rounded operation, by Python's own arithmetic."""
    if math.isnan(x) or math.isnan(y):
        return math.nan
    if name == "divide":
        if y == 0:
            return math.nan if x == 0 else math.copysign(math.inf, x) * math.copysign(1, y)
        return x / y
    if name == "remainder":
        return math.nan if math.isinf(x) or y == 0 else math.fmod(x, y)
    if name in ("maximum", "minimum"):
        return (max if name == "maximum" else min)(x, y)
    return {"add": x + y, "subtract": x - y, "multiply": x * y}[name]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "remainder", "maximum", "minimum"])
def test_float_pairs(name: str, dtype: DType) -> None:
    x, y = pairs(dtype)
    want = [exact_float(name, float(a), float(b)) for a, b in zip(x.flat, y.flat, strict=True)]
    got, rounded = apply(g.OPS[name], x, y), np.array(want).reshape(x.shape).astype(dtype.numpy)
    if name in ("maximum", "minimum"):  # which zero is not said
        got, rounded = got + 0, rounded + 0
    assert_same(got, rounded)


FLOAT_UNARY: dict[str, Callable[[Number], Number]] = {
    "exponential": np.exp, "exponential_minus_one": np.expm1, "log": np.log, "log_plus_one": np.log1p,
    "tanh": np.tanh, "sqrt": np.sqrt, "sine": np.sin, "cosine": np.cos, "tan": np.tan,
    "rsqrt": lambda x: 1 / np.sqrt(x), "cbrt": np.cbrt,
    "round_nearest_afz": lambda x: np.copysign(np.floor(np.abs(x)) + (np.fmod(np.abs(x), 1) >= 0.5), x),
    "logistic": lambda x: np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x))),
    "negate": lambda x: -x, "abs": lambda x: np.where(np.signbit(x), -x, x),
    "sign": lambda x: np.where(np.isnan(x) | (x == 0), x, np.where(x > 0, 1, -1)),
    "floor": lambda x: x - np.fmod(x, 1) - ((x < 0) & (np.fmod(x, 1) != 0)),
    "ceil": lambda x: -(-x - np.fmod(-x, 1) - ((-x < 0) & (np.fmod(-x, 1) != 0))),
}  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", FLOAT_UNARY)
def test_float_unary(name: str, dtype: DType) -> None:
    x = special(dtype)
    if name in ("floor", "ceil"):  # of which infinities and signed zeros are tested below
        x = x[np.isfinite(x.astype(np.float64)) & (x != 0)]
    if name in ("sine", "cosine", "tan"):  # 80-bit range reduction is no reference for the largest numbers
        x = x[~(np.abs(x.astype(np.float64)) > 1e6) | ~np.isfinite(x.astype(np.float64))]
    with np.errstate(all="ignore"):
        want = FLOAT_UNARY[name](x.astype(np.longdouble))
    assert_within_one_ulp(apply(g.OPS[name], x), np.asarray(want), dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_atan2(dtype: DType) -> None:
    x, y = pairs(dtype)
    assert_within_one_ulp(apply(g.ATAN2, x, y), np.arctan2(x.astype(np.longdouble), y.astype(np.longdouble)), dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_erf(dtype: DType) -> None:
    """Against the Taylor series in 80-bit floats near zero and 1 - erfc elsewhere."""
    x = special(dtype)
    x = x[~np.isnan(x.astype(np.float64))]

    def reference(v: np.longdouble) -> Any:
        if abs(v) > 1:
            return np.longdouble(math.copysign(1, v)) * (1 - np.longdouble(math.erfc(abs(float(v)))))
        term, total = v, v
        for n in range(1, 40):
            term = -term * v * v / n
            total = total + term / (2 * n + 1)
        return total * 2 / np.sqrt(np.longdouble("3.14159265358979323846264"))

    want = np.array([reference(v) for v in x.astype(np.longdouble)], np.longdouble)
    assert_within_one_ulp(apply(g.ERF, x), want, dtype)


def assert_within_one_ulp(got: Array, want: Array, dtype: DType) -> None:
    with np.errstate(all="ignore"):
        rounded = want.astype(np.float64).astype(dtype.numpy)
    assert got.dtype == dtype.numpy and got.shape == want.shape
    np.testing.assert_array_equal(np.isnan(got.astype(np.float64)), np.isnan(want))
    number = ~np.isnan(want.astype(np.float64))
    a, b = bits(got)[number].astype(object), bits(rounded)[number].astype(object)
    sign = 1 << (dtype.bits - 1)
    line = [int(v) if v < sign else sign - int(v) for v in a], [int(v) if v < sign else sign - int(v) for v in b]
    worst = max((abs(p - q) for p, q in zip(*line, strict=True)), default=0)
    assert worst <= 1, f"{worst} ulp"


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_rounding_rows(dtype: DType) -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.25, 3.0, np.inf, -np.inf, np.nan, 0.0, -0.0], dtype.numpy)
    want = {
        "round_nearest_even": [0.0, 2, 2, -0.0, -2, 0, 3, np.inf, -np.inf, np.nan, 0.0, -0.0],
        "floor": [0.0, 1, 2, -1, -2, 0, 3, np.inf, -np.inf, np.nan, 0.0, -0.0],
        "ceil": [1.0, 2, 3, -0.0, -1, 1, 3, np.inf, -np.inf, np.nan, 0.0, -0.0],
    }
    for name, values in want.items():
        assert_same(apply(g.OPS[name], x), np.array(values, dtype.numpy))
    assert_same(apply(g.IS_FINITE, x), np.array([True] * 7 + [False] * 3 + [True] * 2))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_float_power(dtype: DType) -> None:
    cases = [(2, 3, 8), (2, -1, 0.5), (4, 0.5, 2), (-2, 3, -8), (-2, 0.5, np.nan), (0, 0, 1), (0, -1, np.inf),
             (np.nan, 0, 1), (1, np.nan, 1), (np.inf, -1, 0), (2, np.inf, np.inf), (0.5, np.inf, 0)]  # fmt: skip
    x, y, want = (np.array(v).astype(dtype.numpy) for v in zip(*cases, strict=True))
    assert_same(apply(g.POWER, x, y), want)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
@pytest.mark.parametrize("direction", ["EQ", "NE", "LT", "LE", "GT", "GE"])
def test_compare(direction: str, dtype: DType) -> None:
    x, y = pairs(dtype)
    method = f"__{direction.lower()}__"
    kind = float if dtype.is_float else int
    want = [getattr(kind(a), method)(kind(b)) for a, b in zip(x.flat, y.flat, strict=True)]
    assert_same(apply(g.COMPARE, x, y, direction=direction), np.array(want).reshape(x.shape))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_select_keeps_bits(dtype: DType) -> None:
    x, y = pairs(dtype)
    p = np.arange(x.size).reshape(x.shape) % 3 == 0
    want = np.array([a if c else b for c, a, b in zip(p.flat, bits(x).flat, bits(y).flat, strict=True)], bits(x).dtype)
    np.testing.assert_array_equal(bits(apply(g.SELECT, p, x, y)), want.reshape(x.shape))


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS], ids=str)
def test_clamp(dtype: DType) -> None:
    x = special(dtype)
    low, high = np.full_like(x, 1), np.full_like(x, 3)
    want = [v if math.isnan(v) else min(max(v, 1), 3) for v in (float(v) for v in x)]
    assert_same(apply(g.CLAMP, low, x, high), np.array(want).astype(dtype.numpy))


# ---------------------------------------------------------------- conversions


def round_to(value: float | int, dtype: DType) -> float:
    """``value`` rounded once to nearest, ties to even, by exact rational arithmetic."""
    from fractions import Fraction

    mantissa, least = {"f16": (11, -24), "bf16": (8, -133), "f32": (24, -149), "f64": (53, -1074)}[dtype.name]
    if value == 0 or (isinstance(value, float) and not math.isfinite(value)):
        return float(value)
    exact = Fraction(value)
    exponent = max(math.floor(math.log2(abs(exact))) - mantissa + 1, least)
    while abs(exact) / Fraction(2) ** exponent >= 2**mantissa:
        exponent += 1
    while exponent > least and abs(exact) / Fraction(2) ** exponent < 2 ** (mantissa - 1):
        exponent -= 1
    result = round(exact / Fraction(2) ** exponent) * Fraction(2) ** exponent
    top = {"f16": 65504, "bf16": 0xFF << 120, "f32": 0xFFFFFF << 104, "f64": 0x1FFFFFFFFFFFFF << 971}[dtype.name]
    return float(result) if abs(result) <= top else math.copysign(math.inf, value)


def convert(value: Any, source: DType, target: DType) -> Any:
    number = float(value) if source.is_float else int(value)
    if target == BOOL:
        return number != 0
    if target.is_float:
        return round_to(number, target)
    if isinstance(number, int):
        return wrap(number, target)
    low, high = wrap(1 << (target.bits - 1), target) if target.kind == "int" else 0, (1 << target.bits) - 1
    high = high if target.kind == "uint" else -low - 1
    return 0 if math.isnan(number) else low if number <= low else high if number >= high else int(number)


@pytest.mark.parametrize("source", DTYPES.values(), ids=str)
@pytest.mark.parametrize("target", DTYPES.values(), ids=str)
def test_convert(source: DType, target: DType) -> None:
    x = special(source)
    if source.bits >= 32:
        more = [8388609, 16777217, 2**24 + 3, 65537, 257, 32769, 2**31 - 64]
        x = np.concatenate([x, np.array(more).astype(source.numpy)])
    if source.is_float:
        x = np.concatenate([x, np.array([255.5, 256.0, -128.9, 127.5, 300.0]).astype(source.numpy)])
    want = [convert(v, source, target) for v in x]
    exact = np.array(want, np.float64).astype(target.numpy) if target.is_float else np.array(want, target.numpy)
    assert_same(apply(g.CONVERT, x, dtype=target), exact)


def test_convert_f64_to_bf16_rounds_once() -> None:
    """1 + 2^-8 + 2^-40 is above the tie; through f32 it would round down."""
    x = np.array([1 + 2**-8 + 2**-40, -(1 + 2**-8 + 2**-40)])
    assert apply(g.CONVERT, x, dtype=DTYPES["bf16"]).astype(float).tolist() == [1 + 2**-7, -(1 + 2**-7)]


@pytest.mark.parametrize("dtype", [t for t in DTYPES.values() if t != BOOL], ids=str)
def test_bitcast(dtype: DType) -> None:
    x = special(dtype)
    unsigned_type = DTYPES[f"u{dtype.bits}"]
    there = apply(g.BITCAST_CONVERT, x, dtype=unsigned_type)
    assert_same(there, np.frombuffer(x.tobytes(), unsigned_type.numpy))
    np.testing.assert_array_equal(bits(apply(g.BITCAST_CONVERT, there, dtype=dtype)), there)


# ---------------------------------------------------------------- every row on every shape


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (7,), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("name", sorted(n for n, op in g.OPS.items() if op.elementwise))
def test_shapes(name: str, shape: tuple[int, ...]) -> None:
    """0-d, empty and odd shapes are kept, for every element type that the row takes."""
    op = g.OPS[name]
    attributes: dict[str, Any] = {"direction": "LT"} if name == "compare" else {}
    taken = 0
    for dtype in DTYPES.values():
        if "dtype" in op.attributes:
            attributes["dtype"] = dtype
        x = np.ones(shape, dtype.numpy)
        arrays = [x] * (op.arity or 0)
        if name == "select":
            arrays[0] = np.ones(shape, bool)
        try:
            got = apply(op, *arrays, **attributes)
        except MlcError:
            continue
        assert got.shape == shape
        taken += 1
    assert taken
