"""checkpoint: the same numbers and gradients, with less kept for the way back; nested jit functions as calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import mlc
import mlc.numpy as mnp
from mlc.ir.graph import CALL, Graph, parse_graph

Array = npt.NDArray[Any]
RNG = np.random.default_rng(5)
X = RNG.standard_normal((64, 32)).astype(np.float32)
WS = [RNG.standard_normal((32, 32)).astype(np.float32) / 6 for _ in range(6)]


def block(x: Any, w: Any) -> Any:
    for _ in range(3):
        x = mnp.tanh(x @ w) + mnp.sin(x)
    return x


def loss_of(one: Any) -> Any:
    def loss(ws: Any, x: Any) -> Any:
        for w in ws:
            x = one(x, w)
        return mnp.mean(x * x)

    return loss


def test_gradients_are_the_same_and_less_is_kept() -> None:
    plain, saved = (mlc.jit(mlc.grad(loss_of(f))) for f in (block, mlc.checkpoint(block)))
    for got, want in zip(saved(WS, X), plain(WS, X), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)
    arena = [f.lower(WS, X).compile().memory_analysis().temp_size_in_bytes for f in (plain, saved)]
    assert arena[1] < 0.6 * arena[0], arena


def test_forwards_nothing_is_computed_twice() -> None:
    plain, saved = (mlc.jit(loss_of(f)).lower(WS, X).compile() for f in (block, mlc.checkpoint(block)))
    assert plain.cost_analysis() == saved.cost_analysis()
    plain, saved = (
        mlc.jit(lambda ws, x, f=f: mlc.jvp(lambda v: loss_of(f)(ws, v), (x,), (x,))).lower(WS, X).compile()
        for f in (block, mlc.checkpoint(block))
    )
    assert len(plain.function.plan.steps) == len(saved.function.plan.steps)


def test_second_derivatives_and_nesting() -> None:
    def curve(f: Any) -> Any:
        return mlc.jit(mlc.grad(mlc.grad(lambda x: f(x) * x)))

    inner = mlc.checkpoint(mnp.sin)
    nested = mlc.checkpoint(lambda x: inner(x) * inner(inner(x)))
    plain = curve(lambda x: mnp.sin(x) * mnp.sin(mnp.sin(x)))
    assert float(curve(nested)(0.7)) == pytest.approx(float(plain(0.7)), rel=1e-5)


def test_a_scan_of_checkpoints_keeps_what_is_carried() -> None:
    def run(f: Any) -> Any:
        return mlc.jit(mlc.grad(lambda w, x: mnp.sum(mlc.scan(lambda c, _: (f(c, w), None), x, None, length=20)[0])))

    plain, saved = run(block), run(mlc.checkpoint(block))
    np.testing.assert_allclose(saved(WS[0], X), plain(WS[0], X), rtol=2e-5, atol=1e-6)
    arena = [f.lower(WS[0], X).compile().memory_analysis().temp_size_in_bytes for f in (plain, saved)]
    assert arena[1] < 0.5 * arena[0], arena


def test_closed_over_values_and_trees() -> None:
    def program(w: Any, x: Any) -> Any:
        f = mlc.checkpoint(lambda d: {"y": mnp.tanh(d["x"] @ w), "n": d["n"] + 1})
        return mnp.sum(f({"x": x, "n": 3})["y"])

    want = mlc.grad(lambda w, x: mnp.sum(mnp.tanh(x @ w)))(WS[0], X)
    np.testing.assert_allclose(mlc.grad(program)(WS[0], X), want, rtol=1e-6)
    assert mlc.checkpoint(lambda x: x + 1)(2) == 3


def calls(graph: Graph) -> list[Any]:
    return [n for n in graph.nodes if n.op is CALL]


def test_a_nested_jit_function_is_a_call() -> None:
    traced = 0

    @mlc.jit
    def layer(x: Any, w: Any) -> Any:
        nonlocal traced
        traced += 1
        return mnp.tanh(x @ w)

    def program(x: Any, ws: Any) -> Any:
        for w in ws:
            x = layer(x, w)
        return mnp.sum(x)

    lowered = mlc.jit(program).lower(X, WS)
    found = calls(lowered.graph)
    assert len(found) == len(WS) and traced == 1 and len({n["callee"] for n in found}) == 1
    assert {x.scope for n in found[0]["callee"].nodes for x in found[0]["callee"].locations(n)} == {"layer"}
    assert parse_graph(str(lowered.graph)).fingerprint == lowered.graph.fingerprint
    plan = lowered.compile().function.plan
    assert len(plan.kernels) < len(plan.steps)  # equal layers share their kernels
    x = X.astype(np.float64)
    for w in WS:
        x = np.tanh(x @ w)
    assert float(mlc.jit(program)(X, WS)) == pytest.approx(x.sum(), rel=1e-4)
    got = mlc.grad(lambda ws, x: program(x, ws))(WS, X)
    layer_alone = layer.function

    def alone(ws: Any, x: Any) -> Any:
        for w in ws:
            x = layer_alone(x, w)
        return mnp.sum(x)

    for a, b in zip(got, mlc.grad(alone)(WS, X), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_eval_shape() -> None:
    x = mlc.ShapeDtype((mlc.dim("n", 1, 8), 3), "f16")
    found = mlc.eval_shape(lambda x, k: (x.T, [k + 1, None]), x, k=2)
    assert str(found) == "(ShapeDtype((3, n), f16), [ShapeDtype((), i64), None])"
    inside = mlc.jit(lambda v: mnp.zeros(mlc.eval_shape(lambda u: u @ v.T, v).shape))
    assert inside(X).shape == (64, 64)


def test_costs_of_calls_are_in_their_scopes() -> None:
    @mlc.jit
    def layer(x: Any, w: Any) -> Any:
        with mlc.scope("inner"):
            y = x @ w
        return mnp.tanh(y)

    lowered = mlc.jit(lambda x, w: layer(layer(x, w), w)).lower(X, WS[0])
    scopes = lowered.compile().cost_analysis()["scopes"]
    assert set(scopes) == {"layer/inner"}, scopes
