"""The rows that make and move elements, on every element type, against indexing written out element by element."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from mlc.ir import graph as g
from mlc.ir.graph import Graph, Table, evaluate_graph
from mlc.ir.types import BOOL, DTYPES, F32, I64, DType

from .support import Array, apply, bits, special

EVERY = pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)


def filled(shape: tuple[int, ...], dtype: DType) -> Array:
    """Special values in turn, NaNs and both zeros among them."""
    count = int(np.prod(shape, dtype=int))
    return np.resize(special(dtype), count).astype(dtype.numpy).reshape(shape)


def assert_bits(got: Array, want: Array) -> None:
    assert got.dtype == want.dtype and got.shape == want.shape, (got.shape, want.shape)
    np.testing.assert_array_equal(bits(got), bits(want))


def nullary(op: Any, **attributes: Any) -> Array:
    table = Table()
    with table.active():
        return evaluate_graph(Graph("row", (), (op(**attributes),), table), [])[0]


@EVERY
def test_constant(dtype: DType) -> None:
    for value in (special(dtype), special(dtype)[0], np.zeros((2, 0), dtype.numpy)):
        assert_bits(nullary(g.CONSTANT, value=g.Literal(value, dtype)), np.asarray(value))


@pytest.mark.parametrize("dtype", [t for t in DTYPES.values() if t != BOOL], ids=str)
@pytest.mark.parametrize("shape", [(5,), (0,), (3, 4), (300,)], ids=str)
def test_iota(dtype: DType, shape: tuple[int, ...]) -> None:
    for axis in range(len(shape)):
        want = np.empty(shape, np.int64)
        for index in np.ndindex(*shape):
            want[index] = index[axis]
        assert_bits(nullary(g.IOTA, shape=shape, dtype=dtype, dimension=axis), want.astype(dtype.numpy))


@EVERY
@pytest.mark.parametrize(
    "operand, dimensions, shape",
    [
        ((), (), ()),
        ((), (), (3, 2)),
        ((3,), (1,), (2, 3)),
        ((1, 3), (0, 2), (4, 5, 3)),
        ((0,), (0,), (0, 2)),
        ((1,), (0,), (0,)),
    ],
    ids=str,
)
def test_broadcast(dtype: DType, operand: Any, dimensions: Any, shape: Any) -> None:
    x = filled(operand, dtype)
    want = np.empty(shape, dtype.numpy)
    for index in np.ndindex(*shape):
        want[index] = x[tuple(0 if n == 1 else index[d] for n, d in zip(operand, dimensions, strict=True))]
    assert_bits(apply(g.BROADCAST_IN_DIM, x, shape=shape, dimensions=dimensions), want)


@EVERY
@pytest.mark.parametrize("before, after", [((6,), (2, 3)), ((), (1, 1)), ((0, 3), (0,)), ((3, 5, 2), (10, 3))], ids=str)
def test_reshape(dtype: DType, before: Any, after: Any) -> None:
    x = filled(before, dtype)
    want = np.empty(after, dtype.numpy)
    for from_, to in zip(np.ndindex(*before), np.ndindex(*after), strict=True):
        want[to] = x[from_]
    assert_bits(apply(g.RESHAPE, x, shape=after), want)


@EVERY
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 0, 3), (2, 3, 5)], ids=str)
def test_transpose_and_reverse(dtype: DType, shape: Any) -> None:
    x = filled(shape, dtype)
    for axes in itertools.permutations(range(len(shape))):
        want = np.empty([shape[a] for a in axes], dtype.numpy)
        for index in np.ndindex(*shape):
            want[tuple(index[a] for a in axes)] = x[index]
        assert_bits(apply(g.TRANSPOSE, x, permutation=axes), want)
    for count in range(len(shape) + 1):
        flipped = tuple(range(count))
        want = np.empty(shape, dtype.numpy)
        for index in np.ndindex(*shape):
            want[tuple(n - 1 - i if a in flipped else i for a, (i, n) in enumerate(zip(index, shape, strict=True)))] = (
                x[index]
            )
        assert_bits(apply(g.REVERSE, x, dimensions=flipped), want)


@EVERY
@pytest.mark.parametrize(
    "shape, start, limit, strides",
    [
        ((7,), (1,), (6,), (2,)),
        ((7,), (3,), (3,), (1,)),
        ((7,), (0,), (7,), (3,)),
        ((), (), (), ()),
        ((4, 5), (1, 0), (3, 5), (1, 4)),
        ((0, 2), (0, 0), (0, 2), (1, 2)),
    ],
    ids=str,
)
def test_slice(dtype: DType, shape: Any, start: Any, limit: Any, strides: Any) -> None:
    x = filled(shape, dtype)
    ranges = [list(range(a, b, s)) for a, b, s in zip(start, limit, strides, strict=True)]
    want = np.empty([len(r) for r in ranges], dtype.numpy)
    for index in np.ndindex(*want.shape):
        want[index] = x[tuple(r[i] for r, i in zip(ranges, index, strict=True))]
    assert_bits(apply(g.SLICE, x, start=start, limit=limit, strides=strides), want)


@EVERY
@pytest.mark.parametrize(
    "shape, low, high, interior",
    [
        ((3,), (1,), (2,), (0,)),
        ((3,), (-1,), (0,), (0,)),
        ((3,), (1,), (-2,), (2,)),
        ((0,), (2,), (1,), (3,)),
        ((), (), (), ()),
        ((2, 3), (0, -2), (1, 2), (1, 0)),
        ((3,), (-5,), (4,), (1,)),
        ((2,), (3,), (-5,), (0,)),
        ((1,), (0,), (0,), (4,)),
    ],
    ids=str,
)
def test_pad(dtype: DType, shape: Any, low: Any, high: Any, interior: Any) -> None:
    x, value = filled(shape, dtype), special(dtype)[-1]
    sizes = [a + n + max(n - 1, 0) * i + b for n, a, b, i in zip(shape, low, high, interior, strict=True)]
    want = np.full(sizes, value, dtype.numpy)
    for index in np.ndindex(*shape):
        to = tuple(a + i * (k + 1) for i, a, k in zip(index, low, interior, strict=True))
        if all(0 <= t < n for t, n in zip(to, sizes, strict=True)):
            want[to] = x[index]
    assert_bits(apply(g.PAD, x, np.asarray(value), low=low, high=high, interior=interior), want)


@EVERY
@pytest.mark.parametrize(
    "shapes, axis",
    [
        (((2,), (3,), (0,)), 0),
        (((2, 3), (2, 1)), 1),
        (((1, 3), (2, 3), (1, 3)), 0),
        (((4,),), 0),
        (((0, 2), (0, 5)), 1),
    ],
    ids=str,
)
def test_concatenate(dtype: DType, shapes: Any, axis: int) -> None:
    arrays = [np.roll(filled(s, dtype), i) for i, s in enumerate(shapes)]
    rows = [row for a in arrays for row in np.moveaxis(a, axis, 0)]
    total = sum(s[axis] for s in shapes)
    want = np.moveaxis(np.array(rows, dtype.numpy).reshape(total, *np.moveaxis(arrays[0], axis, 0).shape[1:]), 0, axis)
    assert_bits(apply(g.CONCATENATE, *arrays, dimension=axis), want)


@EVERY
def test_sizes_and_barriers(dtype: DType) -> None:
    x = filled((3, 5), dtype)
    assert_bits(apply(g.GET_DIMENSION_SIZE, x, dimension=1), np.asarray(5, np.int64))
    assert_bits(apply(g.OPTIMIZATION_BARRIER, x), x)
    assert_bits(apply(g.COPY, x), x)


def test_results_are_of_the_types_said() -> None:
    table = Table()
    with table.active():
        assert str(g.IOTA(shape=(2, 3), dtype=F32, dimension=1).type) == "f32[2,3]"
        assert g.size_value(3).dtype == I64
