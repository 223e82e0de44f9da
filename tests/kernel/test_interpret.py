"""The interpreter against plain NumPy, and its checks."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mlc.errors import VerifyError
from mlc.ir.kernel import Kernel, KernelBuilder, interpret_kernel
from mlc.ir.kernel.numeric import convert, elementwise, fused_multiply_add, reduce
from mlc.ir.types import BF16, F16, F32, F64, I8, I32, I64, U8, U64


def row_sums(lanes: int) -> Kernel:
    b = KernelBuilder("row_sums", sizes=2)
    m, n = b.sizes
    x, y = b.buffer("x", F32, (m, n)), b.buffer("y", F32, (m,), access="write")
    with b.parallel((m, 1)) as (i,):
        with b.loop(0, n, lanes, carried=(b.constant(0.0, F32, lanes),)) as loop:
            v = b.load(x, (i, loop.index), lanes=lanes, mask=b.tail_mask(loop.index, n, lanes))
            b.yield_(b.op("add", loop.carried[0], v))
        b.store(y, (i,), b.reduce("add", loop.results[0]))
    return b.build()


def test_row_sums() -> None:
    x = np.random.default_rng(0).normal(size=(5, 23)).astype(np.float32)
    y = np.zeros(5, np.float32)
    interpret_kernel(row_sums(8), [x, y], [5, 23])
    np.testing.assert_allclose(y, x.sum(axis=1, dtype=np.float64), rtol=1e-5)


def test_an_access_out_of_bounds_is_named() -> None:
    b = KernelBuilder("late", sizes=1)
    x = b.buffer("x", F32, (b.sizes[0], 4), access="readwrite")
    with b.parallel((b.sizes[0], 1)) as (i,):
        b.store(x, (i + 1, 0), b.load(x, (i, 0), lanes=4))
    with pytest.raises(VerifyError, match=r"late: store x\[3, 0\] of shape \[3, 4\]: axis 0 is out of bounds at 3"):
        interpret_kernel(b.build(), [np.zeros((3, 4), np.float32)], [3])
    with pytest.raises(VerifyError, match="outside of its 8 elements"):
        interpret_kernel(b.build(), [np.zeros((2, 4), np.float32)], [4])


def test_arrays_must_fit_the_parameters() -> None:
    kernel = row_sums(4)
    x, y = np.zeros((2, 4), np.float32), np.zeros(2, np.float32)
    with pytest.raises(VerifyError, match="an array of float64 for f32"):
        interpret_kernel(kernel, [x.astype(np.float64), y], [2, 4])
    with pytest.raises(VerifyError, match="1 sizes for 2"):
        interpret_kernel(kernel, [x, y], [2])
    with pytest.raises(VerifyError, match="not contiguous"):
        interpret_kernel(kernel, [x[:, ::2], y], [2, 2])


def test_scratch_does_not_live_from_one_iteration_to_the_next() -> None:
    b = KernelBuilder("stale")
    y = b.buffer("y", F32, (2,), access="write")
    s = b.scratch("s", F32, (1,))
    with b.parallel((2, 1)) as (i,):
        b.store(y, (i,), b.load(s, (0,)))
        b.store(s, (0,), b.constant(1.0, F32))
    out = np.zeros(2, np.float32)
    interpret_kernel(b.build(), [out])
    assert np.isnan(out).all()


def test_integer_division_has_no_traps() -> None:
    x = np.array([7, -7, 7, -128, -128, 5], np.int8)
    y = np.array([2, 2, 0, -1, 0, -3], np.int8)
    assert elementwise("divide", I8, [x, y]).tolist() == [3, -3, -1, -128, -1, -1]
    assert elementwise("remainder", I8, [x, y]).tolist() == [1, -1, 7, 0, -128, 2]
    u = np.array([200], np.uint8)
    assert elementwise("divide", U8, [u, np.array([0], np.uint8)]).tolist() == [255]


def test_shifts_by_too_much() -> None:
    x, by = np.array([-64, 1, 3], np.int8), np.array([9, 8, 1], np.int8)
    assert elementwise("shift_left", I8, [x, by]).tolist() == [0, 0, 6]
    assert elementwise("shift_right_logical", I8, [x, by]).tolist() == [0, 0, 1]
    assert elementwise("shift_right_arithmetic", I8, [x, by]).tolist() == [-1, 0, 1]


def test_float_to_integer_saturates() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -2.9, 2.9], np.float32)
    assert convert(x, F32, I32).tolist() == [0, 2**31 - 1, -(2**31), 2**31 - 1, -2, 2]
    assert convert(x, F32, U64).tolist() == [0, 2**64 - 1, 0, 2**64 - 1, 0, 2]
    assert convert(np.array([2.0**63 - 1024]), F64, I64).tolist() == [2**63 - 1024]


def test_maximum_keeps_nan() -> None:
    x, y = np.array([np.nan, 1, 2], np.float32), np.array([1, np.nan, 3], np.float32)
    np.testing.assert_array_equal(elementwise("maximum", F32, [x, y]), [np.nan, np.nan, 3])
    np.testing.assert_array_equal(elementwise("minimum", F32, [x, y]), [np.nan, np.nan, 2])


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_fused_multiply_add_rounds_once(dtype: type) -> None:
    """Against exact fractions, with sums close to the middle of two numbers and close to cancelling."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=500).astype(dtype), rng.normal(size=500).astype(dtype)
    z = (-(x * y) * rng.choice([1, 1 + 2.0**-20, 2.0**30, 2.0**-30], 500)).astype(dtype)
    for got, *terms in zip(fused_multiply_add(x, y, z), x, y, z, strict=True):
        a, b, c = (Fraction(float(t)) for t in terms)
        exact = a * b + c
        neighbours = [Fraction(float(np.nextafter(got, dtype(s)))) for s in (-np.inf, np.inf)]
        distance = abs(Fraction(float(got)) - exact)
        assert all(distance <= abs(n - exact) for n in neighbours)


@pytest.mark.parametrize("dtype", (F16, BF16), ids=str)
def test_narrow_floats_compute_in_f32(dtype) -> None:  # type: ignore[no-untyped-def]
    x = np.full(16, 1.0 / 3.0).astype(dtype.numpy)
    wide = x.astype(np.float32)
    assert reduce("add", dtype, x)[0] == (wide * 16)[0].astype(dtype.numpy)
    np.testing.assert_array_equal(elementwise("multiply", dtype, [x, x]), (wide * wide).astype(dtype.numpy))
