"""while_loop, fori_loop, cond and switch against Python's loops and branches."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import ArgumentError, DTypeError, MlcError, ShapeError

from .check import check

RNG = np.random.default_rng(7)
X = RNG.standard_normal((5, 7))
W = RNG.standard_normal((7, 7)) / 3


@pytest.mark.parametrize("limit", [0.0, 1.0, 1e3])
def test_newton_runs_until_it_is_near(limit: float) -> None:
    """The square root of each element's sum, by a loop whose length the data decides."""

    def root(a: Any) -> Any:
        start = (a, mnp.asarray(0))
        return mlc.while_loop(
            lambda v: mnp.abs(v[0] * v[0] - a) > 1e-9 * a, lambda v: ((v[0] + a / v[0]) / 2, v[1] + 1), start
        )

    x, trips = limit, 0
    while abs(x * x - limit) > 1e-9 * limit:
        x, trips = (x + limit / x) / 2, trips + 1
    check(root, [np.float64(limit)], (x, trips))


@pytest.mark.parametrize("trips", [0, 1, 2, 9])
@pytest.mark.parametrize("static", [True, False])
def test_a_recurrent_network(trips: int, static: bool) -> None:
    """A tree is carried; W and x are from outside."""

    def network(x: Any, w: Any, n: Any) -> Any:
        def step(i: Any, carry: dict[str, Any]) -> dict[str, Any]:
            h = mnp.tanh(carry["h"] @ w + x)
            return {"h": h, "sum": carry["sum"] + mnp.sum(h, axis=0), "last": i}

        first = {"h": mnp.zeros_like(x), "sum": mnp.zeros(7, "f64"), "last": -1}
        return mlc.fori_loop(0, trips if static else n, step, first)

    h, total = np.zeros_like(X), np.zeros(7)
    for _ in range(trips):
        h = np.tanh(h @ W + X)
        total += h.sum(0)
    check(network, [X, W, trips], {"h": h, "sum": total, "last": trips - 1})


def test_what_is_carried_may_change_places() -> None:
    """Fibonacci numbers and a rotation of three: next values that are other carried ones."""

    def both(n: Any, x: Any) -> Any:
        pair = mlc.fori_loop(0, n, lambda i, v: (v[1], v[0] + v[1]), (0, 1))
        return pair, mlc.fori_loop(0, n, lambda i, v: (v[1], v[2], v[0]), (x, x * 2, x + 1))

    for n in (0, 1, 2, 10):
        a, b = 0, 1
        turned = [X, X * 2, X + 1]
        for _ in range(n):
            a, b = b, a + b
            turned = [*turned[1:], turned[0]]
        check(both, [n, X], ((a, b), tuple(turned)))


def test_loops_in_loops_and_branches_in_them() -> None:
    def program(x: Any, n: Any) -> Any:
        def outer(i: Any, total: Any) -> Any:
            def inner(j: Any, t: Any) -> Any:
                return mlc.switch(
                    i + j, [lambda: t + x, lambda: t * 0.5, lambda: mlc.cond(mnp.sum(t) > 0, lambda: -t, lambda: t)]
                )

            return mlc.fori_loop(0, i, inner, total) + 1

        return mlc.fori_loop(0, n, outer, x)

    for n in (0, 1, 4):
        total = X
        for i in range(n):
            for j in range(i):
                if i + j == 0:
                    total = total + X
                elif i + j == 1:
                    total = total * 0.5
                elif total.sum() > 0:
                    total = -total
            total = total + 1
        check(program, [X, n], total)


def test_a_large_parallel_loop() -> None:
    """Steps that several workers share: a missing barrier shows in the walk."""
    x = RNG.standard_normal((300, 400))

    def program(x: Any) -> Any:
        return mlc.fori_loop(0, 3, lambda i, v: (v[0] + mnp.flip(v[1]), v[1] * 0.5 + mnp.sum(v[0])), (x, x * 2))

    a, b = x, x * 2
    for _ in range(3):
        a, b = a + b[::-1, ::-1], b * 0.5 + a.sum()
    check(program, [x], (a, b), rtol=1e-9)


def test_sizes_known_at_the_call() -> None:
    n = mlc.dim("n", 1, 50)

    @mlc.jit
    def total(x: Any, k: Any) -> Any:
        return mlc.fori_loop(0, k, lambda i, v: v * 0.5 + mnp.cos(x), mnp.zeros_like(x))

    compiled = total.lower(mlc.ShapeDtype((n, 3), "f32"), mlc.ShapeDtype((), "i64")).compile()
    for rows in (1, 17, 50):
        x = RNG.standard_normal((rows, 3)).astype("f4")
        want = np.zeros((rows, 3))
        for _ in range(4):
            want = want * 0.5 + np.cos(x.astype("f8"))
        np.testing.assert_allclose(np.asarray(compiled(x, 4)), want, rtol=1e-5)


