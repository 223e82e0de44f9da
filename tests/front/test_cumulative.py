"""Cumulative sums and products against NumPy, in rows and in columns, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import ArgumentError

RNG = np.random.default_rng(5)
BOTH = (("cumulative_sum", np.cumsum), ("cumulative_prod", np.cumprod))
SHAPES = (((3,), 0), ((5, 37), 1), ((2, 64), -1), ((40, 3), 0), ((3, 11, 20), 1), ((0, 20), 1), ((20, 0), 0), ((0,), 0))


@pytest.mark.parametrize("dtype", ["f32", "f64", "bf16", "i32", "u8", "bool"])
@pytest.mark.parametrize(("name", "numpy"), BOTH, ids=["sum", "prod"])
def test_values(name: str, numpy: Any, dtype: str) -> None:
    arrays = [mnp.asarray(RNG.integers(1, 4, shape) / (2 if dtype[0] in "bf" else 1), dtype) for shape, _ in SHAPES]
    function = mlc.jit(lambda *xs: [getattr(mnp, name)(x, axis=a) for x, (_, a) in zip(xs, SHAPES, strict=True)])
    for x, got, (_, axis) in zip(arrays, function(*arrays), SHAPES, strict=True):
        host = np.asarray(x)
        wide = {"f": np.float64, "b": np.float64, "u": np.uint64, "i": np.int64}[dtype[0]]
        wide = np.int64 if dtype == "bool" else wide
        want = numpy(host.astype(wide), axis).astype(np.asarray(got).dtype)
        assert got.dtype == mnp.sum(x).dtype
        np.testing.assert_allclose(
            np.asarray(got, np.float64), want.astype(np.float64), rtol=2e-2 if dtype == "bf16" else 1e-5
        )


def test_infinities_and_nan_stay_behind() -> None:
    x = np.ones(40, np.float32)
    x[17], x[30] = np.inf, np.nan
    for name, numpy in BOTH:
        np.testing.assert_array_equal(np.asarray(getattr(mnp, name)(x)), numpy(x))


def test_initial_axis_and_dtype() -> None:
    x = mnp.asarray([[1, 2], [3, 4]], "i32")
    assert mnp.cumulative_sum(x, axis=0, include_initial=True).tolist() == [[0, 0], [1, 2], [4, 6]]
    assert mnp.cumulative_prod(x, axis=1, dtype="f32", include_initial=True).tolist() == [[1, 1, 2], [1, 3, 12]]
    assert mnp.cumulative_prod(x, axis=1, dtype="f32").dtype == mnp.float32
    with pytest.raises(ArgumentError, match=r"cumulative_sum: operand is i32.2,2., not a vector, and needs an axis"):
        mnp.cumulative_sum(x)


def test_a_symbolic_axis() -> None:
    f = mlc.jit(mnp.cumulative_sum).lower(mlc.ShapeDtype((mlc.dim("n", 1, 100),))).compile()
    for n in (1, 16, 100):
        np.testing.assert_array_equal(np.asarray(f(np.arange(n, dtype=np.float32))), np.cumsum(np.arange(n)))


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_gradients(zeros: int) -> None:
    """Against sums over all pairs, with factors that are zero."""
    n = 20
    x, w = RNG.uniform(0.5, 1.5, n), RNG.standard_normal(n)
    x[[3, 11][:zeros]] = 0
    of_sum = mlc.grad(lambda x: mnp.sum(mnp.cumulative_sum(x) * w))(x)
    np.testing.assert_allclose(np.asarray(of_sum), np.cumsum(w[::-1])[::-1], rtol=1e-12)
    of_product = mlc.grad(lambda x: mnp.sum(mnp.cumulative_prod(x) * w))(x)
    want = [sum(w[i] * np.prod(np.delete(x[: i + 1], k)) for i in range(k, n)) for k in range(n)]
    np.testing.assert_allclose(np.asarray(of_product), want, rtol=1e-12, atol=1e-12)
