"""Sorting becomes a network of rows of a whole length: the graph after each pass verifies for sizes that are symbols."""

from __future__ import annotations

import numpy as np

from mlc.compiler import Options, compile_graph
from mlc.ir import graph as g
from mlc.ir.dims import dim
from mlc.ir.graph import Graph, Table
from mlc.ir.target import host_target
from mlc.ir.types import F32, TensorType


def test_rows_of_a_symbolic_length() -> None:
    table = Table()
    with table.active():
        x = table.parameter(TensorType((dim("n", 1, 40), 3), F32))
        graph = Graph("sorted", (x,), tuple(g.sort(x, axis=0)), table)
    compiled = compile_graph(graph, Options(host_target(), verify=True))
    for n in (1, 2, 31, 32, 40):
        values = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
        np.testing.assert_array_equal(np.asarray(compiled([values])[0]), np.sort(values, axis=0))
