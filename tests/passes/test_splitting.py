"""splitting: no region becomes more code than compiles in linear time, and what crosses a cut is little."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.compiler import compile_function
from mlc.ir.graph import FUSION, GET_TUPLE_ELEMENT, Graph, Node
from mlc.ir.graph.verify import verify_graph
from mlc.options import Options
from mlc.passes.decompose import decompose
from mlc.passes.fuse import fuse
from mlc.passes.grouping import work_of
from mlc.passes.simplify import simplify
from mlc.passes.splitting import MOST_WORK

from .check import check_same_meaning

X = np.linspace(-2, 2, 15, dtype=np.float32).reshape(3, 5)


def wide(n: int) -> Callable[[mlc.Array], mlc.Array]:
    """Every sine is computed before the first sum, as Python does it."""
    return lambda x: sum([mnp.sin(x * k) for k in range(1, n)])


def chain(n: int) -> Callable[[mlc.Array], mlc.Array]:
    def run(x: mlc.Array) -> mlc.Array:
        for k in range(n):
            x = mnp.tanh(x) * (1 + 0.5 / (k + 1)) + x * 0.25
        return x

    return run


def regions(function: Callable[..., mlc.Array], *arguments: np.ndarray) -> tuple[Graph, list[Node]]:
    graph = mlc.jit(function).lower(*arguments).graph
    result = fuse(simplify(decompose(graph)))
    verify_graph(result)
    check_same_meaning(graph, result, rtol=1e-4)
    return result, [n for n in result.nodes if n.op is FUSION]


def work(region: Node) -> int:
    return sum(work_of(n) for n in region["body"].nodes)


@pytest.mark.parametrize("n", [60, 200, 399])
def test_a_wide_sum_becomes_regions_of_bounded_work_that_pass_one_value_on(n: int) -> None:
    _, found = regions(wide(n), X)
    each = 12 + 1 + 1  # a sine, a product, a sum
    assert len(found) <= -(-2 * each * n // MOST_WORK)
    assert all(work(r) <= MOST_WORK for r in found)
    assert all(len(r["body"].results) == 1 and len(r.operands) <= 2 for r in found)


def test_regions_that_were_small_enough_stay_one() -> None:
    _, found = regions(wide(50), X)
    assert len(found) == 1 and work(found[0]) > MOST_WORK // 2


def test_a_gradient_is_cut_although_it_keeps_what_it_reads_again() -> None:
    _, found = regions(mlc.grad(lambda x: mnp.sum(chain(150)(x))), X)
    assert len(found) > 4
    assert all(work(r) <= MOST_WORK for r in found)


def test_the_last_piece_of_a_sum_over_rows_is_the_reduction() -> None:
    result, found = regions(lambda x: mnp.sum(wide(100)(x), axis=1), X)
    assert [r["kind"] for r in found] == ["loop", "reduce"]
    assert result.results[0] is found[-1] and result.results[0].shape == (3,)
    assert all(work(r) <= MOST_WORK for r in found)


def test_no_cut_falls_where_values_of_two_shapes_are_alive() -> None:
    """A row of sines is used again at the end, for every element: cuts lie before it or behind its last reader."""

    def f(x: mlc.Array, row: mlc.Array) -> mlc.Array:
        scale = wide(30)(row)
        return chain(40)(x + scale) * chain(40)(x * 2) + wide(30)(x * scale)

    _, found = regions(f, X, X[0])
    for r in found:
        assert len({s.shape for s in r["body"].results}) == 1
    assert len(found) > 1


def test_broadcast_and_constant_values_are_made_again_on_both_sides_of_a_cut() -> None:
    def f(x: mlc.Array, row: mlc.Array) -> mlc.Array:
        for k in range(120):
            x = mnp.sin(x * row + k)
        return x

    result, found = regions(f, X, X[0])
    assert len(found) > 1
    assert not [n for n in result.nodes if n.op is GET_TUPLE_ELEMENT]
    assert {o.shape for r in found for o in r.operands} == {(3, 5), (5,)}


def test_pieces_are_not_merged_again_and_no_kernel_grows_with_the_program() -> None:
    """LLVM takes time quadratic in the longest one."""

    def longest(n: int) -> int:
        graph = mlc.jit(wide(n)).lower(X).graph
        return max(k.canonical_text().count("\n") for k in compile_function(graph, Options.from_environment()).kernels)

    assert longest(400) <= 1.1 * longest(150)


def test_a_program_in_pieces_computes_what_numpy_does() -> None:
    got = mlc.jit(lambda x: wide(70)(x) + mnp.sum(chain(70)(x), axis=1, keepdims=True))(X)
    x = X.astype(np.float64)
    y = x
    for k in range(70):
        y = np.tanh(y) * (1 + 0.5 / (k + 1)) + y * 0.25
    want = sum(np.sin(x * k) for k in range(1, 70)) + y.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
