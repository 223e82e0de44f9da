"""Arrays as indices, and updates at keys, against NumPy: eager, jitted with the arrays known, and with them traced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import DTypeError, ShapeError, UnsupportedError

X = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
A, B, C = np.array([1, -1, 0]), np.array([[0], [2]]), np.array([0, 3, -2])
KEYS = [
    np.s_[A], np.s_[:, A], np.s_[A, :, C], np.s_[:, A, C], np.s_[:, A, 1], np.s_[1, :, C], np.s_[..., C],
    np.s_[None, :, A], np.s_[:, A, None, C], np.s_[:, B, :, C], np.s_[:, B, C], np.s_[::-1, A, 1:3],
    np.s_[::-1, 1:, ::2, -1], np.s_[A, ::2, ::-1], np.s_[0], np.s_[1:, 2], np.s_[[0, 1]], np.s_[:, [True, False, True]],
    X > 30, np.s_[1, X[1] > 70], np.s_[np.array(1)], np.s_[:, :, np.array(-1)], np.s_[:, np.uint8(1), 1:3],
    np.s_[A.astype(np.int8)], np.s_[:, C.astype(np.uint16) % 3, :, B.astype(np.int32)], np.s_[np.zeros((0,), int)],
    np.s_[..., np.zeros((2, 0), int), :], np.s_[..., None],
    np.s_[:, 1, ..., :, C], np.s_[:, :, 1, ..., C], np.s_[:, A, ..., 1, :], np.s_[:, A, 1, 0, ...],
    np.s_[..., :, :, 1, C],
]  # fmt: skip
keys = pytest.mark.parametrize("key", KEYS, ids=lambda k: str(k).replace("\n", "")[:60])


def is_traced(item: Any) -> bool:
    return isinstance(item, np.ndarray) and item.dtype != bool


@keys
def test_getitem(key: Any) -> None:
    items = key if isinstance(key, tuple) else (key,)

    def traced(x: mlc.Array, arrays: list[mlc.Array]) -> mlc.Array:
        left = iter(arrays)
        return x[tuple(next(left) if is_traced(item) else item for item in items)]

    for got in (
        mnp.asarray(X)[key],
        mlc.jit(lambda x: x[key])(X),
        mlc.jit(traced)(X, [i for i in items if is_traced(i)]),
    ):
        np.testing.assert_array_equal(np.asarray(got), X[key])


@keys
@pytest.mark.parametrize("how", ["set", "add", "multiply", "min", "max"])
def test_updates(key: Any, how: str) -> None:
    ufunc = {"add": np.add, "multiply": np.multiply, "min": np.minimum, "max": np.maximum}
    v = np.random.default_rng(0).integers(0, 99, X[key].shape).astype(np.float32)
    for values in (v, np.float32(7)):
        want = X.copy()
        if how == "set":
            want[key] = values
        else:
            ufunc[how].at(want, key, values)
        x = mnp.asarray(X)
        np.testing.assert_array_equal(np.asarray(getattr(x.at[key], how)(values)), want)
        np.testing.assert_array_equal(np.asarray(x), X)
    np.testing.assert_array_equal(np.asarray(x.at[key].get()), X[key])


def test_what_lies_outside() -> None:
    x, i = mnp.arange(5), mnp.asarray([7, -9, 2])
    assert x[i].tolist() == [4, 0, 2]
    assert x.at[i].set(-1).tolist() == [0, 1, -1, 3, 4]
    assert mlc.jit(lambda x, i: x[i])(x, 9).item() == 4
    assert mlc.jit(lambda x, i: x.at[i].add(1))(x, 9).tolist() == x.tolist()


def test_a_symbolic_axis() -> None:
    n = mlc.dim("n", 2, 8)

    @mlc.jit
    def f(x: mlc.Array, i: mlc.Array) -> tuple[mlc.Array, ...]:
        return x[i], x[0], x[-1], x.at[i].add(1.0), x[i, 1:3]

    exported = f.lower(mlc.ShapeDtype((n, 4)), mlc.ShapeDtype((3,), "i32")).compile()
    for rows in (2, 5):
        x, i = np.random.default_rng(rows).standard_normal((rows, 4)).astype(np.float32), np.int32([1, -1, 1])
        added = x.copy()
        np.add.at(added, i, 1)
        for got, want in zip(exported(x, i), (x[i], x[0], x[-1], added, x[i, 1:3]), strict=True):
            np.testing.assert_array_equal(np.asarray(got), want)


def test_a_traced_mask_updates_by_one_value() -> None:
    found = mlc.jit(lambda x: x.at[x > 2].set(0))(mnp.arange(5))
    assert found.tolist() == [0, 1, 2, 0, 0]
    assert mlc.jit(lambda x: x.at[x > 2].multiply(3))(mnp.arange(5)).tolist() == [0, 1, 2, 9, 12]


def test_gradients_of_look_ups_and_updates() -> None:
    table, tokens = X.reshape(24, 5), np.array([[3, 1], [3, -1]])
    weights = np.random.default_rng(1).standard_normal((2, 2, 5)).astype(np.float32)
    slope = mlc.grad(lambda t: mnp.sum(t[tokens] * weights))(table)
    want = np.zeros_like(table)
    np.add.at(want, tokens, weights)
    np.testing.assert_allclose(np.asarray(slope), want, rtol=1e-6)

    def written(values: mlc.Array) -> mlc.Array:
        return mnp.sum(mnp.zeros(4).at[np.array([1, 1, 3])].set(values) * mnp.arange(4.0))

    np.testing.assert_array_equal(np.asarray(mlc.grad(written)(np.ones(3, np.float32))), [0, 1, 3])


def test_a_cache_is_updated_in_place() -> None:
    @mlc.jit(donate_argnames=("cache",))
    def put(cache: mlc.Array, i: mlc.Array, row: mlc.Array) -> mlc.Array:
        return cache.at[i].set(row)

    compiled = put.lower(mlc.ShapeDtype((64, 8)), mlc.ShapeDtype((), "i64"), mlc.ShapeDtype((8,))).compile()
    assert "copy" not in compiled.as_text()
    cache = mnp.zeros((64, 8))
    for i in range(3):
        cache = put(cache, i, np.full(8, i + 1, np.float32))
    assert np.asarray(cache).sum(axis=1)[:4].tolist() == [8, 16, 24, 0]


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (np.array([0.5]), DTypeError, r"an index of f64\[1\]"),
    (np.s_[A, A, A, A, A], ShapeError, "5 indices of operand f32.2,3,4,5., which has 4 axes"),
    (np.array([True, False, True]), ShapeError, r"a mask of bool\[3\] for axes 0 on"),
    (np.s_[:, np.ones((2, 2), bool)], ShapeError, r"a mask of bool\[2, 2\] for axes 1 on"),
    (np.s_[A, np.array([1, 2])], ShapeError, "getitem"), (np.s_[A, 7], ShapeError, "index 7 is outside of axis 1"),
    (np.s_[[0, 9]], ShapeError, "index 9 is outside of axis 0"),
]  # fmt: skip


@pytest.mark.parametrize("key, error, words", ERRORS, ids=[e[2] for e in ERRORS])
def test_errors(key: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        mlc.jit(lambda x: x[key])(X)


def test_errors_of_updates() -> None:
    x = mnp.arange(4)
    with pytest.raises(DTypeError, match=r"values of f32.. for operand i64.4., which cannot hold them"):
        x.at[0].set(1.5)
    with pytest.raises(ShapeError, match=r"a value of i64.3. does not broadcast to the i64.2."):
        x.at[np.array([0, 1])].set(mnp.arange(3))
    with pytest.raises(UnsupportedError, match=r"a traced mask of bool.4."):
        mlc.jit(lambda x: x[x > 1])(x)
    with pytest.raises(UnsupportedError, match=r"nonzero: how many elements of a traced i64.4."):
        mlc.jit(mnp.nonzero)(x)


# ---------------------------------------------------------------- functions


def test_take() -> None:
    x = X.reshape(24, 5)
    i = np.random.default_rng(0).integers(-5, 5, (2, 3))
    for axis in (0, 1, None):
        np.testing.assert_array_equal(np.asarray(mnp.take(x, i, axis=axis)), np.take(x, i, axis=axis))


def test_take_along_axis() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 6)).astype(np.float32)
    for axis, shape in ((0, (5, 6)), (1, (5, 6)), (1, (1, 9)), (0, (3, 1)), (-1, (5, 0))):
        i = rng.integers(-5, 5, shape)
        got = mnp.take_along_axis(x, i, axis=axis)
        np.testing.assert_array_equal(np.asarray(got), np.take_along_axis(x, i, axis=axis))
    with pytest.raises(ShapeError, match="the ranks differ"):
        mnp.take_along_axis(x, np.arange(3), axis=0)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 8, 9, 100])
def test_searchsorted(n: int) -> None:
    rng = np.random.default_rng(n)
    line, v = np.sort(rng.integers(0, 50, n)).astype(np.float32), rng.integers(-1, 52, (4, 5)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(mnp.searchsorted(line, v)), np.searchsorted(line, v))
    got = mnp.searchsorted(line, v, side="right")
    np.testing.assert_array_equal(np.asarray(got), np.searchsorted(line, v, side="right"))
    missing = np.concatenate([line, np.full(2, np.nan, np.float32)])
    asked = np.append(v, np.float32([np.nan, np.inf, -np.inf]))
    for side in ("left", "right"):
        got = mnp.searchsorted(missing, asked, side=side)
        np.testing.assert_array_equal(np.asarray(got), np.searchsorted(missing, asked, side=side))
    turned = np.flip(line)
    order = np.argsort(turned, kind="stable")
    got = mnp.searchsorted(turned, v, order)
    np.testing.assert_array_equal(np.asarray(got), np.searchsorted(turned, v, sorter=order))


def test_nonzero_and_diff() -> None:
    x = np.array([[0, 3, 0], [5, 0, 7]])
    for got, want in zip(mnp.nonzero(mnp.asarray(x)), np.nonzero(x), strict=True):
        np.testing.assert_array_equal(np.asarray(got), want)
    for axis in (0, 1):
        np.testing.assert_array_equal(np.asarray(mnp.diff(x, axis=axis)), np.diff(x, axis=axis))
    assert np.asarray(mnp.diff(np.zeros((0,), np.float32))).shape == (0,)
