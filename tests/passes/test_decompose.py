"""decompose: contractions in one form, reductions from their identity, random bits as arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

import mlc.ir.graph as g
from mlc.ir.graph import DOT_GENERAL, Graph, Node, Table, dot_general, evaluate_graph, results_of
from mlc.ir.graph.random import RNG_BIT_GENERATOR
from mlc.ir.types import BF16, F16, F32, U32, U64, DType, TensorType
from mlc.passes.decompose import decompose
from mlc.passes.simplify import simplify

from .check import check_golden, check_same_meaning

CASES = {
    "several free axes": ((2, 3, 4), (4, 5, 6), (2,), (0,), (), ()),
    "several contracted axes in another order": ((2, 3, 4), (4, 5, 3), (1, 2), (2, 0), (), ()),
    "batch axis inside": ((3, 2, 4), (4, 2, 5), (2,), (0,), (1,), (1,)),
    "two batch axes": ((2, 3, 4, 5), (2, 3, 5, 6), (3,), (2,), (0, 1), (0, 1)),
    "two batch axes apart": ((2, 4, 3, 5), (3, 5, 2), (3,), (1,), (0, 2), (2, 0)),
    "nothing contracted": ((2, 3), (4,), (), (), (), ()),
    "nothing contracted in a batch": ((3, 2), (2, 4), (), (), (1,), (0,)),
    "vectors": ((4,), (4,), (0,), (0,), (), ()),
    "scalar times matrix": ((), (2, 3), (), (), (), ()),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_contractions_come_out_in_one_form(case: tuple[tuple[int, ...], ...]) -> None:
    lhs, rhs, lhs_contracting, rhs_contracting, lhs_batch, rhs_batch = case
    table = Table()
    with table.active():
        x, y = table.parameter(TensorType(lhs, F32), "x"), table.parameter(TensorType(rhs, F32), "y")
        result = dot_general(x, y, lhs_contracting, rhs_contracting, lhs_batch, rhs_batch)
    graph = Graph("f", (x, y), (result,), table)
    after = simplify(decompose(graph))
    check_same_meaning(graph, after, rtol=1e-5)
    for n in after.nodes:
        if n.op is DOT_GENERAL:
            batch, left, right = len(n["lhs_batch"]), len(n.operands[0].shape), len(n.operands[1].shape)
            assert len(n["lhs_contracting"]) == 1
            assert left - batch - 1 <= 1
            assert right - batch - 1 <= 1


def test_a_canonical_contraction_stays() -> None:
    table = Table()
    with table.active():
        x, y = (table.parameter(TensorType((3, 3, 3), F32)) for _ in range(2))
        graph = Graph("f", (x, y), (dot_general(x, y, (1,), (2,), (0,), (1,)),), table)
    assert decompose(graph) is graph


def test_a_reduction_from_another_value_folds_it_in_at_the_end() -> None:
    check_golden(
        decompose,
        """
        graph @f(%x: f32[3,4], %c: f32[]) -> (f32[3]) {
          %r = reduce %x, init %c, maximum over [1] : f32[3]
          return %r
        }""",
        """
        graph @f(%x: f32[3,4], %c: f32[]) -> (f32[3]) {
          %1 = constant -inf : f32[]
          %2 = reduce %x, init %1, maximum over [1] : f32[3]
          %3 = broadcast_in_dim %c, dimensions = [] : f32[3]
          %4 = maximum %2, %3 : f32[3]
          return %4
        }""",
    )


@pytest.mark.parametrize("dtype", [U32, U64])
@pytest.mark.parametrize("of_key", [U32, U64])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 4, 2)])
def test_random_bits_are_the_same_as_arithmetic(dtype: DType, of_key: DType, shape: tuple[int, ...]) -> None:
    table = Table()
    with table.active():
        key = table.parameter(TensorType((2,), of_key), "key")
        bits = results_of(RNG_BIT_GENERATOR(key, shape=shape, dtype=dtype, algorithm="THREE_FRY"))
    graph = Graph("f", (key,), bits, table)
    after = simplify(decompose(graph))
    assert not any(n.op is RNG_BIT_GENERATOR for n in after.nodes)
    check_same_meaning(graph, after, rtol=0)


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_a_half_sum_with_a_start_is_rounded_once(dtype: DType) -> None:
    """The sum is kept in f32 until the start has joined it."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(6, 50)).astype(dtype.numpy)
    start = np.asarray(0.617, dtype.numpy)

    def reduced(x: Node, start: Node) -> Node:
        return g.REDUCE(x, start, dimensions=(0,), body=g.body_of(g.ADD, dtype))

    table = Table()
    with table.active():
        p = table.parameter(TensorType(x.shape, dtype)), table.parameter(TensorType((), dtype))
        graph = decompose(Graph("sum", p, [reduced(*p)], table))
    want = (x.astype(np.float64).sum(0) + float(start)).astype(np.float32).astype(dtype.numpy)
    np.testing.assert_array_equal(evaluate_graph(graph, [x, start])[0], want)
