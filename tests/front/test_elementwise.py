"""Elementwise functions against NumPy: values in float64, types by the promotion rules."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import DTypeError, ShapeError
from mlc.ir.types import DTYPES
from mlc.tracing import ShapeDtype, trace

from .harness import run, types

RNG = np.random.default_rng(0)
EDGES = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, np.inf, -np.inf, np.nan, 1e-30, 1e30], np.float32)
INTEGERS = np.array([0, 1, -1, 2, -3, 7, -7, 100, -(2**31), 2**31 - 1], np.int32)

FLOATS = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "log2": np.log2, "log10": np.log10,
    "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "tan": np.tan, "tanh": np.tanh, "floor": np.floor, "ceil": np.ceil,
    "round": np.round, "trunc": np.trunc, "abs": np.abs, "sign": np.sign, "square": np.square, "negative": np.negative,
    "reciprocal": np.reciprocal, "rsqrt": lambda x: 1 / np.sqrt(x), "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite, "logical_not": np.logical_not,
}  # fmt: skip
BINARY = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide, "maximum": np.maximum,
    "minimum": np.minimum, "remainder": np.remainder, "equal": np.equal, "not_equal": np.not_equal, "less": np.less,
    "less_equal": np.less_equal, "greater": np.greater, "greater_equal": np.greater_equal,
    "logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor,
}  # fmt: skip


@pytest.mark.parametrize("name", FLOATS)
def test_functions_of_floats(name: str) -> None:
    values = np.concatenate([EDGES, RNG.uniform(-4, 4, 50).astype(np.float32)])
    with np.errstate(all="ignore"):
        want = np.asarray(FLOATS[name](values.astype(np.float64)))
        expected = want.astype(np.float32) if want.dtype == np.float64 else want
    got = run(getattr(mnp, name), values)
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=2e-7)
    np.testing.assert_array_equal(np.signbit(got[:2]), np.signbit(expected[:2])) if got.dtype == np.float32 else None


@pytest.mark.parametrize("name", BINARY)
def test_binary_functions_of_floats(name: str) -> None:
    pairs = np.array(list(itertools.product(EDGES, EDGES)), np.float32)
    with np.errstate(all="ignore"):
        want = BINARY[name](pairs[:, 0], pairs[:, 1])
    np.testing.assert_array_equal(run(getattr(mnp, name), pairs[:, 0], pairs[:, 1]), want)


def test_floor_divide_of_floats() -> None:
    x, y = RNG.uniform(-9, 9, 200).astype(np.float32), RNG.uniform(-3, 3, 200).astype(np.float32)
    np.testing.assert_array_equal(run(mnp.floor_divide, x, y), x // y)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(run(mnp.floor_divide, x, np.float32(0)), x / np.float32(0))
    inf = np.array([np.inf, -np.inf], np.float32)
    for a in np.array([-1, 1, 0, -0.0], np.float32):  # -1 // inf is -1: just below zero, rounded down
        np.testing.assert_array_equal(run(mnp.floor_divide, a, inf), a // inf)


@pytest.mark.parametrize("name", ["floor_divide", "remainder"])
def test_division_of_special_numbers_and_the_sign_of_its_zeros(name: str) -> None:
    special = np.array([0, -0.0, 1, -1, np.nan, np.inf, -np.inf, 1e-40, 7.5, -7.5, 2], np.float32)
    x, y = (a.ravel() for a in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        want = getattr(np, name)(x, y)
    for got in (run(getattr(mnp, name), x, y), np.asarray(getattr(mnp, name)(x, y))):
        np.testing.assert_array_equal(got, want)
        number = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(got)[number], np.signbit(want)[number])


def test_the_derivative_of_a_remainder_that_is_zero_is_one() -> None:
    assert [float(mlc.grad(lambda x, y: x % y)(np.float32(4), np.float32(y))) for y in (2, -2)] == [1, 1]


@pytest.mark.parametrize(
    "name", ["add", "subtract", "multiply", "maximum", "less", "bitwise_and", "bitwise_or", "bitwise_xor"]
)
def test_binary_functions_of_integers_wrap(name: str) -> None:
    pairs = np.array(list(itertools.product(INTEGERS, INTEGERS)))
    with np.errstate(all="ignore"):
        want = getattr(np, name)(pairs[:, 0], pairs[:, 1])
    np.testing.assert_array_equal(run(getattr(mnp, name), pairs[:, 0], pairs[:, 1]), want)


def test_integer_division_follows_python() -> None:
    pairs = np.array([(a, b) for a in INTEGERS for b in INTEGERS if b != 0 and (a, b) != (-(2**31), -1)], np.int32)
    x, y = pairs[:, 0], pairs[:, 1]
    np.testing.assert_array_equal(run(operator.floordiv, x, y), x // y)
    np.testing.assert_array_equal(run(operator.mod, x, y), x % y)
    unsigned = np.array([0, 1, 7, 255], np.uint8)
    np.testing.assert_array_equal(run(operator.floordiv, unsigned, np.uint8(3)), unsigned // 3)
    np.testing.assert_array_equal(run(operator.mod, unsigned, np.uint8(3)), unsigned % 3)
    got = run(operator.truediv, x, y)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, x.astype(np.float32) / y.astype(np.float32))


@pytest.mark.parametrize("exponent", [-3, -1, 0, 1, 2, 3, 7, 0.5, 2.0, 2.5, 9])
def test_powers_of_floats(exponent: float) -> None:
    x = RNG.uniform(0.1, 3, 50).astype(np.float32)
    np.testing.assert_allclose(run(lambda v: v**exponent, x), x.astype(np.float64) ** exponent, rtol=2e-6)


def test_powers_of_integers() -> None:
    x = np.array([-3, -1, 0, 1, 2, 5])
    for exponent in (0, 1, 2, 5, 11):
        np.testing.assert_array_equal(run(lambda v: v**exponent, x), x**exponent)  # noqa: B023
    np.testing.assert_array_equal(run(lambda v: 2**v, np.arange(5)), 2 ** np.arange(5))
    assert types(lambda v: v**2.0, ShapeDtype(3, "i32")) == ["f32[3]"]


def test_shifts_and_bits() -> None:
    x = np.array([-8, 7, 100], np.int32)
    np.testing.assert_array_equal(run(lambda v: (v >> 1, v << 2, ~v), x), (x >> 1, x << 2, ~x))
    u = np.array([2**32 - 8], np.uint32)
    np.testing.assert_array_equal(run(lambda v: v >> 1, u), u >> 1)


def test_where_clip_and_reflected_operators() -> None:
    x = RNG.standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(lambda v: mnp.where(v > 0, v, 0), x), np.where(x > 0, x, 0))
    np.testing.assert_array_equal(run(lambda v: mnp.where(v[:, :1], 1.0, v), x), np.where(x[:, :1], np.float32(1), x))
    np.testing.assert_array_equal(run(lambda v: mnp.clip(v, -0.5), x), np.clip(x, np.float32(-0.5), None))
    np.testing.assert_array_equal(run(lambda v: v.clip(0.5, -0.5), x), np.clip(x, 0.5, -0.5))
    np.testing.assert_array_equal(run(lambda v: (1 - v, 2 / v, 1 + v, 3 * v, -v, +v, abs(v)), x),
                                  (1 - x, 2 / x, 1 + x, 3 * x, -x, +x, abs(x)))  # fmt: skip
    host = np.full(4, 2, np.float32)
    np.testing.assert_array_equal(run(lambda v: host - v, x), host - x)


def _numpy_promotion(a: str, b: str) -> str | None:
    """Promotion derived from NumPy's, but integers with a float are the float and u64 with signed is refused."""
    x, y = DTYPES[a], DTYPES[b]
    if x.is_float != y.is_float:
        return a if x.is_float else b
    if {a, b} == {"f16", "bf16"}:
        return "f32"
    if "bf16" in (a, b):
        other = b if a == "bf16" else a
        return other if other in ("f32", "f64") else "bf16"
    found = np.promote_types(x.numpy, y.numpy)
    if found.kind == "f" and not x.is_float:
        return None
    return {DTYPES[n].numpy: n for n in DTYPES}[found]


