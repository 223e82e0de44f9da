"""Loops and branches made smaller: what is dropped, moved and merged, with the same results before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.ir.graph import Graph, evaluate_graph, trip_count, verify_graph
from mlc.passes.decompose import decompose
from mlc.passes.fuse import fuse
from mlc.passes.loops import is_rotated, rotate, tighten
from mlc.passes.merge_loops import merge_loops
from mlc.passes.regions import run_inside
from mlc.passes.simplify import simplify

X = np.linspace(-1, 1, 12).reshape(3, 4)


def graph_of(function: Any, *args: Any) -> Graph:
    graph: Graph = mlc.jit(function).lower(*args).traced.graph
    return graph


def same(before: Graph, after: Graph, *arrays: Any) -> None:
    verify_graph(after)
    for old, new in zip(evaluate_graph(before, arrays), evaluate_graph(after, arrays), strict=True):
        np.testing.assert_array_equal(old, new)


def only(graph: Graph, name: str) -> Any:
    (node,) = (n for n in graph.nodes if n.op.name == name)
    return node


def test_values_that_nobody_reads_are_not_carried() -> None:
    """b needs c, a needs neither; only a is read behind the loop, which goes by the counter."""

    def program(x: Any) -> Any:
        body = lambda i, v: (v[0] * 2, v[1] + v[2], v[2] * x)  # noqa: E731
        return mlc.fori_loop(0, 3, body, (x, x, x))[0]

    before = decompose(graph_of(program, X))
    after = tighten(before)
    same(before, after, X)
    assert len(only(before, "while").operands) > len(only(after, "while").operands) == 2  # a counter, and a
    assert tighten(after) is after


def test_what_is_fixed_moves_before_the_loop_and_movements_stay() -> None:
    def program(x: Any, w: Any) -> Any:
        return mlc.fori_loop(0, 3, lambda i, v: v + mnp.tanh(w).T + mnp.ones((4, 3)), x)

    before = decompose(graph_of(program, X.T, X))
    after = tighten(before)
    same(before, after, X.T, X)
    inside = {n.op.name for n in only(after, "while")["body"].nodes}
    assert "tanh" not in inside and "tanh" in {n.op.name for n in after.nodes}
    assert "broadcast_in_dim" in inside


def test_what_another_value_becomes_stays() -> None:
    """The next of the one value is the other, which never changes."""

    def program(x: Any) -> Any:
        return mlc.while_loop(lambda v: mnp.sum(v[0]) < 9, lambda v: (v[1], v[1]), (x, x + 1))

    before = graph_of(program, X)
    same(before, tighten(before), X)


def test_a_loop_that_changes_all_of_it_stays() -> None:
    graph = decompose(graph_of(lambda x: mlc.while_loop(lambda v: mnp.sum(v) < 9, lambda v: v + 1, x), X))
    assert tighten(graph) is graph


def test_a_rotated_loop_goes_by_a_value_that_it_carries() -> None:
    graph = decompose(graph_of(lambda x: mlc.while_loop(lambda v: mnp.sum(v) < 9, lambda v: v + 1, x), X))
    after = run_inside(rotate, graph)
    same(graph, after, X)
    assert is_rotated(only(after, "while")) and not is_rotated(only(graph, "while"))
    assert rotate(after) is after


def test_branches_give_and_take_what_is_needed() -> None:
    def program(p: Any, x: Any, y: Any) -> Any:
        return mlc.cond(p, lambda: (x + 1, y * 2), lambda: (x - 1, mnp.exp(y)))[0]

    before = graph_of(program, True, X, X)
    after = tighten(before)
    same(before, after, np.array(True), X, X)
    assert len(only(after, "case").operands) == 2 and only(after, "case").type == before.results[0].type
    assert tighten(after) is after


def test_a_branch_that_is_known_is_opened() -> None:
    graph = graph_of(lambda x: mlc.switch(7, [lambda: x, lambda: x * 3]), X)
    known = run_inside(tighten, _folded(graph))
    same(graph, known, X)
    assert "case" not in {n.op.name for n in known.nodes}


def _folded(graph: Graph) -> Graph:
    from mlc.ir.graph import constant

    with graph.table.active():
        (case,) = (n for n in graph.nodes if n.op.name == "case")
        index = constant(np.int32(1))
        return graph.with_results([graph.table.rebuild(case, [index, *case.operands[1:]])])


def test_a_loop_and_its_extension_become_one() -> None:
    def loss(x: Any) -> Any:
        return mnp.sum(mlc.scan(lambda c, v: (mnp.tanh(c + v), c), mnp.zeros(4, "f64"), x)[1])

    before = graph_of(mlc.value_and_grad(loss), X)
    after = merge_loops(before)
    same(before, after, X)
    scans = [sum(n.op.name == "composite" and n["name"] == "scan" for n in g.nodes) for g in (before, after)]
    assert scans == [3, 2]
    assert merge_loops(after) is after


@pytest.mark.parametrize(("start", "limit", "step"), [(0, 7, 2), (3, 4, 1), (5, 5, 1), (9, 2, 3)])
def test_trips_are_known_of_loops_that_carry_their_condition(start: int, limit: int, step: int) -> None:
    def program(x: Any, most: Any) -> Any:
        once = mlc.while_loop(lambda v: v[0] < limit, lambda v: (v[0] + step, v[1] * 2), (start, x))
        return once, mlc.while_loop(lambda v: v[0] < most, lambda v: (v[0] + step, v[1] * 2), (start, x))

    before = simplify(graph_of(program, X, np.int64(limit)))
    after = rotate(before)
    same(before, after, X, np.int64(limit))
    trips = -(-(limit - start) // step)
    first, second = (
        [trip_count(n) for n in g.nodes if n.op.name == "while"] for g in (before, run_inside(fuse, after))
    )
    assert first == [max(trips, 0), None]
    assert second == ([trips, None] if trips > 0 else [None])  # a loop that never runs is gone
