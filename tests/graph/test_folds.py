"""reduce and dot_general on every element type against sums of Python numbers, written out."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np
import pytest

from mlc.errors import MlcError
from mlc.ir import graph as g
from mlc.ir.graph import Graph, Table, evaluate_graph
from mlc.ir.types import BOOL, DTYPES, DType, type_of_array

from .support import FLOATS, INTEGERS, Array, apply, assert_same, special
from .test_elementwise import INTEGER_ROWS, wrap

REDUCERS = ("add", "multiply", "maximum", "minimum", "and", "or", "xor")


def reduced(name: str, x: Array, init: Array, axes: tuple[int, ...]) -> Array:
    table = Table()
    with table.active():
        p, q = table.parameter(type_of_array(x)), table.parameter(type_of_array(init))
        node = g.REDUCE(p, q, dimensions=axes, body=g.body_of(g.OPS[name], p.dtype))
        return evaluate_graph(Graph("reduce", (p, q), (node,), table), [x, init])[0]


def folded(function: Any, x: Array, init: Any, axes: tuple[int, ...]) -> Array:
    """``function`` over the elements of each fold, as objects."""
    kept = [i for i in range(x.ndim) if i not in axes]
    out = np.empty([x.shape[i] for i in kept], object)
    for index in np.ndindex(*out.shape):
        whole: list[Any] = [slice(None)] * x.ndim
        for axis, i in zip(kept, index, strict=True):
            whole[axis] = i
        out[index] = functools.reduce(function, (v.item() for v in x[tuple(whole)].reshape(-1)), init)
    return out


SHAPES = [
    ((4,), (0,)),
    ((3, 5), (0,)),
    ((3, 5), (1,)),
    ((3, 5), (0, 1)),
    ((2, 3, 5), (0, 2)),
    ((0,), (0,)),
    ((0, 3), (0,)),
    ((0, 3), (1,)),
    ((), ()),
    ((2, 3), ()),
]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("name", REDUCERS)
def test_integers(name: str, dtype: DType) -> None:
    rule = INTEGER_ROWS[name]
    for shape, axes in SHAPES:
        x = np.resize(special(dtype), shape).astype(dtype.numpy)
        for init in (0, 1, 5):
            want = folded(lambda a, b: wrap(rule(a, b, dtype), dtype), x, init, axes)
            assert_same(reduced(name, x, np.array(init, dtype.numpy), axes), np.array(want, dtype.numpy))


@pytest.mark.parametrize(
    "name, rule",
    [
        ("add", lambda a, b: a or b),
        ("multiply", lambda a, b: a and b),
        ("maximum", lambda a, b: a or b),
        ("minimum", lambda a, b: a and b),
        ("and", lambda a, b: a and b),
        ("or", lambda a, b: a or b),
        ("xor", lambda a, b: a != b),
    ],
)
def test_bools(name: str, rule: Any) -> None:
    for (shape, axes), init in itertools.product(SHAPES, (False, True)):
        x = np.resize(np.array([True, True, False]), shape)
        want = np.array(folded(rule, x, init, axes), bool)
        assert_same(reduced(name, x, np.array(init), axes), want)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_float_sums_and_products_are_rounded_once(dtype: DType) -> None:
    rng = np.random.default_rng(0)
    for shape, axes in SHAPES:
        x = rng.uniform(0.5, 1.5, shape).astype(dtype.numpy)
        init = np.array(1.5).astype(dtype.numpy)
        for name, exact in (("add", math.fsum), ("multiply", math.prod)):
            want = folded(lambda a, b: [*a, float(b)], x, [1.5], axes)
            want = np.array([exact(v) for v in want.reshape(-1)], np.float64).reshape(want.shape)
            got = reduced(name, x, init, axes).astype(np.float64)
            unit = {"f16": 2.0**-11, "bf16": 2.0**-8, "f32": 2.0**-24, "f64": 2.0**-50}[dtype.name]
            assert np.all(np.abs(got - want) <= unit * np.abs(want) * 1.01), (name, shape)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_float_extremes(dtype: DType) -> None:
    """NaN wins over everything; infinities over numbers; an empty fold is the initial value."""
    inf, nan = math.inf, math.nan
    x = np.array([[1, nan, 3], [2, -inf, inf], [5, 4, -0.5]], dtype.numpy)
    init = np.array(2, dtype.numpy)
    assert_same(reduced("maximum", x, init, (1,)), np.array([nan, inf, 5], dtype.numpy))
    assert_same(reduced("minimum", x, init, (1,)), np.array([nan, -inf, -0.5], dtype.numpy))
    assert_same(reduced("add", x, init, (1,)), np.array([nan, nan, 10.5], dtype.numpy))
    for name in ("add", "multiply", "maximum", "minimum"):
        assert_same(reduced(name, x[:0], init, (0,)), np.array([2, 2, 2], dtype.numpy))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
@pytest.mark.parametrize("name", REDUCERS)
def test_identities(name: str, dtype: DType) -> None:
    if dtype.is_float and name in ("and", "or", "xor"):
        pytest.skip("bits of floats are not folded")
    x = special(dtype)
    x = x[~np.isnan(x.astype(np.float64))]
    start = g.identity_of(g.OPS[name], dtype)
    assert_same(reduced(name, x[:, None], start, (1,)) + np.zeros(1, dtype.numpy), x + np.zeros(1, dtype.numpy))


# ---------------------------------------------------------------- dot_general

DOTS = [  # lhs, rhs, contracting pairs, batch pairs
    ((3,), (3,), ((0, 0),), ()),
    ((2, 3), (3, 5), ((1, 0),), ()),
    ((3, 2), (5, 3), ((0, 1),), ()),
    ((4, 2, 3), (4, 3, 5), ((2, 1),), ((0, 0),)),
    ((2, 3, 4), (4, 3, 2), ((1, 1), (2, 0)), ((0, 2),)),
    ((2,), (3,), (), ()),
    ((), (), (), ()),
    ((2, 0), (0, 3), ((1, 0),), ()),
    ((0, 2), (2, 3), ((1, 0),), ()),
    ((2, 3, 4), (5, 4, 3), ((1, 2), (2, 1)), ()),
    ((7, 1), (1, 3), ((1, 0),), ()),
]


def dot(x: Array, y: Array, contracting: Any, batch: Any) -> Array:
    return apply(
        g.DOT_GENERAL,
        x,
        y,
        lhs_contracting=tuple(i for i, _ in contracting),
        rhs_contracting=tuple(j for _, j in contracting),
        lhs_batch=tuple(i for i, _ in batch),
        rhs_batch=tuple(j for _, j in batch),
    )


def dot_of_objects(x: Array, y: Array, contracting: Any, batch: Any) -> Array:
    """Sums of products of Python numbers, element by element."""
    left = [i for i in range(x.ndim) if i not in [a for a, _ in (*contracting, *batch)]]
    right = [j for j in range(y.ndim) if j not in [b for _, b in (*contracting, *batch)]]
    out = np.empty([*(x.shape[i] for i, _ in batch), *(x.shape[i] for i in left), *(y.shape[j] for j in right)], object)
    for index in np.ndindex(*out.shape):
        b, l, r = index[: len(batch)], index[len(batch) : len(batch) + len(left)], index[len(batch) + len(left) :]  # noqa: E741
        total: Any = 0
        for k in np.ndindex(*(x.shape[i] for i, _ in contracting)):
            at_x = dict(zip([i for i, _ in batch], b, strict=True)) | dict(zip(left, l, strict=True))
            at_y = dict(zip([j for _, j in batch], b, strict=True)) | dict(zip(right, r, strict=True))
            at_x |= dict(zip([i for i, _ in contracting], k, strict=True))
            at_y |= dict(zip([j for _, j in contracting], k, strict=True))
            total += x[tuple(at_x[i] for i in range(x.ndim))].item() * y[tuple(at_y[j] for j in range(y.ndim))].item()
        out[index] = total
    return out


@pytest.mark.parametrize("case", DOTS, ids=str)
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integer_dots_wrap(dtype: DType, case: Any) -> None:
    a, b, contracting, batch = case
    x = np.resize(special(dtype), a).astype(dtype.numpy)
    y = np.resize(special(dtype)[::-1], b).astype(dtype.numpy)
    want = [wrap(v, dtype) for v in dot_of_objects(x, y, contracting, batch).reshape(-1)]
    got = dot(x, y, contracting, batch)
    assert_same(got, np.array(want, dtype.numpy).reshape(got.shape))


@pytest.mark.parametrize("case", DOTS, ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_float_dots(dtype: DType, case: Any) -> None:
    a, b, contracting, batch = case
    rng = np.random.default_rng(1)
    x, y = (rng.integers(-8, 9, s).astype(dtype.numpy) / np.array(4, dtype.numpy) for s in (a, b))  # sums are exact
    x, y = np.asarray(x, dtype.numpy), np.asarray(y, dtype.numpy)
    want = dot_of_objects(x.astype(np.float64), y.astype(np.float64), contracting, batch).astype(np.float64)
    assert_same(
        dot(x, y, contracting, batch) + np.zeros((), dtype.numpy), want.astype(dtype.numpy) + np.zeros((), dtype.numpy)
    )


def test_float_dot_with_infinities() -> None:
    x = np.array([[np.inf, 0], [np.inf, -np.inf], [np.nan, 1]], np.float32)
    assert_same(dot(x, np.array([1, 1], np.float32), ((1, 0),), ()), np.array([np.inf, np.nan, np.nan], np.float32))


def test_bools_have_no_dot() -> None:
    with pytest.raises(MlcError, match=r"dot_general: operand is bool\[2\]"):
        dot(np.ones(2, bool), np.ones(2, bool), ((0, 0),), ())
    assert BOOL not in FLOATS
