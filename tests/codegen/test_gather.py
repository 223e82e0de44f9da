"""Gathers and scatters: text, interpreter and code agree with NumPy indexing, over dtypes, lanes, masks and strides."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.errors import ParseError, VerifyError
from mlc.ir.kernel import Kernel, KernelBuilder, interpret_kernel, parse_kernel
from mlc.ir.target import Target
from mlc.ir.types import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64, DType

from .native import TARGETS, run

DTYPES = (F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, BOOL)
BOTH = pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)


def take(dtype: DType, offset: DType, lanes: int, stride: int = 1, masked: bool = True) -> Kernel:
    """y[i] = x[3 + at[i]] and z[at[i]] = x[i] for the first n0 of 2 * lanes elements."""
    b = KernelBuilder("take", sizes=1)
    x = b.buffer("x", dtype, (40,), strides=(stride,))
    at = b.buffer("at", offset, (2 * lanes,))
    y = b.buffer("y", dtype, (2 * lanes,), access="readwrite")
    z = b.buffer("z", dtype, (40,), strides=(stride,), access="readwrite")
    with b.parallel((2 * lanes, lanes)) as (i,):
        mask = b.tail_mask(i * lanes, b.sizes[0], lanes) if masked else None
        offsets = b.load(at, (i * lanes,), lanes=lanes, mask=mask)
        value = b.gather(x, (3,), offsets, mask)
        b.store(y, (i * lanes,), value, mask=mask)
        b.scatter(z, (1,), offsets, value, mask)
    return b.build()


def arrays(dtype: DType, offset: DType, lanes: int, stride: int) -> list[np.ndarray]:
    rng = np.random.default_rng(lanes)
    x = rng.integers(0, 2 if dtype == BOOL else 100, 40 * stride).astype(dtype.numpy)
    low = -2 if offset.kind == "int" and lanes > 1 else 0
    at = rng.integers(low + 1, 36, 2 * lanes).astype(offset.numpy)  # some of them twice
    return [x, at, np.ones(2 * lanes, dtype.numpy), np.ones(40 * stride, dtype.numpy)]


def expected(given: list[np.ndarray], n: int, stride: int) -> list[np.ndarray]:
    x, at, y, z = (a.copy() for a in given)
    for i in range(n):
        y[i] = x[(3 + int(at[i])) * stride]
        z[(1 + int(at[i])) * stride] = y[i]
    return [x, at, y, z]


@BOTH
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gather_and_scatter(dtype: DType, target: Target) -> None:
    for offset, lanes, stride, masked in (
        (I32, 16, 1, True), (I64, 8, 1, False), (I64, 16, 3, True), (U8, 4, 1, True), (I8, 16, 1, False),
        (U32, 8, 2, True), (I32, 1, 1, True), (U64, 1, 3, False), (I16, 2, 1, False),
    ):  # fmt: skip
        kernel = take(dtype, offset, lanes, stride, masked)
        assert str(parse_kernel(str(kernel))) == str(kernel)
        given = arrays(dtype, offset, lanes, stride)
        for n in {2 * lanes} if not masked else {0, 1, lanes, 2 * lanes - 1}:
            want = expected(given, n, stride)
            interpreted, compiled = [a.copy() for a in given], [a.copy() for a in given]
            interpret_kernel(kernel, interpreted, [n])
            run(kernel, compiled, [n], target)
            for k, w in enumerate(want):
                np.testing.assert_array_equal(interpreted[k], w, f"{offset} {lanes} {stride} {n}")
                np.testing.assert_array_equal(compiled[k], w, f"{offset} {lanes} {stride} {n}")


def test_a_gather_out_of_bounds_is_named() -> None:
    kernel = take(F32, I32, 4, masked=False)
    given = arrays(F32, I32, 4, 1)
    given[1][2] = 37
    with pytest.raises(VerifyError, match=r"gather x\[3\] of shape \[40\]: axis 0 is out of bounds at 40"):
        interpret_kernel(kernel, given, [8])


def test_what_a_gather_asks_for() -> None:
    text = str(take(F32, I32, 4))
    broken = {
        "offsets f32x4 for f32x4": ("scatter %z[1] %2, %1, %0", "scatter %z[1] %2, %2, %0"),
        "mask i32x4 for f32x4": ("gather %x[3] %1, %0", "gather %x[3] %1, %1"),
        "wrong number of operands": ("scatter %z[1] %2, %1, %0", "scatter %z[1] %2"),
        "z is read-only": ("buffer %z f32[40] strides [1] readwrite", "buffer %z f32[40] strides [1] read"),
    }
    for message, (good, bad) in broken.items():
        assert good in text
        with pytest.raises(ParseError, match=message):
            parse_kernel(text.replace(good, bad))
