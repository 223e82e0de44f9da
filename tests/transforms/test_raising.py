"""Formulas written by hand: which composite they become, which stay, and their numbers and slopes in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.ir.graph import COMPOSITE, LOGISTIC, Graph
from mlc.tracing import ShapeDtype, trace
from mlc.transforms.raising import raise_formulas

from ..passes.check import check_golden, check_unchanged

Array = np.ndarray[Any, Any]


def raise_graph(graph: Graph) -> Graph:
    with graph.table.active():
        return graph.with_results(raise_formulas(graph.results))


def raised(function: Callable[..., Any], *specs: ShapeDtype) -> set[str]:
    """The composites (and logistic) that the raised trace of ``function`` has and the trace has not."""
    graph = trace(function, specs or [ShapeDtype((3, 4), "f32")]).graph
    return names(raise_graph(graph)) - names(graph)


def names(graph: Graph) -> set[str]:
    found = {n["name"] for n in graph.nodes if n.op is COMPOSITE}
    return found | {"logistic" for n in graph.nodes if n.op is LOGISTIC}


def windows_and_relus(function: Callable[..., Any], x: Any) -> list[str]:
    """In the order of the raised trace."""
    graph = raise_graph(trace(function, [ShapeDtype(x.shape, "f32")]).graph)
    return [n.op.name for n in graph.nodes if n.op.name == "reduce_window" or n.op is COMPOSITE]


def exps(x: Any, axis: int) -> Any:
    return mnp.exp(x - mnp.max(x, axis, keepdims=True))


def shifted(x: Any, axis: int) -> Any:
    return x - mlc.stop_gradient(mnp.max(x, axis, keepdims=True))


def of_sum(e: Any, axis: int) -> Any:
    return e / mnp.sum(e, axis, keepdims=True)


def less_log_sum(z: Any, axis: int) -> Any:
    return z - mnp.log(mnp.sum(mnp.exp(z), axis, keepdims=True))


SOFTMAX = {
    "plain": lambda x, axis: of_sum(mnp.exp(x), axis),
    "less its largest": lambda x, axis: of_sum(exps(x, axis), axis),
    "less its largest, constant": lambda x, axis: of_sum(mnp.exp(shifted(x, axis)), axis),
    "less the largest of all": lambda x, axis: of_sum(mnp.exp(x - x.max()), axis),
    "by a new axis": lambda x, axis: mnp.exp(x) / mnp.expand_dims(mnp.sum(mnp.exp(x), axis), axis),
    "moved twice": lambda x, axis: mnp.exp(x) / mnp.broadcast_to(mnp.sum(mnp.exp(x), axis, keepdims=True), x.shape),
}
LOG_SOFTMAX = {
    "log of softmax": lambda x, axis: mnp.log(mlc.nn.softmax(x, axis)),
    "log of softmax by hand": lambda x, axis: mnp.log(of_sum(mnp.exp(x), axis)),
    "plain": less_log_sum,
    "less its largest": lambda x, axis: less_log_sum(x - mnp.max(x, axis, keepdims=True), axis),
    "less its largest, constant": lambda x, axis: less_log_sum(shifted(x, axis), axis),
    "log first, then the axis": lambda x, axis: x - mnp.expand_dims(mnp.log(mnp.sum(mnp.exp(x), axis)), axis),
    "less logsumexp": lambda x, axis: x - mlc.nn.logsumexp(x, axis, keepdims=True),
    "less logsumexp, squeezed": lambda x, axis: x - mnp.expand_dims(mlc.nn.logsumexp(x, axis), axis),
    "less a sum by hand": lambda x, axis: x - (
        mnp.max(x, axis, keepdims=True) + mnp.log(mnp.sum(exps(x, axis), axis, keepdims=True))),
}  # fmt: skip
LOGITS = {"small": 1.0, "large": 300.0, "huge": 3e4}


def exact(x: Array, axis: int) -> tuple[Array, Array]:
    """softmax and its logarithm, in float64."""
    below = x.astype(np.float64) - x.max(axis, keepdims=True).astype(np.float64)
    log = below - np.log(np.exp(below).sum(axis, keepdims=True))
    return np.exp(log), log


@pytest.mark.parametrize("size", LOGITS)
@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("form", SOFTMAX)
def test_softmax(form: str, axis: int, size: str) -> None:
    function = SOFTMAX[form]
    assert raised(lambda x: function(x, axis)) == {"softmax"}
    x, weights = data((3, 4), LOGITS[size])
    p, _ = exact(x, axis)
    np.testing.assert_allclose(mlc.jit(lambda x: function(x, axis))(x), p, rtol=1e-5, atol=1e-7)
    slope = mlc.grad(lambda x: mnp.sum(function(x, axis) * weights))(x)
    np.testing.assert_allclose(slope, p * (weights - (p * weights).sum(axis, keepdims=True)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", LOGITS)
@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("form", LOG_SOFTMAX)
def test_log_softmax(form: str, axis: int, size: str) -> None:
    function = LOG_SOFTMAX[form]
    assert "log_softmax" in raised(lambda x: function(x, axis))
    x, weights = data((3, 4), LOGITS[size])
    p, log = exact(x, axis)
    np.testing.assert_allclose(mlc.jit(lambda x: function(x, axis))(x), log, rtol=1e-5, atol=1e-6)
    slope = mlc.grad(lambda x: mnp.sum(function(x, axis) * weights))(x)
    np.testing.assert_allclose(slope, weights - p * weights.sum(axis, keepdims=True), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_narrow_floats_are_widened_once(dtype: str) -> None:
    spec = ShapeDtype((3, 4), dtype)
    assert raised(lambda x: SOFTMAX["less its largest"](x, 1), spec) == {"softmax"}
    for form in ("plain", "less its largest", "less logsumexp, squeezed"):
        assert raised(lambda x, f=form: LOG_SOFTMAX[f](x, 1), spec) == {"log_softmax"}, form


def test_symbolic_and_equal_sizes() -> None:
    n = mlc.dim("n", 1, 64)
    assert raised(lambda x: of_sum(mnp.exp(x), 1), ShapeDtype((n, 7), "f32")) == {"softmax"}
    assert raised(lambda x: less_log_sum(x, 0), ShapeDtype((n, n, 1), "f32")) == {"log_softmax"}
    assert raised(lambda x: mnp.exp(x) / mnp.sum(mnp.exp(x), 0), ShapeDtype((4, 4), "f32")) == {"softmax"}


def test_the_logistic_function() -> None:
    forms: list[Callable[..., Any]] = [
        lambda x: 1 / (1 + mnp.exp(-x)), lambda x: 1.0 / (mnp.exp(-x) + 1.0), lambda x: mnp.exp(x) / (1 + mnp.exp(x)),
    ]  # fmt: skip
    x = np.array([-200, -90, -3, -0.0, 0, 0.5, 20, 200], np.float32)
    y = 1 / (1 + np.exp(-x.astype(np.float64)))
    for form in forms:
        assert raised(form) == {"logistic"}
        np.testing.assert_allclose(mlc.jit(form)(x), y, rtol=1e-6, atol=1e-38)
        np.testing.assert_allclose(mlc.grad(lambda x, f=form: mnp.sum(f(x)))(x), y * (1 - y), rtol=1e-5, atol=1e-7)
    rising = mlc.jit(lambda x: 1 / (1 + mnp.exp(x)))(x)
    np.testing.assert_allclose(rising, 1 / (1 + np.exp(x.astype(np.float64))), rtol=1e-6, atol=1e-38)


@pytest.mark.parametrize(
    ("form", "of_nan"),
    [
        (lambda x: mnp.where(x > 0, x, 0.0), 0), (lambda x: mnp.where(mnp.less(0.0, x), x, 0.0), 0),
        (lambda x: mnp.where(x <= 0, 0.0, x), np.nan), (lambda x: mnp.maximum(x + x, 0.0) / 2, np.nan),
        (lambda x: mnp.maximum(0.0, x + x) / 2, np.nan),
    ],
)  # fmt: skip
def test_relu(form: Callable[..., Any], of_nan: float) -> None:
    assert raised(form) == {"relu"}
    x = np.array([-3, -0.0, 0, 2, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(mlc.jit(form)(x), [0, 0, 0, 2, np.inf, of_nan])
    np.testing.assert_array_equal(mlc.grad(lambda x: mnp.sum(form(x)))(x[:5]), [0, 0, 0, 1, 1])


STAYS: dict[str, Callable[..., Any]] = {
    "all axes": lambda x: mnp.exp(x) / mnp.sum(mnp.exp(x)),
    "another sum": lambda x: mnp.exp(x) / mnp.sum(mnp.exp(x * 2), 1, keepdims=True),
    "transposed": lambda x: mnp.exp(x) / mnp.sum(mnp.exp(x), 1),
    "a maximum below": lambda x: mnp.exp(x) / mnp.max(mnp.exp(x), 1, keepdims=True),
    "exponentials that are used again": lambda x: (of_sum(mnp.exp(x), 1), mnp.exp(x)),
    "a sum that is used again": lambda x: (of_sum(mnp.exp(x), 1), mnp.sum(mnp.exp(x), 1)),
    "log of more than softmax": lambda x: mnp.log(mlc.nn.softmax(x) + 1e-6),
    "logsumexp of another": lambda x: x - mlc.nn.logsumexp(x * 2, 1, keepdims=True),
    "logsumexp of all": lambda x: x - mlc.nn.logsumexp(x),
    "logsumexp with another top": lambda x: x - (mnp.log(mnp.sum(exps(x, 1), 1, keepdims=True)) + x),
    "two more": lambda x: 1 / (2 + mnp.exp(-x)),
    "exp of another": lambda x: mnp.exp(x) / (1 + mnp.exp(x * 2)),
    "swish": mlc.nn.silu,
    "slope 1 at 0": lambda x: mnp.where(x >= 0, x, 0.0),
    "leaky": mlc.nn.leaky_relu,
    "clipped at 1": lambda x: mnp.maximum(x + x, 1.0),
    "softplus": lambda x: mnp.maximum(x + x, 0) + mnp.log1p(mnp.exp(-mnp.abs(x + x))),
    "maximum of a value": lambda x: mnp.maximum(x, 0.0),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_is_something_else_stays(name: str) -> None:
    spec = ShapeDtype((4, 4), "f32")
    graph = trace(STAYS[name], [spec]).graph
    assert raise_graph(graph) is graph


def test_a_relu_moves_behind_the_largest_of_windows() -> None:
    """Values and derivatives are the same bits, ties among zeros and NaN included."""
    x = np.random.default_rng(0).standard_normal((2, 6, 9, 4)).astype(np.float32)
    x[0, :3] = -np.abs(x[0, :3])
    x[1, :2, :2, 0] = [[1, 1], [-0.0, np.nan]]
    weights = np.arange(2 * 3 * 5 * 4, dtype=np.float32).reshape(2, 3, 5, 4)

    def pooled(x: Any, relu: Callable[..., Any]) -> Any:
        return mlc.nn.max_pool(relu(x), 2, padding="SAME")

    assert windows_and_relus(lambda x: pooled(x, mlc.nn.relu), x) == ["reduce_window", "composite"]
    kept = [mlc.nn.relu, lambda x: mlc.nn.relu(x) + 0.0]  # of the second nothing is known
    moved, stays = (mlc.jit(lambda x, f=f: pooled(x, f))(x) for f in kept)
    np.testing.assert_array_equal(moved, stays)
    moved, stays = (mlc.grad(lambda x, f=f: mnp.sum(pooled(x, f) * weights))(x[:1]) for f in kept)
    np.testing.assert_array_equal(moved, stays)


def test_a_relu_before_windows_of_padding_alone_stays() -> None:
    x = np.ones((1, 2, 1), np.float32)

    def pooled(x: Any) -> Any:
        return mlc.nn.max_pool(mlc.nn.relu(x), 2, padding=((0, 3),), data_format="NWC")

    assert windows_and_relus(pooled, x) == ["composite", "reduce_window"]


def test_softplus_keeps_its_slope_at_zero() -> None:
    slope = mlc.grad(lambda x: mnp.sum(mnp.maximum(x, 0) + mnp.log1p(mnp.exp(-mnp.abs(x)))))(np.zeros(3, np.float32))
    np.testing.assert_array_equal(slope, [0.5, 0.5, 0.5])


def test_nested_functions_are_raised_too() -> None:
    inner = mlc.jit(lambda x: of_sum(mnp.exp(x), 1))
    (call,) = [n for n in mlc.jit(lambda x: inner(x) * 2).lower(ShapeDtype((3, 4), "f32")).graph.nodes
               if n.op.name == "call"]  # fmt: skip
    assert names(call["callee"]) == {"softmax"}
    x, weights = data((3, 4), 300.0)
    p, _ = exact(x, 1)
    slope = mlc.grad(lambda x: mnp.sum(inner(x) * weights))(x)
    np.testing.assert_allclose(slope, p * (weights - (p * weights).sum(1, keepdims=True)), rtol=1e-4, atol=1e-6)


def test_goldens() -> None:
    check_golden(raise_graph, """
        graph @f(%x: f32[4]) -> (f32[4]) {
          %c = constant 1.0 : f32[]
          %one = broadcast_in_dim %c, dimensions = [] : f32[4]
          %n = negate %x : f32[4]
          %e = exponential %n : f32[4]
          %s = add %one, %e : f32[4]
          %y = divide %one, %s : f32[4]
          %z = multiply %x, %y : f32[4]
          return %z
        }""", """
        graph @f(%x: f32[4]) -> (f32[4]) {
          %y = logistic %x : f32[4]
          %z = multiply %x, %y : f32[4]
          return %z
        }""")  # fmt: skip
    check_unchanged(raise_graph, """
        graph @f(%x: f32[4]) -> (f32[4], f32[4]) {
          %c = constant 1.0 : f32[]
          %one = broadcast_in_dim %c, dimensions = [] : f32[4]
          %n = negate %x : f32[4]
          %e = exponential %n : f32[4]
          %s = add %one, %e : f32[4]
          %y = divide %one, %s : f32[4]
          return %y, %e
        }""")  # fmt: skip


def test_a_program_deeper_than_the_stack() -> None:
    def many(x: Any, count: int) -> Any:
        for _ in range(count):
            x = of_sum(mnp.exp(x), 1)
        return x

    graph = trace(lambda x: many(x, 700), [ShapeDtype((3, 4), "f32")]).graph
    found = raise_graph(graph)
    assert sum(n.op is COMPOSITE for n in found.nodes) == 700 == len(found.nodes) - 1


def data(shape: tuple[int, ...], size: float) -> tuple[Array, Array]:
    random = np.random.default_rng(int(size))
    return (size * random.normal(size=shape)).astype(np.float32), random.normal(size=shape).astype(np.float32)
