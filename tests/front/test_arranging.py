"""Functions that turn arrays around, repeat their elements and take them apart, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import ArgumentError, ShapeError, UnsupportedError

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_roll() -> None:
    for shift, axis in ((1, None), (-30, None), (2, 1), ((1, -2), (0, 2)), (5, (1, 2)), (0, 0)):
        np.testing.assert_array_equal(np.asarray(mnp.roll(X, shift, axis=axis)), np.roll(X, shift, axis))
    with pytest.raises(ArgumentError, match=r"roll: shift \(1, 2\) has 2 numbers, axis \(0,\) has 1"):
        mnp.roll(X, (1, 2), axis=0)


def test_roll_and_diff_along_a_symbolic_axis() -> None:
    n = mlc.dim("n", 1, 40)
    by_rows, by_columns = mlc.ShapeDtype((n, 3)), mlc.ShapeDtype((3, n))
    for shift in (0, 1, -7, 50):
        for spec, axis in ((by_rows, 0), (by_columns, 1), (by_rows, None), (by_rows, (0, 1))):
            compiled = mlc.jit(lambda x, k=shift, a=axis: mnp.roll(x, k, axis=a)).lower(spec).compile()
            for size in (1, 2, 40):
                x = np.arange(3 * size, dtype=np.float32).reshape((3, size) if axis == 1 else (size, 3))
                np.testing.assert_array_equal(np.asarray(compiled(x)), np.roll(x, shift, axis))
    difference = mlc.jit(lambda x: mnp.diff(x, axis=0)).lower(by_rows).compile()
    x = np.arange(15, dtype=np.float32).reshape(5, 3) ** 2
    for size in (1, 2, 5):
        np.testing.assert_array_equal(np.asarray(difference(x[:size].copy())), np.diff(x[:size], axis=0))
    slope = mlc.jit(mlc.grad(lambda x: mnp.sum(mnp.roll(x, 2, axis=0) ** 2 * x))).lower(by_rows).compile()
    rolled = np.roll(x, 2, 0)
    np.testing.assert_allclose(np.asarray(slope(x)), rolled**2 + np.roll(2 * rolled * x, -2, 0))
    for function in (mnp.roll, mnp.diff):
        with pytest.raises(ShapeError, match=r"axis 0 of operand f32\[m\] is symbolic and may be empty"):
            mlc.jit(lambda x, f=function: f(x, 1, axis=0) if f is mnp.roll else f(x)).lower(
                mlc.ShapeDtype((mlc.dim("m", 0, 8),))
            )


def test_repeat() -> None:
    for times, axis in ((2, None), (3, 1), (0, 0), ([1, 0, 2], 1), ([0, 0, 0], 1), ([2], 2)):
        np.testing.assert_array_equal(np.asarray(mnp.repeat(X, times, axis=axis)), np.repeat(X, times, axis))
    np.testing.assert_array_equal(np.asarray(mnp.repeat(mnp.asarray([7, 8]), mnp.asarray([1, 3]))), [7, 8, 8, 8])
    got = mlc.grad(lambda x: mnp.sum(mnp.repeat(x, [1, 0, 3]) * mnp.arange(4, dtype="f32")))(np.ones(3, np.float32))
    assert np.asarray(got).tolist() == [0, 0, 6]
    with pytest.raises(UnsupportedError, match=r"repeat: how often elements are repeated is a traced i64.3."):
        mlc.jit(mnp.repeat)(X[0, 0, :3], np.ones(3, np.int64))
    with pytest.raises(ArgumentError, match=r"repeat: 2 repeats for axis 1 of operand f32.2,3,4."):
        mnp.repeat(X, [1, 2], axis=1)
    with pytest.raises(ArgumentError, match=r"repeat: repeats is -1, not a number"):
        mnp.repeat(X, -1)


def test_grids_and_broadcasts() -> None:
    a, b, c = np.arange(3), np.arange(4.0, dtype=np.float32), np.array(5)
    for indexing in ("xy", "ij"):
        for got, want in zip(
            mnp.meshgrid(a, b, c, indexing=indexing), np.meshgrid(a, b, c, indexing=indexing), strict=True
        ):
            np.testing.assert_array_equal(np.asarray(got), want)
    assert mnp.meshgrid() == [] and mnp.broadcast_arrays() == []
    for got, want in zip(mnp.broadcast_arrays(X, c, a[:, None]), np.broadcast_arrays(X, c, a[:, None]), strict=True):
        np.testing.assert_array_equal(np.asarray(got), want)
    with pytest.raises(ShapeError, match=r"meshgrid: operand is f32.2,3,4., not a vector"):
        mnp.meshgrid(X)


def test_unstack_count_and_isin() -> None:
    for axis in (0, 1, -1):
        for got, want in zip(mnp.unstack(X, axis=axis), np.moveaxis(X, axis, 0), strict=True):
            np.testing.assert_array_equal(np.asarray(got), want)
    odd = X % 2
    np.testing.assert_array_equal(np.asarray(mnp.count_nonzero(odd, axis=(0, 2))), np.count_nonzero(odd, axis=(0, 2)))
    assert mnp.count_nonzero(odd, keepdims=True).tolist() == [[[12]]]
    among = np.array([[3.0, 22], [np.nan, 99]])
    x = np.array([3.0, np.nan, 4, 99, 100])
    for invert in (False, True):
        np.testing.assert_array_equal(np.asarray(mnp.isin(x, among, invert=invert)), np.isin(x, among, invert=invert))
    assert mnp.isin(x, np.zeros(0)).tolist() == [False] * 5
