"""custom_jvp and custom_vjp: derivatives that the user wrote are those that are used, everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import ArgumentError, DifferentiationError
from mlc.ir.graph import Graph, parse_graph

X = np.linspace(-1.5, 2.0, 6)


@mlc.custom_jvp
def scaled_sine(x: Any, k: Any = 2.0) -> Any:
    return {"y": mnp.sin(x) * k}


@scaled_sine.defjvp  # type: ignore[untyped-decorator]
def _(primals: Any, tangents: Any) -> Any:
    (x, k), (t, _) = primals, tangents
    return scaled_sine(x, k), {"y": 100 * t * mnp.cos(x)}  # a slope of its own, so that it is known again


@mlc.custom_vjp
def halves(x: Any, n: Any) -> Any:
    return x * 3, n + 1


def _fwd(x: Any, n: Any) -> Any:
    return halves(x, n), {"x": x}


def _bwd(residuals: Any, ct: Any) -> Any:
    return ct[0] * 10 + residuals["x"], None


halves.defvjp(_fwd, _bwd)


def slope(f: Callable[..., Any], x: float = 0.4, *rest: Any) -> float:
    return float(mlc.grad(f)(np.float64(x), *rest))


def test_tangents_are_the_rules() -> None:
    def program(x: Any) -> Any:
        return mnp.sum(scaled_sine(x, k=3.0)["y"])

    np.testing.assert_allclose(mlc.grad(program)(X), 100 * np.cos(X), rtol=1e-12)
    value, tangent = mlc.jvp(scaled_sine, (X, np.float64(3)), (X, np.float64(0)))
    np.testing.assert_allclose(value["y"], 3 * np.sin(X), rtol=1e-12)
    np.testing.assert_allclose(tangent["y"], 100 * X * np.cos(X), rtol=1e-12)
    np.testing.assert_allclose(scaled_sine(mnp.asarray(X))["y"], 2 * np.sin(X), rtol=1e-12)


def test_second_derivatives_use_the_rule_too() -> None:
    assert slope(mlc.grad(lambda x: scaled_sine(x, 2.0)["y"])) == pytest.approx(-100 * np.sin(0.4))


def test_one_rule_an_argument() -> None:
    @mlc.custom_jvp
    def product(x: Any, y: Any, z: Any) -> Any:
        return x * y * z

    product.defjvps(lambda t, value, x, y, z: 7 * t, None, lambda t, value, x, y, z: t * value)
    got = mlc.grad(product, argnums=(0, 1, 2))(2.0, 3.0, 4.0)
    assert [float(g) for g in got] == [7.0, 0.0, 24.0]


def test_pullbacks_are_the_rules() -> None:
    def program(x: Any) -> Any:
        y, n = halves(x, 4)
        return mnp.sum(y) * 2 + mnp.sum(n)

    np.testing.assert_allclose(mlc.grad(program)(X), 20 + X, rtol=1e-12)
    value, pullback = mlc.vjp(lambda x: halves(x, 4)[0], X)
    np.testing.assert_allclose(value, 3 * X)
    np.testing.assert_allclose(pullback(X)[0], 11 * X, rtol=1e-12)
    np.testing.assert_allclose(mlc.grad(lambda x: mnp.sum(mlc.grad(program)(x) ** 2))(X), 2 * (20 + X), rtol=1e-12)


@pytest.mark.parametrize(
    "wrapped", [mlc.jit, mlc.checkpoint, lambda f: lambda x: mlc.cond(x[0] < 9, f, lambda x: x, x),
                lambda f: lambda x: mlc.scan(lambda c, _: (f(c), None), x, None, length=1)[0]],
    ids=["jit", "checkpoint", "cond", "scan"],
)  # fmt: skip
def test_rules_hold_inside_of_regions(wrapped: Any) -> None:
    jvp = mlc.grad(lambda x: mnp.sum(wrapped(lambda v: scaled_sine(v)["y"])(x)))(X)
    np.testing.assert_allclose(jvp, 100 * np.cos(X), rtol=1e-12)
    vjp = mlc.jit(mlc.grad(lambda x: mnp.sum(wrapped(lambda v: halves(v, 1)[0])(x))))(X)
    np.testing.assert_allclose(vjp, 10 + X, rtol=1e-12)


def test_arguments_that_are_not_differentiated() -> None:
    @mlc.custom_vjp
    def apply(f: Any, x: Any, factor: Any) -> Any:
        return f(x) * factor

    apply = mlc.custom_vjp(apply.fun, nondiff_argnums=(0, 2))
    apply.defvjp(lambda f, x, factor: (f(x) * factor, x), lambda f, factor, x, ct: (f(x) + factor * ct,))
    assert float(mlc.grad(lambda x: apply(lambda v: v * v, x, 5))(3.0)) == 14.0

    def power(x: Any, n: int) -> Any:
        return x**n

    own = mlc.custom_jvp(power, nondiff_argnums=(1,))
    own.defjvp(lambda n, primals, tangents: (own(primals[0], n), n * 1.0 * tangents[0]))
    assert float(mlc.grad(lambda x: own(x, n=3))(3.0)) == 3.0


def test_methods_and_text() -> None:
    class Model:
        @mlc.custom_jvp
        def value(self, x: Any) -> Any:
            return x * 2

    model = Model()
    assert float(model.value(3.0)) == 6.0
    graph: Graph = mlc.jit(lambda x: halves(x, 1)).lower(X).graph
    assert parse_graph(str(graph)).fingerprint == graph.fingerprint


def message(f: Callable[[], Any]) -> str:
    with pytest.raises((ArgumentError, DifferentiationError)) as error:
        f()
    assert "test_custom.py" in str(error.value)
    return str(error.value)


def test_errors_say_what_is_wrong() -> None:
    def bwd_of(bwd: Any, fwd: Any = _fwd) -> Callable[[], Any]:
        own = mlc.custom_vjp(lambda x, n: (x * 3, n))
        own.defvjp(fwd, bwd)
        return lambda: mlc.grad(lambda x: own(x, 1)[0])(1.0)

    assert "for each of 2 arguments, not a Tracer" in message(bwd_of(lambda r, c: c[0]))
    assert "argument [0] is f32[3] where the value is f32[]" in message(bwd_of(lambda r, c: (mnp.zeros(3), None)))
    assert "(value, residuals)" in message(bwd_of(_bwd, lambda x, n: x))
    assert "cannot be differentiated forwards" in message(lambda: mlc.jvp(lambda x: halves(x, 1)[0], (1.0,), (1.0,)))
    assert "has no rule" in message(lambda: mlc.grad(mlc.custom_vjp(lambda x: x))(1.0))
    assert "closes over" in message(lambda: mlc.grad(lambda x: _closing(x)(2.0))(1.0))


def _closing(x: Any) -> Any:
    own = mlc.custom_jvp(lambda y: y * x)
    own.defjvp(lambda primals, tangents: (primals[0], tangents[0]))
    return own
