"""The collective rows: types, text, meaning on all ranks, and derivatives over the ranks together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mlc.errors import ArgumentError, ShapeError, UnsupportedError
from mlc.ir.graph import (
    ADD,
    COLLECTIVE_BROADCAST,
    COLLECTIVE_DONE,
    COLLECTIVE_START,
    DOT_GENERAL,
    MULTIPLY,
    SHARDED_CALL,
    Graph,
    Node,
    Table,
    all_gather,
    all_reduce,
    current_table,
    evaluate_graph,
    evaluate_ranks,
    parse_graph,
    print_graph,
    reduce_scatter,
    results_of,
    verify_graph,
)
from mlc.ir.types import F32, F64, I32, I64, TensorType, scalar
from mlc.transforms.cotangent import transpose
from mlc.transforms.tangent import jvp

Array = npt.NDArray[Any]
ALL = ((0, 1, 2, 3),)
GROUPED = ((3, 1), (0, 2))
FORMULAS: dict[str, Callable[[Node, Any], Node]] = {
    "all_reduce": lambda x, groups: all_reduce(x, "add", groups),
    "all_gather": lambda x, groups: all_gather(x, groups, 1),
    "reduce_scatter": lambda x, groups: reduce_scatter(x, "add", groups, 1),
    "collective_broadcast": lambda x, groups: COLLECTIVE_BROADCAST(x, replica_groups=groups),
}


def graph_of(formula: Callable[..., Node | tuple[Node, ...]], *types: TensorType) -> Graph:
    table = Table()
    with table.active():
        parameters = [table.parameter(t, f"p{i}") for i, t in enumerate(types)]
        results = formula(*parameters)
        return Graph("g", parameters, results if isinstance(results, tuple) else (results,), table)


def integers(shape: tuple[int, ...], dtype: type = np.float64) -> list[Array]:
    """One for each of four ranks."""
    return [np.random.default_rng(rank).integers(-9, 9, shape).astype(dtype) for rank in range(4)]


@pytest.mark.parametrize("groups", [ALL, GROUPED])
@pytest.mark.parametrize("name", FORMULAS)
def test_meaning(name: str, groups: tuple[tuple[int, ...], ...]) -> None:
    graph = graph_of(lambda x: FORMULAS[name](x, groups), TensorType((3, 8), F32))
    verify_graph(graph)
    assert str(parse_graph(print_graph(graph))) == print_graph(graph)
    x = integers((3, 8), np.float32)
    found = [r[0] for r in evaluate_ranks(graph, [[v] for v in x])]
    for group in groups:
        parts = [x[r] for r in group]
        for place, rank in enumerate(group):
            want = {
                "all_reduce": sum(parts), "all_gather": np.concatenate(parts, 1), "collective_broadcast": parts[0],
                "reduce_scatter": np.split(np.asarray(sum(parts)), len(group), 1)[place],
            }[name]  # fmt: skip
            np.testing.assert_array_equal(found[rank], want)


@pytest.mark.parametrize("groups", [ALL, GROUPED])
@pytest.mark.parametrize("name", FORMULAS)
def test_transposes_and_tangents(name: str, groups: tuple[tuple[int, ...], ...]) -> None:
    """Over all ranks together <c, J t> = <J' c, t>, and J is the row itself: exact in integers."""
    forward = graph_of(lambda x: FORMULAS[name](x, groups), TensorType((3, 8), F64))
    (out,) = forward.results

    def both(x: Node, t: Node, c: Node) -> tuple[Node, ...]:
        y = FORMULAS[name](x, groups)
        (tangent,) = jvp([y], {x: t})
        (cotangent,) = transpose([FORMULAS[name](x, groups)], [x], [c])
        assert tangent is not None and cotangent is not None
        return tangent, cotangent

    graph = graph_of(both, TensorType((3, 8), F64), TensorType((3, 8), F64), out.tensor)
    verify_graph(graph)
    x, t = integers((3, 8)), [v[::-1].copy() for v in integers((3, 8))]
    c = integers(tuple(int(n) for n in out.shape))
    found = evaluate_ranks(graph, [list(row) for row in zip(x, t, c, strict=True)])
    same = [r[0] for r in evaluate_ranks(forward, [[v] for v in t])]
    for (tangent, _), want in zip(found, same, strict=True):
        np.testing.assert_array_equal(tangent, want)
    left = sum(float(np.sum(c[r] * found[r][0])) for r in range(4))
    assert left == sum(float(np.sum(found[r][1] * t[r])) for r in range(4)) != 0


def test_the_tangent_of_the_largest_is_the_mean_of_those_who_have_it() -> None:
    def formula(x: Node, t: Node) -> Node:
        (tangent,) = jvp([all_reduce(x, "maximum", ALL)], {x: t})
        assert tangent is not None
        return tangent

    graph = graph_of(formula, TensorType((2,), F64), TensorType((2,), F64))
    x = [[1.0, 5.0], [3.0, 0.0], [3.0, 2.0], [0.0, 1.0]]
    t = [[1.0, 7.0], [2.0, 1.0], [6.0, 1.0], [9.0, 1.0]]
    found = evaluate_ranks(graph, list(zip(map(np.array, x), map(np.array, t), strict=True)))
    assert [r[0].tolist() for r in found] == [[4.0, 7.0]] * 4


