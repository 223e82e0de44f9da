"""A barrier ends a fusion: what is before it is stored, what is after it reads that, and no memory is copied."""

from __future__ import annotations

import numpy as np

from mlc.compiler import Options, compile_graph
from mlc.ir.graph import (
    ADD,
    EXPONENTIAL,
    FUSION,
    OPTIMIZATION_BARRIER,
    Graph,
    Node,
    Table,
    constant,
    evaluate_graph,
    reduce_add,
    reshape,
)
from mlc.ir.target import host_target
from mlc.ir.types import F32, TensorType
from mlc.passes.decompose import decompose
from mlc.passes.fuse import fuse
from mlc.passes.simplify import simplify


def graph_with(barrier: bool) -> Graph:
    def wall(x: Node) -> Node:
        return OPTIMIZATION_BARRIER(x) if barrier else x

    table = Table()
    with table.active():
        x = table.parameter(TensorType((3, 4), F32), "x")
        doubled = wall(ADD(x, wall(x)))
        total = wall(reduce_add(doubled, (0, 1)))
        three = wall(constant(np.float32(3)))
        results = (wall(EXPONENTIAL(doubled)), ADD(total, three), wall(wall(reshape(doubled, (2, 6)))), wall(x))
        return Graph("walls", (x,), results, table)


def test_a_barrier_ends_a_fusion() -> None:
    counts = []
    for barrier in (False, True):
        fused = fuse(simplify(decompose(graph_with(barrier))))
        counts.append(sum(n.op is FUSION for n in fused.nodes))
    assert counts[0] < counts[1], counts


def test_values_pass_through() -> None:
    graph, x = graph_with(True), np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
    want = (np.exp(2 * x), np.float32((2 * x).sum() + 3), (2 * x).reshape(2, 6), x)
    for got in (evaluate_graph(graph, [x]), compile_graph(graph, Options(host_target(), verify=True))([x])):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(np.asarray(a), b, rtol=1e-5, atol=1e-5)