@pytest.mark.parametrize(("a", "b"), list(itertools.product(DTYPES, DTYPES)))
def test_promotion_of_every_pair(a: str, b: str) -> None:
    want = _numpy_promotion(a, b)
    specs = [ShapeDtype(2, a), ShapeDtype(2, b)]
    if want is None:
        with pytest.raises(DTypeError, match=rf"add: .* lhs is {a}\[2\], rhs is {b}\[2\]"):
            trace(lambda x, y: x + y, specs)
        return
    assert types(lambda x, y: x + y, *specs) == [f"{want}[2]"]
    assert types(lambda x, y: x < y, *specs) == ["bool[2]"]


@pytest.mark.parametrize("name", DTYPES)
def test_python_numbers_take_the_arrays_type(name: str) -> None:
    dtype, spec = DTYPES[name], ShapeDtype(2, name)
    assert types(lambda x: x + True, spec) == [f"{name}[2]"]
    assert types(lambda x: x + 1, spec) == ["i64[2]" if name == "bool" else f"{name}[2]"]
    assert types(lambda x: x * 1.5, spec) == [f"{name}[2]" if dtype.is_float else "f32[2]"]
    assert types(lambda x: x / 2, spec) == [f"{name}[2]" if dtype.is_float else "f32[2]"]
    assert types(mnp.exp, spec) == [f"{name}[2]" if dtype.is_float else "f32[2]"]


