"""Reductions and products against NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import ArgumentError, MlcError, ShapeError
from mlc.tracing import ShapeDtype, trace

from .harness import run, types

RNG = np.random.default_rng(1)
X = RNG.standard_normal((3, 4, 5)).astype(np.float32)
AXES = [None, 0, -1, (0, 2), (1,), ()]


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", ["sum", "prod", "mean", "var", "std", "max", "min", "any", "all"])
def test_reductions(name: str, axis: Any, keepdims: bool) -> None:
    want = np.asarray(getattr(np, name)(X.astype(np.float64), axis=axis, keepdims=keepdims))
    got = run(lambda x: getattr(mnp, name)(x, axis, keepdims=keepdims), X)
    assert got.shape == want.shape and got.dtype == (np.float32 if want.dtype == np.float64 else bool)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_places_of_extremes_first_of_equals_and_nan_first(name: str, axis: int | None, keepdims: bool) -> None:
    data = RNG.integers(0, 3, (4, 6, 5)).astype(np.float32)
    data[1, 2] = np.nan
    data[2, 3, 1] = np.inf
    for values in (data, RNG.integers(-2, 2, (4, 6, 5)), data > 1):
        got = run(lambda x: getattr(mnp, name)(x, axis, keepdims=keepdims), values)
        np.testing.assert_array_equal(got, getattr(np, name)(values, axis=axis, keepdims=keepdims))
        assert got.dtype == np.int64


def test_types_of_sums() -> None:
    want = {"f16": "f16", "bf16": "bf16", "f64": "f64", "i8": "i64", "i64": "i64", "u8": "u64", "bool": "i64"}
    for name, result in want.items():
        assert types(lambda x: (x.sum(), x.prod(0)), ShapeDtype(3, name)) == [f"{result}[]"] * 2
    assert types(lambda x: x.sum(dtype="f32"), ShapeDtype(3, "i8")) == ["f32[]"]
    assert types(lambda x: (x.mean(), x.max()), ShapeDtype(3, "i8")) == ["f32[]", "i8[]"]


def test_half_floats_are_summed_in_f32() -> None:
    ones = np.ones(4096, np.float16)
    assert run(lambda x: x.sum(), ones) == 4096
    assert run(lambda x: x.mean(), ones * np.float16(100)) == 100


def test_integer_and_bool_reductions() -> None:
    data = RNG.integers(-100, 100, (4, 5)).astype(np.int8)
    for name in ("sum", "prod", "max", "min", "any", "all"):
        np.testing.assert_array_equal(run(getattr(mnp, name), data), getattr(np, name)(data))
    flags = data > 0
    for name in ("sum", "max", "min", "any", "all"):
        np.testing.assert_array_equal(run(lambda x: getattr(mnp, name)(x, 1), flags), getattr(np, name)(flags, 1))  # noqa: B023


def test_variance_is_stable_and_takes_a_correction() -> None:
    data = (1e4 + RNG.standard_normal((8, 50))).astype(np.float32)
    np.testing.assert_allclose(
        run(lambda x: x.var(1, correction=1), data), data.astype(np.float64).var(1, ddof=1), rtol=1e-4
    )


def test_nothing_to_reduce() -> None:
    empty = np.zeros((0, 3), np.float32)
    np.testing.assert_array_equal(run(lambda x: (x.sum(0), x.prod(0)), empty), [np.zeros(3), np.ones(3)])
    assert np.isnan(run(lambda x: x.mean(0), empty)).all()
    for function in (mnp.max, mnp.min, mnp.argmax):
        with pytest.raises(ShapeError, match="no elements along axis 0"):
            trace(lambda x: function(x, 0), [ShapeDtype((0, 3))])  # noqa: B023


MATMULS = [((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)),
           ((3, 4), (2, 4, 5)), ((7, 1, 3, 4), (2, 4, 5)), ((4,), (2, 4, 5)), ((2, 3, 4), (4,)),
           ((0, 4), (4, 5)), ((3, 0), (0, 5))]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), MATMULS)
def test_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = RNG.standard_normal(a).astype(np.float32), RNG.standard_normal(b).astype(np.float32)
    want = x.astype(np.float64) @ y.astype(np.float64)
    got = run(lambda p, q: p @ q, x, y)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_other_products() -> None:
    x, y = RNG.standard_normal((3, 4, 5)), RNG.standard_normal((5, 4, 2))
    np.testing.assert_allclose(run(lambda p, q: mnp.tensordot(p, q, 1), x, y), np.tensordot(x, y, 1))
    np.testing.assert_allclose(
        run(lambda p, q: mnp.tensordot(p, q, ((2, 1), (0, 1))), x, y), np.tensordot(x, y, ((2, 1), (0, 1)))
    )
    np.testing.assert_allclose(run(lambda p, q: mnp.vecdot(p, q), x, x[0]), (x * x[0]).sum(-1))
    np.testing.assert_allclose(run(lambda p, q: mnp.vecdot(p, q, axis=-2), x, x), (x * x).sum(-2))
    np.testing.assert_allclose(run(lambda p, q: mnp.outer(p, q), x[0, 0], y[:, 0, 0]), np.outer(x[0, 0], y[:, 0, 0]))
    assert types(lambda p, q: p @ q, ShapeDtype((2, 3), "i8"), ShapeDtype((3, 4), "bf16")) == ["bf16[2,4]"]


@pytest.mark.parametrize("subscripts", [
    "ij,jk->ik", "ij,jk", "bij,bjk->bik", "bhqd,bhkd->bhqk", "ij->ji", "ij->", "ij->j", "i,j->ij", "ij,ij->",
    "ijk,k->ji",
    "ij,jk,kl->il", "ij,j,i->", "bi,bj->ij", "abc,cd->bd", " i j , j -> i ", "ij,kj->ikj", "a,b,c->cab",
])  # fmt: skip
def test_einsum(subscripts: str) -> None:
    sizes = dict(zip("abcdhijklq", (2, 3, 4, 5, 2, 3, 4, 2, 6, 3), strict=True))
    terms = subscripts.replace(" ", "").split("->")[0].split(",")
    arrays = [RNG.standard_normal([sizes[c] for c in term]) for term in terms]
    want = np.einsum(subscripts, *arrays)
    got = run(lambda *xs: mnp.einsum(subscripts, *xs), *arrays)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("subscripts", "shapes"), [
    ("ii", [(5, 5)]), ("ii->i", [(5, 5)]), ("ijj->i", [(3, 4, 4)]), ("iij,j->i", [(4, 4, 3), (3,)]),
    ("iji->j", [(3, 2, 3)]),
    ("iii->i", [(3, 3, 3)]), ("ii->i", [(0, 0)]), ("ii", [(1, 1)]), ("iijj->ij", [(2, 2, 3, 3)]),
    ("...ij,...jk->...ik", [(2, 3, 7, 5), (3, 5, 2)]), ("a...,b...->ab...", [(2, 3), (4, 3)]), ("...", [(2, 3)]),
    ("b...->...b", [(2, 3, 4)]), ("...i->...", [(2, 3, 4)]), ("...i,...i", [(2, 3), (3,)]),
    ("...ii->...i", [(2, 3, 3)]),
    ("...i,...i->...", [(2, 1, 3), (1, 4, 3)]), ("...,...->...", [(2, 3), ()]), ("...,i", [(1, 2), (3,)]),
    ("ij...,jk...->ik...", [(2, 3, 4, 5), (3, 2, 1, 5)]), ("->...", [()]),
])  # fmt: skip
def test_einsum_with_diagonals_and_ellipses(subscripts: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = [RNG.standard_normal(shape) for shape in shapes]
    want = np.einsum(subscripts, *arrays)
    got = run(lambda *xs: mnp.einsum(subscripts, *xs), *arrays)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


def test_the_diagonal_of_a_symbolic_square_and_its_derivative() -> None:
    n = mlc.dim("n", 1, 8)
    f = mlc.jit(mlc.value_and_grad(lambda x: mnp.einsum("ii,jj->", x, x)))
    compiled = f.lower(ShapeDtype((n, n))).compile()
    x = RNG.standard_normal((5, 5)).astype(np.float32)
    for value, gradient in (compiled(x), f(x)):
        np.testing.assert_allclose(value, np.trace(x) ** 2, rtol=1e-5)
        np.testing.assert_allclose(gradient, 2 * np.trace(x) * np.eye(5), rtol=1e-5)
    with pytest.raises(ShapeError, match="operand f32\\[2,3\\] has 2 along axis 0 and 3 along axis 1"):
        mnp.einsum("ii", np.ones((2, 3), np.float32))


@pytest.mark.parametrize(("subscripts", "kind"), [
    ("...i->i", ArgumentError), ("..i->i", ArgumentError), ("i......->i", ArgumentError), ("...ijk", ShapeError),
    ("ij->ik", MlcError), ("ij,jk->ik", MlcError),
    ("i1->i", MlcError),
    ("ijk->i", ShapeError), ("ij->ii", MlcError),
])  # fmt: skip
def test_bad_subscripts(subscripts: str, kind: type[MlcError]) -> None:
    with pytest.raises(kind):
        trace(lambda x: mnp.einsum(subscripts, x), [ShapeDtype((2, 2))])


def test_sizes_that_do_not_contract() -> None:
    for function in (
        lambda x, y: x @ y,
        lambda x, y: mnp.einsum("ij,jk->ik", x, y),
        lambda x, y: mnp.tensordot(x, y, 1),
    ):
        with pytest.raises(ShapeError):
            trace(function, [ShapeDtype((2, 3)), ShapeDtype((4, 5))])
    with pytest.raises(ShapeError, match="rhs has rank 0"):
        trace(lambda x: x @ 2, [ShapeDtype((2, 3))])
