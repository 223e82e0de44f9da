"""Accuracy of the expanded functions: special values and random bit patterns against longer arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from mlc.ir.kernel import Kernel, KernelBuilder
from mlc.ir.target import Target
from mlc.ir.types import F32, F64, DType

from .native import TARGETS, Array, Native, ulps

RANDOM = 1 << 18
LIMIT = 2.0  # units in the last place
_UNARY = ("exponential", "exponential_minus_one", "log", "log_plus_one", "tanh", "logistic", "rsqrt", "sine", "cosine",
          "tan", "erf", "cbrt")  # fmt: skip


def _erf(x: Array) -> Array:
    return np.array([math.erf(v) for v in x])


# On float64 for f32; on long double for f64, where it has the function.
_REFERENCE: dict[str, Callable[..., Array]] = {
    "exponential": np.exp, "exponential_minus_one": np.expm1, "log": np.log, "log_plus_one": np.log1p, "tanh": np.tanh,
    "logistic": lambda x: 1 / (1 + np.exp(-x)), "rsqrt": lambda x: 1 / np.sqrt(x), "sine": np.sin, "cosine": np.cos,
    "tan": np.tan, "cbrt": np.cbrt, "atan2": np.arctan2, "erf": _erf, "power": np.power, "remainder": np.fmod,
}  # fmt: skip


def special(dtype: DType) -> Array:
    info = np.finfo(dtype.numpy)
    ordinary = [0, 0.1, 0.5, 0.625, 1, 1.5, 2, 3, 10, 20, 88, 89, 103.9, 104, 150, 709, 710, 745, 746]
    edges = [info.max, info.tiny, info.tiny / 2, info.smallest_subnormal, 1 + info.eps, 1 - info.eps / 2, 2 - info.eps]
    constants = [np.inf, np.nan, np.pi, np.pi / 2, np.pi / 4, math.log(2) / 2, 2**0.5, 0.5**0.5, 0.92, 0.93]
    with np.errstate(over="ignore"):
        x = np.array([*ordinary, *edges, *constants, 1e4, 1e5, 2e5, 1e30]).astype(dtype.numpy)
    return np.concatenate([x, -x])


def random(dtype: DType, count: int, seed: int) -> Array:
    """Half of them any bit pattern, the others of usual sizes."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 1 << dtype.bits, count // 2, dtype=np.uint64).astype(f"u{dtype.itemsize}").view(dtype.numpy)
    scales = np.repeat([1e-4, 1, 30, 4e5], count // 8)
    return np.concatenate([bits, (rng.normal(0, 1, len(scales)) * scales).astype(dtype.numpy)])


def kernel(name: str, dtype: DType, lanes: int, operands: int = 1) -> Kernel:
    b = KernelBuilder(f"{name}_{dtype}", sizes=1)
    n = b.sizes[0]
    loaded = [b.buffer(f"x{k}", dtype, (n,)) for k in range(operands)]
    stored = b.buffer("y", dtype, (n,), access="write")
    with b.parallel((n, lanes)) as (i,):
        b.store(stored, (i * lanes,), b.op(name, *(b.load(x, (i * lanes,), lanes=lanes) for x in loaded)))
    return b.build()


def compute(name: str, dtype: DType, target: Target, operands: list[Array]) -> Array:
    lanes = target.lanes(dtype)
    native = Native([kernel(name, dtype, lanes, len(operands))], target)
    count = len(operands[0])
    padded = [np.concatenate([x, np.ones(-count % lanes, dtype.numpy)]) for x in operands]
    result = np.zeros(len(padded[0]), dtype.numpy)
    native.run(f"{name}_{dtype}", [*padded, result], [len(result)])
    return result[:count]


def check(name: str, got: Array, expected: Array, operands: list[Array], limit: float = LIMIT) -> None:
    error = ulps(got, expected)
    worst = int(np.argmax(error))
    at = [float(x[worst]) for x in operands]
    assert error[worst] <= limit, f"{name}{at} = {got[worst]}, {error[worst]:.2f} ulp from {expected[worst]}"
    zeros = (got == 0) & (expected == 0)
    wrong = np.flatnonzero(zeros & (np.signbit(got) != np.signbit(expected)))
    assert not len(wrong), f"{name}: the sign of zero at {[float(x[wrong[0]]) for x in operands]}"


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("name", _UNARY)
def test_f32(name: str, target: Target) -> None:
    x = np.concatenate([special(F32), random(F32, RANDOM, 1)])
    with np.errstate(all="ignore"):
        expected = _REFERENCE[name](x.astype(np.float64)).astype(np.longdouble)
    check(name, compute(name, F32, target, [x]), expected, [x])


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("name", sorted(set(_UNARY) - {"sine", "cosine", "tan", "erf"}))
def test_f64(name: str, target: Target) -> None:
    """The reference is long double: ten bits more than enough to see one unit."""
    x = np.concatenate([special(F64), random(F64, RANDOM, 2)])
    with np.errstate(all="ignore"):
        expected = _REFERENCE[name](x.astype(np.longdouble))
    check(name, compute(name, F64, target, [x]), expected, [x])


@pytest.mark.parametrize("name", ("sine", "cosine", "tan", "erf"))
def test_f64_against_many_digits(name: str) -> None:
    mpmath = pytest.importorskip("mpmath")
    function = {"sine": mpmath.sin, "cosine": mpmath.cos, "tan": mpmath.tan, "erf": mpmath.erf}[name]
    hard = np.array([6381956970095103.0 * 2.0**797, 5.319372648326541e255, 2.0**1000, 1e22])  # closest to k pi/2
    x = np.concatenate([special(F64), hard, random(F64, 1 << 11, 3)])
    x = x[np.isfinite(x)]
    expected = np.empty(x.shape, np.longdouble)
    with mpmath.workprec(1300):
        for k, v in enumerate(map(float, x)):
            exact = function(mpmath.mpf(v))
            high = float(exact)
            expected[k] = np.longdouble(high) + np.longdouble(float(exact - high)) if v else function(v)
    expected[x == 0] = x[x == 0] if name != "cosine" else 1
    check(name, compute(name, F64, TARGETS[-1], [x]), expected, [x])
    at_infinity = compute(name, F64, TARGETS[-1], [np.array([np.inf, -np.inf, np.nan])])
    np.testing.assert_array_equal(at_infinity, [1, -1, np.nan] if name == "erf" else [np.nan] * 3)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", (F32, F64), ids=str)
@pytest.mark.parametrize("name", ("power", "remainder", "atan2"))
def test_two_operands(name: str, dtype: DType, target: Target) -> None:
    """All pairs of special values, random bits, and usual bases with integer and other exponents."""
    x, y = (v.ravel() for v in np.meshgrid(special(dtype), special(dtype)))
    rng = np.random.default_rng(4)
    base = np.exp(rng.normal(0, 2, RANDOM)) * rng.choice([-1, 1], RANDOM)
    exponent = np.where(rng.integers(0, 2, RANDOM), np.round(rng.normal(0, 20, RANDOM)), rng.normal(0, 60, RANDOM))
    x = np.concatenate([x, random(dtype, RANDOM, 5), base.astype(dtype.numpy)])
    y = np.concatenate([y, random(dtype, RANDOM, 6)[::-1], exponent.astype(dtype.numpy)])
    with np.errstate(all="ignore"):
        expected = _REFERENCE[name](x.astype(np.longdouble), y.astype(np.longdouble))
    check(name, compute(name, dtype, target, [x, y]), expected, [x, y], 0.0 if name == "remainder" else LIMIT)
