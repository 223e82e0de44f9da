"""sort, argsort and the distinct elements against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import ShapeError, UnsupportedError
from mlc.ir.graph import parse_graph, resources_of, verify_graph
from mlc.passes.decompose import decompose

RNG = np.random.default_rng(3)
X = RNG.integers(-9, 9, (4, 150)).astype(np.float32)
X[1, ::9] = np.nan
KINDS = {"f32": X, "f64": X.astype(np.float64), "i16": np.nan_to_num(X).astype(np.int16), "bool": X > 0}


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("x", KINDS.values(), ids=KINDS)
def test_sort(x: Any, axis: int) -> None:
    both = mlc.jit(lambda x: (mnp.sort(x, axis=axis), mnp.argsort(x, axis=axis)))
    values, order = (np.asarray(a) for a in both(x))
    np.testing.assert_array_equal(values, np.sort(x, axis))
    np.testing.assert_array_equal(order, np.argsort(x, axis, kind="stable"))
    assert order.dtype == np.int64


def test_descending_puts_nan_first_and_keeps_the_order_of_equal_elements() -> None:
    x = mnp.asarray([1.0, 2.0, float("nan"), 1.0, 3.0])
    assert mnp.argsort(x, descending=True).tolist() == [2, 4, 1, 0, 3]
    assert mnp.sort(x, descending=True).tolist()[1:] == [3.0, 2.0, 1.0, 1.0]


def test_a_symbolic_axis() -> None:
    n = mlc.dim("n", 1, 40)
    lowered = mlc.jit(lambda x: (mnp.sort(x), mnp.argsort(x))).lower(mlc.ShapeDtype((2, n)))
    opened = decompose(lowered.graph)
    verify_graph(opened)
    assert parse_graph(str(opened), resources_of(opened)).fingerprint == opened.fingerprint
    f = lowered.compile()
    for k in (1, 7, 40):
        values, order = (np.asarray(a) for a in f(X[:2, :k]))
        np.testing.assert_array_equal(values, np.sort(X[:2, :k]))
        np.testing.assert_array_equal(order, np.argsort(X[:2, :k], kind="stable"))


def test_shapes() -> None:
    assert mnp.sort(mnp.zeros((3, 0))).shape == (3, 0) and mnp.argsort(mnp.zeros((0, 3))).shape == (0, 3)
    with pytest.raises(ShapeError, match=r"sort: axis -1 is outside of operand f32.., which has no axes"):
        mnp.sort(mnp.asarray(1.0))


def test_gradient_goes_back_to_where_elements_came_from() -> None:
    x = np.array([3.0, 1.0, 2.0], np.float32)
    weights = np.array([1.0, 10.0, 100.0], np.float32)
    got = mlc.grad(lambda x: mnp.sum(mnp.sort(x) * weights))(x)
    assert np.asarray(got).tolist() == [100.0, 1.0, 10.0]


def test_top_k() -> None:
    """The largest first, of equal ones the first; the gradient is that of what was taken."""
    x = np.array([[1, 5, 5, 2], [4, 0, np.nan, 4]], np.float32)
    values, indices = (np.asarray(a) for a in mlc.nn.top_k(x, 3))
    assert indices.tolist() == [[1, 2, 3], [2, 0, 3]]
    np.testing.assert_array_equal(values, np.take_along_axis(x, indices, 1))
    assert np.asarray(mlc.nn.top_k(x, 1, axis=0)[1]).tolist() == [[1, 0, 1, 1]]
    got = mlc.grad(lambda x: mnp.sum(mlc.nn.top_k(x, 2)[0] * mnp.asarray([1.0, 10.0])))(x)
    assert np.asarray(got).tolist() == [[0, 1, 10, 0], [10, 0, 1, 0]]
    with pytest.raises(ShapeError, match=r"top_k: k is 5, axis 1 of operand f32.2,4. has 4 elements"):
        mlc.nn.top_k(x, 5)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint64, bool], ids=str)
def test_unique(dtype: Any) -> None:
    x = RNG.integers(0, 5, (4, 6)).astype(dtype)
    for name in ("unique_all", "unique_counts", "unique_inverse", "unique_values"):
        got, want = getattr(mnp, name)(mnp.asarray(x)), getattr(np, name)(x)
        if name == "unique_values":
            got, want = (got,), (np.sort(want),)
        else:
            assert got._fields == want._fields
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(np.asarray(a), b)
            assert np.asarray(a).dtype == b.dtype


def test_unique_of_nan_bf16_and_traced() -> None:
    assert len(mnp.unique_values(mnp.asarray([float("nan"), 1.0, float("nan")]))) == 3
    found = mnp.unique_values(mnp.asarray([2.0, 1.0, 2.0], dtype="bf16"))
    assert found.dtype == mnp.bfloat16 and found.tolist() == [1.0, 2.0]
    with pytest.raises(UnsupportedError, match=r"unique_counts: how many distinct elements a traced f32.3. has"):
        mlc.jit(mnp.unique_counts)(np.zeros(3, np.float32))
