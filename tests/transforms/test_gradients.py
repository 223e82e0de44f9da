"""grad, value_and_grad, jvp, vjp and stop_gradient of user functions, traced and evaluated on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import mlc.numpy as mnp
from mlc import tree
from mlc.ir.graph import COMPOSITE, reachable
from mlc.ir.graph.evaluate import evaluate_graph
from mlc.tracing import trace
from mlc.transforms import grad, jvp, stop_gradient, value_and_grad, vjp

X = np.array([0.3, -1.2, 2.0])


def run(function: Callable[..., Any], *args: Any) -> Any:
    """Trace ``function`` with these arguments and evaluate the graph; the results as the function's tree."""
    traced = trace(function, args)
    leaves = [np.asarray(x, t.dtype.numpy) for x, t in zip(tree.leaves(args), traced.in_types, strict=True)]
    return tree.unflatten(traced.out_tree, [np.asarray(x) for x in evaluate_graph(traced.graph, leaves)])


def near(got: Any, want: Any) -> None:
    assert tree.structure(got) == tree.structure(want)
    for a, b in zip(tree.leaves(got), tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


class Layer(NamedTuple):
    weight: Any
    bias: Any


def test_a_network() -> None:
    """Gradients have the parameters' tree; the formulas are written out in NumPy."""
    random = np.random.default_rng(0)
    params: Any = {
        "hidden": Layer(random.normal(size=(3, 4)), random.normal(size=4)),
        "out": [random.normal(size=4), None],
    }
    x, y = random.normal(size=(5, 3)), random.normal(size=5)

    def loss(p: Any, x: Any, y: Any) -> Any:
        h = mnp.tanh(x @ p["hidden"].weight + p["hidden"].bias)
        return ((h @ p["out"][0] - y) ** 2).mean()

    value, slope = run(value_and_grad(loss), params, x, y)
    h = np.tanh(x @ params["hidden"].weight + params["hidden"].bias)
    error = h @ params["out"][0] - y
    dz = np.outer(2 * error / 5, params["out"][0]) * (1 - h * h)
    near(value, (error**2).mean())
    near(slope, {"hidden": Layer(x.T @ dz, dz.sum(0)), "out": [h.T @ (2 * error / 5), None]})


def test_argnums() -> None:
    def f(x: Any, y: Any, scale: float = 1.0) -> Any:
        return (x * y * y).sum() * scale

    near(run(grad(f), X, X), X * X)
    near(run(grad(f, 1), X, X), 2 * X * X)
    near(run(grad(f, -1), X, X), 2 * X * X)
    near(run(grad(f, (1, 0)), X, X), (2 * X * X, X * X))
    near(run(lambda x: grad(f)(x, x, scale=3.0), X), 3 * X * X)


def test_aux() -> None:
    def f(x: Any) -> Any:
        return (x * x).sum(), {"double": 2 * x, "count": 3}

    near(run(value_and_grad(f, has_aux=True), X), (((X * X).sum(), {"double": 2 * X, "count": 3}), 2 * X))
    near(run(grad(f, has_aux=True), X), (2 * X, {"double": 2 * X, "count": 3}))


def test_higher_orders() -> None:
    x = np.float64(2.0)

    def f(x: Any) -> Any:
        return x**5

    slope = f
    for want in (80.0, 160.0, 240.0, 240.0, 120.0, 0.0):
        slope = grad(slope)
        near(run(slope, x), np.float64(want))
    near(run(lambda v: jvp(grad(f), (v,), (1.0,)), x), (np.float64(80), np.float64(160)))
    near(run(lambda v: grad(lambda u: jvp(f, (u,), (1.0,))[1])(v), x), np.float64(160))


def test_hessian_vector_product() -> None:
    """Forward over reverse on log-sum-exp, whose Hessian is diag(p) - p pᵀ."""
    v = np.array([1.0, -2.0, 0.5])

    def f(x: Any) -> Any:
        return mnp.log(mnp.exp(x).sum())

    p = np.exp(X) / np.exp(X).sum()
    near(run(lambda x: jvp(grad(f), (x,), (v,)), X), (p, p * v - p * (p @ v)))


def test_closed_over_values_are_constant() -> None:
    x = np.float64(3.0)
    near(run(lambda x: grad(lambda y: x * y)(x), x), x)
    near(run(lambda x: grad(lambda y: grad(lambda z: z * y * y)(y))(x), x), 2 * x)  # d/dy y²
    near(run(lambda x: grad(lambda y: y * grad(lambda z: z * y)(1.0))(x), x), 2 * x)
    near(run(lambda x: jvp(lambda y: x * y * y, (x,), (1.0,))[1], x), 2 * x * x)


def test_vjp_of_any_shape() -> None:
    def f(x: Any, y: Any) -> Any:
        return {"product": x * y, "sum": x + y, "sign": x > 0}

    def both(x: Any, y: Any, c: Any) -> Any:
        value, pullback = vjp(f, x, y)
        return value, pullback({"product": c, "sum": c, "sign": x > 0}), pullback({**value, "sum": mnp.zeros_like(x)})

    y, c = X + 1, X - 2
    value = {"product": X * y, "sum": X + y, "sign": X > 0}
    near(run(both, X, y, c), (value, (c * y + c, c * X + c), (X * y * y, X * X * y)))


def test_vjp_with_aux_and_numbers() -> None:
    def both(x: Any) -> Any:
        value, pullback, aux = vjp(lambda u: (u * u, u + 1), x, has_aux=True)
        return value, pullback(2), aux

    near(run(both, np.float32(3.0)), (np.float32(9.0), (np.float32(12.0),), np.float32(4.0)))


def test_a_pullback_shares_the_forward_computation() -> None:
    traced = trace(lambda x: vjp(mnp.exp, x)[1](x), [X])
    assert [n.op.name for n in traced.graph.nodes].count("exponential") == 1


def test_jvp_of_integers_in_the_result() -> None:
    value, slope = run(lambda x: jvp(lambda u: (u, (u > 0).astype("i32")), (x,), (x,)), X)
    near((value, slope), ((X, (X > 0).astype(int)), (X, np.zeros(3, int))))


def test_stop_gradient() -> None:
    near(run(grad(lambda x: (x * stop_gradient({"x": x})["x"]).sum()), X), X)
    assert stop_gradient([X])[0] is X
    traced = trace(lambda x: (stop_gradient(x) * x).sum(), [X])
    assert sum(n.op is COMPOSITE for n in reachable(traced.graph.results)) == 1


def test_python_numbers_and_unused_arguments() -> None:
    near(run(lambda: grad(lambda x: x * x)(3.0)), np.float32(6.0))
    near(run(grad(lambda x, y: y.sum()), X, X), np.zeros(3))
    near(run(grad(lambda x: 1.0), np.float64(2.0)), np.float64(0.0))
    near(run(grad(lambda x, name: x * len(name)), 1.5, [X, X]), np.float32(2.0))


def test_static_arguments_pass_through() -> None:
    def f(x: Any, power: int, *, mode: str) -> Any:
        return (x**power).sum() if mode == "sum" else x

    near(run(lambda x: grad(f)(x, 3, mode="sum"), X), 3 * X * X)


def test_gradients_keep_dtypes() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        found = run(grad(lambda x: (x * 2).sum().astype("f32")), X.astype(dtype))
        assert found.dtype == dtype


def test_names_and_signatures() -> None:
    def loss(params: Any, x: Any) -> Any:
        """The loss."""
        return x

    assert grad(loss).__name__ == "grad_of_loss"
    assert value_and_grad(loss).__doc__ == "The loss."


def test_locations_are_the_users_lines() -> None:
    def loss(x: Any) -> Any:
        y = mnp.sin(x)
        return y.sum()

    traced = trace(grad(loss), [X])
    first = loss.__code__.co_firstlineno
    lines = {n.op.name: {loc.line - first for loc in traced.graph.locations(n)} for n in traced.graph.nodes}
    assert lines["cosine"] == {1}
    assert lines["broadcast_in_dim"] <= {2}


def test_through_compiled_functions() -> None:
    """A jitted function inside is differentiated, with what it captures and returns."""
    import mlc

    @mlc.jit
    def inner(x: Any, y: Any) -> Any:
        return {"product": x * y, "sine": mnp.sin(x)}

    def f(x: Any) -> Any:
        scale = x.sum()

        @mlc.jit
        def captures(y: Any) -> Any:
            return y * scale

        out = inner(x, x + 1)
        return captures(out["product"]).sum() + out["sine"].sum()

    total = (X * (X + 1)).sum()
    near(run(grad(f), X), (2 * X + 1) * X.sum() + total + np.cos(X))
    near(run(mlc.jit(grad(f)), X), (2 * X + 1) * X.sum() + total + np.cos(X))