def test_several_started_as_one() -> None:
    def formula(x: Node, y: Node) -> tuple[Node, ...]:
        start = COLLECTIVE_START(x, y, kind="all_reduce", reduction="maximum", replica_groups=ALL)
        return results_of(COLLECTIVE_DONE(start))

    graph = graph_of(formula, TensorType((3,), I32), TensorType((), I32))
    verify_graph(graph)
    assert str(parse_graph(print_graph(graph))) == print_graph(graph)
    x, y = integers((3,), np.int32), integers((), np.int32)
    for found in evaluate_ranks(graph, list(zip(x, y, strict=True))):
        np.testing.assert_array_equal(found[0], np.max(x, axis=0))
        np.testing.assert_array_equal(found[1], np.max(y, axis=0))


def sharded() -> Graph:
    """x @ w with the rows of x cut, and the sum of its squares everywhere."""
    inner = graph_of(
        lambda x, w: (
            (y := DOT_GENERAL(x, w, lhs_contracting=(1,), rhs_contracting=(0,), lhs_batch=(), rhs_batch=())),
            DOT_GENERAL(y, y, lhs_contracting=(0, 1), rhs_contracting=(0, 1), lhs_batch=(), rhs_batch=()),
        ),
        TensorType((8, 3), F64), TensorType((3, 2), F64),
    )  # fmt: skip

    def formula(x: Node, w: Node, rank: Node) -> tuple[Node, ...]:
        return results_of(SHARDED_CALL(
            x, w, rank, callee=inner, in_shardings=(0, -1), out_shardings=(0, -1), replica_groups=ALL
        ))  # fmt: skip

    return graph_of(formula, TensorType((2, 3), F64), TensorType((3, 2), F64), scalar(I64))


def test_a_sharded_call_is_its_callee_on_the_whole() -> None:
    graph = sharded()
    verify_graph(graph)
    assert str(parse_graph(print_graph(graph))) == print_graph(graph)
    x, w = integers((2, 3)), integers((3, 2))[0]
    whole = np.concatenate(x) @ w
    found = evaluate_ranks(graph, [[v, w, np.int64(r)] for r, v in enumerate(x)])
    for rank in range(4):
        np.testing.assert_array_equal(found[rank][0], whole[2 * rank : 2 * rank + 2])
        assert found[rank][1] == np.sum(whole**2)


def test_what_should_be_the_same_on_all_ranks_is_checked() -> None:
    x = integers((2, 3))
    with pytest.raises(ArgumentError, match="p1 is not the same on all ranks"):
        evaluate_ranks(sharded(), [[v, integers((3, 2))[r], np.int64(r)] for r, v in enumerate(x)])


@pytest.mark.parametrize(
    ("said", "formula"),
    [
        ("do not hold each rank of a world once", lambda x: all_reduce(x, "add", ((0, 0),))),
        ("differ in size", lambda x: all_reduce(x, "add", ((0, 1), (2,)))),
        ("'mean' is none of add", lambda x: all_reduce(x, "mean", ALL)),
        ("no integer or bool", lambda x: all_reduce(x, "xor", ALL)),
        ("axis 0 of f32\\[3,8\\] does not divide into 4", lambda x: reduce_scatter(x, "add", ALL, 0)),
        ("not distinct axes of rank 2", lambda x: all_gather(x, ALL, 2)),
    ],
)
def test_wrong_types(said: str, formula: Callable[[Node], Node]) -> None:
    with pytest.raises(ShapeError, match=said):
        graph_of(formula, TensorType((3, 8), F32))


def test_one_process_alone_does_not_make_up_the_others() -> None:
    graph = graph_of(lambda x: all_reduce(x, "add", ALL), TensorType((2,), F32))
    with pytest.raises(UnsupportedError, match="among 4 ranks"):
        evaluate_graph(graph, [np.zeros(2, np.float32)])
    one = graph_of(lambda x: ADD(all_reduce(x, "add", ((0,),)), MULTIPLY(x, x)), TensorType((2,), F32))
    assert evaluate_graph(one, [np.array([1, 3], np.float32)])[0].tolist() == [2, 12]
    with pytest.raises(ArgumentError, match="was given the arguments of 2"):
        evaluate_ranks(graph, [[np.zeros(2, np.float32)]] * 2)


def test_equal_collectives_are_one_node() -> None:
    graph = graph_of(lambda x: ADD(all_reduce(x, "add", ALL), all_reduce(x, "add", ALL)), TensorType((2,), F32))
    assert graph.results[0].operands[0] is graph.results[0].operands[1]
    with graph.table.active():
        assert current_table() is graph.table
