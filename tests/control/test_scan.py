"""scan, and derivatives of loops and branches, against Python loops and central differences in f64."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import ArgumentError, DifferentiationError, MlcError, ShapeError

from .check import check

Array = npt.NDArray[Any]
RNG = np.random.default_rng(11)
W = RNG.standard_normal((6, 6)) / 3
XS = RNG.standard_normal((5, 4, 6))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 1, 5])
def test_scan_is_a_python_loop(length: int, reverse: bool) -> None:
    def program(w: Any, xs: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            h, count = carry
            h = mnp.tanh(h @ w + x["x"])
            return (h, count + 1), {"h": h, "n": count, "sum": mnp.sum(h) * x["k"]}

        return mlc.scan(step, (mnp.zeros((4, 6), "f64"), 0), xs, reverse=reverse)

    xs = {"x": XS[:length], "k": np.arange(length)}
    h, rows = np.zeros((4, 6)), []
    for n, i in enumerate(reversed(range(length)) if reverse else range(length)):
        h = np.tanh(h @ W + XS[i])
        rows.append((h, n, h.sum() * i))
    rows = rows[::-1] if reverse else rows
    ys = {
        "h": np.array([r[0] for r in rows]).reshape(length, 4, 6),
        "n": np.array([r[1] for r in rows], np.int64),
        "sum": np.array([r[2] for r in rows]),
    }
    check(program, [W, xs], ((h, length), ys))


def lstm(w: Any, b: Any, xs: Any, lib: Any, logistic: Callable[[Any], Any], scan: Callable[..., Any]) -> Any:
    def step(carry: Any, x: Any) -> Any:
        h, c = carry
        gates = lib.concatenate([h, x], axis=1) @ w + b
        i, f, g, o = (gates[:, k * 6 : (k + 1) * 6] for k in range(4))
        c = logistic(f) * c + logistic(i) * lib.tanh(g)
        h = logistic(o) * lib.tanh(c)
        return (h, c), lib.sum(h * h)

    zero = lib.zeros((4, 6), "float64")
    (h, c), ys = scan(step, (zero, zero), xs)
    return lib.sum(ys) + lib.sum(h * c)


def python_scan(f: Callable[..., Any], carry: Any, xs: Any) -> Any:
    ys = []
    for x in xs:
        carry, y = f(carry, x)
        ys.append(y)
    return carry, np.array(ys)


LSTM_ARGUMENTS = (RNG.standard_normal((12, 24)) / 4, RNG.standard_normal(24) / 4, XS)


def lstm_reference(*args: Array) -> Any:
    return lstm(*args, lib=np, logistic=sigmoid, scan=python_scan)


def lstm_program(*args: Any) -> Any:
    return lstm(*args, lib=mnp, logistic=mlc.nn.sigmoid, scan=mlc.scan)


def differences(reference: Callable[..., Any], args: Sequence[Array], directions: Sequence[Array]) -> float:
    """The derivative of ``reference`` along ``directions``, by central differences with one extrapolation."""

    def slope(e: float) -> float:
        ahead, behind = (reference(*(a + s * e * d for a, d in zip(args, directions, strict=True))) for s in (1, -1))
        return float(ahead - behind) / (2 * e)

    return (4 * slope(1e-4) - slope(2e-4)) / 3


def along(gradients: Sequence[Any], directions: Sequence[Array]) -> float:
    return sum(float(np.sum(np.asarray(g) * d)) for g, d in zip(gradients, directions, strict=True))


def check_derivatives(program: Callable[..., Any], reference: Callable[..., Any], args: Sequence[Any]) -> None:
    """Value, forward and reverse derivative, and the derivative of the gradient, along random directions."""
    directions = [RNG.standard_normal(np.shape(a)) for a in args]
    every = tuple(range(len(args)))
    want = differences(reference, args, directions)
    value, gradients = mlc.jit(mlc.value_and_grad(program, argnums=every))(*args)
    np.testing.assert_allclose(float(value), reference(*args), rtol=1e-12)
    np.testing.assert_allclose(along(gradients, directions), want, rtol=1e-8, atol=1e-8)
    value, slope = mlc.jit(lambda a, d: mlc.jvp(program, a, d))(tuple(args), tuple(directions))
    np.testing.assert_allclose(float(slope), want, rtol=1e-8, atol=1e-8)

    def projected(*x: Any) -> Any:
        found = mlc.grad(program, argnums=every)(*x)
        return sum(mnp.sum(g * d) for g, d in zip(found, directions, strict=True))

    second = along(mlc.jit(mlc.grad(projected, argnums=every))(*args), directions)
    twice = differences(lambda *x: differences(reference, x, directions), args, directions)
    np.testing.assert_allclose(second, twice, rtol=2e-5, atol=2e-5)


def test_derivatives_of_an_lstm() -> None:
    check_derivatives(lstm_program, lstm_reference, LSTM_ARGUMENTS)


def test_derivatives_through_branches() -> None:
    def program(x: Any, w: Any) -> Any:
        def step(h: Any, i: Any) -> Any:
            h = mlc.switch(i % 3, [lambda: h * x, lambda: mnp.sin(h) + w[0], lambda: h])
            return h, mlc.cond(mnp.sum(h) > 0, lambda v: mnp.sum(v * v), lambda v: mnp.sum(v) * w[1], h)

        h, ys = mlc.scan(step, x + 1.0, mnp.arange(7))
        return mnp.sum(h) + mnp.sum(ys)

    def reference(x: Array, w: Array) -> Any:
        h, total = x + 1.0, 0.0
        for i in range(7):
            h = [h * x, np.sin(h) + w[0], h][i % 3]
            total += (h * h).sum() if h.sum() > 0 else h.sum() * w[1]
        return h.sum() + total

    check_derivatives(program, reference, [RNG.standard_normal(5), np.array([0.3, -0.7])])
    check_derivatives(program, reference, [-np.abs(RNG.standard_normal(5)), np.array([-0.3, -0.7])])


def test_derivatives_of_loops_in_loops_and_fixed_loops() -> None:
    def program(x: Any) -> Any:
        def outer(i: Any, v: Any) -> Any:
            return mlc.fori_loop(0, 3, lambda j, u: mnp.cos(u) * x + i * 0.25, v)

        return mnp.sum(mlc.fori_loop(1, 4, outer, x))

    def reference(x: Array) -> Any:
        v = x
        for i in range(1, 4):
            for _ in range(3):
                v = np.cos(v) * x + i * 0.25
        return v.sum()

    check_derivatives(program, reference, [RNG.standard_normal(4)])


def test_forward_derivatives_of_a_while() -> None:
    def program(x: Any) -> Any:
        return mlc.while_loop(lambda v: mnp.sum(v[0]) < 100, lambda v: (v[0] * x, v[1] + 1), (x, 0))[0]

    x = np.array([1.5, 2.0])
    value, slope = mlc.jit(lambda x, d: mlc.jvp(program, (x,), (d,)))(x, np.ones(2))
    n = int(np.ceil(np.log(100) / np.log(2.0)))
    while (x**n).sum() >= 100:
        n -= 1
    n += 1
    np.testing.assert_allclose(value, x**n, rtol=1e-12)
    np.testing.assert_allclose(slope, n * x ** (n - 1), rtol=1e-12)


def test_a_while_has_no_gradient_and_says_what_has() -> None:
    def loss(x: Any) -> Any:
        return mlc.while_loop(lambda v: v < 100.0, lambda v: v * x, x)

    with pytest.raises(DifferentiationError, match=r"mlc\.scan") as error:
        mlc.grad(loss)(2.0)
    assert "test_scan.py:" in str(error.value)


def loops_of(function: Any, *args: Any) -> int:
    text: str = mlc.jit(function).lower(*args).compile().as_text("plan")
    return text.count("loop while")


def test_a_value_and_its_derivative_share_one_loop() -> None:
    assert loops_of(mlc.value_and_grad(lstm_program, argnums=(0, 1)), *LSTM_ARGUMENTS) == 2  # there and back
    assert (
        loops_of(lambda x: mlc.jvp(lambda v: mlc.while_loop(lambda u: u < 9, lambda u: u * v, v), (x,), (1.0,)), 2.0)
        == 1
    )


def test_what_is_compiled_does_not_grow_with_the_length() -> None:
    """The same kernels and steps for 5 and for 500 trips, gradient included; sizes alone differ."""
    step = mlc.jit(mlc.value_and_grad(lstm_program, argnums=(0, 1)))
    w, b, _ = LSTM_ARGUMENTS
    short, long = (
        step.lower(w, b, mlc.ShapeDtype((n, 4, 6), "f64")).compile().as_text("plan").count("\n") for n in (5, 500)
    )
    assert short == long


def test_length_known_at_the_call() -> None:
    n = mlc.dim("n", 1, 20)
    sums = mlc.jit(lambda xs: mlc.scan(lambda c, x: (c + x, c * x), mnp.zeros(3, "f64"), xs))
    compiled = sums.lower(mlc.ShapeDtype((n, 3), "f64")).compile()
    for rows in (1, 7, 20):
        x = RNG.standard_normal((rows, 3))
        total, products = compiled(x)
        before = np.concatenate([np.zeros((1, 3)), np.cumsum(x, 0)[:-1]])
        np.testing.assert_allclose(total, x.sum(0), rtol=1e-12)
        np.testing.assert_allclose(products, before * x, rtol=1e-9, atol=1e-12)


def uneven() -> Any:
    return mlc.scan(lambda c, x: (c, x[0]), 0.0, (mnp.ones(3), mnp.ones(4)))


def without_length() -> Any:
    return mlc.scan(lambda c, x: (c, c), 0.0)


def no_pair() -> Any:
    return mlc.scan(lambda c, x: c, 0.0, mnp.ones(3))


def growing() -> Any:
    return mlc.scan(lambda c, x: (mnp.concatenate([c, c]), None), mnp.ones(2), mnp.ones(3))


def no_axis() -> Any:
    return mlc.scan(lambda c, x: (c, x), 0.0, mnp.asarray(3.0))


@pytest.mark.parametrize(
    ("program", "kind", "words"),
    [
        (uneven, ShapeError, r"xs\[1\] is f32\[4\], but xs\[0\] says 3"),
        (without_length, ArgumentError, "pass length="),
        (no_pair, ArgumentError, r"not a pair \(carry, y\)"),
        (growing, ShapeError, r"f32\[2\] and f32\[4\]"),
        (no_axis, ShapeError, "no first axis"),
    ],
)
def test_mistakes_are_named(program: Any, kind: type[MlcError], words: str) -> None:
    with pytest.raises(kind) as error:
        mlc.jit(program)()
    assert re.search(words, str(error.value)) and "test_scan.py:" in str(error.value), str(error.value)
