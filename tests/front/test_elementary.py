"""Inverse trigonometric and hyperbolic functions and their kin: units in the last place, edges and slopes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import mlc
import mlc.numpy as mnp

Array = npt.NDArray[Any]
ONE = {"asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh,
       "acosh": np.arccosh, "atanh": np.arctanh}  # fmt: skip
TWO = {"atan2": np.arctan2, "hypot": np.hypot, "logaddexp": np.logaddexp, "copysign": np.copysign}
EDGES = [0.0, -0.0, 1, -1, 0.5, np.inf, -np.inf, np.nan, 1e-45, -1e-40, 3.4e38, -3.4e38, 88.5, -89.2, 89.42, 1e19, 1.5]


def numbers(dtype: Any, count: int = 3000) -> Array:
    """The edges, near 1, small and large, and any bits."""
    rng = np.random.default_rng(1)
    near = 2.0 ** -rng.uniform(0, 24, count)
    bits = rng.integers(0, 1 << 32, count, dtype=np.uint32).view(np.float32)
    parts = [EDGES, rng.uniform(-1, 1, count), rng.uniform(-95, 95, count), bits, 1 - near, 1 + near]
    return np.concatenate([np.asarray(p, np.float64) for p in parts]).astype(dtype)


def check(got: Any, want: Array, units: float, least: float = 0.0) -> None:
    """Within so many units in the last place, of ``least`` where smaller; with the right signs."""
    have = np.asarray(got)
    rounded = want.astype(have.dtype)
    same = (have == rounded) | (np.isnan(have) & np.isnan(rounded))
    size = np.maximum(np.abs(np.where(np.isfinite(rounded), rounded, 1)), have.dtype.type(least))
    off = np.abs(have.astype(want.dtype) - want) / np.spacing(size)
    off = np.where(same, 0, np.where(np.isfinite(off), off, np.inf))
    worst = int(np.argmax(off))
    assert off[worst] <= units, (have[worst], want[worst], off[worst])
    assert np.all((np.signbit(have) == np.signbit(rounded)) | np.isnan(rounded))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_accuracy(dtype: Any) -> None:
    x = numbers(dtype)
    y = np.random.default_rng(2).permutation(x)
    wide = np.longdouble
    found = mlc.jit(lambda x, y: [getattr(mnp, n)(x) for n in ONE] + [getattr(mnp, n)(x, y) for n in TWO])(x, y)
    with np.errstate(all="ignore"):
        for (name, function), got in zip([*ONE.items(), *TWO.items()], found, strict=True):
            want = function(x.astype(wide)) if name in ONE else function(x.astype(wide), y.astype(wide))  # type: ignore
            check(got, want, 4, 0.5 if name == "logaddexp" else 0.0)


def test_sixteen_bits_are_rounded_once() -> None:
    for name in ("f16", "bf16"):
        x = mnp.asarray(numbers(np.float32, 300), name)
        with np.errstate(all="ignore"):
            for function in ("acos", "sinh", "atanh"):
                want = ONE[function](np.asarray(x).astype(np.float64))
                got = np.asarray(mnp.astype(getattr(mnp, function)(x), "f32"))
                rounded = np.asarray(mnp.astype(mnp.asarray(want.astype(np.float32), name), "f32"))
                finite = np.isfinite(rounded) & np.isfinite(got)
                np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
                np.testing.assert_allclose(got[finite], rounded[finite], rtol=float(mnp.finfo(name).eps), atol=1e-7)


def test_neighbours_and_signs() -> None:
    for dtype in (np.float32, np.float64):
        x = numbers(dtype, 200)
        y = np.random.default_rng(2).permutation(x)
        with np.errstate(all="ignore"):
            got = np.asarray(mnp.nextafter(x, y))
            assert np.array_equal(got, np.nextafter(x, y), equal_nan=True)
            assert np.all((np.signbit(got) == np.signbit(np.nextafter(x, y))) | np.isnan(got))
        np.testing.assert_array_equal(np.asarray(mnp.signbit(x)), np.signbit(x))


SLOPES = {
    "asin": lambda x: 1 / np.sqrt((1 - x) * (1 + x)), "acos": lambda x: -1 / np.sqrt((1 - x) * (1 + x)),
    "atan": lambda x: 1 / (1 + x * x), "sinh": np.cosh, "cosh": np.sinh,
    "asinh": lambda x: 1 / np.hypot(1, x), "acosh": lambda x: np.where(x < 1, np.nan, 1 / np.sqrt(x * x - 1)),
    "atanh": lambda x: 1 / ((1 - x) * (1 + x)),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOPES)
def test_slopes(name: str) -> None:
    """At both ends of the domain, at 0 and far out: no part of a formula makes them NaN."""
    x = np.array([-1e30, -95, -1, -0.999, -0.3, 0, 1e-30, 0.3, 0.75, 1, 1.25, 3, 80, 95, 1e30], np.float32)
    if name in ("asin", "acos", "atanh"):
        x = x[np.abs(x) <= 1]
    if name == "acosh":
        x = x[x >= 1]
    got = np.asarray(mlc.grad(lambda x: mnp.sum(getattr(mnp, name)(x)))(x))
    with np.errstate(all="ignore"):
        want = SLOPES[name](x.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-37)


def test_second_derivatives() -> None:
    x = np.array([-0.6, 0.0, 0.4])
    for name, want in (("asin", x / (1 - x * x) ** 1.5), ("atanh", 2 * x / (1 - x * x) ** 2), ("sinh", np.sinh(x)),
                       ("asinh", -x / (1 + x * x) ** 1.5), ("cosh", np.cosh(x))):  # fmt: skip
        second = mlc.grad(lambda x, n=name: mnp.sum(mlc.grad(lambda x: mnp.sum(getattr(mnp, n)(x)))(x)))
        np.testing.assert_allclose(np.asarray(second(x)), want, rtol=1e-10, atol=1e-14)


def test_slopes_of_two() -> None:
    x, y = np.array([3.0, 0.0, -2.0, 700.0]), np.array([4.0, 0.0, 1.0, -900.0])
    along = [np.asarray(g) for g in mlc.grad(lambda x, y: mnp.sum(mnp.hypot(x, y)), (0, 1))(x, y)]
    length = np.where(x == 0, 1, np.hypot(x, y))
    np.testing.assert_allclose(along, [x / length, y / length], rtol=1e-14)
    inf = np.inf
    x, y = np.array([1.0, -inf, inf, 0.0, -inf]), np.array([2.0, 3.0, 1.0, 0.0, -inf])
    parts = [np.asarray(g) for g in mlc.grad(lambda x, y: mnp.sum(mnp.logaddexp(x, y)), (0, 1))(x, y)]
    want = np.array([1 / (1 + np.e), 0, 1, 0.5, 0.5])
    np.testing.assert_allclose(parts, [want, 1 - want], rtol=1e-12)