def test_donated_memory_goes_through_a_loop() -> None:
    step = mlc.jit(lambda x, n: mlc.fori_loop(0, n, lambda i, v: v + 1.0, x), donate_argnames="x")
    x = mlc.jit(lambda: mnp.zeros((100, 100)))()
    text = step.lower(x, 3).compile().as_text("plan")
    assert "donated to output0" in text and "copy output0" not in text
    assert np.all(np.asarray(step(x, 3)) == 3)


def test_loops_outside_of_a_trace_and_numbers_that_widen() -> None:
    assert mlc.while_loop(lambda x: x < 100, lambda x: x * 3, 1).dtype.name == "i64"
    total = mlc.fori_loop(0, 3, lambda i, t: t + np.float64(0.5), 0.0)
    assert total.dtype.name == "f64" and float(total) == 1.5
    chosen = mlc.cond(False, lambda x: x, lambda x: 0.0, np.float64(2))
    assert chosen.dtype.name == "f64" and float(chosen) == 0
    assert [int(mlc.switch(i, [lambda: 10, lambda: 20, lambda: 30])) for i in (-5, 0, 1, 2, 9)] == [10, 10, 20, 30, 30]
    assert mlc.cond(True, dict, dict) == {}


def test_what_never_changes_is_computed_once() -> None:
    def program(x: Any, w: Any) -> Any:
        return mlc.fori_loop(0, 4, lambda i, v: v + mnp.sum(mnp.exp(w) @ w), x)

    compiled = mlc.jit(program).lower(X, W).compile()
    assert "dot" not in compiled.as_text("plan").split("loop while")[1]
    check(program, [X, W], X + 4 * (np.exp(W) @ W).sum(), rtol=1e-9)


def bad_type() -> Any:
    return mlc.while_loop(lambda v: v[0] < 3, lambda v: (v[0] + 1, v[1] * np.float64(2)), (0, mnp.ones(3, "f32")))


def bad_shape() -> Any:
    return mlc.fori_loop(0, 3, lambda i, v: mnp.concatenate([v, v]), mnp.ones(3, "f32"))


def bad_tree() -> Any:
    return mlc.fori_loop(0, 3, lambda i, v: {"x": v}, 0)


def bad_test() -> Any:
    return mlc.while_loop(lambda v: v, lambda v: v, 3)


def bad_branches() -> Any:
    return mlc.cond(True, lambda x: x.astype("i64"), lambda x: x, mnp.ones(3, "f32"))


def bad_predicate() -> Any:
    return mlc.cond(mnp.ones(3, "bool"), lambda: 1, lambda: 2)


def bad_index() -> Any:
    return mlc.switch(1.5, [lambda: 1])


@pytest.mark.parametrize(
    ("program", "kind", "words"),
    [
        (bad_type, DTypeError, [r"carried value\[1\] changes its type: f32\[3\] and f64\[3\]", "astype"]),
        (bad_shape, ShapeError, [r"f32\[3\] and f32\[6\]", "they have one shape"]),
        (bad_tree, ArgumentError, ["gives another tree than it takes"]),
        (bad_test, DTypeError, [r"gives i64\[\], not one bool"]),
        (bad_branches, DTypeError, [r"result 0 of false_fun and of true_fun differ: f32\[3\] and i64\[3\]"]),
        (bad_predicate, DTypeError, [r"pred is bool\[3\], not one bool", "where"]),
        (bad_index, DTypeError, [r"index is f32\[\], not one integer"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("jit", [False, True])
def test_mistakes_are_named(program: Any, kind: type[MlcError], words: list[str], jit: bool) -> None:
    with pytest.raises(kind) as error:
        (mlc.jit(program) if jit else program)()
    for word in words:
        assert re.search(word, str(error.value)), str(error.value)
    assert "test_loops.py:" in str(error.value), str(error.value)


@pytest.mark.parametrize("pred", [True, False, 0, 7, -1, 0.0, 0.5, np.float32(np.nan), np.uint8(0), np.uint8(3)])
def test_a_predicate_may_be_a_number(pred: Any) -> None:
    for function in (mlc.cond, mlc.jit(lambda p, f, g: mlc.cond(p, f, g), static_argnames=("f", "g"))):
        assert int(function(pred, lambda: 1, lambda: 2)) == (1 if pred else 2)