def test_a_python_number_is_exact_in_the_type_it_takes() -> None:
    assert run(lambda x: x + 0.1, np.float64(0)) == 0.1
    assert run(lambda x: x + (2**62 + 1), np.int64(0)) == 2**62 + 1
    with pytest.raises(DTypeError, match="300 does not fit in u8"):
        run(lambda x: x + 300, np.uint8(1))


@pytest.mark.parametrize("name", DTYPES)
def test_astype_from_and_to_every_type(name: str) -> None:
    values = np.array([0, 1, 100]).astype(DTYPES[name].numpy)
    for other in DTYPES:
        got = run(lambda x: x.astype(other), values)  # noqa: B023
        np.testing.assert_array_equal(got, values.astype(DTYPES[other].numpy))


def test_astype_truncates_and_saturates() -> None:
    values = np.array([-1.7, 1.7, 1e20, -1e20, np.nan, 0.3], np.float32)
    assert run(lambda x: x.astype("i32"), values).tolist() == [-1, 1, 2**31 - 1, -(2**31), 0, 0]
    assert run(lambda x: x.astype(bool), values).tolist() == [True] * 6


@pytest.mark.parametrize(("a", "b", "want"), [
    ((3, 4), (4,), (3, 4)), ((3, 1), (1, 5), (3, 5)), ((), (2, 3), (2, 3)), ((0, 3), (1, 3), (0, 3)),
    ((2, 1, 4), (3, 1), (2, 3, 4)), ((1,), (0,), (0,)),
])  # fmt: skip
def test_broadcasting(a: tuple[int, ...], b: tuple[int, ...], want: tuple[int, ...]) -> None:
    x, y = np.ones(a, np.float32), RNG.standard_normal(b).astype(np.float32)
    got = run(operator.add, x, y)
    assert got.shape == want
    np.testing.assert_array_equal(got, x + y)


@pytest.mark.parametrize(("a", "b"), [((3,), (4,)), ((2, 3), (2,)), ((0,), (2,))])
def test_what_does_not_broadcast_is_refused(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="do not broadcast"):
        trace(operator.add, [ShapeDtype(a), ShapeDtype(b)])


@pytest.mark.parametrize("function", [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift])
def test_bits_of_floats_are_refused(function: Callable[[Any, Any], Any]) -> None:
    with pytest.raises(DTypeError, match="takes integers and bools"):
        trace(function, [ShapeDtype(2), ShapeDtype(2)])


def test_bools_have_no_difference_and_no_negative() -> None:
    spec = ShapeDtype(2, "bool")
    for function in (lambda x: x - x, lambda x: -x):
        with pytest.raises(DTypeError):
            trace(function, [spec])


@pytest.mark.parametrize("name", ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"])
def test_integers_compare_with_numbers_that_their_type_does_not_hold(name: str) -> None:
    function, want = getattr(mnp, name), getattr(np, name)
    for dtype in (np.uint8, np.int8, np.uint64):
        x = np.array([0, 1, np.iinfo(dtype).max], dtype)
        for number in (-1, -(2**70), 300, 2**64, 5, 2**63 - 1, -(2**63)):
            np.testing.assert_array_equal(run(partial(behind, function, number), x), want(x, number))
            np.testing.assert_array_equal(run(partial(function, number), x), want(number, x))
            if -(2**63) <= number < 2**63:  # outside of a trace numbers are given when it is called
                np.testing.assert_array_equal(np.asarray(function(mnp.asarray(x), number)), want(x, number))
                np.testing.assert_array_equal(np.asarray(function(number, mnp.asarray(x))), want(number, x))


def behind(function: Any, number: int, x: Any) -> Any:
    return function(x, number)


def test_element_types_have_numpys_names_and_ours() -> None:
    for name in ("bf16", "bfloat16"):
        assert mnp.zeros(2, name).dtype_name == mnp.ones(2).astype(name, copy=False).dtype_name == "bf16"
    assert mnp.astype(mnp.ones(2), "float16", copy=True).dtype_name == "f16"
