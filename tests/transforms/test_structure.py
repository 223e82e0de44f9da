"""Differentiation through calls, composites and tuples; substitution; depth, order and locations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import mlc.ir.graph as g
from mlc.errors import DifferentiationError, InternalError
from mlc.ir.dims import dim
from mlc.ir.graph import Graph, Location, Node, Table
from mlc.ir.graph.evaluate import evaluate_graph
from mlc.ir.graph.op import refuse
from mlc.ir.types import F64, I32, U32, TensorType
from mlc.transforms.composites import COMPOSITE_RULES, CompositeRule, make_composite
from mlc.transforms.differentiate import jvp, vjp
from mlc.transforms.substitute import substitute

from .check import Array, check, gradient, run

X = np.array([0.3, -1.2, 2.0])
V = TensorType((3,), F64)


def call(*operands: Node) -> Node:
    """A call of (x, y) -> (x * y, sin x)."""
    table = Table()
    with table.active():
        x, y = table.parameter(V), table.parameter(V)
        callee = Graph("f", (x, y), (g.MULTIPLY(x, y), g.SINE(x)), table)
    return g.CALL(*operands, callee=callee)


def test_calls_with_tuples() -> None:
    def formula(x: Node, y: Node) -> Node:
        first, second = g.results_of(call(g.EXPONENTIAL(x), y))
        return g.MULTIPLY(first, second)

    check(formula, [X, X + 0.5], order=2)


def test_one_element_of_a_tuple_unused() -> None:
    check(lambda x: g.results_of(call(x, x))[1], [X])
    check(lambda x: g.results_of(call(g.constant(X), x))[0], [X])


def test_call_whose_result_is_its_operand() -> None:
    def formula(x: Node) -> Node:
        table = Table()
        with table.active():
            p = table.parameter(V)
            callee = Graph("identity", (p,), (p, g.constant(X)), table)
        same, other = g.results_of(g.CALL(x, callee=callee))
        return g.MULTIPLY(g.MULTIPLY(same, same), other)

    check(formula, [X], order=2)


def test_nested_composites_are_opened() -> None:
    def inner(x: Node) -> list[Node]:
        return [g.TANH(x)]

    def outer(x: Node) -> list[Node]:
        (y,) = make_composite("inner", inner, [x], {})
        return [g.MULTIPLY(y, x)]

    check(lambda x: make_composite("outer", outer, [x], {})[0], [X], order=2)


def test_barrier_of_a_tuple() -> None:
    check(lambda x: g.results_of(g.OPTIMIZATION_BARRIER(call(x, g.NEGATE(x))))[0], [X])


def test_random_bits_have_no_tangent() -> None:
    def formula(x: Node) -> Node:
        key = g.constant(np.array([1, 2], np.uint32))
        bits = g.RNG_BIT_GENERATOR(key, shape=(3,), dtype=U32, algorithm="THREE_FRY")
        return g.MULTIPLY(x, g.CONVERT(g.results_of(bits)[1], dtype=F64))

    check(lambda x: formula(g.MULTIPLY(x, g.full_like(x, 1e-9))), [X])


@pytest.fixture
def cube() -> object:
    """A composite x -> x³ with a rule of its own: the slope is scaled by 2, so that it is seen which rule was used."""

    def tangents(operands: Any, results: Any, ts: Any, options: Any) -> list[Node]:
        (x,), (t,) = operands, ts
        return [g.MULTIPLY(t, g.MULTIPLY(g.full_like(x, options["scale"] * 3.0), g.MULTIPLY(x, x)))]

    def cotangents(operands: Any, results: Any, cts: Any, options: Any) -> list[Node]:
        return tangents(operands, results, cts, options)

    COMPOSITE_RULES["test.cube"] = CompositeRule(tangents)
    COMPOSITE_RULES["test.cube whole"] = CompositeRule(tangents, cotangents)
    yield lambda x, name: make_composite(name, lambda v: [g.MULTIPLY(v, g.MULTIPLY(v, v))], [x], {"scale": 2.0})[0]
    del COMPOSITE_RULES["test.cube"], COMPOSITE_RULES["test.cube whole"]


@pytest.mark.parametrize("name", ["test.cube", "test.cube whole"])
def test_composite_rules(cube, name: str) -> None:  # type: ignore[no-untyped-def]
    def scalar(x: Node) -> Node:
        return g.reduce_add(cube(x, name), (0,))

    (found,) = run(gradient(scalar), [X])
    np.testing.assert_allclose(found, 6 * X * X)

    def forward(x: Node) -> list[Node]:
        (t,) = jvp([scalar(x)], {x: g.full_like(x, 1.0)})
        assert t is not None
        return [t]

    np.testing.assert_allclose(run(forward, [X])[0], (6 * X * X).sum())
    (second,) = run(gradient(lambda x: g.reduce_add(gradient(scalar)(x)[0], (0,))), [X])
    np.testing.assert_allclose(second, 12 * X)


def test_a_rule_with_a_vjp_makes_composites(cube) -> None:  # type: ignore[no-untyped-def]
    table = Table()
    with table.active():
        x = table.parameter(V)
        (found,) = gradient(lambda v: g.reduce_add(cube(v, "test.cube whole"), (0,)))(x)
    names = [n["name"] for n in g.reachable([found]) if n.op is g.COMPOSITE]
    assert names == ["test.cube whole.vjp"]


def test_fifty_thousand_nodes_deep() -> None:
    depth = 50_000

    def chain(x: Node) -> Node:
        y = x
        for i in range(depth):
            y = g.ADD(y, x) if i % 2 else g.NEGATE(y)
        return y

    (found,) = run(gradient(chain), [np.array(1.0)])
    value = 1.0
    for i in range(depth):
        value = value + 1.0 if i % 2 else -value
    np.testing.assert_allclose(found, value)  # the chain is linear, its slope is its value at 1


def test_substitute() -> None:
    table = Table()
    with table.active():
        x, y, z = table.parameter(V), table.parameter(V), table.parameter(V)
        with table.at((Location("m.py", 3, "a + b"),)):
            old, kept = g.ADD(x, y), g.SINE(y)
        new, same = substitute([g.MULTIPLY(old, kept), kept], {x: z})
        assert new is g.MULTIPLY(g.ADD(z, y), kept) and same is kept
        assert [str(at) for at in table.locations[g.ADD(z, y)]] == ["m.py:3: a + b"]
        assert substitute([x, y], {x: y, y: x}) == [y, x]
        with pytest.raises(InternalError, match="types differ"):
            substitute([x], {x: table.parameter(TensorType((), F64))})


def test_derivatives_are_at_the_lines_of_their_primals() -> None:
    table = Table()
    with table.active():
        x = table.parameter(V)
        with table.at((Location("m.py", 7, "sin(x)"),)):
            y = g.SINE(x)
        with table.at((Location("m.py", 8, "exp(y)"),)):
            z = g.EXPONENTIAL(y)
        (found,) = vjp([z], [x])([g.full_like(z, 1.0)])
        assert found is not None
        assert [loc.line for loc in table.locations[found]] == [7]
        assert [loc.line for loc in table.locations[found.operands[0]]] == [8]


def test_the_same_program_gives_the_same_derivative() -> None:
    def build() -> str:
        table = Table()
        with table.active():
            x, w = table.parameter(V), table.parameter(V)
            y = g.MULTIPLY(g.TANH(g.MULTIPLY(x, w)), g.ADD(x, g.MULTIPLY(w, w)))
            found = vjp([y], [x, w])([g.full_like(y, 1.0)])
            return Graph("g", (x, w), [f for f in found if f is not None], table).fingerprint

    assert build() == build()


def test_primal_nodes_are_shared() -> None:
    """exp and its derivative share the exponential; nothing is computed twice."""
    table = Table()
    with table.active():
        x = table.parameter(V)
        y = g.EXPONENTIAL(g.TANH(x))
        (found,) = vjp([y], [x])([g.full_like(y, 1.0)])
        assert found is not None
        nodes = g.reachable([y, found])
        assert sum(n.op in (g.EXPONENTIAL, g.TANH) for n in nodes) == 2


def test_zero_derivatives_are_none() -> None:
    table = Table()
    with table.active():
        x, y = table.parameter(V), table.parameter(V)
        i = table.parameter(TensorType((3,), I32))
        assert jvp([y], {x: x}) == [None]
        assert vjp([g.SINE(y)], [x, i])([y]) == [None, None]
        assert vjp([x], [x])([y]) == [y]
        assert vjp([x], [x])([None]) == [None]
        assert vjp([x, x], [x])([y, y]) == [g.ADD(y, y)]
        assert vjp([i], [i])([None]) == [None]


def test_what_is_behind_wrt_is_not_followed() -> None:
    table = Table()
    with table.active():
        x = table.parameter(V)
        y = g.SINE(x)
        assert vjp([g.MULTIPLY(y, x)], [y])([x]) == [g.MULTIPLY(x, x)]


def test_an_op_that_refuses_names_the_line() -> None:
    table = Table()
    with table.active():
        x = table.parameter(V)
        with table.at((Location("m.py", 5, "odd(x)"),)):
            y = replace(g.NEGATE, name="odd", jvp=(refuse("has a derivative that nobody knows"),))(x)
        with pytest.raises(DifferentiationError) as error:
            jvp([y], {x: x})
    assert str(error.value).splitlines()[0] == "m.py:5: odd(x)"


def test_symbolic_sizes() -> None:
    n = dim("n", 1, 64)
    table = Table()
    with table.active():
        x, w = table.parameter(TensorType((n, 3), F64)), table.parameter(TensorType((3, 2), F64))
        y = g.TANH(g.dot_general(x, w, (1,), (0,)))
        loss = g.reduce_add(y, (0, 1))
        found = vjp([loss], [x, w])([g.full_like(loss, 1.0)])
        graph = Graph("g", (x, w), [f for f in found if f is not None], table)
    a, b = np.linspace(-1, 1, 12).reshape(4, 3), np.linspace(1, 2, 6).reshape(3, 2)
    got: list[Array] = evaluate_graph(graph, [a, b])
    slope = 1 - np.tanh(a @ b) ** 2
    np.testing.assert_allclose(got[0], slope @ b.T)
    np.testing.assert_allclose(got[1], a.T @ slope)


def test_gradients_of_a_matrix_product_need_no_transpose() -> None:
    table = Table()
    with table.active():
        x, w = table.parameter(TensorType((5, 3), F64)), table.parameter(TensorType((3, 2), F64))
        y = g.dot_general(x, w, (1,), (0,))
        found = vjp([y], [x, w])([y])
        ops = {n.op.name for n in g.reachable([f for f in found if f is not None])}
    assert ops == {"parameter", "dot_general"}
